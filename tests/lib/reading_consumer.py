"""A consumer that tells every record: reading_consumer.py BOOTSTRAP TOPIC GROUP PROPERTIES(JSON), on librdkafka (confluent-kafka).

Reads all partitions of the topic from the beginning, without a GROUP ("") those that it has now, until standard input ends. A line each on standard
output: `read PARTITION OFFSET VALUE`. It outlives all brokers, as a service does (kcat ends when all its connections are down)."""
import json
import sys
import threading

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

bootstrap, topic, group, properties = sys.argv[1:5]
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group or "none", "auto.offset.reset": "earliest", "enable.auto.commit": bool(group), "check.crcs": True,
                     "fetch.error.backoff.ms": 50, "error_cb": lambda error: print(error, file=sys.stderr, flush=True), **json.loads(properties)})
if group:
    consumer.subscribe([topic])
else:
    known = consumer.list_topics(topic, timeout=60).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in known])
while not ended.is_set():
    for message in consumer.consume(1000, timeout=0.1):
        if message.error():
            # Those of single requests come again until they succeed; librdkafka tells of some of them.
            if message.error().code() != KafkaError._PARTITION_EOF:
                print(message.error(), file=sys.stderr, flush=True)
            continue
        sys.stdout.write(f"read {message.partition()} {message.offset()} {message.value().decode()}\n")
    sys.stdout.flush()
consumer.close()
