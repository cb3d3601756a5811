#!/usr/bin/env python3
# timeout: 1200
"""One Odradek broker in a cluster of two Apache Kafka 3.9.2 brokers, with either of them as controller: topics by Kafka's tools, groups,
and under load of acks=all: Odradek and Kafka brokers killed, stopped in order, silent for longer than their session. Nothing
acknowledged is lost, Odradek's and Kafka's replicas hold the same bytes."""
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from cluster import Cluster
from load import Producer, Reader, check

ODRADEK, KAFKAS = 1, (2, 3)


def make_controller(cluster, wanted):
    """/controller is deleted until one of `wanted` has won."""
    client = cluster.zookeeper_client()
    for _ in range(50):
        if cluster.controller().id in wanted:
            break
        client.delete(f"{cluster.chroot}/controller")
        cluster.wait(lambda: client.exists(f"{cluster.chroot}/controller"), "an election")
    client.close()
    assert cluster.controller().id in wanted
    print(f"controller: {cluster.controller()}", flush=True)


def administration(cluster, topic):
    """With the present controller: made, enlarged, reassigned, elected, deleted."""
    tool = "org.apache.kafka.tools.TopicCommand"
    cluster.kafka_tool(tool, "--create", "--topic", topic, "--partitions", "3", "--replication-factor", "3")
    cluster.wait_isr(topic)
    cluster.kafka_tool(tool, "--alter", "--topic", topic, "--partitions", "6")
    cluster.wait(lambda: all(len(node.metadata([topic])["topics"][topic]) == 6 for node in cluster), "six partitions")
    cluster.wait_isr(topic)
    told = [node.metadata([topic])["topics"][topic] for node in cluster]
    assert all(one == told[0] for one in told), told
    lines = [f"line {i}" for i in range(100)]
    for node in cluster:
        sent = subprocess.run(["kcat", "-b", node.address, "-P", "-t", topic, "-X", "enable.idempotence=true"], input="\n".join(lines), text=True, timeout=120)
        assert sent.returncode == 0
    read = subprocess.run(["kcat", "-b", cluster.address, "-X", "auto.offset.reset=earliest", "-G", f"group-{topic}", "-e", "-q", topic], capture_output=True, text=True, timeout=120)
    assert sorted(read.stdout.splitlines()) == sorted(lines * 3), read.stderr[-2000:]
    cluster.compare_logs(topic)
    cluster.kafka_tool(tool, "--delete", "--topic", topic)
    cluster.wait(lambda: not any(node.replica_dir(topic, p) for node in cluster for p in range(6)), "the folders of a deleted topic go", 120)


# Sessions that a JVM which starts on a busy machine does not lose.
with Cluster({ODRADEK: "odradek", **dict.fromkeys(KAFKAS, "kafka")}, {"zookeeper.session.timeout.ms": "12000"}, start=False) as cluster:
    cluster.start(*KAFKAS)
    cluster.controller()
    cluster.start(ODRADEK)
    assert cluster.controller().id in KAFKAS
    administration(cluster, "by-kafka")
    make_controller(cluster, (ODRADEK,))
    administration(cluster, "by-odradek")

    topic = "load"
    cluster.create_topic(topic, assignment=[[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 3, 2], [2, 1, 3], [3, 2, 1]], configs={"min.insync.replicas": "2"})
    with Producer(cluster.address, topic, "java") as java, Producer(cluster.address, topic, "confluent-kafka") as other, Reader(cluster.address, topic) as reader:
        # With several requests on the way while leadership moves, a new leader may refuse the second before it takes the first: librdkafka then
        # goes on in a new producer epoch and sends again what it has no answer for.
        other.exact = False

        def goes_on(what):
            java.wait_acked(300)
            other.wait_acked(300)
            print(f"{what}: acknowledged {java.acknowledged()} and {other.acknowledged()}", flush=True)

        def bounce(node):
            node.kill()
            goes_on(f"{node} killed")
            cluster.wait(lambda: all(node.id not in n.metadata([])["brokers"] for n in cluster if n is not node), f"the session of {node} ends")
            node.start()
            cluster.wait_isr(topic)
            node.stop()
            goes_on(f"{node} stopped")
            node.start()
            cluster.wait_isr(topic)

        def silence(node):
            node.pause()
            cluster.wait(lambda: all(p["leader"] != node.id for n in cluster if n is not node for p in n.metadata([topic])["topics"][topic].values()), f"others than {node} lead")
            goes_on(f"{node} silent")
            node.pause(False)
            cluster.wait_isr(topic)
            goes_on(f"{node} awake")

        goes_on("at the start")
        # Odradek holds the office: Kafka brokers come and go, then Odradek itself loses it and everything.
        bounce(cluster[KAFKAS[0]])
        make_controller(cluster, (ODRADEK,))
        silence(cluster[KAFKAS[1]])
        make_controller(cluster, (ODRADEK,))
        silence(cluster[ODRADEK])
        make_controller(cluster, (ODRADEK,))
        bounce(cluster[ODRADEK])
        # A Kafka broker holds it.
        make_controller(cluster, KAFKAS)
        bounce(cluster[ODRADEK])
        make_controller(cluster, KAFKAS)
        silence(cluster[ODRADEK])
        make_controller(cluster, KAFKAS)
        silence(cluster.controller())
        bounce(cluster[KAFKAS[1]])
    print(f"{check(cluster, topic, [java, other], [reader])} acknowledged records checked", flush=True)
    print(f"{cluster.compare_logs(topic)} bytes are the same on Odradek and Kafka", flush=True)
