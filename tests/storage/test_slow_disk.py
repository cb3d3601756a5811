#!/usr/bin/env python3
# timeout: 300
"""The log dir lies on a FUSE file system whose every fsync takes longer and stops all changes meanwhile (tools/slow_disk; needs root). Producers
with and without an answer after the flush, kills, a clean stop, reads that are not in the page cache, a deleted topic: nothing acknowledged is
lost, the dir stays online, and the broker complains of nothing."""
import os
import pathlib
import re
import shutil
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import Broker, connect, wait_until
from messages import Connection
from slow_disk import SlowDisk, check_possible
import wire

PARTITIONS = 4
TOPICS = {"plain": {"segment.bytes": "200000", "flush.messages": "500"}, "durable": {"flush.before.ack": "all"}}
check_possible()


class Writer:
    """Batches to one partition, as long as `with` lasts; over kills it goes on where it was. Offset → value of what was acknowledged."""

    def __init__(self, broker, topic, partition):
        self.broker, self.topic, self.partition = broker, topic, partition
        self.acked, self.failure, self.stopped = {}, None, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        number = 0
        while not self.stopped.is_set():
            try:
                with connect(self.broker.port, 30) as sock:
                    while not self.stopped.is_set():
                        values = [b"%d:%d:" % (self.partition, number + i) + b"x" * 200 for i in range(10)]
                        number += len(values)  # what was on the way at a kill comes twice under other numbers, or not at all
                        error, base = wire.produce(sock, self.topic, self.partition, wire.batch(values))
                        if error in (3, 5, 6):  # being loaded
                            time.sleep(0.02)
                            continue
                        if error:
                            self.failure = error
                            return
                        self.acked.update((base + i, value) for i, value in enumerate(values))
            except (OSError, EOFError):
                time.sleep(0.02)


def read_all(broker, topic, partition):
    with connect(broker.port, 60) as sock:
        wait_until(lambda: wire.fetch(sock, topic, partition, 0)[0] == 0, what="a leader")
        found, offset = {}, 0
        while True:
            error, high_watermark, data = wire.fetch(sock, topic, partition, offset)
            assert error == 0, error
            for base, last, raw in wire.batches(data):
                assert base == offset, f"{topic}-{partition}: a hole at {offset}"
                found.update((base + i, value) for i, value in enumerate(wire.values(raw)))
                offset = last + 1
            if offset >= high_watermark:
                return found


def check(broker, writers):
    for writer in writers:
        found = read_all(broker, writer.topic, writer.partition)
        lost = [offset for offset, value in writer.acked.items() if found.get(offset) != value]
        assert not lost, f"{writer.topic}-{writer.partition}: {len(lost)} of {len(writer.acked)} lost or changed, the first is {min(lost)}"


folder = pathlib.Path(tempfile.mkdtemp(prefix="odradek-slow-"))
disk = SlowDisk(folder / "disk", folder / "device", delay_ms=40)
try:
    with Broker({"log.dirs": str(disk.mount / "data"), "log.segment.delete.delay.ms": "100"}, directory=folder / "broker") as broker:
        with connect(broker.port, 60) as sock:
            for topic, configs in TOPICS.items():
                assert wire.create_topic(sock, topic, PARTITIONS, configs=configs) == 0
        writers = [Writer(broker, topic, partition) for topic in TOPICS for partition in range(PARTITIONS)]
        for writer in writers:
            writer.thread.start()
        for _ in range(3):
            before = [len(writer.acked) for writer in writers]
            wait_until(lambda: all(len(writer.acked) > count + 300 for writer, count in zip(writers, before)), wait=60, what="more acknowledged records")
            broker.kill()
            broker.start()
        for writer in writers:
            writer.stopped.set()
        for writer in writers:
            writer.thread.join(60)
        assert not any(writer.failure for writer in writers), [writer.failure for writer in writers]
        check(broker, writers)
        print(f"{sum(len(writer.acked) for writer in writers)} acknowledged records over three kills", flush=True)

        broker.stop()
        broker.start()
        for path in disk.mount.glob("data/*/*.log"):
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        check(broker, writers)
        segments = len(list(disk.mount.glob("data/plain-0/*.log")))
        assert segments > 1, "segments were rolled"

        connection = Connection(broker.port)
        assert connection.call("DeleteTopics", 3, topic_names=["plain"], timeout_ms=30000)["responses"][0]["error_code"] == 0
        wait_until(lambda: not list(disk.mount.glob("data/plain-*")), what="the removal of the deleted topic's files")
        assert not list((folder / "device").glob("data/plain-*"))
        assert [result["error_code"] for result in connection.call("DescribeLogDirs", 1, topics=None)["results"]] == [0]
        # FUSE lets a kill end a write between two pages: such a batch is cut off.
        complaints = [line for line in broker.log_text().splitlines() if re.search(r"\b(WARN|ERROR)\b", line) and not line.endswith("a batch is cut off")]
        assert not complaints, complaints
finally:
    disk.close()
    shutil.rmtree(folder, ignore_errors=True)
print("a disk whose journal stalls serves a broker")
