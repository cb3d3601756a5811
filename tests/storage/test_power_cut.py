#!/usr/bin/env python3
# timeout: 1500
"""Power cuts under load: the broker's disk is an ext4 image. At random moments the image is copied as the device holds it (what was not
synced is not in it), the copy is mounted, and another broker starts on it.

flush.before.ack=all: every acknowledged record, commit and topic is there. flush.messages with the debt limit: no more is lost than the
debt allows. Nothing of both: a beginning of what was written. Always: no hole, no record that was not sent."""
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import FULL, Broker, connect, need, not_run, run, wait_until
from messages import Connection
import wire

CUTS = 100 if FULL else 10
FLUSH_MESSAGES, DEBT_FACTOR = 50, 4
# topic -> (settings, how many of its last acknowledged records may be gone; None: any number)
OFFSET_OUT_OF_RANGE = 1
SAFE, DEBT, PLAIN = "safe", "debt", "plain"
TOPICS = {
    SAFE: ({}, 0),
    # Each producer waits for its answer: one record more for each of them.
    DEBT: ({"flush.before.ack": "none", "flush.messages": str(FLUSH_MESSAGES)}, FLUSH_MESSAGES * DEBT_FACTOR + 1),
    PLAIN: ({"flush.before.ack": "none"}, None),
}

if os.geteuid() != 0:
    not_run("mounting a disk image needs root")
need("mkfs.ext4", "losetup")
seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.SystemRandom().randrange(1 << 32)
print(f"seed {seed}", flush=True)
moments = random.Random(seed)
directory = pathlib.Path(tempfile.mkdtemp(prefix="odradek-power-"))
image, disk, copy, copied_disk = directory / "disk.img", directory / "disk", directory / "copy.img", directory / "copied"
disk.mkdir()
copied_disk.mkdir()


def mount(path, where, check=True):
    done = subprocess.run(["mount", "-o", "loop,noatime", path, where], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0 and check:
        raise RuntimeError(f"mount of {path}: {done.stdout}")
    return done.returncode == 0


def written():
    """Of the image's device: writes and flushes that have ended, and what is under way."""
    device = run(["losetup", "-n", "-O", "NAME", "-j", image]).strip()
    fields = pathlib.Path(f"/sys/block/{pathlib.Path(device).name}/stat").read_text().split()
    return fields[4], fields[6], fields[8], fields[15]


def copy_image():
    """As the device holds it at one moment: the broker stands still, but the kernel writes on for some seconds (its journal, old pages), and a copy
    with the journal of one moment and the tables of another is the disk of none."""
    while True:
        before = written()
        run(["cp", "--sparse=always", image, copy])
        if written() == before and before[2] == "0":
            return


class Acked:
    """What was acknowledged, in the order of the answers."""

    def __init__(self):
        self.records = {topic: [] for topic in TOPICS}  # of partition 0: (offset, value)
        self.commits, self.topics = [], []

    def now(self):
        return {topic: len(records) for topic, records in self.records.items()}, len(self.commits), len(self.topics)


acked, stop, failures = Acked(), threading.Event(), []


def guarded(body):
    def run_guarded(*arguments):
        try:
            while not stop.is_set():
                body(*arguments)
        except Exception as error:  # noqa: BLE001
            failures.append(f"{body.__name__}{arguments[1:]}: {error!r}")
    return run_guarded


@guarded
def produce(sock, topic, rng):
    values = [f"{topic} {len(acked.records[topic])} ".encode() + os.urandom(rng.randrange(20, 400)).hex().encode() for _ in range(rng.randrange(1, 4))]
    error, offset = wire.produce(sock, topic, 0, wire.batch(values))
    assert error == 0, error
    acked.records[topic] += [(offset + i, value) for i, value in enumerate(values)]
    time.sleep(0.004)


@guarded
def commit(connection, _):
    offset = len(acked.commits)
    answer = connection.call("OffsetCommit", 5, group_id="g", generation_id_or_member_epoch=-1, member_id="", retention_time_ms=-1, topics=[
        {"name": SAFE, "partitions": [{"partition_index": 0, "committed_offset": offset, "committed_metadata": ""}]}])
    assert answer["topics"][0]["partitions"][0]["error_code"] == 0, answer
    acked.commits.append(offset)
    time.sleep(0.02)


@guarded
def make_topics(sock, _):
    name = f"made-{len(acked.topics)}"
    assert wire.create_topic(sock, name, 1) == 0
    acked.topics.append(name)
    time.sleep(1)


def read_from(sock, topic, first):
    """The values of partition 0 from offset `first` on; every batch's CRC is checked and no offset may be missing."""
    found, end = [], None
    while end is None or first + len(found) < end:
        at = first + len(found)
        error, end, records = wire.fetch(sock, topic, 0, at, max_bytes=10 << 20, max_wait_ms=0)
        if error == OFFSET_OUT_OF_RANGE and not found:
            return None
        assert error == 0, (topic, error)
        for base, last, data in wire.batches(records):
            assert base <= at, f"{topic}: a hole before offset {base}"
            found += list(wire.values(data))[at - base:]
            at = last + 1
        assert records or at >= end, f"{topic}: nothing at {at} of {end}"
    return found


def judge(broker, known, everything):
    counts, commits, topics = known
    with connect(broker.port, 60) as sock:
        for topic, (_, may_lose) in TOPICS.items():
            wait_until(lambda: wire.fetch(sock, topic, 0, 0, max_wait_ms=0)[0] == 0, what=f"a leader of {topic}")
            # All of it now and then; else the end, where the cut was.
            first = 0 if everything else max(0, counts[topic] - 2000)
            found = read_from(sock, topic, first)
            if found is None:
                first, found = 0, read_from(sock, topic, 0)
            sent = acked.records[topic]
            for offset, value in enumerate(found, first):
                assert offset >= len(sent) or sent[offset] == (offset, value), f"{topic}: offset {offset} holds {value[:40]}, not {sent[offset]}"
            lost = counts[topic] - first - len(found)
            assert may_lose is None or lost <= may_lose, f"{topic}: {lost} of {counts[topic]} acknowledged records are gone"
            lost_by_topic[topic] = max(lost_by_topic.get(topic, 0), lost)
    connection = Connection(broker.port)
    if commits:
        wait_until(lambda: connection.call("FindCoordinator", 2, key="g", key_type=0)["error_code"] == 0, what="a coordinator")

        def committed():
            answer = connection.call("OffsetFetch", 5, group_id="g", topics=[{"name": SAFE, "partition_indexes": [0]}])
            return answer["topics"][0]["partitions"][0]["committed_offset"] if answer["error_code"] == 0 else None

        wait_until(lambda: committed() is not None, what="the group")
        assert committed() >= commits - 1, f"offset {commits - 1} was committed, {committed()} is there"
    there = {topic["name"] for topic in connection.call("Metadata", 1, topics=None)["topics"]}
    assert there.issuperset(acked.topics[:topics]), f"topics are gone: {set(acked.topics[:topics]) - there}"


lost_by_topic = {}
settings = {"log.flush.before.ack": "all", "offsets.topic.num.partitions": "1", "log.flush.debt.factor": str(DEBT_FACTOR), "log.segment.bytes": "200000",
            "log.retention.ms": "-1", "log.dir.reserve.bytes": "0", "auto.create.topics.enable": "false"}
try:
    with open(image, "wb") as file:
        file.truncate(512 << 20)
    run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image])
    if not mount(image, disk, check=False):
        not_run("a disk image cannot be mounted here")
    with Broker({**settings, "log.dirs": str(disk / "data")}) as broker:
        with connect(broker.port, 60) as sock:
            for topic, (configs, _) in TOPICS.items():
                assert wire.create_topic(sock, topic, 1, configs=configs) == 0
                wait_until(lambda: wire.fetch(sock, topic, 0, 0, max_wait_ms=0)[0] == 0, what=f"a leader of {topic}")
        group = Connection(broker.port)
        wait_until(lambda: group.call("FindCoordinator", 2, key="g", key_type=0)["error_code"] == 0, what="a coordinator")
        sockets = [connect(broker.port, 60) for _ in range(len(TOPICS) + 1)]
        threads = [threading.Thread(target=produce, args=(sock, topic, random.Random(seed))) for sock, topic in zip(sockets, TOPICS)]
        threads += [threading.Thread(target=commit, args=(group, None)), threading.Thread(target=make_topics, args=(sockets[-1], None))]
        for thread in threads:
            thread.start()
        try:
            for cut in range(CUTS):
                time.sleep(moments.uniform(0.1, 1.0))
                assert not failures, failures
                known = acked.now()
                # Stopped, so that the copy is the disk of one moment.
                broker.process.send_signal(signal.SIGSTOP)
                try:
                    copy_image()
                finally:
                    broker.process.send_signal(signal.SIGCONT)
                mount(copy, copied_disk)
                try:
                    with Broker({**settings, "log.dirs": str(copied_disk / "data")}) as other:
                        judge(other, known, cut % 10 == 9)
                finally:
                    run(["umount", copied_disk])
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)
        assert not failures, failures
    print(f"{CUTS} power cuts: {len(acked.records[SAFE])} records, {len(acked.commits)} commits and {len(acked.topics)} topics acknowledged on the disk; most lost: "
          + ", ".join(f"{topic} {lost}" for topic, lost in lost_by_topic.items()))
    assert lost_by_topic[PLAIN] > 0, "nothing was lost even without a flush: these were no power cuts"
finally:
    subprocess.run(["umount", "-l", copied_disk], stderr=subprocess.DEVNULL)
    subprocess.run(["umount", "-l", disk], stderr=subprocess.DEVNULL)
    subprocess.run(["rm", "-rf", directory])
