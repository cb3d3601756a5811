"""kafka-python in the roles of tests/clients/test_matrix.py."""
from kafka import KafkaConsumer, KafkaProducer

from roles import main


def produce(bootstrap, topic, codec, records):
    producer = KafkaProducer(bootstrap_servers=bootstrap, compression_type=None if codec == "none" else codec, linger_ms=5, acks="all")
    futures = [producer.send(topic, key=key, value=value) for key, value in records]
    producer.flush(60)
    for future in futures:
        future.get(30)
    producer.close()


def consume(bootstrap, topic, group, count):
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", check_crcs=True,
                             enable_auto_commit=False)
    try:
        for message in consumer:
            yield message.key, message.value
    finally:
        consumer.commit()
        consumer.close()


main(produce, consume)
