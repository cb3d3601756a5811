"""One directory of many partitions that Odradek makes, for both brokers: Apache Kafka starts on a copy, in ZooKeeper mode, with the tree that
`odradek metadata export` puts into a ZooKeeper of its own. Shared by partitions.py and retention.py."""
import contextlib
import os
import pathlib
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import brokers

os.environ.setdefault("ODRADEK_BIN", str(brokers.ROOT / "build/release/bin"))
sys.path.insert(0, str(brokers.ROOT / "tests/lib"))
import wire
import zookeeper

TOPICS = 20
PATIENCE_S = 900


def raise_limits():
    """As many open files as are allowed; for both brokers alike."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, 200_000), max(hard, 200_000)))


def fits(kind, partitions, segments):
    """Apache Kafka keeps the .log file of every segment open, also of the one that a further record begins: whether it may have so many."""
    raise_limits()
    return kind == "odradek" or partitions * (segments + 1) + 2000 <= resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def write_one_each(port, partitions):
    with socket.create_connection(("127.0.0.1", port), 120) as sock:
        batch = wire.batch([b"x" * 100], timestamp=int(time.time() * 1000))
        for i in range(TOPICS):
            for partition in range(partitions // TOPICS):
                until = time.monotonic() + 60
                while (error := wire.produce(sock, f"many-{i}", partition, batch)[0]) == 3 and time.monotonic() < until:
                    time.sleep(0.2)  # Kafka leads it, and has not been told of the topic yet
                if error:
                    raise RuntimeError(f"many-{i}-{partition}: error {error}")


def create(port, partitions, segments, others=()):
    """20 topics with `partitions` in all, each with so many segments of one record; `others`: name -> partitions of more topics."""
    with socket.create_connection(("127.0.0.1", port), 120) as sock:
        for i in range(TOPICS):
            # A segment for each record: they have more than half of its size.
            error = wire.create_topic(sock, f"many-{i}", partitions=partitions // TOPICS, configs={"segment.bytes": "250"} if segments > 1 else None)
            if error:
                raise RuntimeError(f"topic many-{i}: error {error}")
        for name, count in dict(others).items():
            if error := wire.create_topic(sock, name, partitions=count):
                raise RuntimeError(f"topic {name}: error {error}")
    for _ in range(segments):
        write_one_each(port, partitions)


def wait_for_one(port, records):
    """Until ListOffsets gives the end of one partition in the middle; seconds that took."""
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 120) as sock:
        while wire.list_offset(sock, f"many-{TOPICS // 2}", 1) != (0, records):
            time.sleep(0.005)
    return time.monotonic() - begin


def wait_for_all(port, partitions, records, patience_s=PATIENCE_S):
    """Until ListOffsets v1 gives the end of every partition, so each has a leader; seconds that took."""
    begin = time.monotonic()
    left = set(range(TOPICS))
    each = partitions // TOPICS
    with socket.create_connection(("127.0.0.1", port), 120) as sock:
        while left:
            for topic in sorted(left):
                name = f"many-{topic}"
                body = struct.pack(">ii", -1, 1) + wire.string(name) + struct.pack(">i", each) + b"".join(struct.pack(">iq", p, -1) for p in range(each))
                sock.sendall(wire.request(2, 1, 1, body))
                _, answer = wire.read_frame(sock)
                at = 4 + 2 + len(name) + 4
                found = [struct.unpack(">ihqq", answer[at + 22 * p:at + 22 * p + 22]) for p in range(each)]
                if all(error == 0 for _, error, _, _ in found):
                    if any(end != records for _, _, _, end in found):
                        raise RuntimeError(f"{name}: an end is not {records}")
                    left.discard(topic)
            if left:
                time.sleep(0.02)
            if time.monotonic() - begin > patience_s:
                raise RuntimeError(f"{len(left)} topics are not served after {patience_s} s")
    return time.monotonic() - begin


def copy(source, target):
    subprocess.run(["cp", "-a", "--sparse=always", str(source), str(target)], check=True)


class _Fixed:
    """A broker whose settings and folder of data are given once."""

    patience_s = PATIENCE_S

    def fix(self, settings):
        self.settings = settings
        self.data = self.folder / "data"
        return self

    def start_timed(self):
        return self.start(self.settings)


class OdradekThere(_Fixed, brokers.Odradek):
    pass


class KafkaThere(_Fixed, brokers.Kafka):
    """Apache Kafka in ZooKeeper mode."""

    def start(self, properties):
        self.wait_forgotten()
        self.port = brokers.free_ports(1)[0]
        settings = {"broker.id": 0, "zookeeper.connect": self.zookeeper, "zookeeper.session.timeout.ms": 6000, "listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
                    "log.dirs": self.folder / "data", "offsets.topic.replication.factor": 1, **properties}
        (self.folder / "server.properties").write_text(brokers.properties_text(settings))
        return self.launch([*self.java(), "kafka.Kafka", self.folder / "server.properties"])

    def wait_forgotten(self):
        """Until the session of a killed one has timed out: nothing may start under its id before. Not a part of the times."""
        address, chroot = self.zookeeper.split("/", 1)
        while True:
            client = zookeeper.Client(int(address.rsplit(":", 1)[1]))
            known = client.exists(f"/{chroot}/brokers/ids/0")
            client.close()
            if not known:
                return
            time.sleep(0.1)


def make(partitions, segments, others, settings):
    """A new folder: `data`, made by Odradek and stopped in order, and the server.properties to it."""
    raise_limits()
    broker = OdradekThere(tempfile.mkdtemp(prefix="odradek-many-")).fix(settings)
    try:
        broker.start_timed()
        create(broker.port, partitions, segments, others)
    finally:
        broker.stop()
    return broker.folder


@contextlib.contextmanager
def broker_on_copy(kind, made, settings):
    """A broker that has not started yet, on a copy of what make() has made."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="odradek-copy-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        copy(pathlib.Path(made) / "data", folder / "data")
        if kind == "odradek":
            broker = OdradekThere(folder).fix(settings)
        else:
            server = stack.enter_context(zookeeper.Server())
            broker = KafkaThere(folder, kind).fix(settings)
            broker.zookeeper = f"{server.address}/kafka"
            subprocess.run([brokers.ROOT / "build/release/bin/odradek", "metadata", "export", pathlib.Path(made) / "server.properties", "--to-zookeeper",
                            broker.zookeeper, "--timeout", "600"], check=True, stdout=subprocess.DEVNULL)
            for own in (folder / "data").glob("odradek-*"):
                own.unlink()
        try:
            yield broker
        finally:
            broker.kill() if broker.process else None


@contextlib.contextmanager
def empty_kafka(version):
    """Apache Kafka in ZooKeeper mode without anything, not started."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="odradek-empty-"))
    with zookeeper.Server() as server:
        broker = KafkaThere(folder, version).fix({})
        broker.zookeeper = f"{server.address}/kafka"
        try:
            yield broker
        finally:
            broker.kill() if broker.process else None
            shutil.rmtree(folder, ignore_errors=True)
