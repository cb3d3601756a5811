"""A producer whose every acknowledged record is told: acked_producer.py LIBRARY BOOTSTRAP TOPIC PREFIX PER_SECOND PROPERTIES(JSON).

LIBRARY: confluent-kafka or kafka-python. Sends the values PREFIX.0, PREFIX.1, ... (keys: the number) until standard input ends, then waits for
the answers. One line each on standard output: `acked PARTITION OFFSET VALUE`, `failed VALUE REASON`, at the end `done COUNT`."""
import json
import queue
import sys
import threading
import time

library, bootstrap, topic, prefix, rate, properties = sys.argv[1:7]
rate, properties = float(rate), json.loads(properties)
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()


def paced():
    begin, count = time.monotonic(), 0
    while not ended.is_set():
        due = begin + count / rate - time.monotonic()
        if due > 0:
            ended.wait(due)
        else:
            yield count
            count += 1


def tell(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def confluent():
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "acks": "all", "enable.idempotence": True, "message.timeout.ms": 120000, **properties})

    def answered(error, message):
        value = message.value().decode()
        if error:
            tell("failed", value, error.name())
        else:
            tell("acked", message.partition(), message.offset(), value)

    count = 0
    for count in paced():
        while True:
            try:
                producer.produce(topic, key=str(count), value=f"{prefix}.{count}", on_delivery=answered)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush(150)
    return count + 1


def kafka_python():
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=bootstrap.split(","), linger_ms=5, **{"acks": "all", "retries": 1000, "max_block_ms": 120000, **properties})
    answers = queue.Queue()  # told in the order of the answers, by one thread
    count = 0
    for count in paced():
        value = f"{prefix}.{count}"
        future = producer.send(topic, key=str(count).encode(), value=value.encode())
        future.add_callback(lambda got, value=value: answers.put(("acked", got.partition, got.offset, value)))
        future.add_errback(lambda error, value=value: answers.put(("failed", value, type(error).__name__)))
        while not answers.empty():
            tell(*answers.get())
    producer.flush(150)
    producer.close(10)
    while not answers.empty():
        tell(*answers.get())
    return count + 1


tell("done", {"confluent-kafka": confluent, "kafka-python": kafka_python}[library]())
