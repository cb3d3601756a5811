#!/usr/bin/env python3
# timeout: 1800
"""Three Apache Kafka 3.9.2 brokers under load are replaced one by one by Odradek on the same data directories, ids and ports, then back again:
nothing acknowledged is lost, nothing of Java's idempotent producer doubled, no client fails, groups' offsets never go back, Kafka's replica
verification and a comparison of all bytes find no difference. full: more clients, both ways twice, the second time by kill -9."""
import pathlib
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import environments
from broker import FULL
from cluster import KAFKA, Cluster
from group_offsets import GroupOffsets
from load import Producer, Reader, check

MORE = 150 if not FULL else 1000  # acknowledged of each producer in each state
TOPIC = "load"
ASSIGNMENT = [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 3, 2]]


def verify_replicas(cluster):
    """Kafka's tool reads all replicas from the beginning, followers too, and compares; ends when it has told a lag twice."""
    command = ["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", environments.kafka_class_path(KAFKA), "org.apache.kafka.tools.ReplicaVerificationTool",
               "--broker-list", cluster.address, "--topics-include", TOPIC, "--time", "-2", "--report-interval-ms", "1000", "--max-wait-ms", "500"]
    tool = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    watchdog = threading.Timer(90, tool.kill)
    watchdog.start()
    lines, lags = [], 0
    try:
        for line in tool.stdout:
            lines.append(line.strip())
            lags += "max lag is" in line and f"among {len(ASSIGNMENT)} partitions" in line
            if lags == 3:
                break
    finally:
        watchdog.cancel()
        tool.kill()
        tool.wait()
    told = "\n".join(lines[-20:])
    assert lags == 3, f"the verification told no lag:\n{told}"
    wrong = [line for line in lines if "doesn't match" in line or "checksum" in line.lower() or "Exception" in line or "ERROR" in line]
    assert not wrong, f"the verification found: {wrong[:5]}\n{told}"
    print(f"replica verification: {lines[-1]}", flush=True)


with Cluster(dict.fromkeys((1, 2, 3), "kafka"), {"zookeeper.session.timeout.ms": "12000", "offsets.topic.num.partitions": "3"}) as cluster:
    begin = time.monotonic()

    def say(text):
        print(f"{time.strftime('%H:%M:%S')} {time.monotonic() - begin:6.1f} s  {text}", flush=True)

    cluster.create_topic(TOPIC, assignment=ASSIGNMENT, configs={"min.insync.replicas": "2"})
    cluster.wait_isr(TOPIC)
    kinds = ["java-0.8.2.2", "java-4.3.1", "confluent-kafka", *(["java", "kafka-python"] if FULL else [])]
    producers = [Producer(cluster.address, TOPIC, kind, per_second=150) for kind in kinds]
    for producer in producers:
        # A new leader may refuse the second of several requests before it takes the first: librdkafka then goes on in a new producer epoch
        # and sends again what it has no answer for.
        producer.exact = producer.kind.startswith("java-4") or producer.kind == "java"
    readers = [Reader(cluster.address, TOPIC), Reader(cluster.address, TOPIC, "of-4.3.1", "java-4.3.1"),
               Reader(cluster.address, TOPIC, "of-0.8.2", "scala-0.8.2.2", zookeeper=cluster.connect_string),
               *([Reader(cluster.address, TOPIC, "of-librdkafka"), Reader(cluster.address, TOPIC, "of-librdkafka")] if FULL else [])]
    offsets = GroupOffsets(cluster, {reader.group: TOPIC for reader in readers if reader.group})

    def goes_on(what):
        for producer in producers:
            producer.wait_acked(MORE)
        seen = [len(reader.seen) for reader in readers]
        try:
            cluster.wait(lambda: all(len(reader.seen) > before for reader, before in zip(readers, seen)), "every reader reads on", 120)
        except AssertionError:
            for reader, before in zip(readers, seen):
                if len(reader.seen) <= before:
                    say(f"{reader.kind} of {reader.group} does not read on, ended with {reader.process.poll()}: {reader.errors[-2000:]}")
            raise
        say(f"{what}: acknowledged {[producer.acknowledged() for producer in producers]}, read {[len(reader.seen) for reader in readers]}")

    def replace(program, kill):
        for broker in (1, 2, 3):
            node = cluster[broker]
            before = node.program
            (node.kill if kill else node.stop)()
            if kill:
                cluster.wait(lambda: all(broker not in n.metadata([])["brokers"] for n in cluster if n is not node), f"the session of {node} ends")
            node.swap(program)
            node.start()
            cluster.wait_isr(TOPIC)
            cluster.wait_isr("__consumer_offsets")
            goes_on(f"{node} instead of {before}")

    try:
        with offsets:
            cluster.wait(lambda: all(reader.seen for reader in readers), "every reader reads", 120)
            goes_on("three Apache brokers")
            for kill in (False, True) if FULL else (False,):
                replace("odradek", kill)
                verify_replicas(cluster)
                replace("kafka", kill)
            verify_replicas(cluster)
            for producer in producers:
                producer.stop()
            cluster.wait(lambda: all(len(reader.seen) >= len(readers[0].seen) > 0 for reader in readers if reader.group != "of-librdkafka"), "groups read everything", 120)
        for reader in readers:
            reader.stop()
    except BaseException:
        for each in (*producers, *readers):
            print(f"---- {each.kind}: {each.errors[-1500:]}", flush=True)
            each.process.kill()
        raise
    say(f"{check(cluster, TOPIC, producers, readers)} acknowledged records checked")
    say(f"{offsets.check(readers)} answers of coordinators compared, retries of the 4.3.1 consumer: {readers[1].retries}")
    say(f"{cluster.compare_logs(TOPIC)} bytes are the same on three brokers, {cluster.compare_logs('__consumer_offsets')} of __consumer_offsets")
