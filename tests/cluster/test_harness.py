#!/usr/bin/env python3
# timeout: 600
"""The harness of the cluster tests (tests/lib/cluster.py, load.py), shown on three Apache Kafka 3.9.2 brokers: a leader killed under load
from four clients, logs equal byte for byte; and that it finds a changed byte, a lost and a doubled record."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from cluster import Cluster, batches
from load import KINDS, Producer, Reader, check


def must_fail(words, body):
    try:
        body()
    except AssertionError as why:
        assert words in str(why), why
    else:
        raise AssertionError(f"not found: {words}")


with Cluster({1: "kafka", 2: "kafka", 3: "kafka"}, {"min.insync.replicas": "2"}) as cluster:
    cluster.create_topic("t", assignment=[[1, 2, 3], [2, 3, 1]])
    cluster.wait_isr("t")
    producers = [Producer(cluster.address, "t", kind) for kind in KINDS]
    readers = [Reader(cluster.address, "t"), Reader(cluster.address, "t", group="readers")]
    for producer in producers:
        producer.wait_acked(500)
    cluster[1].kill()
    assert cluster.wait_leader("t", 0).id == 2
    cluster.wait_isr("t", [2, 3])
    for producer in producers:
        producer.wait_acked(500)
    cluster[1].start()
    cluster.wait_isr("t")
    for reader in readers:
        cluster.wait(lambda: len(reader.seen) > 1000, "a reader that reads")
    for each in (*producers, *readers):
        each.stop()
    checked = check(cluster, "t", producers, readers)
    compared = cluster.compare_logs("t")
    assert compared > 0
    print(f"a leader killed under load: {checked} acknowledged records there, {compared} bytes of each log equal", flush=True)

    kcat, java, *_ = producers
    value, at = next(iter(java.acked.items()))
    java.acked[value] = (at[0], at[1] + 1)
    must_fail("lost or elsewhere", lambda: check(cluster, "t", producers))
    java.acked[value] = at
    java.acked[f"{java.prefix}.999999"] = (0, 5)
    must_fail("lost or elsewhere", lambda: check(cluster, "t", producers))
    del java.acked[f"{java.prefix}.999999"]
    readers[0].seen[(0, 10 ** 6)] = "x"
    must_fail("are others or gone", lambda: check(cluster, "t", producers, readers))
    must_fail("that nobody sent", lambda: check(cluster, "t", producers[1:]))
    with Producer(cluster.address, "t", "kcat", prefix=kcat.prefix) as again:
        again.wait_acked(10)
    must_fail("more than once", lambda: check(cluster, "t", producers))

    cluster.compare_logs("t")
    file = sorted(cluster[3].replica_dir("t", 1).glob("*.log"))[0]
    base, _, data = list(batches(file.parent))[3]
    size = sum(len(data) for offset, _, data in batches(file.parent) if offset < base)
    with open(file, "r+b") as log:
        log.seek(size + len(data) - 1)
        byte = log.read(1)
        log.seek(-1, 1)
        log.write(bytes([byte[0] ^ 1]))
    must_fail(f"t-1 differs at offset {base}", lambda: cluster.compare_logs("t"))

    controller = cluster.controller()
    epoch = cluster.zookeeper_client().get("/cluster/controller_epoch")[0]
    controller.stop()
    assert cluster.controller() is not controller
    assert int(cluster.zookeeper_client().get("/cluster/controller_epoch")[0]) > int(epoch)
print("the harness finds what is wrong")
