#!/usr/bin/env python3
# timeout: 900
"""One broker on a real ZooKeeper server: Kafka's tools and kcat work, its znodes are those of Apache Kafka 3.9.2 for the same
operations, restarts of broker and ZooKeeper and an expired session lose nothing, and it stays out of a tree that has transactions."""
import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import ROOT, Broker, free_port, need, not_run, run, wait_until
import environments
import zookeeper

need("java", "kcat")
try:
    environments.kafka_class_path("3.9.2")
except environments.Missing as why:
    not_run(str(why))

SESSION_MS = 4000
COMMON = {"zookeeper.session.timeout.ms": str(SESSION_MS), "offsets.topic.num.partitions": "2", "offsets.topic.replication.factor": "1",
          "group.initial.rebalance.delay.ms": "0", "broker.id": "0"}
LINES = [f"line {i}" for i in range(2000)]


def kafka(main_class, *arguments, timeout=180):
    command = f". {ROOT}/tests/lib/kafka.sh && kafka_run 3.9.2 {main_class} " + '"$@"'
    return run(["bash", "-c", command, "kafka", *arguments], timeout=timeout)


def kcat(address, *arguments, text=None, timeout=120):
    done = subprocess.run(["kcat", "-b", address, *arguments], input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
    assert done.returncode == 0, f"kcat {arguments}: {done.returncode}\n{done.stderr[-2000:]}"
    return done.stdout


def operations(address):
    """What is done on both brokers."""
    at = ["--bootstrap-server", address]
    topics = "org.apache.kafka.tools.TopicCommand"
    kafka(topics, *at, "--create", "--topic", "t", "--partitions", "2", "--replication-factor", "1", "--config", "retention.ms=3600000")
    kafka(topics, *at, "--create", "--topic", "plain", "--partitions", "1", "--replication-factor", "1")
    kafka(topics, *at, "--create", "--topic", "gone", "--partitions", "1", "--replication-factor", "1")
    kafka(topics, *at, "--alter", "--topic", "t", "--partitions", "3")
    kafka(topics, *at, "--delete", "--topic", "gone")
    kafka("kafka.admin.ConfigCommand", *at, "--alter", "--entity-type", "topics", "--entity-name", "t", "--add-config", "max.message.bytes=2000000")
    kafka("kafka.admin.ConfigCommand", *at, "--alter", "--entity-type", "brokers", "--entity-default", "--add-config", "log.retention.ms=86400000")
    kcat(address, "-P", "-t", "plain", "-X", "enable.idempotence=true", text="\n".join(LINES) + "\n")
    read = kcat(address, "-X", "auto.offset.reset=earliest", "-G", "group", "-e", "-q", "plain")
    assert read.splitlines() == LINES, f"{len(read.splitlines())} lines in a group"


class Kafka:
    """Apache Kafka 3.9.2 in ZooKeeper mode."""

    def __init__(self, zookeeper_connect):
        self.folder = tempfile.TemporaryDirectory(prefix="odradek-kafka-")
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        file = pathlib.Path(self.folder.name) / "server.properties"
        properties = {**COMMON, "listeners": f"PLAINTEXT://{self.address}", "log.dirs": f"{self.folder.name}/data", "zookeeper.connect": zookeeper_connect,
                      "zookeeper.session.timeout.ms": "18000"}
        file.write_text("".join(f"{k}={v}\n" for k, v in properties.items()))
        home = run(["bash", "-c", f". {ROOT}/tests/lib/kafka.sh && kafka_home 3.9.2"]).strip()
        self.log = open(f"{self.folder.name}/log", "wb")
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp",
                                         f"{home}/*", "kafka.Kafka", str(file)], stdout=self.log, stderr=subprocess.STDOUT)

    def __enter__(self):
        def up():
            try:
                return "broker 0" in kcat(self.address, "-L", "-m", "2") or True
            except AssertionError:
                assert self.process.poll() is None, pathlib.Path(self.log.name).read_text()[-3000:]
                return False
        wait_until(up, 120, "Apache Kafka answers")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()


VOLATILE = {"timestamp", "topic_id", "id", "endpoints", "host", "port"}


def shape(nodes):
    """What must be equal: paths, JSON keys and all values that are not of the run."""
    shapes = {}
    for path, (data, stat) in nodes.items():
        if path.startswith("/odradek"):
            continue
        path = re.sub(r"config_change_\d+", "config_change_N", path)
        text = data.decode()
        if text.startswith("{"):
            value = json.loads(text)
            value = {key: type(v).__name__ if key in VOLATILE else v for key, v in value.items()}
        else:
            value = text
        shapes[path] = (value, "ephemeral" if stat["ephemeral_owner"] else "persistent")
    return shapes


def compare(ours, kafkas):
    assert ours.keys() == kafkas.keys(), f"only here: {sorted(ours.keys() - kafkas.keys())}\nonly Kafka: {sorted(kafkas.keys() - ours.keys())}"
    different = {path: (ours[path], kafkas[path]) for path in ours if ours[path] != kafkas[path]}
    assert not different, "\n".join(f"{path}\n  here  {a}\n  Kafka {b}" for path, (a, b) in different.items())


class Load:
    """A producer that goes on until stop(); every line it could hand over must be there afterwards."""

    def __init__(self, address, topic):
        self.address, self.topic = address, topic
        self.process = subprocess.Popen(["kcat", "-b", address, "-P", "-t", topic, "-X", "acks=all", "-X", "enable.idempotence=true", "-X", "linger.ms=5",
                                         "-X", "message.timeout.ms=120000"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.count = 0
        self.going = True
        self.thread = threading.Thread(target=self.feed)
        self.thread.start()

    def feed(self):
        while self.going:
            for _ in range(20):
                self.process.stdin.write(f"{self.topic} {self.count}\n")
                self.count += 1
            self.process.stdin.flush()
            time.sleep(0.02)

    def stop(self):
        self.going = False
        self.thread.join()
        self.process.stdin.close()
        errors = self.process.stderr.read()
        assert self.process.wait(180) == 0, errors
        assert "Delivery failed" not in errors, errors
        read = kcat(self.address, "-C", "-t", self.topic, "-e", "-q").splitlines()
        assert read == [f"{self.topic} {i}" for i in range(self.count)], f"{len(read)} of {self.count} lines, or another order"
        return self.count


def fails_to_start(properties, words, within):
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="odradek-test-") as folder:
        broker = Broker({**COMMON, **properties}, directory=folder)
        try:
            broker.start()
        except RuntimeError as why:
            text = str(why)
        else:
            broker.kill()
            raise AssertionError(f"it started: {properties}")
    lines = [line for line in text.splitlines() if "cannot start" in line]
    assert len(lines) == 1 and words in lines[0], text
    assert time.monotonic() - begin < within, "it took too long to say so"
    print(lines[0].split("cannot start: ")[1], flush=True)


with zookeeper.Server() as server:
    look = lambda: zookeeper.Client(server.port)
    at = {"zookeeper.connect": f"{server.address}/clusters/one"}
    with Broker({**COMMON, **at}) as broker:
        operations(broker.address)
        client = look()
        wait_until(lambda: not client.exists("/clusters/one/brokers/topics/gone"), what="the deletion")
        ours = shape(client.tree("/clusters/one"))
        client.close()
        cluster = kcat(broker.address, "-L", "-J")
        print("tools and kcat work", flush=True)

        # A clean restart, and one after kill -9: the session that it left is waited for.
        broker.stop()
        client = look()
        assert client.children("/clusters/one/brokers/ids") == [] and not client.exists("/clusters/one/controller")
        client.close()
        broker.start()
        assert kcat(broker.address, "-C", "-t", "plain", "-e", "-q").splitlines() == LINES
        broker.kill()
        broker.start()
        assert "waiting" in broker.log_text()
        assert kcat(broker.address, "-C", "-t", "plain", "-e", "-q").splitlines() == LINES
        assert json.loads(kcat(broker.address, "-L", "-J"))["topics"] == json.loads(cluster)["topics"]
        print("restarts keep topics and records", flush=True)

        # ZooKeeper is away for longer than the session: the data path goes on, then the same session or a new one.
        load = Load(broker.address, "away")
        time.sleep(2)
        server.kill()
        time.sleep(SESSION_MS / 1000 + 1)
        begin = load.count
        assert kcat(broker.address, "-C", "-t", "plain", "-e", "-q").splitlines() == LINES
        assert load.process.poll() is None and load.count > begin
        server.start()
        time.sleep(2)
        lines = load.stop()
        client = look()
        wait_until(lambda: client.exists("/clusters/one/controller") and client.children("/clusters/one/brokers/ids") == ["0"], what="the broker is back")
        client.close()
        kafka("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", broker.address, "--create", "--topic", "after", "--partitions", "1")
        print(f"ZooKeeper away under load: {lines} lines, none lost", flush=True)

        # The session expires: the broker is silent for too long.
        client = look()
        registered = client.get("/clusters/one/brokers/ids/0")[1]["czxid"]
        epoch = int(client.get("/clusters/one/controller_epoch")[0])
        load = Load(broker.address, "silent")
        time.sleep(2)
        broker.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: not client.exists("/clusters/one/brokers/ids/0"), 60, "the session expires")
        broker.process.send_signal(signal.SIGCONT)
        wait_until(lambda: client.exists("/clusters/one/controller"), 30, "the election")
        lines = load.stop()
        assert client.get("/clusters/one/brokers/ids/0")[1]["czxid"] > registered
        assert int(client.get("/clusters/one/controller_epoch")[0]) == epoch + 1
        client.close()
        kafka("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", broker.address, "--create", "--topic", "later", "--partitions", "1")
        assert "later" in kcat(broker.address, "-L")
        print(f"an expired session under load: {lines} lines, none lost", flush=True)

        # A stop that ZooKeeper does not hear of.
        server.kill()
        time.sleep(1)
        begin = time.monotonic()
        broker.stop()
        assert time.monotonic() - begin < 20, "the stop waited for ZooKeeper"
        server.start()

    # Ids that ZooKeeper gives.
    with Broker({**COMMON, "broker.id": "-1", "zookeeper.connect": f"{server.address}/clusters/two"}) as broker:
        assert "broker 1001 of cluster" in broker.log_text()
        broker.stop()
        broker.start()
        assert broker.log_text().count("broker 1001 of cluster") == 2

    # Not in a cluster that has transactions, and nothing is left of the try.
    client = look()
    for path in ("/three", "/three/brokers", "/three/brokers/ids", "/three/brokers/topics", "/three/brokers/topics/__transaction_state"):
        client.create(path)
    fails_to_start({"zookeeper.connect": f"{server.address}/three"}, "has the topic __transaction_state", 60)
    assert client.children("/three/brokers/ids") == [] and not client.exists("/three/controller")
    client.close()

    fails_to_start({"zookeeper.connect": f"127.0.0.1:{free_port()}", "zookeeper.connection.timeout.ms": "1500"}, "did not answer within 1500 ms", 20)

    with Broker(COMMON) as broker:
        broker.stop()
        fails_to_start({"log.dirs": broker.properties["log.dirs"], "zookeeper.connect": f"{server.address}/four"}, "remove zookeeper.connect", 20)

    # Apache Kafka's own nodes for the same operations.
    with Kafka(f"{server.address}/kafka") as peer:
        operations(peer.address)
        client = look()
        wait_until(lambda: not client.exists("/kafka/brokers/topics/gone"), what="the deletion by Kafka")
        kafkas = shape(client.tree("/kafka"))
        client.close()
    compare(ours, kafkas)
    print(f"{len(ours)} znodes are as those of Apache Kafka 3.9.2")
