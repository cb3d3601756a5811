#!/usr/bin/env python3
# timeout: 300
"""`odradek metadata export` and `import`: a broker's metadata goes from its own store to a file and back, into a real ZooKeeper, where the
same broker serves the same topics, and out of it again. What does not fit is refused."""
import json
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import BIN, Broker, run, wait_until
import zookeeper

LINES = [f"line {i}" for i in range(1000)]


def metadata(*arguments):
    return run([BIN / "odradek", "metadata", *arguments])


def refused(words, *arguments):
    done = subprocess.run([str(a) for a in (BIN / "odradek", "metadata", *arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 1 and words in done.stdout, done.stdout
    print(done.stdout.strip(), flush=True)


def tool(broker, *arguments, text=None):
    return run([BIN / "odradek", *arguments, "-b", broker.address], input=text)


def answers(broker):
    """What clients see: topics, configs, records."""
    seen = json.loads(tool(broker, "topic", "list", "--json"))
    return (seen, tool(broker, "topic", "describe", "orders", "--json"), tool(broker, "consume", "orders", "--from", "earliest", "--exit-at-end").splitlines())


def nodes(path):
    return {at: (node.get("data"), node["version"]) for at, node in json.loads(path.read_text())["nodes"].items()}


with zookeeper.Server() as server, Broker() as broker:
    folder = broker.directory
    tool(broker, "topic", "create", "orders", "--partitions", "1", "--config", "retention.ms=987654321")
    tool(broker, "produce", "orders", text="\n".join(LINES) + "\n")
    before = answers(broker)
    assert before[2] == LINES, before[2][:5]

    properties, first, second = folder / "server.properties", folder / "first.json", folder / "second.json"
    refused("a broker runs on it", "export", properties, "--to-file", first)
    broker.stop()
    print(metadata("export", properties, "--to-file", first), end="", flush=True)
    refused("exists", "export", properties, "--to-file", first)
    assert first.stat().st_mode & 0o077 == 0, "others may read users' keys"
    refused("already holds", "import", properties, "--from-file", first)

    # From the file into a new store, which gives the same file again.
    store = folder / "data" / "odradek-metadata.db"
    store.rename(folder / "former.db")
    metadata("import", properties, "--from-file", first)
    metadata("export", properties, "--to-file", second)
    assert nodes(first) == nodes(second)
    broker.start()
    assert answers(broker) == before
    broker.stop()

    # Into ZooKeeper: the broker goes on there.
    at = f"{server.address}/moved"
    print(metadata("export", properties, "--to-zookeeper", at), end="", flush=True)
    refused("already belongs to cluster", "export", properties, "--to-zookeeper", at)
    store.rename(folder / "moved.db")
    own = dict(broker.properties)
    broker.properties["zookeeper.connect"] = at
    broker.start()
    assert answers(broker) == before
    tool(broker, "topic", "create", "later", "--partitions", "2")
    before = answers(broker)
    refused("is alive in that tree", "import", "--override", f"log.dirs={folder}/other", "--from-zookeeper", at)
    broker.stop()

    # And out of it.
    broker.properties = own
    broker.properties["listeners"] = re.sub(r":\d+", f":{broker.port}", own["listeners"])
    properties.write_text("".join(f"{key}={value}\n" for key, value in broker.properties.items()))
    print(metadata("import", properties, "--from-zookeeper", at), end="", flush=True)
    broker.start()
    assert answers(broker) == before
    broker.stop()

    other = folder / "elsewhere"
    other.mkdir()
    (other / "meta.properties").write_text("version=0\nbroker.id=0\ncluster.id=AAAAAAAAAAAAAAAAAAAAAA\n")
    refused("do not belong together", "import", "--override", f"log.dirs={other}", "--from-file", first)
