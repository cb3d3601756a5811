"""A ZooKeeper server for tests (zookeeper.sh) and a client that reads its tree, in Python's standard library."""
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

from broker import ROOT, free_port, not_run


class Server:
    """`with Server() as zk: zk.address`. kill() and start() keep port and data. `prefix`: words before the command, with the address `host` there."""

    def __init__(self, host="127.0.0.1", prefix=()):
        self.port, self.host, self.prefix = free_port(), host, list(prefix)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="odradek-zookeeper-"))
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def start(self, wait=120):
        self.process = subprocess.Popen([*self.prefix, ROOT / "tests/lib/zookeeper.sh", str(self.port), str(self.folder), self.host], stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                why = self.process.stdout.read().strip()
                self.process = None
                not_run(why or "the ZooKeeper server ended at once")
            try:
                Client(self.port, host=self.host).close()
                return
            except (OSError, EOFError):
                time.sleep(0.1)
        raise RuntimeError("the ZooKeeper server did not answer")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        self.process = None


class Refused(Exception):
    """The server's error code, such as -101: no node."""


class Client:
    """One session. Paths are absolute; no watches, no pings: for calls within `timeout_ms`."""

    def __init__(self, port, timeout_ms=30000, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), 10)
        self.socket.settimeout(30)
        self.xid = 0
        self._send(struct.pack(">iqiq", 0, 0, timeout_ms, 0) + self._buffer(bytes(16)) + b"\0")
        answer = self._receive()
        self.session = struct.unpack_from(">q", answer, 8)[0]

    def _send(self, body):
        self.socket.sendall(struct.pack(">i", len(body)) + body)

    def _read(self, size):
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise EOFError("the connection was closed")
            data += part
        return data

    def _receive(self):
        return self._read(struct.unpack(">i", self._read(4))[0])

    @staticmethod
    def _buffer(data):
        return struct.pack(">i", len(data)) + data

    def _call(self, kind, body):
        self.xid += 1
        self._send(struct.pack(">ii", self.xid, kind) + body)
        answer = self._receive()
        error = struct.unpack_from(">i", answer, 12)[0]
        if error != 0:
            raise Refused(error)
        return answer[16:]

    def get(self, path):
        """Data and the names of the Stat's fields."""
        answer = self._call(4, self._buffer(path.encode()) + b"\0")
        size = max(struct.unpack_from(">i", answer)[0], 0)
        names = ("czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion", "ephemeral_owner", "data_length", "children", "pzxid")
        return answer[4:4 + size], dict(zip(names, struct.unpack_from(">qqqqiiiqiiq", answer, 4 + size)))

    def children(self, path):
        answer = self._call(8, self._buffer(path.encode()) + b"\0")
        count, at, names = struct.unpack_from(">i", answer)[0], 4, []
        for _ in range(count):
            size = struct.unpack_from(">i", answer, at)[0]
            names.append(answer[at + 4:at + 4 + size].decode())
            at += 4 + size
        return sorted(names)

    def create(self, path, data=b"", ephemeral=False):
        anyone = struct.pack(">ii", 1, 31) + self._buffer(b"world") + self._buffer(b"anyone")
        self._call(1, self._buffer(path.encode()) + self._buffer(data) + anyone + struct.pack(">i", 1 if ephemeral else 0))

    def delete(self, path):
        self._call(2, self._buffer(path.encode()) + struct.pack(">i", -1))

    def exists(self, path):
        try:
            self.get(path)
            return True
        except Refused:
            return False

    def tree(self, root):
        """Path below `root` → (data, Stat) of every node."""
        nodes, todo = {}, [""]
        while todo:
            path = todo.pop()
            try:
                nodes[path or "/"] = self.get(root + path or "/")
                todo += [f"{path}/{name}" for name in self.children(root + path or "/")]
            except Refused:
                pass  # gone meanwhile
        return nodes

    def close(self):
        try:
            self._call(-11, b"")
        except (Refused, EOFError, OSError):
            pass
        self.socket.close()
