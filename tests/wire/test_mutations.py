#!/usr/bin/env python3
# timeout: 900
"""Hostile clients against the whole broker built with ASan+UBSan: requests of every API and version, right in form, with names that exist
and numbers that make no sense, then bent byte by byte; frames whose length lies; senders that stop in the middle, half-close or never read;
connections opened and left by the thousand. Beside them a healthy client writes and reads: it must never notice.

The bodies come from the golden ones of src/protocol/testdata. `test_mutations.py SEED` plays the choices of a run again.
quick: 6 s; full: 4 minutes and 5,000 idle connections."""
import contextlib
import pathlib
import random
import re
import resource
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import BIN, FULL, ROOT, Broker, connect, wait_until
import messages
import wire

SECONDS = 240 if FULL else 6
IDLE = 5000 if FULL else 500
WORKERS = 4
# Requests between brokers change the cluster by design (a StopReplica deletes): they go to a broker of their own, which has only to live.
BETWEEN_BROKERS = {"LeaderAndIsr", "StopReplica", "UpdateMetadata", "ControlledShutdown", "AlterPartition"}
# A right form of these takes names or settings away from the healthy client; they follow the first group.
ADMINISTRATION = {"AlterConfigs", "IncrementalAlterConfigs", "ElectLeaders", "AlterPartitionReassignments"}
TOPIC, GROUP = "prey", "pack"
NUMBERS = {"int8": (-128, -1, 0, 1, 2, 127), "int16": (-2**15, -1, 0, 1, 5, 2**15 - 1), "uint16": (0, 1, 2**16 - 1),
           "int32": (-2**31, -2, -1, 0, 1, 2, 1000, 1 << 20, 2**31 - 1), "uint32": (0, 1, 2**32 - 1),
           "int64": (-2**63, -2, -1, 0, 1, 1000, 1 << 40, 2**63 - 1), "float64": (0.0, -1.0, 1e308), "bool": (True, False)}
STRINGS = (TOPIC, TOPIC, TOPIC, GROUP, GROUP, "", "0", "1", "range", "consumer", "prey-2", "segment.bytes", "-1", "x" * 300, "__consumer_offsets", "..", None)


def golden_bodies():
    """Name of the API -> [(version, values)]."""
    found = {}
    schemas = messages.schemas()
    for line in (ROOT / "src/protocol/testdata/golden.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        message, version, body = line.split()
        name = message.removesuffix("Request")
        if message.endswith("Request") and name in schemas:
            request = schemas[name][2]
            data = b"" if body == "-" else bytes.fromhex(body)
            with contextlib.suppress(EOFError):  # a newer form than our schema
                found.setdefault(name, []).append((int(version), messages._decode_struct(request, request.root, int(version), messages.Reader(data))))
    return found


class Mutator:
    def __init__(self, seed, bodies, offered):
        """`offered`: {key: (lowest, highest)} of the broker."""
        self.rng = random.Random(seed)
        self.choices = []
        for name, forms in bodies.items():
            key, flexible_from, request, _ = messages.schemas()[name]
            if key in offered:
                low, high = offered[key]
                self.choices += [(name, key, flexible_from, request, version, values) for version, values in forms if low <= version <= high]

    def batch(self):
        rng = self.rng
        if rng.random() < 0.2:
            made = wire.message(rng.randrange(2), rng.randrange(3), b"k", rng.randbytes(rng.randrange(40)), attributes=rng.choice((0, 0, 1, 8)))
        else:
            made = wire.batch([rng.randbytes(rng.randrange(50)) for _ in range(rng.randrange(1, 4))], rng.choice((-1, -1, 0, 1000)), rng.choice((-1, 0)),
                              rng.choice((-1, 0, 1)), attributes=rng.choice((0, 0, 0, 1, 2, 3, 4, 16, 32, 48)))
        return self.bend(made) if rng.random() < 0.3 else made

    def value(self, message, field, value, version):
        rng = self.rng
        if field.array:
            if value is None or rng.random() < 0.03:
                return None if field.nullable and field.nullable[0] <= version <= field.nullable[1] else []
            kept = [self.one(message, field, each, version) for each in value]
            return kept + kept * rng.choice((0, 0, 0, 0, 1, 20))
        return self.one(message, field, value, version)

    def one(self, message, field, value, version):
        rng, element = self.rng, field.element
        if element in NUMBERS:
            return rng.choice(NUMBERS[element]) if rng.random() < 0.6 else value
        if element == "string":
            chosen = rng.choice(STRINGS) if rng.random() < 0.7 else value
            return chosen if chosen is not None or field.nullable else TOPIC
        if element == "records":
            return b"".join(self.batch() for _ in range(rng.choice((1, 1, 1, 2))))
        if element == "bytes":
            return rng.choice((value, b"", rng.randbytes(rng.randrange(64)), b"\xff" * 8))
        if element == "uuid":
            return rng.choice((value, bytes(16)))
        return None if value is None else self.structure(message, message.structs[element], value, version)

    def structure(self, message, structure, values, version):
        return {field.name: self.value(message, field, values[field.name], version) for field in structure.fields if field.name in values}

    def bend(self, data):
        """Some bytes changed, taken out, put in, doubled, cut, or a length made a lie."""
        rng, data = self.rng, bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(data) + 1)
            kind = rng.randrange(6)
            if kind == 0 and data:
                data[at - 1] ^= 1 << rng.randrange(8)
            elif kind == 1:
                data[at:at + 4] = struct.pack(">i", rng.choice(NUMBERS["int32"]))
            elif kind == 2:
                del data[at:at + rng.randrange(1, 9)]
            elif kind == 3:
                data[at:at] = rng.choice((rng.randbytes(rng.randrange(1, 20)), b"\xff" * 5, b"\xff" * 10, b"\x80" * 6))
            elif kind == 4:
                data[at:at] = data[max(0, at - 16):at]
            else:
                del data[at:]
        return bytes(data)

    def frame(self, only):
        """A frame of an API that `only` takes."""
        rng = self.rng
        while True:
            name, key, flexible_from, request, version, values = rng.choice(self.choices)
            if not only(name):
                continue
            body = bytearray()
            try:
                messages._encode_struct(request, request.root, self.structure(request, request.root, values, version), version, body)
            except (TypeError, struct.error, AttributeError):  # a null where no null has a form
                continue
            if rng.random() < 0.6:
                body = self.bend(body)
            whole = wire.request(key, version, rng.randrange(1 << 31), body, client=rng.choice(("wild", "", None)), flexible=version >= flexible_from)
            if rng.random() < 0.05:
                whole = struct.pack(">i", len(whole) - 4 + rng.choice((-9, -1, 1, 7, 1 << 20, 1 << 30))) + whole[4:]
            return whole


def visit(port, mutator, only):
    """One connection of a hostile client."""
    rng = mutator.rng
    with contextlib.suppress(OSError), connect(port, 5) as sock:
        sock.settimeout(0.05)
        manner = rng.random()
        for _ in range(rng.randrange(1, 8)):
            frame = mutator.frame(only)
            if manner < 0.1:  # a slow one that stops in the middle
                cut = rng.randrange(len(frame))
                for at in range(0, cut, max(1, cut // 5)):
                    sock.sendall(frame[at:min(cut, at + max(1, cut // 5))])
                    time.sleep(0.005)
                return
            sock.sendall(frame)
        if manner < 0.2:  # one that never reads
            return
        if manner < 0.4:
            sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 16):
            pass


def attack(port, seed, bodies, offered, only, seconds, failures):
    """WORKERS hostile clients at once; how many connections they made."""
    end, counts = time.monotonic() + seconds, [0] * WORKERS

    def work(number):
        mutator = Mutator(f"{seed}-{number}", bodies, offered)
        try:
            while time.monotonic() < end and not failures:
                visit(port, mutator, only)
                counts[number] += 1
        except Exception as error:  # a fault of this script must not look like a quiet run
            failures.append(f"hostile client {number}: {error!r}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


class Healthy(threading.Thread):
    """Writes and reads its own topic over one connection; each record comes back at its offset."""

    def __init__(self, port, failures):
        super().__init__()
        self.port, self.failures, self.stop, self.count = port, failures, threading.Event(), 0

    def run(self):
        try:
            with connect(self.port, 60) as sock:
                while not self.stop.is_set():
                    error, base = wire.produce(sock, "healthy", 0, wire.batch([b"%d" % self.count]), correlation=1)
                    assert (error, base) == (0, self.count), f"record {self.count}: error {error}, offset {base}"
                    data = wire.fetch(sock, "healthy", 0, self.count)[2]
                    assert [v for _, _, b in wire.batches(data) for v in wire.values(b)] == [b"%d" % self.count], f"record {self.count} came back otherwise"
                    self.count += 1
                    self.stop.wait(0.005)
        except Exception as error:
            self.failures.append(f"the healthy client: {error!r}")


def connections(broker):
    import urllib.request
    with urllib.request.urlopen(f"http://127.0.0.1:{broker.metrics_port}/metrics") as page:
        return sum(float(line.split()[-1]) for line in page.read().decode().splitlines()
                   if line.startswith("kafka_server_socket_server_metrics_connection_count{"))


def resident_mib(broker):
    for line in open(f"/proc/{broker.process.pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024
    return 0


def settled(broker, expected, what):
    wait_until(lambda: connections(broker) <= expected, 60, f"after {what}: {expected} connections left")


def idle_connections(broker):
    """Thousands that say nothing, thousands that come and go beside them."""
    before = connections(broker)
    waiting = [connect(broker.port, 30) for _ in range(IDLE)]
    wait_until(lambda: connections(broker) >= before + IDLE, 60, f"{IDLE} idle connections")
    for i in range(IDLE):
        with connect(broker.port, 30) as sock:
            if i % 3 == 0:
                sock.sendall(b"\0\0\0\x10\0")
            elif i % 3 == 1:
                wire.api_versions(sock)
    for i, sock in enumerate(waiting):  # each still answers
        if i % 50 == 0:
            sock.settimeout(30)
            wire.api_versions(sock)
    if FULL:
        print(f"{IDLE} idle connections: {resident_mib(broker)} MiB", flush=True)
    for sock in waiting:
        sock.close()
    return 2 * IDLE


def no_report(broker):
    report = re.search(r"(ERROR: (Address|Leak)Sanitizer|runtime error:|CHECK failed)(.*\n){0,60}", broker.log_text())
    assert report is None, report.group(0)


def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    seed = sys.argv[1] if len(sys.argv) > 1 else str(random.SystemRandom().randrange(1 << 32))
    sanitized = ROOT / "build/asan/bin/odradek-server"
    server = sanitized if sanitized.exists() else BIN / "odradek-server"
    print(f"seed {seed}, {'ASan+UBSan' if server == sanitized else 'no sanitizer'}", flush=True)
    bodies = golden_bodies()
    # Who left a request parked for as long as it asked for (24 days) goes by the idle time.
    settings = {"num.partitions": "1", "offsets.topic.num.partitions": "2", "connections.max.idle.ms": "10000"}
    failures = []
    for part, only, share in (
            ("clients", lambda name: name not in BETWEEN_BROKERS and name not in ADMINISTRATION, 0.6),
            ("administration", lambda name: name not in BETWEEN_BROKERS, 0.2),
            ("between brokers", lambda name: True, 0.2),
            ("idle connections", None, 0)):
        with Broker(settings if only else {}, server=server, env={"ASAN_OPTIONS": "detect_stack_use_after_return=1"}) as broker:
            with connect(broker.port) as sock:
                offered = wire.api_versions(sock)
                for topic in ("healthy", TOPIC):
                    assert wire.create_topic(sock, topic, 1) == 0
                for _ in range(20):
                    assert wire.produce(sock, TOPIC, 0, wire.batch([b"bait"]))[0] == 0
            healthy = Healthy(broker.port, failures) if part in ("clients", "idle connections") else None
            if healthy:
                healthy.start()
            before, memory = connections(broker), resident_mib(broker)
            if only:
                made = attack(broker.port, f"{seed}-{part}", bodies, offered, only, SECONDS * share, failures)
                assert made > 20, f"{part}: only {made} hostile connections"
            else:
                made = idle_connections(broker)
            assert broker.alive(), f"{part}: the broker ended:\n{broker.log_text()[-8000:]}"
            settled(broker, before + (1 if healthy else 0), part)
            if healthy:
                healthy.stop.set()
                healthy.join()
                assert failures or healthy.count > 0, f"the healthy client wrote only {healthy.count} records"
            assert not failures, failures
            with connect(broker.port, 30) as sock:
                wire.api_versions(sock)
            grown = resident_mib(broker)
            print(f"{part}: {made} hostile connections, {healthy.count if healthy else 0} healthy records; {memory} MiB before, {grown} MiB after", flush=True)
            assert grown < 1500, f"{part}: {grown} MiB"
            broker.stop(wait=120)
            no_report(broker)


main()
