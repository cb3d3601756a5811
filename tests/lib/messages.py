"""Any message of the protocol as plain dicts, from the project's schema files (standard library only).

connection = Connection(port); connection.call("JoinGroup", 5, group_id="g", ...) -> dict of the response
Fields that are not given take their defaults; unknown names are errors."""
import functools
import importlib.util
import pathlib
import socket
import struct

ROOT = pathlib.Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("protogen", ROOT / "tools/protogen.py")
protogen = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(protogen)

INTS = {"bool": "?", "int8": "b", "int16": "h", "int32": "i", "int64": "q", "uint16": "H", "uint32": "I", "float64": "d"}


@functools.cache
def schemas():
    """Name of the API -> (key, flexible from, request, response)."""
    found = {}
    for path in sorted((ROOT / "src/protocol/schema").rglob("*.schema")):
        schema = protogen.parse_file(str(path))
        if schema.api:
            by_kind = {message.kind: message for message in schema.messages}
            found[schema.api[0]] = (schema.api[1], schema.api[4], by_kind["request"], by_kind["response"])
    return found


def uvarint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise EOFError("the message ends early")
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, form):
        return struct.unpack(">" + form, self.take(struct.calcsize(">" + form)))[0]

    def uvarint(self):
        value, shift = 0, 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7


def _within(version, versions):
    return versions is not None and versions[0] <= version <= versions[1]


def _default(field):
    if field.default == "null":
        return None
    if field.array:
        return []
    if field.element in INTS:
        return {"true": True, "false": False}.get(field.default, None) if field.element == "bool" and field.default else int(field.default or 0)
    if field.element == "uuid":
        return bytes(16)
    if field.element == "string":
        return field.default or ""
    if field.element in ("bytes", "records"):
        return b""
    return {}


def _put_length(out, length, flexible, short):
    if flexible:
        out += uvarint(length + 1)
    else:
        out += struct.pack(">h" if short else ">i", length)


def _encode_value(message, element, value, version, flexible, out):
    if element in INTS:
        out += struct.pack(">" + INTS[element], value)
    elif element == "uuid":
        out += value
    elif element in ("string", "bytes", "records"):
        if value is None:
            _put_length(out, -1, flexible, element == "string")
        else:
            data = value.encode() if isinstance(value, str) else value
            _put_length(out, len(data), flexible, element == "string")
            out += data
    else:
        _encode_struct(message, message.structs[element], value, version, out)


def _encode_field(message, field, value, version, flexible, out):
    if field.array:
        _put_length(out, -1 if value is None else len(value), flexible, False)
        for each in value or []:
            _encode_value(message, field.element, each, version, flexible, out)
    else:
        if field.is_struct and field.nullable:
            out += b"\xff" if value is None else b"\x01"
            if value is None:
                return
        _encode_value(message, field.element, value, version, flexible, out)


def _encode_struct(message, structure, values, version, out):
    flexible = version >= message.flexible_from
    unknown = set(values) - {field.name for field in structure.fields}
    if unknown:
        raise KeyError(f"{structure.name} has no {sorted(unknown)}")
    tagged = []
    for field in structure.fields:
        if not _within(version, field.versions):
            continue
        value = values.get(field.name, _default(field))
        if field.tag is None:
            _encode_field(message, field, value, version, flexible, out)
        elif field.name in values:
            payload = bytearray()
            _encode_field(message, field, value, version, flexible, payload)
            tagged.append((field.tag, payload))
    if flexible:
        out += uvarint(len(tagged))
        for tag, payload in sorted(tagged):
            out += uvarint(tag) + uvarint(len(payload)) + payload


def _length(reader, flexible, short):
    return reader.uvarint() - 1 if flexible else reader.number("h" if short else "i")


def _decode_value(message, element, version, flexible, reader):
    if element in INTS:
        return reader.number(INTS[element])
    if element == "uuid":
        return reader.take(16)
    if element in ("string", "bytes", "records"):
        length = _length(reader, flexible, element == "string")
        if length < 0:
            return None
        data = reader.take(length)
        return data.decode() if element == "string" else data
    return _decode_struct(message, message.structs[element], version, reader)


def _decode_field(message, field, version, flexible, reader):
    if field.array:
        count = _length(reader, flexible, False)
        return None if count < 0 else [_decode_value(message, field.element, version, flexible, reader) for _ in range(count)]
    if field.is_struct and field.nullable and reader.number("b") < 0:
        return None
    return _decode_value(message, field.element, version, flexible, reader)


def _decode_struct(message, structure, version, reader):
    flexible = version >= message.flexible_from
    values = {}
    for field in structure.fields:
        if _within(version, field.versions) and field.tag is None:
            values[field.name] = _decode_field(message, field, version, flexible, reader)
    if flexible:
        tagged = {field.tag: field for field in structure.fields if field.tag is not None and _within(version, field.versions)}
        for _ in range(reader.uvarint()):
            tag, size = reader.uvarint(), reader.uvarint()
            payload = Reader(reader.take(size))
            if tag in tagged:
                values[tagged[tag].name] = _decode_field(message, tagged[tag], version, flexible, payload)
    return values


class Connection:
    def __init__(self, port, host="127.0.0.1", client_id="probe", timeout=30):
        self.socket = socket.create_connection((host, port), timeout)
        self.client_id, self.correlation, self.waiting = client_id, 0, []

    def close(self):
        self.socket.close()

    def send(self, api, version, **fields):
        key, flexible_from, request, _ = schemas()[api]
        self.correlation += 1
        body = bytearray(struct.pack(">hhi", key, version, self.correlation))
        body += struct.pack(">h", len(self.client_id)) + self.client_id.encode()
        if version >= flexible_from:
            body += b"\0"
        _encode_struct(request, request.root, fields, version, body)
        self.socket.sendall(struct.pack(">i", len(body)) + body)
        self.waiting.append((api, version, self.correlation))

    def receive(self, timeout=30):
        """The answer to the oldest request."""
        api, version, correlation = self.waiting.pop(0)
        self.socket.settimeout(timeout)
        frame = Reader(self._exactly(struct.unpack(">i", self._exactly(4))[0]))
        got = frame.number("i")
        assert got == correlation, (got, correlation)
        _, flexible_from, _, response = schemas()[api]
        if version >= flexible_from and api != "ApiVersions":
            assert frame.uvarint() == 0
        answer = _decode_struct(response, response.root, version, frame)
        assert frame.at == len(frame.data), f"{len(frame.data) - frame.at} bytes too many in the answer to {api} v{version}"
        return answer

    def call(self, api, version, timeout=30, **fields):
        self.send(api, version, **fields)
        return self.receive(timeout)

    def answered(self, wait):
        """Whether an answer comes within `wait` seconds."""
        import select
        return bool(select.select([self.socket], [], [], wait)[0])

    def _exactly(self, count):
        data = bytearray()
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError("the connection was closed")
            data += piece
        return bytes(data)
