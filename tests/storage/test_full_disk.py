#!/usr/bin/env python3
# timeout: 300
"""A log dir on a disk of 48 MB, and the disk is full: producers get KAFKA_STORAGE_ERROR, consumers read on, groups commit and topics are
made from the reserve, the dir stays online, also across a kill. When there is room again, everything goes on by itself."""
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import Broker, connect, not_run, wait_until
from messages import Connection
import wire

STORAGE_ERROR = 56
BIG = wire.batch([os.urandom(50000)])
mount = pathlib.Path(tempfile.mkdtemp(prefix="odradek-full-"))
if os.geteuid() != 0:
    not_run("mounting a small disk needs root")
done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", str(mount)], stderr=subprocess.PIPE, text=True)
if done.returncode != 0:
    not_run(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")


def fill(sock, topic):
    """Produces until there is no room; the number of records that went in."""
    for count in range(100000):
        error, offset = wire.produce(sock, topic, 0, BIG)
        if error:
            assert error == STORAGE_ERROR, error
            return count
        assert offset == count, (offset, count)
    raise AssertionError("the disk never was full")


def commit(connection, offset):
    answer = connection.call("OffsetCommit", 5, group_id="g", generation_id_or_member_epoch=-1, member_id="", retention_time_ms=-1, topics=[
        {"name": "t", "partitions": [{"partition_index": 0, "committed_offset": offset, "committed_metadata": "m" * 1000}]}])
    return answer["topics"][0]["partitions"][0]["error_code"]


def has_coordinator(connection):
    return connection.call("FindCoordinator", 2, key="g", key_type=0)["error_code"] == 0


def read_all(broker, count):
    with connect(broker.port, 60) as sock:
        at = 0
        while at < count:
            error, _, records = wire.fetch(sock, "t", 0, at, max_bytes=10 << 20)
            assert error == 0 and records, (at, error)
            for base, last, _ in wire.batches(records):
                assert base == at, (base, at)
                at = last + 1


def dir_is_online(connection):
    answer = connection.call("DescribeLogDirs", 1, topics=None)
    assert [result["error_code"] for result in answer["results"]] == [0], answer


try:
    ballast = mount / "ballast"
    ballast.write_bytes(b"\0" * (8 << 20))
    properties = {"log.dirs": str(mount / "data"), "log.dir.reserve.bytes": str(8 << 20), "offsets.topic.num.partitions": "1",
                  "log.retention.check.interval.ms": "600000", "log.retention.ms": "-1"}
    with Broker(properties) as broker:
        connection = Connection(broker.port)
        with connect(broker.port, 60) as sock:
            assert wire.create_topic(sock, "t", 1, configs={"segment.bytes": "1000000", "file.delete.delay.ms": "600000"}) == 0
            wait_until(lambda: wire.fetch(sock, "t", 0, 0)[0] == 0, what="a leader")
            wait_until(lambda: has_coordinator(connection) and commit(connection, 0) == 0, what="a coordinator")
            count = fill(sock, "t")
            assert count > 200, count
            assert wire.produce(sock, "t", 0, wire.batch([b"small"]))[0] == STORAGE_ERROR
            read_all(broker, count)
            for i in range(100):
                assert commit(connection, i) == 0, i
            assert wire.create_topic(sock, "u", 1) == 0, "topics are made from the reserve"
            wait_until(lambda: wire.produce(sock, "u", 0, wire.batch([b"small"]))[0] == STORAGE_ERROR, what="a leader of the new topic")
            dir_is_online(connection)
            print(f"full after {count} records; 100 commits and a topic went on", flush=True)
        # The next process finds the disk full.
        broker.kill()
        broker.start()
        connection = Connection(broker.port)
        with connect(broker.port, 60) as sock:
            wait_until(lambda: wire.fetch(sock, "t", 0, 0)[0] == 0, what="a leader")
            read_all(broker, count)
            wait_until(lambda: commit(connection, 1000) == 0, what="a coordinator")
            dir_is_online(connection)
            while (error := wire.produce(sock, "t", 0, BIG)[0]) == 0:  # the start may have given back some room
                count += 1
            assert error == STORAGE_ERROR, error
            # Room comes from outside.
            ballast.unlink()
            wait_until(lambda: wire.produce(sock, "t", 0, wire.batch([b"again"]))[0] == 0, wait=60, what="the end of the full disk")
            assert wire.produce(sock, "u", 0, wire.batch([b"again"]))[0] == 0
            read_all(broker, count + 1)
            # Full again; this time room comes from retention, which does not wait for its interval nor for file.delete.delay.ms.
            while wire.produce(sock, "t", 0, BIG)[0] == 0:
                count += 1
            answer = connection.call("DeleteRecords", 1, timeout_ms=30000, topics=[
                {"name": "t", "partitions": [{"partition_index": 0, "offset": count - 10}]}])
            assert answer["topics"][0]["partitions"][0]["error_code"] == 0, answer
            wait_until(lambda: wire.produce(sock, "t", 0, BIG)[0] == 0, wait=60, what="the end of the full disk")
            dir_is_online(connection)
        assert "is full" in broker.log_text() and "has room again" in broker.log_text()
finally:
    subprocess.run(["umount", "-l", str(mount)])
    mount.rmdir()
print("records of clients waited for room, and nothing else")
