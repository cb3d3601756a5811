#!/usr/bin/env python3
# timeout: 180
"""A log that a Kafka of before 0.11 left: messages of v0 and v1, plain and wrapped. The broker recovers it, appends behind it, gives it to
new and old readers, finds times in it, and Kafka's own dump tool is content with its files."""
import pathlib
import shutil
import struct
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from broker import ROOT, Broker, connect
import wire
from wire import message, wrapped

TIME = 1_700_000_000_000
ROUNDS = 400

# One log: 2 messages of v0, a wrapper of 3 of v0, 2 of v1, a wrapper of 3 of v1; again and again.
log, last_offsets, times = b"", [], {}
offset = 0
for _ in range(ROUNDS):
    for magic in (0, 1):
        for _ in range(2):
            stamp = TIME + offset
            log += message(magic, offset, b"key-%d" % offset, b"value-%d" % offset * 5, timestamp=stamp)
            last_offsets.append(offset)
            if magic:
                times[offset] = stamp
            offset += 1
        inner = b""
        for i in range(3):
            inner += message(magic, i if magic else offset + i, b"key-%d" % (offset + i), b"value-%d" % (offset + i) * 5, timestamp=TIME + offset + i)
            if magic:
                times[offset + i] = TIME + offset + i
        log += wrapped(magic, inner, offset=offset + 2, timestamp=TIME + offset + 2)
        last_offsets.append(offset + 2)
        offset += 3
end = offset


def frames(data):
    at = 0
    while at + 17 <= len(data):
        base, size = struct.unpack(">qi", data[at:at + 12])
        if at + 12 + size > len(data):
            return
        yield base, data[at + 16], data[at:at + 12 + size]
        at += 12 + size


def fetch(sock, version, offset, most):
    body = struct.pack(">iii", -1, 500, 1) + (struct.pack(">i", 1 << 24) if version >= 3 else b"") + (b"\0" if version >= 4 else b"")
    body += struct.pack(">i", 1) + wire.string("t") + struct.pack(">iiqi", 1, 0, offset, most)
    sock.sendall(wire.request(wire.FETCH, version, 1, body))
    _, answer = wire.read_frame(sock)
    at = (4 if version >= 1 else 0) + 4 + 3 + 4 + 4
    error, mark = struct.unpack(">hq", answer[at:at + 10])
    at += 10 + (12 if version >= 4 else 0)
    size = struct.unpack(">i", answer[at:at + 4])[0]
    assert error == 0, error
    return mark, answer[at + 4:at + 4 + size]


def offset_for(sock, stamp):
    body = struct.pack(">ii", -1, 1) + wire.string("t") + struct.pack(">iiq", 1, 0, stamp)
    sock.sendall(wire.request(wire.LIST_OFFSETS, 1, 1, body))
    _, answer = wire.read_frame(sock)
    return struct.unpack(">hqq", answer[4 + 3 + 4 + 4:4 + 3 + 4 + 4 + 18])


def check(port, upto):
    with connect(port) as sock:
        mark, data = fetch(sock, 4, 0, 1 << 24)
        assert mark == upto, (mark, upto)
        assert data[:len(log)] == log, "the old bytes are not as they were"
        assert [f[0] for f in frames(data)][:len(last_offsets)] == last_offsets
        for at in (0, 3, 4, end - 2, 1234, 1236):
            first = next(frames(fetch(sock, 4, at, 1000)[1]))[0]
            assert first == next(o for o in last_offsets if o >= at), (at, first)
        for version in range(4):
            seen, at = 0, 0
            while at < upto:
                part = list(frames(fetch(sock, version, at, 20_000)[1]))
                assert part and all(magic <= (0 if version <= 1 else 1) for _, magic, _ in part), (version, at)
                at = part[-1][0] + 1
                seen += len(part)
            assert seen == len(last_offsets) + upto - end, (version, seen)
        for at, stamp in list(times.items())[::97]:
            assert offset_for(sock, stamp) == (0, stamp, at), (at, stamp, offset_for(sock, stamp))


with Broker({"num.partitions": "1"}) as broker:
    with connect(broker.port) as sock:
        assert wire.create_topic(sock, "t", configs={"index.interval.bytes": "500", "retention.ms": "-1"}) == 0
        assert wire.produce(sock, "t", 0, wire.batch([b"x"]))[0] in (0, 3, 6)
    broker.stop()
    folder = broker.directory / "data/t-0"
    for path in folder.iterdir():
        if path.suffix in (".log", ".index", ".timeindex", ".snapshot") or path.name == "leader-epoch-checkpoint":
            path.unlink()
    (folder / "00000000000000000000.log").write_bytes(log)
    for name in ("recovery-point-offset-checkpoint", "replication-offset-checkpoint", ".kafka_cleanshutdown"):
        (broker.directory / "data" / name).unlink(missing_ok=True)
    broker.start()
    check(broker.port, end)
    with connect(broker.port) as sock:
        for i in range(3):
            assert wire.produce(sock, "t", 0, wire.batch([b"new", b"new"], timestamp=TIME + 10_000_000 + i)) == (0, end + 2 * i)
    check(broker.port, end + 6)
    broker.stop()
    broker.start()
    check(broker.port, end + 6)
    broker.stop()

    if shutil.which("java") is None or shutil.which("mvn") is None:
        print("recovered, read, converted, appended; no java for Kafka's dump tool")
        sys.exit(0)
    files = ",".join(str(path) for path in sorted(folder.iterdir()) if path.suffix == ".log")
    indexes = ",".join(str(path) for path in sorted(folder.iterdir()) if path.suffix in (".index", ".timeindex"))

    def dump(*arguments):
        command = ". tests/lib/kafka.sh; kafka_run 3.9.2 kafka.tools.DumpLogSegments " + " ".join(arguments)
        return subprocess.run(["bash", "-c", command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout

    text = dump("--deep-iteration", "--files", files)
    assert "isvalid: false" not in text
    records = text.count("\n| offset:")
    assert records == end + 6, f"{records} records, not {end + 6}"
    for way in ("--verify-index-only", "--index-sanity-check"):
        text = dump(way, "--files", indexes).lower()
        assert not any(word in text for word in ("mismatch", "corrupt", "out of order", "larger than", "not found", "exception")), text
print(f"{end} records of v0 and v1 recovered, read, converted, dumped")
