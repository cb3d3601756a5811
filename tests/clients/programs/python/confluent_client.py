"""confluent-kafka (librdkafka) in the roles of tests/clients/test_matrix.py."""
import sys

from confluent_kafka import Consumer, KafkaError, Producer

from roles import main


def produce(bootstrap, topic, codec, records):
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "enable.idempotence": True, "linger.ms": 5,
                         "queue.buffering.max.messages": 1000000})
    failed = []
    for key, value in records:
        producer.produce(topic, key=key, value=value, on_delivery=lambda error, _: failed.append(error) if error else None)
        producer.poll(0)
    left = producer.flush(60)
    if left or failed:
        sys.exit(f"{left} not delivered, errors {failed[:3]}")


def consume(bootstrap, topic, group, count):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest", "check.crcs": True,
                         "enable.auto.commit": False})
    consumer.subscribe([topic])
    try:
        while True:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                if message.error().code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._PARTITION_EOF):
                    continue
                sys.exit(str(message.error()))
            yield message.key(), message.value()
    finally:
        consumer.commit(asynchronous=False)
        consumer.close()


main(produce, consume)
