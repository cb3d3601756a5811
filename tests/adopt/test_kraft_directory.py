#!/usr/bin/env python3
# timeout: 1200
"""Directories of a KRaft node are adopted after kill -9, with topics, configs, users, quotas and committed offsets from its metadata log; what
releases up to 3.9 could not read is written again; then Apache Kafka 3.9.2 starts on them. In ./test 4.3.1, in ./test full 3.9.2 too."""
import json
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import BIN, FULL, Broker, run, wait_until
from exchange import CLEANING, adopt, check_untouched, compare, dump, exchange, is_cleaned, state
import apache
import zookeeper

OWN = {"broker.id": "1", "log.cleaner.enable": "false"}


def round_trip(version, folder, server):
    dirs = [folder / "one", folder / "two"]
    with apache.Kafka(version, dirs=dirs, properties=CLEANING) as kafka:
        exchange("write", kafka.address, version)
        exchange("users", kafka.address, version)
        if version != "3.9.2":
            exchange("modern", kafka.address, version)
        wait_until(lambda: is_cleaned(dirs, "compacted"), 120, "the cleaning")
        before = exchange("read", kafka.address)
        kafka.kill()
    untouched = state(dirs)
    print(adopt(dirs), flush=True)
    check_untouched(dirs, untouched)
    former = (dirs[0] / "meta.properties").read_text()
    assert "version=1" in former
    text = adopt(dirs, "--yes")
    assert ("as v3, appended at the end" in text) == (version != "3.9.2"), text
    assert (dirs[0] / "meta.properties.kafka").read_text() == former
    for each in dirs:
        assert "version=0" in (each / "meta.properties").read_text()
    with Broker({**OWN, "log.dirs": ",".join(map(str, dirs))}) as broker:
        compare(before, exchange("read", broker.address))
        exchange("more", broker.address)
        ours = exchange("read", broker.address)
        broker.stop()
        print(f"{version}: kafka-dump-log is content with {dump(dirs)} files", flush=True)
        at = f"{server.address}/{version}"
        print(run([BIN / "odradek", "metadata", "export", broker.directory / "server.properties", "--to-zookeeper", at]), end="", flush=True)
    client = zookeeper.Client(server.port)
    config = lambda path: json.loads(client.get(f"/{version}/config/{path}")[0])["config"]
    assert config("brokers/<default>")["message.max.bytes"] == "2000000"
    assert config("brokers/1") == {"num.io.threads": "7"}
    assert config("users/alice/clients/c%201") == {"producer_byte_rate": "1048576"}
    assert config("clients/<default>") == {"request_percentage": "55.5"}
    assert list(config("users/alice")) == ["SCRAM-SHA-256"]
    client.close()
    with apache.Kafka("3.9.2", zookeeper=at, dirs=dirs) as kafka:
        compare(ours, exchange("read", kafka.address))
        exchange("more", kafka.address)
        kafka.stop()
    print(f"{version}: adopted, and Apache Kafka 3.9.2 goes on with them", flush=True)


def stopped_in_order(version, folder):
    """From 4.1 on a broker that stops in order leaves the ISR empty and stands in the eligible leader replicas."""
    with apache.Kafka(version, dirs=[folder / "data"]) as kafka:
        run([BIN / "odradek", "topic", "create", "t", "-b", kafka.address, "--partitions", "2"])
        run([BIN / "odradek", "produce", "t", "-b", kafka.address], input="one\ntwo\n")
        kafka.stop()
    print(adopt(kafka.dirs, "--yes"), flush=True)
    with Broker({**OWN, "log.dirs": str(kafka.dirs[0])}) as broker:
        assert sorted(run([BIN / "odradek", "consume", "t", "-b", broker.address, "--exit-at-end"]).split()) == ["one", "two"]


with zookeeper.Server() as server:
    with tempfile.TemporaryDirectory(prefix="odradek-adopt-") as folder:
        stopped_in_order("4.3.1", pathlib.Path(folder))
    for version in ("4.3.1", "3.9.2") if FULL else ("4.3.1",):
        with tempfile.TemporaryDirectory(prefix="odradek-adopt-") as folder:
            round_trip(version, pathlib.Path(folder), server)
