#!/usr/bin/env python3
# timeout: 1200
"""Directories of Apache Kafka 3.9.2 in ZooKeeper mode: after a clean stop and after kill -9 they are adopted, a real client finds the same
records, offsets, aborted and open transactions and committed offsets; then Kafka starts on them again, with the metadata in ZooKeeper, and
Odradek once more beside that ZooKeeper."""
import pathlib
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import BIN, Broker, run, wait_until
from exchange import CLEANING, adopt, check_untouched, compare, dump, exchange, is_cleaned, state, without_configs
import apache
import zookeeper

OWN = {"broker.id": "1", "log.cleaner.enable": "false"}
# Releases before 3.0 write them, and this one for their sake.
OLD_FORMATS = {"inter.broker.protocol.version": "2.8"}


def formats(dirs):
    """The message formats in topic `old`."""
    found = set()
    for file in [f for folder in dirs for f in folder.glob("old-0/*.log")]:
        data, at = file.read_bytes(), 0
        while at + 17 <= len(data):
            found.add(data[at + 16])
            at += 12 + int.from_bytes(data[at + 8:at + 12], "big")
    return found


def fails_to_start(dirs, words):
    broker = Broker({**OWN, "log.dirs": ",".join(map(str, dirs))})
    try:
        broker.start()
    except RuntimeError as why:
        assert words in str(why), why
    else:
        broker.kill()
        raise AssertionError(f"it started on {dirs}")
    finally:
        shutil.rmtree(broker.directory, ignore_errors=True)


with tempfile.TemporaryDirectory(prefix="odradek-adopt-") as folder, zookeeper.Server() as server:
    folder = pathlib.Path(folder)
    dirs, clean = [folder / "one", folder / "two"], [folder / "clean/one", folder / "clean/two"]
    with apache.Kafka("3.9.2", zookeeper=f"{server.address}/first", dirs=dirs, properties=CLEANING | OLD_FORMATS) as kafka:
        exchange("write", kafka.address)
        exchange("old", kafka.address)
        wait_until(lambda: is_cleaned(dirs, "compacted"), 120, "the cleaning")
        stopped = without_configs(exchange("read", kafka.address))
        kafka.stop()
        for source, copy in zip(dirs, clean):
            shutil.copytree(source, copy)
        kafka.start()
        exchange("more", kafka.address)
        exchange("open", kafka.address)
        killed = without_configs(exchange("read", kafka.address))
        in_use = adopt(dirs, code=1)
        kafka.kill()
    assert formats(dirs) == {0, 1, 2}
    assert any(line.startswith("read_committed tx-0") and "0..0 " not in line for line in killed)

    # What does not fit is refused, a dry run changes nothing, a broker does not start on what is not adopted.
    before = state(clean)
    print(adopt(clean), flush=True)
    for arguments, words in ((dict(overrides=["broker.id=2"]), "belong to broker 1"), (dict(overrides=[f"zookeeper.connect={server.address}"]), "zookeeper.connect is set")):
        text = adopt(clean, "--yes", code=1, **arguments)
        assert words in text and "nothing was changed" in text, text
    text = adopt(clean[:1], code=1)
    assert "in a log dir that log.dirs does not name" in text, text
    check_untouched(clean, before)
    fails_to_start(clean, "odradek-server --adopt")

    # After a clean stop.
    text = adopt(clean, "--yes")
    assert "stopped in order" in text and "not stopped in order" not in text, text
    with Broker({**OWN, "log.dirs": ",".join(map(str, clean))}) as broker:
        compare(stopped, without_configs(exchange("read", broker.address)))
        print("adopted after a clean stop: all is there", flush=True)

    # After kill -9, with a transaction that nobody has ended.
    text = adopt(dirs, "--yes", code=1)
    assert "t2" in text and "is Ongoing: tx-0 from offset" in text, text
    text = adopt(dirs, "--yes", "--allow-open-transactions")
    assert "not stopped in order" in text, text
    with Broker({**OWN, "log.dirs": ",".join(map(str, dirs))}) as broker:
        compare(killed, without_configs(exchange("read", broker.address)))
        print("adopted after kill -9: all is there", flush=True)
        exchange("more", broker.address)
        ours = exchange("read", broker.address)
        broker.stop()
        print(f"kafka-dump-log is content with {dump(dirs)} files", flush=True)

        # And back.
        at = f"{server.address}/back"
        print(run([BIN / "odradek", "metadata", "export", broker.directory / "server.properties", "--to-zookeeper", at]), flush=True)
    with apache.Kafka("3.9.2", zookeeper=at, dirs=dirs) as kafka:
        compare(ours, exchange("read", kafka.address))
        exchange("more", kafka.address)
        kafkas = exchange("read", kafka.address)
        print("Apache Kafka goes on with them", flush=True)
        kafka.stop()

    # A directory of Kafka and its tree in ZooKeeper need no adoption.
    (dirs[0] / "odradek-metadata.db").unlink()
    with Broker({**OWN, "zookeeper.connect": at, "log.dirs": ",".join(map(str, dirs))}) as broker:
        compare(kafkas, exchange("read", broker.address))
