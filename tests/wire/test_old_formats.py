#!/usr/bin/env python3
# timeout: 120
"""Messages of the formats v0 and v1 over the wire: what is refused, what is stored, what old fetches get, compared with what
Apache Kafka 3.9.2 answered (old_formats-3.9.2.txt).

test_old_formats.py --record PORT   prints the answers of a broker on that port"""
import difflib
import pathlib
import struct
import sys
import time
import zlib

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from broker import Broker, connect
import wire
from wire import message, wrapped

GOLDEN = dict(line.split() for line in (HERE.parent / "record_java/old_formats.txt").read_text().splitlines())
SETS = {name: bytes.fromhex(data) for name, data in GOLDEN.items() if data != "-"}
TOPICS = {
    "plain": {},
    "compact": {"cleanup.policy": "compact"},
    "append": {"message.timestamp.type": "LogAppendTime"},
    "tight": {"message.timestamp.before.max.ms": "3600000"},
    "small": {"max.message.bytes": "100"},
    "to-gzip": {"compression.type": "gzip"},
    "to-none": {"compression.type": "uncompressed"},
    "no-down": {"message.downconversion.enable": "false"},
    "to-zstd": {"compression.type": "zstd"},
}
RUN = f"{time.time_ns() % 10**9}-"


def broken(data, at):
    data = bytearray(data)
    data[at] ^= 1
    return bytes(data)


ONE = {magic: message(magic, 0, b"key", b"value") for magic in (0, 1)}
V2 = wire.batch([b"value"])
# name, topic, bytes
CASES = [
    *[(name, topic, SETS[name]) for topic in ("plain", "append", "compact", "tight", "small", "to-gzip", "to-none", "to-zstd")
      for name in ("v0-none", "v1-none", "v0-gzip", "v1-gzip", "v0-snappy", "v1-snappy", "v0-lz4", "v1-lz4")],
    ("v1-none-append", "plain", SETS["v1-none-append"]),
    ("v1-gzip-append", "plain", SETS["v1-gzip-append"]),
    ("v1-none-append", "append", SETS["v1-none-append"]),
    ("v1 of the append time without a timestamp", "plain", message(1, 0, b"k", b"v", attributes=8, timestamp=-1)),
    ("v1 without a timestamp", "tight", message(1, 0, b"k", b"v", timestamp=-1)),
    ("with keys", "compact", ONE[0] + ONE[1][:0] + message(0, 1, b"b", None)),
    ("nothing", "plain", b""),
    ("a part of a message", "plain", ONE[1][:-1]),
    ("the last is cut", "plain", ONE[1] + message(1, 1, b"b", b"b")[:-1]),
    ("wrong crc", "plain", broken(ONE[1], 30)),
    ("the second has a wrong crc", "plain", ONE[0] + broken(ONE[0], 30)),
    ("size of 13", "plain", struct.pack(">qi", 0, 13) + b"\0" * 13),
    ("negative size", "plain", struct.pack(">qi", 0, -1) + b"\0" * 20),
    ("magic 3", "plain", ONE[1][:16] + b"\3" + ONE[1][17:]),
    ("two magics", "plain", ONE[0] + ONE[1]),
    ("two wrappers", "plain", wrapped(1, ONE[1]) * 2),
    ("message and wrapper", "plain", ONE[1] + wrapped(1, ONE[1])),
    ("offsets all zero", "plain", ONE[1] * 3),
    ("inner offsets all zero", "plain", wrapped(1, ONE[1] * 3)),
    ("inner offsets from 7", "plain", wrapped(1, b"".join(message(1, 7 + i, b"k", b"v") for i in range(3)))),
    ("a wrapper's offset below its last", "plain", wrapped(1, b"".join(message(1, i, b"k", b"v") for i in range(3)), offset=1)),
    ("wrapper of another magic", "plain", wrapped(1, ONE[0])),
    ("wrapper of a wrapper", "plain", wrapped(1, wrapped(1, ONE[1]))),
    ("wrapper with a key", "plain", wrapped(1, ONE[1], key=b"x")),
    ("wrapper of nothing", "plain", wrapped(1, b"")),
    ("wrapper without a value", "plain", message(1, 0, None, None, attributes=1)),
    ("inner crc wrong", "plain", wrapped(0, broken(ONE[0], 28))),
    ("inner message cut", "plain", wrapped(0, ONE[0] + ONE[0][:-1])),
    ("wrapper of zstd", "plain", message(1, 0, None, b"xxxxxxxxxxxxxxx", attributes=4)),
    ("bytes behind the value", "plain", (lambda body: struct.pack(">qiI", 0, len(body) + 4, zlib.crc32(body)) + body)(ONE[0][16:] + b"more")),
    ("a v2 batch", "plain", V2),
    ("two v2 batches", "plain", V2 * 2),
    ("v2 behind v1", "plain", ONE[1] + V2),
]


def produce(sock, version, topic, records):
    body = struct.pack(">hii", -1, 5000, 1) + wire.string(topic) + struct.pack(">iii", 1, 0, len(records)) + records
    sock.sendall(wire.request(wire.PRODUCE, version, 1, body))
    _, answer = wire.read_frame(sock)
    at = 4 + 2 + len(topic) + 4 + 4
    error, base = struct.unpack(">hq", answer[at:at + 10])
    line = f"error {error} offset {base}"
    if version >= 2:
        stamp = struct.unpack(">q", answer[at + 10:at + 18])[0]
        line += f" time {when(stamp)}"
    return line


def fetch(sock, version, topic, offset, most=1 << 20):
    body = struct.pack(">iii", -1, 100, 1) + (struct.pack(">i", 1 << 22) if version >= 3 else b"") + (b"\0" if version >= 4 else b"")
    body += struct.pack(">i", 1) + wire.string(topic) + struct.pack(">iiqi", 1, 0, offset, most)
    sock.sendall(wire.request(wire.FETCH, version, 1, body))
    _, answer = wire.read_frame(sock)
    at = (4 if version >= 1 else 0) + 4 + 2 + len(topic) + 4 + 4
    error, mark = struct.unpack(">hq", answer[at:at + 10])
    at += 10 + (12 if version >= 4 else 0)
    size = struct.unpack(">i", answer[at:at + 4])[0]
    return error, mark, answer[at + 4:at + 4 + max(size, 0)]


def when(stamp):
    return "now" if abs(stamp - time.time() * 1000) < 86_400_000 else stamp


def batches(data):
    at = 0
    while at + 61 <= len(data):
        base, length, _, magic, _, attributes, delta, first, last, pid, epoch, sequence, count = struct.unpack(">qiibIhiqqqhii", data[at:at + 61])
        if at + 12 + length > len(data):
            break
        records = data[at + 61:at + 12 + length]
        codec = attributes & 7
        shown = records.hex() if codec == 0 else zlib.decompress(records, 31).hex() if codec == 1 else "compressed"
        yield (f"{base}+{delta} magic {magic} attributes {attributes} times {when(first)} {when(last)} producer {pid}/{epoch}/{sequence} "
               f"count {count} {shown}")
        at += 12 + length


def messages(data, indent=""):
    at = 0
    while at + 26 <= len(data):
        offset, size, crc, magic, attributes = struct.unpack(">qiIbb", data[at:at + 18])
        end = at + 12 + size
        if end > len(data) or offset < 0:
            break
        assert zlib.crc32(data[at + 16:end]) == crc, f"crc of the message at {offset}"
        here, stamp = at + 18, ""
        if magic:
            stamp = f" time {when(struct.unpack('>q', data[here:here + 8])[0])}"
            here += 8
        fields = []
        for _ in range(2):
            length = struct.unpack(">i", data[here:here + 4])[0]
            fields.append(None if length < 0 else data[here + 4:here + 4 + length])
            here += 4 + max(length, 0)
        if attributes & 7 == 0:
            yield f"{indent}{offset} magic {magic} attributes {attributes}{stamp} {fields[0]} {fields[1]}"
        else:
            yield f"{indent}{offset} magic {magic} attributes {attributes}{stamp} wrapper"
            if attributes & 7 == 1:
                yield from messages(zlib.decompress(fields[1], 31), indent + "  ")
        at = end


def last_offset(data):
    at, last = 0, -1
    while at + 26 <= len(data):
        offset, size = struct.unpack(">qi", data[at:at + 12])
        if at + 12 + size > len(data) or offset < 0:
            break
        at, last = at + 12 + size, offset
    return last


def lines_of(port):
    lines = []
    with connect(port) as sock:
        for topic, configs in TOPICS.items():
            error = wire.create_topic(sock, RUN + topic, configs=configs)
            assert error == 0, f"{topic}: {error}"
        time.sleep(2)
        for name, topic, records in CASES:
            for version in (0, 1, 2) if topic == "plain" else (2,):
                lines.append(f"produce v{version} to {topic}: {name}: {produce(sock, version, RUN + topic, records)}")
        for topic in TOPICS:
            error, mark, data = fetch(sock, 4, RUN + topic, 0)
            lines.append(f"fetch v4 of {topic}: error {error} high watermark {mark}")
            lines.extend(f"   {line}" for line in batches(data))
        produce(sock, 2, RUN + "no-down", ONE[1])
        for topic in list(TOPICS)[1:]:
            for version in range(4):
                for offset in (0, 4):
                    error, mark, data = fetch(sock, version, RUN + topic, offset)
                    lines.append(f"fetch v{version} of {topic} from {offset}: error {error} high watermark {mark}")
                    # How much one answer brings is the broker's choice.
                    while error == 0 and data:
                        lines.extend(f"   {line}" for line in messages(data))
                        last = last_offset(data)
                        assert last >= offset, f"no progress at {offset}"
                        offset = last + 1
                        error, mark, data = fetch(sock, version, RUN + topic, offset)
    return lines


def main():
    if sys.argv[1:2] == ["--record"]:
        print("\n".join(lines_of(int(sys.argv[2]))))
        return
    expected = (HERE / "old_formats-3.9.2.txt").read_text().splitlines()
    with Broker({"num.partitions": "1"}) as broker:
        got = lines_of(broker.port)
    difference = list(difflib.unified_diff(expected, got, "Apache Kafka 3.9.2", "Odradek", n=1, lineterm=""))
    print("\n".join(difference) or f"{len(got)} lines are equal")
    sys.exit(1 if difference else 0)


main()
