#!/usr/bin/env python3
# timeout: 1200
"""Three Odradek brokers in one ZooKeeper tree: topics by Kafka's tools and by odradek, groups, auto creation and producer ids at any
broker; under load of acks=all: leader and controller killed, brokers restarted one after the other, a broker silent for longer than
its session, ZooKeeper away for longer than all sessions. Nothing acknowledged is lost, every replica holds the same bytes."""
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import wire
from broker import BIN, run
from cluster import Cluster
from load import Producer, Reader, check

SESSION_MS = 6000  # cluster.COMMON
NOT_CONTROLLER = 41


def kcat(*arguments, text=None):
    done = subprocess.run(["kcat", *arguments], input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 0, f"kcat {arguments}: {done.stderr[-2000:]}"
    return done.stdout


def administration(cluster):
    controller = cluster.controller()
    others = [node for node in cluster if node is not controller]
    assert [node.server.metric("kafka_controller_kafkacontroller_activecontrollercount") for node in cluster].count(1) == 1

    # Kafka's tool finds the controller; the others refuse.
    cluster.kafka_tool("org.apache.kafka.tools.TopicCommand", "--create", "--topic", "by-kafka", "--partitions", "6", "--replication-factor", "3")
    run([BIN / "odradek", "topic", "create", "by-odradek", "--partitions", "3", "--replication-factor", "3", "--bootstrap", others[0].address])
    with others[0].socket() as sock:
        assert wire.create_topic(sock, "refused", 1, 3) == NOT_CONTROLLER
    for topic, partitions in (("by-kafka", 6), ("by-odradek", 3)):
        cluster.wait_isr(topic)
        told = [node.metadata([topic]) for node in cluster]
        assert all(one == told[0] for one in told), told
        assert len(told[0]["topics"][topic]) == partitions and all(sorted(p["replicas"]) == [1, 2, 3] for p in told[0]["topics"][topic].values())
        leaders = [p["leader"] for p in told[0]["topics"][topic].values()]
        assert all(leaders.count(broker) == partitions // 3 for broker in (1, 2, 3)), f"leaders of {topic} lie on {leaders}"
    # Every broker is told with its rack, by each.
    described = cluster.kafka_tool("kafka.admin.BrokerApiVersionsCommand")
    assert all(f"id: {node.id} rack: r{node.id}" in described for node in cluster), described[:2000]

    # Each broker makes a missing topic and finds producer ids.
    for node in cluster:
        kcat("-b", node.address, "-P", "-t", f"auto-{node.id}", "-X", "enable.idempotence=true", text=f"hello {node.id}\n")
    for node in cluster:
        assert kcat("-b", cluster.address, "-C", "-t", f"auto-{node.id}", "-e", "-q").split() == ["hello", str(node.id)]

    # A group is led by whoever leads its partition of __consumer_offsets, on three brokers as configured.
    for _ in range(2):  # the second time behind what was committed
        read = kcat("-b", others[0].address, "-X", "auto.offset.reset=earliest", "-G", "some-group", "-e", "-q", "auto-1")
    assert read == "", "the group's offsets were not kept"
    offsets = cluster.partitions("__consumer_offsets")
    assert len(offsets) == 3 and all(len(p["replicas"]) == 3 for p in offsets.values()), offsets
    listed = cluster.kafka_tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--describe", "--group", "some-group")
    assert "auto-1" in listed, listed

    # Enlarged and deleted everywhere.
    cluster.kafka_tool("org.apache.kafka.tools.TopicCommand", "--alter", "--topic", "by-odradek", "--partitions", "4")
    cluster.wait(lambda: all(len(node.metadata(["by-odradek"])["topics"]["by-odradek"]) == 4 for node in cluster), "a fourth partition")
    cluster.wait_isr("by-odradek")
    cluster.kafka_tool("org.apache.kafka.tools.TopicCommand", "--delete", "--topic", "by-odradek")
    cluster.wait(lambda: not any(node.replica_dir("by-odradek", p) for node in cluster for p in range(4)), "the folders of a deleted topic go")


def stop_in_order(cluster, node, topic):
    """A controlled shutdown: whoever asks the others while it ends is never told of a partition without a leader."""
    node.stop()
    for other in cluster:
        if other.alive():
            told = other.metadata([topic])["topics"][topic]
            assert all(p["leader"] not in (-1, node.id) and node.id not in p["isr"] for p in told.values()), f"after the stop of {node}, {other} tells {told}"
    assert "controlled shutdown: other brokers lead what was led here" in node.log_text()


def failures(cluster):
    topic = "load"
    cluster.create_topic(topic, partitions=6, replication=3, configs={"min.insync.replicas": "2"})
    with Producer(cluster.address, topic, "java") as java, Producer(cluster.address, topic, "confluent-kafka") as other, Reader(cluster.address, topic) as reader:
        # With several requests on the way while leadership moves, a new leader may refuse the second before it takes the first: librdkafka then
        # goes on in a new producer epoch and sends again what it has no answer for.
        other.exact = False

        def goes_on(what):
            java.wait_acked(300)
            other.wait_acked(300)
            print(f"{what}: acknowledged {java.acknowledged()} and {other.acknowledged()}", flush=True)

        goes_on("at the start")
        for what, find in (("leader", lambda: cluster.leader(topic)), ("controller", cluster.controller)):
            node = find()
            node.kill()
            goes_on(f"the {what} killed")
            assert cluster.controller() is not node and cluster.wait_leader(topic) is not node
            node.start()
            cluster.wait_isr(topic)
        for node in cluster:
            stop_in_order(cluster, node, topic)
            goes_on(f"{node} stopped")
            node.start()
            cluster.wait_isr(topic)
        # Silent: its session expires, others lead; when it wakes up it follows. The controller's turn too.
        for node in (cluster.leader(topic), cluster.controller()):
            node.pause()
            cluster.wait(lambda: all(p["leader"] != node.id for n in cluster if n is not node for p in n.metadata([topic])["topics"][topic].values()), f"others than {node} lead")
            goes_on(f"{node} silent")
            node.pause(False)
            cluster.wait_isr(topic)
            goes_on(f"{node} awake")
            assert cluster.controller().alive()
        # ZooKeeper away: the data path goes on; all sessions expire, all brokers come back by themselves.
        cluster.zookeeper.kill()
        time.sleep(SESSION_MS / 1000 * 1.5)
        goes_on("ZooKeeper away")
        cluster.zookeeper.start()
        cluster.create_topic("later", partitions=3)
        cluster.wait_isr(topic)
        goes_on("ZooKeeper back")
    print(f"{check(cluster, topic, [java, other], [reader])} acknowledged records checked", flush=True)
    print(f"{cluster.compare_logs(topic)} bytes are the same on three brokers", flush=True)
    assert [node.server.metric("kafka_controller_kafkacontroller_activecontrollercount") for node in cluster].count(1) == 1
    cluster.wait(lambda: not any(node.server.metric("kafka_server_replicamanager_underreplicatedpartitions") for node in cluster), "all topics are in sync everywhere")


with Cluster({1: "odradek", 2: "odradek", 3: "odradek"}, {"auto.create.topics.enable": "true", "default.replication.factor": "3"}, start=False) as cluster:
    for node in cluster:
        node.properties = {"broker.rack": f"r{node.id}"}
    cluster.start()
    administration(cluster)
    failures(cluster)
