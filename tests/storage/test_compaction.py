#!/usr/bin/env python3
# timeout: 600
"""A compacted topic under kcat, over kills and restarts: every key keeps its last value and nothing older stays, tombstones go, offsets
rise. __consumer_offsets shrinks and the groups' offsets stay. Kafka's own kafka-dump-log reads what the cleaner wrote."""
import pathlib
import random
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import ROOT, Broker, need, run, wait_until
from messages import Connection

need("kcat")
KEYS, ROUNDS, RECORDS, COMMITS = 300, 4, 15_000, 4_000
rng = random.Random(7)
expected = {}  # key -> value; None: deleted
written = 0


def produce(broker, topic):
    global written
    lines = []
    for i in range(RECORDS):
        key = f"k{rng.randrange(KEYS)}"
        value = "" if rng.random() < 0.02 else f"{written + i}-" + "x" * rng.randrange(100)
        expected[key] = value or None
        lines.append(f"{key}:{value}\n")
    subprocess.run(["kcat", "-P", "-b", broker.address, "-t", topic, "-p", "0", "-K:", "-Z", "-X", "batch.num.messages=100", "-X", f"compression.codec={rng.choice(['none', 'gzip', 'lz4', 'snappy', 'zstd'])}"],
                   input="".join(lines), text=True, check=True)
    written += RECORDS


def read(broker, topic):
    text = run(["kcat", "-C", "-q", "-e", "-b", broker.address, "-t", topic, "-p", "0", "-o", "beginning", "-Z", "-f", "%o %k %s\n"])
    return [(int(offset), key, None if value == "NULL" else value) for offset, key, value in (line.split(" ", 2) for line in text.splitlines())]


def check(records):
    offsets = [offset for offset, _, _ in records]
    assert offsets == sorted(set(offsets)), "offsets do not rise"
    last = {}
    for _, key, value in records:
        last[key] = value
    for key, value in expected.items():
        assert last.get(key) == value, f"{key}: {str(last.get(key))[:40]}, expected {str(value)[:40]}"


def log_bytes(folder):
    return sum(path.stat().st_size for path in folder.glob("*.log"))


def commit(connection, offset):
    answer = connection.call("OffsetCommit", 5, group_id="g", generation_id_or_member_epoch=-1, member_id="", retention_time_ms=-1, topics=[
        {"name": "c", "partitions": [{"partition_index": 0, "committed_offset": offset, "committed_metadata": "m" * 50}]}])
    return answer["topics"][0]["partitions"][0]["error_code"]


def committed(connection):
    answer = connection.call("OffsetFetch", 5, group_id="g", topics=[{"name": "c", "partition_indexes": [0]}])
    return answer["topics"][0]["partitions"][0]["committed_offset"] if answer["error_code"] == 0 else None


def has_coordinator(connection):
    return connection.call("FindCoordinator", 2, key="g", key_type=0)["error_code"] == 0


properties = {"log.cleaner.backoff.ms": "100", "offsets.topic.num.partitions": "1", "offsets.topic.segment.bytes": "60000", "log.cleaner.min.cleanable.ratio": "0.05",
              "file.delete.delay.ms": "100"}
properties["log.segment.delete.delay.ms"] = properties.pop("file.delete.delay.ms")
with Broker(properties) as broker:
    connection = Connection(broker.port)
    made = connection.call("CreateTopics", 4, timeout_ms=30000, topics=[{"name": "c", "num_partitions": 1, "replication_factor": 1, "configs": [
        {"name": name, "value": value} for name, value in {"cleanup.policy": "compact", "segment.bytes": "100000", "min.cleanable.dirty.ratio": "0.05",
                                                           "delete.retention.ms": "200"}.items()]}])
    assert made["topics"][0]["error_code"] == 0, made
    for round_number in range(ROUNDS):
        produce(broker, "c")
        check(read(broker, "c"))
        if round_number % 2 == 0:
            broker.kill()
        else:
            broker.stop()
        broker.start()
        check(read(broker, "c"))

    def is_compacted():
        records = read(broker, "c")
        check(records)
        # What is left: each key once, and the newest segments, which wait for their time.
        return len(records) < KEYS + 5_000

    wait_until(is_compacted, wait=120, what="compaction")
    left = len(read(broker, "c"))
    deleted = [key for key, value in expected.items() if value is None]
    assert deleted, "no key was deleted at the end"

    connection = Connection(broker.port)
    wait_until(lambda: has_coordinator(connection), what="a coordinator")
    wait_until(lambda: commit(connection, 0) == 0, what="a first commit")
    for offset in range(1, COMMITS):
        assert commit(connection, offset) == 0
    offsets = broker.directory / "data/__consumer_offsets-0"
    wait_until(lambda: log_bytes(offsets) < 150_000, wait=120, what="compaction of __consumer_offsets")
    broker.kill()
    broker.start()
    connection = Connection(broker.port)
    wait_until(lambda: has_coordinator(connection) and committed(connection) is not None, what="the group")
    assert committed(connection) == COMMITS - 1, committed(connection)
    check(read(broker, "c"))
    assert broker.metric("kafka_log_logcleanermanager_uncleanable_bytes" + '{logdirectory="' + str(broker.directory / "data") + '"}') == 0
    broker.stop()
    files = ",".join(str(path) for folder in ("c-0", "__consumer_offsets-0") for path in sorted((broker.directory / "data" / folder).glob("*.log")))
    dump = run(["bash", "-c", f'. {ROOT}/tests/lib/kafka.sh && kafka_run 3.9.2 kafka.tools.DumpLogSegments --deep-iteration --files "{files}"'])
    assert "isvalid: false" not in dump and not re.search(r"(?i)exception|mismatch|corrupt", dump), dump[-3000:]
    print(f"{left} of {written} records are left, {KEYS} keys; __consumer_offsets has {log_bytes(offsets)} bytes after {COMMITS} commits")
