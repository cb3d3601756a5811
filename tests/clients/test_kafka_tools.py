#!/usr/bin/env python3
# timeout: 900
"""Kafka's own tools of 3.9.2 and 4.3.1 work against the broker, and its kafka-dump-log is content with every file it leaves."""
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import FULL, ROOT, Broker, not_run
import environments

RECORDS = {100: 10_000_000 if FULL else 200_000, 1024: 1_000_000 if FULL else 50_000}
try:
    for version in ("3.9.2", "4.3.1"):
        environments.kafka_class_path(version)
except environments.Missing as why:
    not_run(str(why))


def tool(version, name, *arguments, text=None, timeout=600):
    command = f". {ROOT}/tests/lib/kafka.sh && kafka_run {version} {name} " + '"$@"'
    done = subprocess.run(["bash", "-c", command, "kafka", *map(str, arguments)], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=timeout)
    assert done.returncode == 0, f"{version} {name} {arguments}: exit code {done.returncode}\n{done.stdout[-3000:]}"
    return done.stdout


with Broker({"offsets.topic.num.partitions": "2", "log.segment.bytes": "20000000"}) as broker:
    at = ["--bootstrap-server", broker.address]
    for version in ("3.9.2", "4.3.1"):
        topic = f"tools-{version}"
        tool(version, "org.apache.kafka.tools.TopicCommand", *at, "--create", "--topic", topic, "--partitions", 3, "--config", "retention.ms=3600000")
        described = tool(version, "org.apache.kafka.tools.TopicCommand", *at, "--describe", "--topic", topic)
        assert "PartitionCount: 3" in described and "retention.ms=3600000" in described and described.count("Leader: 0") == 3, described
        tool(version, "org.apache.kafka.tools.TopicCommand", *at, "--alter", "--topic", topic, "--partitions", 4)
        tool(version, "kafka.admin.ConfigCommand", *at, "--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", "max.message.bytes=2000000")
        configs = tool(version, "kafka.admin.ConfigCommand", *at, "--describe", "--entity-type", "topics", "--entity-name", topic)
        assert "max.message.bytes=2000000" in configs, configs
        for size, count in RECORDS.items():
            made = tool(version, "org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records", count, "--record-size", size, "--throughput", -1,
                        "--producer-props", f"bootstrap.servers={broker.address}", "acks=all")
            assert f"{count} records sent" in made.splitlines()[-1], made[-500:]
        wanted = sum(RECORDS.values())
        read = tool(version, "org.apache.kafka.tools.ConsumerPerformance", *at, "--topic", topic, "--messages", wanted, "--timeout", 30000)
        row = [cell.strip() for cell in read.strip().splitlines()[-1].split(",")]
        assert int(row[4]) == wanted, read
        ends = tool(version, "org.apache.kafka.tools.GetOffsetShell", *at, "--topic", topic)
        assert sum(int(line.rsplit(":", 1)[1]) for line in ends.splitlines() if line.startswith(topic)) == wanted, ends
        tool(version, "org.apache.kafka.tools.VerifiableProducer", *at, "--topic", topic, "--max-messages", 1000, "--acks", -1)
        groups = tool(version, "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", *at, "--describe", "--all-groups")
        assert topic in groups, groups
        tool(version, "org.apache.kafka.tools.TopicCommand", *at, "--delete", "--topic", topic) if version == "3.9.2" else None
        print(f"{version}: tools work", flush=True)
    broker.stop()
    files = sorted(f for f in pathlib.Path(broker.properties["log.dirs"]).glob("*/*") if f.suffix in (".log", ".index", ".timeindex", ".snapshot", ".txnindex"))
    files = [f for f in files if "-delete" not in f.parent.name]
    dumped = tool("3.9.2", "kafka.tools.DumpLogSegments", "--deep-iteration", "--index-sanity-check", "--files", ",".join(map(str, files)))
    for word in ("Found timestamp mismatch", "Found out of order", "Index offset", "Exception", "is corrupt", "mismatches in"):
        assert word not in dumped, f"{word}: {[l for l in dumped.splitlines() if word in l][:5]}"
    sanity = len(re.findall("passed sanity check", dumped))
    assert sanity >= 2 or "isvalid: true" in dumped, dumped[:2000]
    assert "isvalid: false" not in dumped
    print(f"kafka-dump-log: {len(files)} files")
