#!/usr/bin/env python3
# tier: full
# timeout: 900
"""The same log dirs, full of keys, tombstones, committed and aborted transactions in all codecs, compacted by Apache Kafka 3.9.2 and by
Odradek: the same batches and records are left. Then both get the same new records and compact again, when the first tombstones' time is over."""
import pathlib
import re
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import BIN, ROOT, Broker, run, wait_until
from exchange import CLEANING, adopt, exchange, is_cleaned
import apache
import zookeeper

TOPICS = ("churned", "churned-gone")
# Where it stands, when it was compacted, how often its broker was restarted.
INCIDENTAL = re.compile(r"(deleteHorizonMs|position|size|crc|partitionLeaderEpoch): \S+ ?")


def left(folder):
    """What kafka-dump-log shows of all closed segments, by partition. Several segments may have become one."""
    found = {}
    for topic in TOPICS:
        for partition in (0, 1):
            files = sorted((folder / f"{topic}-{partition}").glob("*.log"))[:-1]
            command = f". {ROOT}/tests/lib/kafka.sh && kafka_run 3.9.2 kafka.tools.DumpLogSegments " + '"$@"'
            text = run(["bash", "-c", command, "kafka", "--deep-iteration", "--print-data-log", "--files", ",".join(map(str, files))], timeout=240)
            assert "isvalid: false" not in text, text
            lines = [INCIDENTAL.sub("", line) for line in text.splitlines() if line.startswith(("baseOffset", "|"))]
            found[f"{topic}-{partition}"] = lines
    return found


def compare(kafkas, ours, when):
    for partition, expected in kafkas.items():
        got = ours[partition]
        assert len(expected) > 50, f"{partition}: only {len(expected)} lines"
        different = [(a, b) for a, b in zip(expected, got) if a != b][:3]
        assert expected == got, f"{when}, {partition}: {len(expected)} lines by Kafka, {len(got)} by Odradek; first differences:\n" + "\n".join(f"  {a}\n  {b}" for a, b in different)
    print(f"{when}: " + ", ".join(f"{partition} {len(lines)} batches and records" for partition, lines in kafkas.items()), flush=True)


def wait_cleaned(folder):
    wait_until(lambda: all(is_cleaned([folder], topic) for topic in TOPICS), 180, "the cleaning")


with tempfile.TemporaryDirectory(prefix="odradek-cleaner-") as folder, zookeeper.Server() as server:
    folder = pathlib.Path(folder)
    by_kafka, by_odradek = folder / "kafka", folder / "odradek"
    at = f"{server.address}/first"
    # Records come while no cleaner runs, so that both sides compact the same ones in one go.
    off, on = {"log.cleaner.enable": "false"}, CLEANING
    with apache.Kafka("3.9.2", zookeeper=at, dirs=[by_kafka], properties=off) as kafka:
        exchange("churn", kafka.address)
        kafka.stop()
        shutil.copytree(by_kafka, by_odradek)
        kafkas = []
        for more in (False, True):
            if more:
                kafka.properties = off
                kafka.start()
                exchange("stir", kafka.address)
                kafka.stop()
            kafka.properties = on
            kafka.start()
            wait_cleaned(by_kafka)
            kafka.stop()
            kafkas.append(left(by_kafka))

    adopt([by_odradek], "--yes")
    with Broker({"broker.id": "1", "log.dirs": str(by_odradek), **on, **off}) as broker:
        # Topic configs were in ZooKeeper, not in the dirs.
        settings = ["cleanup.policy=compact", "segment.bytes=20000", "min.cleanable.dirty.ratio=0.0", "index.interval.bytes=500"]
        for topic in TOPICS:
            for setting in settings + (["delete.retention.ms=100"] if topic == "churned-gone" else []):
                run([BIN / "odradek", "config", "alter", "-b", broker.address, "--topic", topic, "--set", setting])
        for more, expected in zip((False, True), kafkas):
            if more:
                exchange("stir", broker.address)
            broker.stop()
            broker.properties["log.cleaner.enable"] = "true"
            broker.start()
            wait_cleaned(by_odradek)
            broker.stop()
            compare(expected, left(by_odradek), "compacted twice" if more else "compacted once")
            broker.properties["log.cleaner.enable"] = "false"
            broker.start()
