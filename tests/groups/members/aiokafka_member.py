"""BOOTSTRAP TOPIC GROUP INSTANCE|- : a member of a group with aiokafka (see test_churn.py)."""
import asyncio
import signal
import sys

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError

bootstrap, topic, group, _ = sys.argv[1:5]


async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest",
                                partition_assignment_strategy=[RangePartitionAssignor], session_timeout_ms=6000, heartbeat_interval_ms=1000)
    await consumer.start()
    while not stop.is_set():
        batches = await consumer.getmany(timeout_ms=300, max_records=500)
        for records in batches.values():
            for record in records:
                print("C", record.partition, record.offset)
        if batches:
            sys.stdout.flush()
            try:
                await consumer.commit()
            except KafkaError:
                pass  # a rebalance: the next owner reads it again
    await consumer.stop()


asyncio.run(main())
