"""aiokafka in the roles of tests/clients/test_matrix.py."""
import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from roles import main


def produce(bootstrap, topic, codec, records):
    async def run():
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type=None if codec == "none" else codec, linger_ms=5,
                                    enable_idempotence=True)
        await producer.start()
        try:
            futures = [await producer.send(topic, key=key, value=value) for key, value in records]
            await producer.flush()
            await asyncio.gather(*futures)
        finally:
            await producer.stop()

    asyncio.run(run())


def consume(bootstrap, topic, group, count):
    async def run():
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", check_crcs=True,
                                    enable_auto_commit=False)
        await consumer.start()
        records = []
        try:
            while len(records) < count:
                for batch in (await consumer.getmany(timeout_ms=1000)).values():
                    records.extend((m.key, m.value) for m in batch)
            await consumer.commit()
        finally:
            await consumer.stop()
        return records

    yield from asyncio.run(run())


main(produce, consume)
