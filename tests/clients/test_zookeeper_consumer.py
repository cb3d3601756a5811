#!/usr/bin/env python3
# timeout: 900
"""The high-level consumer of Kafka 0.8.2 (Scala), which finds brokers, members and partitions by ZooKeeper, on a broker that keeps its
metadata there: a group of two shares a topic, offsets go to ZooKeeper or to the broker, nothing is read twice or left out, also after
the broker was killed."""
import hashlib
import pathlib
import signal
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from broker import Broker, need, not_run
import environments
import zookeeper

need("java")
try:
    path = environments.maven("kafka-scala-0.8.2.2", "org.apache.kafka:kafka_2.11:0.8.2.2", "org.slf4j:slf4j-nop:1.7.36")
    scala = environments.java_with(HERE / "programs/java_old/OldScala.java", path, "scala-0.8.2.2")
except environments.Missing as why:
    not_run(why)
COUNT, CODECS = 300, ["none", "gzip", "snappy", "lz4"]


def digest(rounds):
    """What the program prints of the records of those rounds."""
    sha, records = hashlib.sha256(), {}
    for name in rounds:
        for codec in CODECS:
            records.update({f"{name}-{codec}-{i}": f"{name}-{codec}-{i}:" + "abcdefghij" * (i % 30) for i in range(COUNT)})
    for key, value in sorted(records.items()):
        sha.update(f"{key}\t{value}\n".encode())
    return f"{len(records)} {sha.hexdigest()}"


def run(*arguments):
    done = subprocess.run([*scala, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 0, f"{arguments}: exit code {done.returncode}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    return done.stdout.strip().splitlines()


with zookeeper.Server() as server:
    chroot = f"{server.address}/old"
    with Broker({"zookeeper.connect": chroot, "num.partitions": "4", "offsets.topic.num.partitions": "2", "offsets.topic.replication.factor": "1"}) as broker:
        run("produce", broker.address, "orders", COUNT, "first", *CODECS)
        for storage in ("zookeeper", "kafka"):
            group = f"by-{storage}"
            members, got = run("group", chroot, 8, group, "orders", storage, 2)
            print(f"offsets in {storage}: {members}, {got}")
            assert got == digest(["first"]), f"{got}, not {digest(['first'])}"
            assert members == "2 of 2 members", members
        zk = zookeeper.Client(server.port)
        committed = sum(int(zk.get(f"/old/consumers/by-zookeeper/offsets/orders/{p}")[0]) for p in range(4))
        assert committed == COUNT * len(CODECS), committed
        zk.close()

        broker.process.send_signal(signal.SIGKILL)
        broker.process.wait()
        broker.start()
        run("produce", broker.address, "orders", COUNT, "second", *CODECS)
        for storage in ("zookeeper", "kafka"):
            members, got = run("group", chroot, 8, f"by-{storage}", "orders", storage, 2)
            print(f"after the kill, offsets in {storage}: {members}, {got}")
            assert got == digest(["second"]), f"{got}, not {digest(['second'])}"
print("every record once")
