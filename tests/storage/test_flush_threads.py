#!/usr/bin/env python3
# timeout: 300
"""No network or handler thread calls fsync. While every fsync of the broker is held, 1,000 produces and 1,000 fetches finish, across
rolled and deleted segments; afterwards only background threads stand in the record, and nothing has gone past the gate. And what waits
for the disk waits: flush.before.ack, its time-out, the flush debt."""
import pathlib
import re
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import Broker, connect, wait_until
from gate import Gate
import wire

REQUEST_TIMED_OUT = 7
ALLOWED = re.compile(r"flush-|log-|metadata|control|replica-control|odradek-server$|main$")


def check_gate():
    """A program that goes past the gate in each of the known ways is found out."""
    gate = Gate(pathlib.Path(sys.executable).resolve().name)
    program = f"""
import ctypes, os
libc = ctypes.CDLL(None)
path = {str(gate.directory / "file")!r}
file = os.open(path, os.O_CREAT | os.O_RDWR)
os.fsync(file)
def attempt(call, *arguments):
    try: call(*arguments)
    except OSError: pass
attempt(os.open, path, os.O_RDWR | os.O_DSYNC)
attempt(os.pwritev, file, [b"x"], 0, os.RWF_DSYNC)
libc.syscall(ctypes.c_long({'74' if sys.maxsize > 2**32 and __import__('platform').machine() == 'x86_64' else '82'}), file)
libc.syscall(ctypes.c_long(425), 1, None)
"""
    subprocess.run([pathlib.Path(sys.executable).resolve(), "-c", program], env={**gate.env(), "PATH": "/usr/bin:/bin"}, check=True)
    gate.check_in_place()
    assert [call.call for call in gate.calls()] == ["fsync", "fsync"], gate.calls()
    assert len(gate.bypasses()) == 4, gate.bypasses()


def produce(sock, topic, partition, value, acks=1, timeout_ms=30000):
    sock.sendall(wire.request(wire.PRODUCE, 3, 1, wire.produce_body(topic, partition, wire.batch([value]), acks, timeout_ms)))


def answer(sock, topic):
    """Error and base offset of a Produce v3 for one partition."""
    _, body = wire.read_frame(sock)
    at = 4 + 2 + len(topic) + 4 + 4
    return struct.unpack(">hq", body[at:at + 10])


def answers_within(sock, seconds):
    sock.settimeout(seconds)
    try:
        return len(sock.recv(1, socket.MSG_PEEK)) > 0
    except TimeoutError:
        return False
    finally:
        sock.settimeout(60)


def nobody_waits(broker, gate):
    with connect(broker.port, 60) as sock:
        settings = {"segment.bytes": "2000", "flush.messages": "1", "retention.bytes": "20000", "retention.ms": "-1", "file.delete.delay.ms": "0"}
        assert wire.create_topic(sock, "t", 3, configs=settings) == 0
        wait_until(lambda: wire.produce(sock, "t", 0, wire.batch([b"first"]))[0] == 0, what="a leader")
        gate.hold()
        ends = lambda: sum(call.step == "leave" for call in gate.calls())
        produce(sock, "t", 1, b"x")
        assert answer(sock, "t")[0] == 0
        gate.wait_held()
        # What had begun before the gate was closed comes to its end.
        wait_until(lambda: [ends(), time.sleep(0.3)][0] == ends(), what="the end of earlier fsyncs")
        gate.wait_held()
        ended = ends()
        for i in range(1000):
            error, offset = wire.produce(sock, "t", i % 3, wire.batch([b"value-%d" % i]), acks=(1, -1)[i % 2])
            assert error == 0, (i, error)
            error, _, records = wire.fetch(sock, "t", i % 3, offset)
            assert error == 0 and records, (i, error)
        # DeleteRecords v0 of partition 0 up to the high watermark.
        sock.sendall(wire.request(21, 0, 1, struct.pack(">i", 1) + wire.string("t") + struct.pack(">iiqi", 1, 0, -1, 30000)))
        wire.read_frame(sock)
        assert gate.held() > 0
        assert ends() == ended, "the gate leaks"
        gate.release()
        wait_until(lambda: gate.held() == 0, what="the end of all fsyncs")
        # Topics come and go; configs are written; segments of the past go.
        assert wire.create_topic(sock, "u", 2) == 0
        sock.sendall(wire.request(20, 0, 1, struct.pack(">i", 1) + wire.string("u") + struct.pack(">i", 10000)))
        wire.read_frame(sock)


def answers_wait_for_the_disk(broker, gate):
    data = broker.properties["log.dirs"]
    with connect(broker.port, 60) as sock, connect(broker.port, 60) as other:
        assert wire.create_topic(sock, "a", 2, configs={"flush.before.ack": "all", "retention.ms": "-1"}) == 0
        wait_until(lambda: wire.produce(sock, "a", 0, wire.batch([b"0"]))[0] == 0, what="a leader")
        assert wire.produce(sock, "a", 1, wire.batch([b"0"]))[0] == 0
        gate.hold(f"{data}/a-0/")
        for acks in (1, -1, 1):
            produce(sock, "a", 0, b"late", acks)
        gate.wait_held()
        assert not answers_within(sock, 1)
        assert wire.produce(other, "a", 1, wire.batch([b"1"]))[0] == 0, "the other log does not wait"
        # acks=0 is no promise; a consumer sees what the high watermark has passed.
        produce(other, "a", 0, b"zero", acks=0)
        error, mark, records = wire.fetch(other, "a", 0, 1)
        assert error == 0 and b"late" in records, (error, mark)
        # A time-out answers so; the records stay.
        error, _ = (produce(other, "a", 0, b"in time", timeout_ms=300), answer(other, "a"))[1]
        assert error == REQUEST_TIMED_OUT, error
        before = len([call for call in gate.calls() if call.step == "leave" and call.path.startswith(f"{data}/a-0/")])
        gate.release()
        assert [answer(sock, "a")[0] for _ in range(3)] == [0, 0, 0]
        calls = [call for call in gate.calls() if call.step == "leave" and call.call == "fdatasync" and call.path.startswith(f"{data}/a-0/")]
        assert len(calls) <= before + 3, calls
        error, _, records = wire.fetch(other, "a", 0, 0)
        assert b"in time" in records and b"zero" in records


def debt_is_bounded(broker, gate):
    """With the factor 4 and flush.messages=10 the 41st record that is not flushed is not answered before a flush ends."""
    data = broker.properties["log.dirs"]
    with connect(broker.port, 60) as sock:
        assert wire.create_topic(sock, "d", 1, configs={"flush.messages": "10", "retention.ms": "-1"}) == 0
        wait_until(lambda: wire.produce(sock, "d", 0, wire.batch([b"0"] * 10))[0] == 0, what="a leader")
        wait_until(lambda: any(call.step == "leave" and f"{data}/d-0/" in call.path for call in gate.calls()), what="the first flush")
        time.sleep(0.2)
        gate.hold(f"{data}/d-0/")
        for i in range(40):
            assert wire.produce(sock, "d", 0, wire.batch([b"x"]))[0] == 0, i
        produce(sock, "d", 0, b"one too many")
        produce(sock, "d", 0, b"two too many")
        assert not answers_within(sock, 1)
        gate.release()
        assert [answer(sock, "d") for _ in range(2)] == [(0, 50), (0, 51)]


check_gate()
gate = Gate()
properties = {"log.flush.debt.factor": "0", "num.io.threads": "2", "num.network.threads": "1", "log.retention.check.interval.ms": "100",
              "log.flush.offset.checkpoint.interval.ms": "50", "log.flush.start.offset.checkpoint.interval.ms": "50",
              "replica.high.watermark.checkpoint.interval.ms": "50"}
with Broker(properties, env=gate.env()) as broker, gate:
    gate.check_in_place()
    nobody_waits(broker, gate)
    answers_wait_for_the_disk(broker, gate)
threads = {call.thread for call in gate.calls()}
assert all(ALLOWED.match(thread) for thread in threads), sorted(threads)
assert any(thread.startswith("flush-") for thread in threads), sorted(threads)
assert not gate.bypasses(), gate.bypasses()
print(f"1,000 produces and fetches while no fsync ended; fsync was called by: {', '.join(sorted(threads))}")

gate = Gate()
with Broker(env=gate.env()) as broker, gate:
    debt_is_bounded(broker, gate)
assert not gate.bypasses(), gate.bypasses()
print("the flush debt is bounded")
