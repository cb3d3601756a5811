#!/usr/bin/env python3
# timeout: 900
"""Kafka's kafka-reassign-partitions on Odradek brokers: replicas move between log dirs under load, with a kill -9 meanwhile; a throttled
reassignment copies no faster than it may and ends. Nothing that was acknowledged is lost, the throttles are gone at the end."""
import json
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import BIN, run
from cluster import Cluster
from load import Producer

REASSIGN = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"


def reassign(plan, *words):
    path = cluster.folder / "plan.json"
    path.write_text(json.dumps({"version": 1, "partitions": plan}))
    return cluster.kafka_tool(REASSIGN, "--reassignment-json-file", str(path), *words)


def log_dirs(broker):
    """partition → (dir, is it a copy that is under way) of topic "moved"."""
    text = cluster.kafka_tool("org.apache.kafka.tools.LogDirsCommand", "--describe", "--broker-list", str(broker))
    told = json.loads(next(line for line in text.splitlines() if line.startswith("{")))
    return [(each["partition"], each["isFuture"], one["logDir"]) for one in told["brokers"][0]["logDirs"] for each in one["partitions"]
            if each["partition"].startswith("moved-")]


def alter_broker(key, value, broker):
    cluster.kafka_tool("kafka.admin.ConfigCommand", "--alter", "--entity-type", "brokers", "--entity-name", str(broker), "--add-config", f"{key}={value}")


def fill(topic, megabytes):
    values = "\n".join("x" * 9_999 for _ in range(megabytes * 100)) + "\n"
    subprocess.run(["kcat", "-b", cluster.address, "-P", "-t", topic, "-X", "acks=all"], input=values, text=True, check=True, timeout=120)


def check_acked(producer):
    """Each record that was acknowledged is where it was said to be, once."""
    text = subprocess.run(["kcat", "-b", cluster.address, "-C", "-t", "moved", "-e", "-q", "-f", "%p %o %s\n"], stdout=subprocess.PIPE, text=True, check=True,
                          timeout=120).stdout
    found = {}
    for line in text.splitlines():
        partition, offset, value = line.split(" ", 2)
        if not value.startswith("xxx"):
            assert value not in found, f"{value} is there twice"
            found[value] = (int(partition), int(offset))
    assert len(producer.acked) > 1000, len(producer.acked)
    wrong = [(value, place, found.get(value)) for value, place in producer.acked.items() if found.get(value) != tuple(place)]
    assert not wrong, wrong[:5]


def move_between_log_dirs():
    cluster.create_topic("moved", assignment=[[1, 2], [2, 1]])
    cluster.wait_isr("moved")
    fill("moved", 30)
    node = cluster[1]
    before = {p: node.replica_dir("moved", p).parent for p in (0, 1)}
    target = {p: next(d for d in node.dirs if d != before[p]) for p in (0, 1)}
    plan = [{"topic": "moved", "partition": p, "replicas": replicas, "log_dirs": [str(target[p]) if b == 1 else "any" for b in replicas]}
            for p, replicas in ((0, [1, 2]), (1, [2, 1]))]
    with Producer(cluster.address, "moved", "java") as producer:
        alter_broker("replica.alter.log.dirs.io.max.bytes.per.second", 1_000_000, 1)
        print(reassign(plan, "--execute"), flush=True)
        cluster.wait(lambda: any(copy for _, copy, _ in log_dirs(1)), "a copy is shown")
        told = reassign(plan, "--verify", "--preserve-throttles")
        assert "still in progress" in told, told
        # The process dies in the middle; the next one goes on.
        node.kill()
        assert [f for d in node.dirs for f in d.glob("moved-*-future")]
        node.start()
        alter_broker("replica.alter.log.dirs.io.max.bytes.per.second", 1_000_000_000, 1)
        cluster.wait(lambda: all((target[p] / f"moved-{p}").is_dir() and not (before[p] / f"moved-{p}").is_dir() for p in (0, 1)), "both are moved")
        cluster.wait_isr("moved")
    told = reassign(plan, "--verify")
    assert "still in progress" not in told and "completed" in told, told
    assert sorted(p for p, copy, _ in log_dirs(1) if not copy) == ["moved-0", "moved-1"] and not any(copy for _, copy, _ in log_dirs(1))
    check_acked(producer)
    # And again by our tool, with a clean restart afterwards.
    for each in plan:
        each["log_dirs"] = [str(before[each["partition"]]) if b == 1 else "any" for b in each["replicas"]]
    path = cluster.folder / "back.json"
    path.write_text(json.dumps({"version": 1, "partitions": plan}))
    run([BIN / "odradek", "topic", "reassign", "execute", path, "--bootstrap", cluster.address])
    cluster.wait(lambda: all((before[p] / f"moved-{p}").is_dir() and not (target[p] / f"moved-{p}").is_dir() for p in (0, 1)), "both are back")
    node.stop()
    node.start()
    cluster.wait_isr("moved")
    cluster.compare_logs("moved")
    check_acked(producer)


def throttled_reassignment():
    cluster.create_topic("slow", assignment=[[1, 2]])
    cluster.wait_isr("slow")
    fill("slow", 40)
    plan = [{"topic": "slow", "partition": 0, "replicas": [3, 2]}]
    rate = 2_000_000
    begin = time.monotonic()
    print(reassign(plan, "--execute", "--throttle", str(rate)), flush=True)

    def size():
        folder = cluster[3].replica_dir("slow", 0)
        return sum(f.stat().st_size for f in folder.glob("*.log")) if folder else 0

    # What has come can be no more than the rate allows, and the bursts of the fetchers on the way.
    slack = 16_000_000
    while time.monotonic() - begin < 8:
        copied, seconds = size(), time.monotonic() - begin
        assert copied <= rate * seconds + slack, f"{copied} bytes after {seconds:.1f} s"
        time.sleep(0.5)
    assert 0 < size() < 40_000_000
    metric = cluster[1].server.metric("kafka_server_leaderreplication_byte_rate")
    assert metric > 0, metric
    assert set(cluster.partitions("slow")[0]["isr"]) >= {1, 2}, "members of the ISR are not harmed"
    reassign(plan, "--execute", "--additional", "--throttle", "1000000000")
    cluster.wait(lambda: sorted(cluster.partitions("slow")[0]["isr"]) == [2, 3], "the reassignment ends")
    told = reassign(plan, "--verify")
    assert "is completed" in told, told
    left = cluster.kafka_tool("kafka.admin.ConfigCommand", "--describe", "--entity-type", "topics", "--entity-name", "slow")
    assert "throttled" not in left, left
    cluster.compare_logs("slow")


with Cluster({1: "odradek", 2: "odradek", 3: "odradek"}, dirs=2) as cluster:
    move_between_log_dirs()
    throttled_reassignment()
