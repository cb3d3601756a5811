#!/usr/bin/env python3
# timeout: 600
"""Malformed, cut, oversized, slow, out-of-order and half-closed input: after each a fresh connection is answered within 2 s,
the broker lives, and its memory stays bounded."""
import pathlib
import random
import socket
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import FULL, Broker, connect, wait_until
import wire


def resident_mib(broker):
    for line in open(f"/proc/{broker.process.pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0


def answered(broker, after):
    start = time.monotonic()
    with connect(broker.port, 2) as sock:
        sock.settimeout(2)
        assert wire.API_VERSIONS in wire.api_versions(sock)
    took = time.monotonic() - start
    assert took < 2, f"after {after}: answered in {took:.1f} s"
    assert broker.alive(), f"after {after}: the broker is gone"


def expect_close(broker, what, data):
    with connect(broker.port) as sock:
        try:
            sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert wire.is_closed(sock), f"{what}: the connection stays open"
    answered(broker, what)


with Broker({"num.partitions": "2"}) as broker:
    topic = "hostile"
    with connect(broker.port) as sock:
        assert wire.create_topic(sock, topic, 2) == 0
        assert wire.produce(sock, topic, 0, wire.batch([b"first"])) == (0, 0)
    answered(broker, "start")

    # Frames that are no frames.
    for size in (-1, -(1 << 31), (1 << 31) - 1, 104857601):
        expect_close(broker, f"size {size}", struct.pack(">i", size) + b"x" * 100)
    for size in range(0, 8):
        expect_close(broker, f"a frame of {size} bytes", struct.pack(">i", size) + b"\0" * size)
    expect_close(broker, "unknown api", wire.request(999, 0, 1))
    expect_close(broker, "negative api", wire.request(-1, 0, 1))
    expect_close(broker, "api version 99", wire.request(wire.METADATA, 99, 1))
    expect_close(broker, "api version -1", wire.request(wire.METADATA, -1, 1))
    expect_close(broker, "text of another protocol", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    expect_close(broker, "a TLS hello", bytes.fromhex("16030100c8010000c40303") + b"\1" * 200)
    expect_close(broker, "client id longer than the frame", struct.pack(">ihhih", 20, 3, 1, 1, 30000) + b"x" * 10)

    # Counts and lengths that the frame cannot hold.
    for claim in (0x7FFFFFFF, 0x10000000, -2, 1000):
        expect_close(broker, f"{claim} topics in Metadata", wire.request(wire.METADATA, 1, 1, struct.pack(">i", claim)))
        expect_close(broker, f"{claim} bytes of records",
                     wire.request(wire.PRODUCE, 3, 1, wire.string(None) + struct.pack(">hii", 1, 1000, 1) + wire.string(topic)
                                  + struct.pack(">iii", 1, 0, claim) + b"xy"))
    expect_close(broker, "an endless varint", wire.request(wire.METADATA, 9, 1, b"\xff" * 12, flexible=True))
    with connect(broker.port) as sock:  # ignored, as Kafka does: librdkafka leaves some behind its Metadata request
        for version, body in ((0, b"\0\0\0\0trailing"), (1, b"\0\0\0\0trailing"), (12, b"\0\1\0\0\0\0\0")):
            sock.sendall(wire.request(wire.METADATA, version, version, body, flexible=version >= 9))
            assert wire.read_frame(sock)[0] == version
    answered(broker, "trailing bytes")

    # Numbers of partitions that no memory holds.
    with connect(broker.port) as sock:
        for count in (2**31 - 1, -2**31, -2**31 + 1, 2**30):
            body = struct.pack(">i", 1) + wire.string(topic) + struct.pack(">iiib", count, -1, 1000, 1)
            sock.sendall(wire.request(37, 0, 1, body))
            assert struct.unpack(">h", wire.read_frame(sock)[1][8 + 2 + len(topic):][:2])[0] == 37, count
            assert wire.create_topic(sock, "huge", count) == 37, count
    answered(broker, "absurd numbers of partitions")

    # A good request cut at each byte, then closed or half-closed.
    good = wire.request(wire.PRODUCE, 3, 1, wire.produce_body(topic, 0, wire.batch([b"cut"])))
    for cut in range(1, len(good), 1 if FULL else 7):
        with connect(broker.port) as sock:
            sock.sendall(good[:cut])
            sock.shutdown(socket.SHUT_WR)
            assert wire.is_closed(sock), f"half-closed after {cut} bytes"
    answered(broker, "cut requests")
    with connect(broker.port) as sock:
        assert wire.fetch(sock, topic, 0, 0)[1] == 1, "a cut request was appended"

    # Half-closed behind a whole request: the answer still comes.
    with connect(broker.port) as sock:
        sock.sendall(wire.request(wire.METADATA, 1, 5, struct.pack(">i", 0)))
        sock.shutdown(socket.SHUT_WR)
        assert wire.read_frame(sock)[0] == 5
    answered(broker, "half-close")

    # Random bytes as bodies of every api and version.
    random.seed(7)
    with connect(broker.port) as sock:
        offered = wire.api_versions(sock)
    for key, (low, high) in offered.items():
        for version in range(low, high + 1):
            for _ in range(20 if FULL else 3):
                with connect(broker.port) as sock:
                    sock.settimeout(10)
                    body = random.randbytes(random.choice([0, 1, 3, 8, 40, 300]))
                    sock.sendall(wire.request(key, version, 1, body, flexible=random.random() < 0.7))
                    sock.shutdown(socket.SHUT_WR)
                    try:
                        while sock.recv(65536):
                            pass
                    except ConnectionResetError:
                        pass
    answered(broker, "random bodies")

    # Broken batches: an error code, nothing appended, the connection goes on.
    with connect(broker.port) as sock:
        def refused(what, records, *codes):
            error, base = wire.produce(sock, topic, 0, records)
            assert error in codes and base == -1, f"{what}: error {error}, base offset {base}"

        whole = wire.batch([b"a", b"b"])
        flipped = bytearray(whole)
        flipped[-2] ^= 1
        refused("wrong CRC", bytes(flipped), 2)
        refused("no batch", b"", 87, 2)
        refused("cut batch", whole[:-1], 2, 87)
        refused("two batches", whole + whole, 87)
        for at, name in ((8, "length"), (16, "magic"), (23, "last offset delta"), (57, "count")):
            for value in (0, 0x7F, 0xFF):
                broken = bytearray(whole)
                broken[at] = value
                if broken[at] == whole[at]:
                    continue
                tail = bytes(broken[21:])
                broken[17:21] = struct.pack(">I", wire.crc32c(tail))
                refused(f"{name} {value}", bytes(broken), 2, 87, 10, 43, 35)
        refused("too large", wire.batch([b"z" * 2_000_000]), 10)
        refused("control batch", wire.batch([b"a"], attributes=0x20), 87)
        # As in Kafka, a cut-off tail behind a whole batch is dropped; only the batch is kept.
        assert wire.produce(sock, topic, 0, wire.batch([b"second"]) + b"xyz") == (0, 1)
        assert [v for _, _, b in wire.batches(wire.fetch(sock, topic, 0, 0)[2]) for v in wire.values(b)] == [b"first", b"second"]
    answered(broker, "broken batches")

    # Requests that name very many things, or one thing very often: each is worked off about as fast as it is read.
    def asked(what, key, version, body, flexible=False):
        with connect(broker.port, 60) as sock:
            sock.sendall(wire.request(key, version, 9, body, flexible=flexible))
            correlation, rest = wire.read_frame(sock)
            assert correlation == 9
        answered(broker, what)
        return rest

    many = 200_000
    names = [wire.string(f"n{i}") for i in range(many)]
    count = struct.pack(">i", many)
    before = resident_mib(broker)
    unknown_member = wire.string("many") + struct.pack(">i", 1) + wire.string("x")
    wait_until(lambda: asked("a coordinator", 10, 0, wire.string("many"))[:2] == b"\0\0" and asked("a heartbeat", 12, 0, unknown_member) == b"\0\x19",
               what="a coordinator that has loaded its groups")
    # One that brings more than its group's log could ever take is refused.
    for number, error in ((20_000, b"\0\0"), (many, b"\0\x51")):
        answer = asked(f"{number} protocols of a member", 11, 2, wire.string("many") + struct.pack(">ii", 10000, 10000) + wire.string("") + wire.string("x")
                       + struct.pack(">i", number) + b"".join(name + b"\0\0\0\0" for name in names[:number]))
        assert answer[4:6] == error, answer[:8]
    assert asked("many groups to delete", 42, 0, count + b"".join(names))[4:8] == count
    assert asked("many resources to alter", 33, 0, count + b"".join(b"\2" + name + b"\0\0\0\0" for name in names) + b"\1")[4:8] == count
    replicas = ",".join(f"{i % 1000}:0" for i in range(many)).encode()

    def compact(size):
        varint = bytearray()
        while size >= 0x80:
            varint.append(size & 0x7F | 0x80)
            size >>= 7
        varint.append(size)
        return bytes(varint)

    def append(replicas):
        return (b"\2\2" + bytes([len(topic) + 1]) + topic.encode() + b"\2\x26leader.replication.throttled.replicas\2" + compact(len(replicas) + 1) + replicas
                + b"\0\0\1\0")

    longest = replicas[:replicas[:0x7FFF].rindex(b",")]
    answer = asked("as many elements to append as a string holds", 44, 1, append(longest), flexible=True)
    assert answer[6:8] == b"\0\0", answer[:40]
    # Kafka's generated classes take no longer one either.
    expect_close(broker, "a string of more than 32,767 bytes", wire.request(44, 1, 9, append(replicas), flexible=True))
    answer = asked("many brokers that are not there", 37, 0, struct.pack(">i", 1) + wire.string(topic) + struct.pack(">i", 3) + count
                   + b"".join(struct.pack(">ii", 1, 1000 + i) for i in range(many)) + struct.pack(">ib", 1000, 1))
    assert answer[10 + len(topic):12 + len(topic)] == b"\0\x27", answer[:40]
    answer = asked("many replicas to move", 34, 0, struct.pack(">i", 1) + wire.string("/nowhere") + count
                   + b"".join(name + struct.pack(">ii", 1, 0) for name in names))
    assert answer[4:8] == count
    assert asked("one topic's configs very often", 32, 1, count + (b"\2" + wire.string(topic) + b"\xff\xff\xff\xff") * many + b"\1")[4:8] == count
    answer = asked("one partition very often", wire.FETCH, 4, struct.pack(">iiiib", -1, 0, 1, 1 << 20, 0) + struct.pack(">i", 1) + wire.string(topic)
                   + count + struct.pack(">iqi", 0, 0, 1 << 20) * many)
    assert struct.unpack(">i", answer[10 + len(topic):14 + len(topic)])[0] == 1, answer[:40]
    # The group's name would stand 80,000 times in one batch of more than 2 GiB.
    long_name = "g" * 30_000
    wait_until(lambda: asked("a coordinator", 10, 0, wire.string(long_name))[:2] == b"\0\0"
               and asked("a heartbeat", 12, 0, wire.string(long_name) + struct.pack(">i", 1) + wire.string("x")) == b"\0\x19",
               what="a coordinator of a group with a long name")
    answer = asked("a commit of 80,000 offsets", 8, 2, wire.string(long_name) + struct.pack(">i", -1) + wire.string("") + struct.pack(">qi", -1, 1)
                   + wire.string(topic) + struct.pack(">i", 80_000) + struct.pack(">iqh", 0, 1, 0) * 80_000)
    assert answer[-2:] == b"\0\x1c", answer[-10:]
    expect_close(broker, "offsets of 1,000,001 partitions",
                 wire.request(9, 1, 1, wire.string("many") + struct.pack(">i", 1) + wire.string(topic) + struct.pack(">i", 1_000_001) + b"\0\0\0\0" * 1_000_001))
    expect_close(broker, "groups of three bytes", wire.request(9, 8, 1, b"\x81\x92\xf4\x01" + b"\1\0\0" * 4_000_000 + b"\0\0", flexible=True))
    grown = resident_mib(broker) - before
    assert grown < 400, f"many names took {grown:.0f} MiB"

    # Checked at once, without a write to wait for; 36 configs of each would be 1.6 GB in memory.
    before = resident_mib(broker)
    assert asked("many topics to check", wire.CREATE_TOPICS, 4, count + b"".join(name + struct.pack(">ihii", 1, 1, 0, 0) for name in names)
                 + struct.pack(">ib", 1000, 1))[4:8] == count
    checked = b"".join(bytes([len(name) - 1]) + name[2:] + struct.pack(">ih", 1, 1) + b"\1\1\0" for name in names)
    answer = asked("many topics to check and describe", wire.CREATE_TOPICS, 5, compact(many + 1) + checked + struct.pack(">ib", 1000, 1) + b"\0", flexible=True)
    assert answer[5:5 + len(compact(many + 1))] == compact(many + 1) and len(answer) < 32 << 20, len(answer)
    grown = resident_mib(broker) - before
    assert grown < 300, f"many topics to check took {grown:.0f} MiB"

    # 40 connections that each claim 100 MiB and send little of it.
    before = resident_mib(broker)
    claims = []
    for _ in range(40):
        sock = connect(broker.port)
        sock.sendall(struct.pack(">i", 104857600) + b"\0\0\0\3" + b"x" * 1000)
        claims.append(sock)
    time.sleep(0.5)
    answered(broker, "40 claims of 100 MiB")
    grown = resident_mib(broker) - before
    assert grown < 64, f"claims alone took {grown:.0f} MiB"
    for sock in claims:
        sock.close()

    # Slow senders, a byte at a time, beside a normal client.
    slow = [connect(broker.port) for _ in range(50)]
    piece = wire.request(wire.METADATA, 1, 1, struct.pack(">i", 0))
    for at in range(12):
        for sock in slow:
            sock.sendall(piece[at:at + 1])
    answered(broker, "slow senders")
    for sock in slow:
        sock.sendall(piece[12:])
    for sock in slow:
        assert wire.read_frame(sock)[0] == 1
        sock.close()

    # 10,000 pipelined requests by a client that does not read until later: answers come in order.
    before = resident_mib(broker)
    with connect(broker.port) as sock:
        sock.setblocking(False)
        data = b"".join(wire.request(wire.METADATA, 1, i, struct.pack(">i", -1)) for i in range(10000))
        sent = 0
        last_progress = time.monotonic()
        while sent < len(data) and time.monotonic() - last_progress < 2:
            try:
                sent += sock.send(data[sent:sent + 65536])
                last_progress = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        answered(broker, "10,000 requests without reading")
        grown = resident_mib(broker) - before
        assert grown < 64, f"unread answers took {grown:.0f} MiB"
        sock.setblocking(True)
        sock.settimeout(20)
        expected = 0
        while expected < 10000:
            if sent < len(data):
                sock.setblocking(False)
                try:
                    sent += sock.send(data[sent:sent + 65536])
                except BlockingIOError:
                    pass
                sock.settimeout(20)
            correlation, _ = wire.read_frame(sock)
            assert correlation == expected, (correlation, expected)
            expected += 1
    answered(broker, "reading them")

    # Pipelined produces keep their order, mixed with fetches that wait.
    with connect(broker.port) as sock:
        frames = []
        for i in range(100):
            frames.append(wire.request(wire.PRODUCE, 3, 2 * i, wire.produce_body(topic, 1, wire.batch([b"%d" % i]))))
            frames.append(wire.request(wire.FETCH, 4, 2 * i + 1, wire.fetch_body(topic, 1, i, max_wait_ms=50)))
        sock.sendall(b"".join(frames))
        for i in range(200):
            correlation, body = wire.read_frame(sock)
            assert correlation == i, (correlation, i)
    with connect(broker.port) as sock:
        seen = [v for _, _, b in wire.batches(wire.fetch(sock, topic, 1, 0)[2]) for v in wire.values(b)]
        assert seen == [b"%d" % i for i in range(100)], seen[:5]

    # acks=0: no answer; an error closes the connection.
    with connect(broker.port) as sock:
        sock.sendall(wire.request(wire.PRODUCE, 3, 1, wire.produce_body(topic, 1, wire.batch([b"quiet"]), acks=0)))
        assert wire.api_versions(sock, 2)
        sock.sendall(wire.request(wire.PRODUCE, 3, 3, wire.produce_body("no-such-topic", 1, wire.batch([b"quiet"]), acks=0)))
        assert wire.is_closed(sock), "acks=0 to an unknown topic"
    answered(broker, "acks=0")
    assert resident_mib(broker) < 512, f"{resident_mib(broker):.0f} MiB at the end"
print("hostile input: all answered")
