"""Raw requests over a plain socket: just enough of the protocol to ask, and to ask wrongly (standard library only)."""
import gzip
import socket
import struct
import zlib

PRODUCE, FETCH, LIST_OFFSETS, METADATA, API_VERSIONS, CREATE_TOPICS, INIT_PRODUCER_ID = 0, 1, 2, 3, 18, 19, 22


def string(text):
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text.encode())) + text.encode()


def request(key, version, correlation, body=b"", client="wire", flexible=False):
    """A whole frame with request header v1 (v2 when flexible)."""
    head = struct.pack(">hhi", key, version, correlation) + string(client) + (b"\0" if flexible else b"")
    return struct.pack(">i", len(head) + len(body)) + head + body


def read_exactly(sock, count):
    data = bytearray()
    while len(data) < count:
        piece = sock.recv(min(count - len(data), 1 << 20))
        if not piece:
            raise EOFError(f"closed after {len(data)} of {count} bytes")
        data += piece
    return bytes(data)


def read_frame(sock):
    """(correlation id, rest of the frame)."""
    size = struct.unpack(">i", read_exactly(sock, 4))[0]
    frame = read_exactly(sock, size)
    return struct.unpack(">i", frame[:4])[0], frame[4:]


def is_closed(sock, wait=10):
    """True when the peer closes the connection within `wait` seconds without sending anything more."""
    sock.settimeout(wait)
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True
    except socket.timeout:
        return False


def api_versions(sock, correlation=7):
    """Asks ApiVersions v0; {key: (min, max)}."""
    sock.sendall(request(API_VERSIONS, 0, correlation))
    got, body = read_frame(sock)
    assert got == correlation, (got, correlation)
    error, count = struct.unpack(">hi", body[:6])
    assert error == 0, error
    return {k: (low, high) for k, low, high in struct.iter_unpack(">hhh", body[6:6 + 6 * count])}


def _crc32c_table():
    table = []
    for i in range(256):
        value = i
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def varint(value):
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def batch(values, producer_id=-1, epoch=-1, sequence=-1, timestamp=1_700_000_000_000, attributes=0):
    """A v2 batch of records without keys."""
    records = b""
    for i, value in enumerate(values):
        body = b"\0" + varint(0) + varint(i) + varint(-1) + varint(len(value)) + value + varint(0)
        records += varint(len(body)) + body
    tail = struct.pack(">hiqqqhii", attributes, len(values) - 1, timestamp, timestamp, producer_id, epoch, sequence, len(values)) + records
    return struct.pack(">qiibI", 0, len(tail) + 9, -1, 2, crc32c(tail)) + tail


def message(magic, offset, key, value, attributes=0, timestamp=1_700_000_000_000):
    """A message of format v0 or v1."""
    field = lambda x: struct.pack(">i", -1) if x is None else struct.pack(">i", len(x)) + x
    body = struct.pack(">bb", magic, attributes) + (struct.pack(">q", timestamp) if magic else b"") + field(key) + field(value)
    return struct.pack(">qiI", offset, len(body) + 4, zlib.crc32(body)) + body


def wrapped(magic, inner, **options):
    """A wrapper of the messages `inner`, compressed with gzip."""
    return message(magic, options.pop("offset", 0), options.pop("key", None), gzip.compress(inner, mtime=0), attributes=1, **options)


def produce_body(topic, partition, records, acks=1, timeout_ms=5000, transactional_id=None):
    """Produce v3 .. v8."""
    return (string(transactional_id) + struct.pack(">hii", acks, timeout_ms, 1) + string(topic) + struct.pack(">iii", 1, partition, len(records))
            + records)


def produce(sock, topic, partition, records, acks=1, correlation=1):
    """Produce v3; (error, base offset)."""
    sock.sendall(request(PRODUCE, 3, correlation, produce_body(topic, partition, records, acks)))
    _, body = read_frame(sock)
    at = 4 + 2 + len(topic.encode()) + 4 + 4
    return struct.unpack(">hq", body[at:at + 10])


def fetch_body(topic, partition, offset, max_wait_ms=100, min_bytes=1, max_bytes=1 << 20):
    """Fetch v4."""
    return (struct.pack(">iiiibi", -1, max_wait_ms, min_bytes, max_bytes, 0, 1) + string(topic)
            + struct.pack(">iiqi", 1, partition, offset, max_bytes))


def fetch(sock, topic, partition, offset, correlation=1, **limits):
    """Fetch v4 of one partition; (error, high watermark, record bytes)."""
    sock.sendall(request(FETCH, 4, correlation, fetch_body(topic, partition, offset, **limits)))
    _, body = read_frame(sock)
    at = 4 + 4 + 2 + len(topic.encode()) + 4 + 4
    error, high_watermark, _, aborted = struct.unpack(">hqqi", body[at:at + 22])
    at += 22 + max(aborted, 0) * 16
    size = struct.unpack(">i", body[at:at + 4])[0]
    return error, high_watermark, body[at + 4:at + 4 + max(size, 0)]


def create_topic(sock, topic, partitions=1, replication=1, configs=None, correlation=1, assignment=None):
    """CreateTopics v1; the error code. `assignment`: the replicas of each partition, instead of the counts."""
    configs = configs or {}
    if assignment:
        partitions = replication = -1
    body = (struct.pack(">i", 1) + string(topic) + struct.pack(">ihi", partitions, replication, len(assignment or []))
            + b"".join(struct.pack(f">ii{len(r)}i", p, len(r), *r) for p, r in enumerate(assignment or [])) + struct.pack(">i", len(configs))
            + b"".join(string(k) + string(v) for k, v in configs.items()) + struct.pack(">ib", 10000, 0))
    sock.sendall(request(CREATE_TOPICS, 1, correlation, body))
    _, answer = read_frame(sock)
    at = 4 + 2 + len(topic.encode())
    return struct.unpack(">h", answer[at:at + 2])[0]


def batches(data):
    """Walks the v2 batches in `data`: (base offset, last offset, bytes), checking the CRC of each; drops a cut tail."""
    at = 0
    while at + 61 <= len(data):
        base, length = struct.unpack(">qi", data[at:at + 12])
        end = at + 12 + length
        if end > len(data):
            return
        assert data[at + 16] == 2, f"magic {data[at + 16]} at {at}"
        crc = struct.unpack(">I", data[at + 17:at + 21])[0]
        if length < 4096:  # the table loop is slow: big batches are checked by real clients
            assert crc32c(data[at + 21:end]) == crc, f"CRC of the batch at offset {base}"
        yield base, base + struct.unpack(">i", data[at + 23:at + 27])[0], data[at:end]
        at = end


def values(batch_bytes):
    """The record values of one uncompressed v2 batch."""
    def read(at):
        shift = value = 0
        while True:
            byte = batch_bytes[at]
            value |= (byte & 0x7F) << shift
            at += 1
            shift += 7
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1), at

    at = 61
    while at < len(batch_bytes):
        length, at = read(at)
        end = at + length
        at += 1
        _, at = read(at)
        _, at = read(at)
        key, at = read(at)
        at += max(key, 0)
        size, at = read(at)
        yield batch_bytes[at:at + size] if size >= 0 else None
        at = end




class Reader:
    """Fields of an answer, in their order."""

    def __init__(self, body):
        self.body, self.at = body, 0

    def take(self, layout):
        """The one value, or the tuple of values, of a struct layout."""
        values = struct.unpack_from(">" + layout, self.body, self.at)
        self.at += struct.calcsize(">" + layout)
        return values[0] if len(values) == 1 else values

    def text(self):
        size = self.take("h")
        if size < 0:
            return None
        self.at += size
        return self.body[self.at - size:self.at].decode()

    def array(self, read):
        return [read() for _ in range(self.take("i"))]

    def numbers(self):
        return self.array(lambda: self.take("i"))


def metadata(sock, topics=None, correlation=1):
    """Metadata v7: {"controller", "brokers": {id: (host, port)}, "topics": {name: {partition: {"error", "leader", "epoch", "replicas", "isr", "offline"}}}}.
    Topics that the broker does not know are left out."""
    names = struct.pack(">i", -1) if topics is None else struct.pack(">i", len(topics)) + b"".join(map(string, topics))
    sock.sendall(request(METADATA, 7, correlation, names + b"\0"))
    reader = Reader(read_frame(sock)[1])
    reader.take("i")
    brokers = {}
    for _ in range(reader.take("i")):
        broker = reader.take("i")
        brokers[broker] = (reader.text(), reader.take("i"))
        reader.text()
    reader.text()
    answer = {"controller": reader.take("i"), "brokers": brokers, "topics": {}}
    for _ in range(reader.take("i")):
        error, name, _ = reader.take("h"), reader.text(), reader.take("b")
        partitions = {}
        for _ in range(reader.take("i")):
            code, partition, leader, epoch = reader.take("hiii")
            partitions[partition] = {"error": code, "leader": leader, "epoch": epoch, "replicas": reader.numbers(), "isr": reader.numbers(), "offline": reader.numbers()}
        if error == 0:
            answer["topics"][name] = partitions
    return answer


def list_offset(sock, topic, partition, timestamp=-1, correlation=1):
    """ListOffsets v1 of one partition, -1 the high watermark, -2 the log start; (error, offset)."""
    sock.sendall(request(LIST_OFFSETS, 1, correlation, struct.pack(">ii", -1, 1) + string(topic) + struct.pack(">iiq", 1, partition, timestamp)))
    _, body = read_frame(sock)
    at = 4 + 2 + len(topic.encode()) + 4 + 4
    error, _, offset = struct.unpack_from(">hqq", body, at)
    return error, offset
