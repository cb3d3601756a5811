"""BOOTSTRAP TOPIC GROUP INSTANCE|- : a member of a group with confluent-kafka (see test_churn.py)."""
import signal
import sys

from confluent_kafka import Consumer, KafkaException

bootstrap, topic, group, instance = sys.argv[1:5]
settings = {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest",
            "session.timeout.ms": 6000, "heartbeat.interval.ms": 1000, "partition.assignment.strategy": "range"}
if instance != "-":
    settings["group.instance.id"] = instance
running = True


def stop(*_):
    global running
    running = False


signal.signal(signal.SIGTERM, stop)
consumer = Consumer(settings)
consumer.subscribe([topic])
while running:
    seen = False
    for message in consumer.consume(500, 0.3):
        if message.error() is None:
            print("C", message.partition(), message.offset(), flush=False)
            seen = True
    if seen:
        sys.stdout.flush()
        try:
            consumer.commit(asynchronous=False)
        except KafkaException:
            pass  # a rebalance: the next owner reads it again
consumer.close()
