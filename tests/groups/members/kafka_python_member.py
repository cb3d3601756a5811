"""BOOTSTRAP TOPIC GROUP INSTANCE|- : a member of a group with kafka-python (see test_churn.py)."""
import signal
import sys

from kafka import KafkaConsumer
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import KafkaError

bootstrap, topic, group, instance = sys.argv[1:5]
running = True


def stop(*_):
    global running
    running = False


signal.signal(signal.SIGTERM, stop)
more = {"group_instance_id": instance} if instance != "-" else {}
consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest",
                         partition_assignment_strategy=[RangePartitionAssignor], session_timeout_ms=6000, heartbeat_interval_ms=1000, **more)
while running:
    records = consumer.poll(timeout_ms=300, max_records=500)
    for batch in records.values():
        for record in batch:
            print("C", record.partition, record.offset)
    if records:
        sys.stdout.flush()
        try:
            consumer.commit()
        except KafkaError:
            pass  # a rebalance: the next owner reads it again
consumer.close(autocommit=False)
