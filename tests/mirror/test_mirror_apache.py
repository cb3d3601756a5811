#!/usr/bin/env python3
# timeout: 900
"""odradek mirror from and to Apache Kafka: messages of all formats, compacted logs with holes, committed and aborted transactions, groups;
3.9.2 -> Odradek (killed meanwhile) -> 4.3.1 -> Odradek, compared record by record."""
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "adopt"))
from copies import *
from broker import Broker, FULL, need
from exchange import CLEANING, exchange, is_cleaned
import apache
import messages
import zookeeper

need("kcat")
OLD_FORMATS = {"inter.broker.protocol.version": "2.8"}
TOPICS = ["plain", "compacted", "tx", "configured.topic-1_2", "old", "churned", "churned-gone"]


def kcat_offsets(address, topic, partition):
    out = subprocess.run(["kcat", "-b", address, "-C", "-t", topic, "-p", str(partition), "-o", "beginning", "-e", "-q", "-f", "%o\n"], stdout=subprocess.PIPE, check=True, timeout=60)
    return [int(line) for line in out.stdout.split()]


def committed(address, group):
    with_all = {"group_id": group, "topics": None}
    connection = messages.Connection(int(address.rsplit(":", 1)[1]))
    try:
        answer, = connection.call("OffsetFetch", 8, groups=[with_all], require_stable=False)["groups"]
    finally:
        connection.close()
    assert answer["error_code"] == 0, answer
    return {(topic["name"], each["partition_index"]): (each["committed_offset"], each["metadata"])
            for topic in answer["topics"] for each in topic["partitions"] if each["committed_offset"] >= 0}


def check_groups(source, target, groups, topics):
    """Each offset has as many readable records before it in the target as in the source."""
    before = {(topic, p): kcat_offsets(source, topic, p) for topic, count in topics.items() for p in range(count)}
    after = {(topic, p): kcat_offsets(target, topic, p) for topic, count in topics.items() for p in range(count)}
    checked = 0
    for group in groups:
        there = committed(target, group)
        for partition, (offset, metadata) in committed(source, group).items():
            if partition not in before:
                continue
            translated, same = there[partition]
            assert sum(o < offset for o in before[partition]) == sum(o < translated for o in after[partition]), (group, partition, offset, translated)
            assert same == metadata, (metadata, same)
            checked += 1
    return checked


def configs(address, topic):
    return json.loads(tool("topic", "describe", topic, "-b", address, "--json"))[0]["configs"]


with tempfile.TemporaryDirectory(prefix="odradek-mirror-") as folder, zookeeper.Server() as server:
    dirs = [pathlib.Path(folder) / "data"]
    QUIET = {"log.cleaner.enable": "false", "offsets.topic.num.partitions": "3"}
    with apache.Kafka("3.9.2", zookeeper=server.address, dirs=dirs, properties=CLEANING | OLD_FORMATS) as old, Broker(QUIET) as first:
        for action in ("write", "old", "churn"):
            exchange(action, old.address)
        wait_until(lambda: all(is_cleaned(dirs, topic) for topic in ("compacted", "churned", "churned-gone")), 180, "the cleaning")
        # Groups that stand between, on and behind markers and holes.
        for number, offset in enumerate((0, 1, 24, 25, 26, 27, 51, 52, 60, 77, 103, 104, 107)):
            tool("group", "reset-offsets", f"at-{number}", "-b", old.address, "--topic", "tx:0", "--to-offset", offset, "--execute")
            tool("group", "reset-offsets", f"at-{number}", "-b", old.address, "--topic", "churned:1", "--to-offset", 7 * offset, "--execute")
        expected = records(old.address, TOPICS, kcat=True)
        assert {partition[0] for partition in expected} == set(TOPICS), expected.keys()
        for kill in range(30 if FULL else 8):
            with Mirror(old.address, first.address, fetch_range_bytes=65536) as mirror:
                time.sleep(random.uniform(0.3, 1.2))
                mirror.kill()
        final = mirror_until_caught_up(old.address, first.address, fetch_range_bytes=65536)
        assert final["lag"] == 0 and final["stopped"] == 0, final
        compare(expected, records(first.address, TOPICS, kcat=True, committed=False))
        groups = [f"at-{number}" for number in range(13)] + ["assigned", "classic", "transactional"]
        checked = check_groups(old.address, first.address, groups, {"plain": 3, "tx": 1, "churned": 2})
        assert checked > 25, checked
        assert configs(first.address, "configured.topic-1_2") == {"retention.ms": "1234567890", "max.message.bytes": "200000"}
        print(f"3.9.2 to Odradek: {sum(map(len, expected.values()))} records, {checked} offsets of groups")

        with apache.Kafka("4.3.1", properties={"log.cleaner.enable": "false", "log.message.timestamp.before.max.ms": "9223372036854775807"}) as new, Broker(QUIET) as last:
            mirror_until_caught_up(first.address, new.address, name="onward")
            compare(expected, records(new.address, TOPICS, kcat=True, committed=False))
            checked = check_groups(first.address, new.address, groups, {"plain": 3, "tx": 1, "churned": 2})
            # From 4.3.1, with a transaction that is open.
            exchange("modern", new.address, "4.3.1")
            exchange("open", new.address, "4.3.1")
            mirror_until_caught_up(new.address, last.address, name="last")
            compare(records(new.address, TOPICS, kcat=True), records(last.address, TOPICS, kcat=True, committed=False))
            checked += check_groups(new.address, last.address, ["modern"], {"plain": 3})
            print(f"on to 4.3.1 and back: equal, {checked} offsets of groups")
