#!/usr/bin/env python3
# timeout: 400
"""After a kill -9, partitions serve as they are loaded: while the recovery of one log cannot go on and others wait behind it, the rest
is produced to and fetched from, groups work, and who asks for one that is not ready is told to wait. A second kill, and a stop, in the
middle of it lose nothing."""
import pathlib
import struct
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import Broker, connect, wait_until
from gate import Gate
import wire

PARTITIONS = 300
TOPIC, GROUP = "many", "readers"
REMAINING = "kafka_log_logmanager_remaininglogstorecover"
LEADER_NOT_AVAILABLE, NOT_LEADER, LOAD_IN_PROGRESS = 5, 6, 14
OFFSET_COMMIT, OFFSET_FETCH, FIND_COORDINATOR = 8, 9, 10

acked = {p: [] for p in range(PARTITIONS)}


def put(sock, partition):
    """One record; its error."""
    value = b"%d:%d" % (partition, len(acked[partition]))
    error, base = wire.produce(sock, TOPIC, partition, wire.batch([value], timestamp=int(time.time() * 1000)), acks=-1)
    if error == 0:
        assert base == len(acked[partition]), f"partition {partition}: offset {base} after {len(acked[partition])} records"
        acked[partition].append(value)
    return error


def read_all(sock, partition):
    values, offset = [], 0
    while True:
        error, high_watermark, data = wire.fetch(sock, TOPIC, partition, offset, max_wait_ms=0)
        assert error == 0, f"partition {partition}: error {error}"
        for base, last, raw in wire.batches(data):
            assert base == len(values), f"partition {partition}: base {base} after {len(values)} records"
            values += wire.values(raw)
            offset = last + 1
        if offset >= high_watermark:
            return values


def check_all(broker):
    with connect(broker.port, 60) as sock:
        for partition in range(PARTITIONS):
            wait_until(lambda: wire.list_offset(sock, TOPIC, partition)[0] == 0, what=f"a leader of {partition}")
            assert read_all(sock, partition) == acked[partition], f"partition {partition} has other records than were acked"


def find_coordinator(sock):
    sock.sendall(wire.request(FIND_COORDINATOR, 0, 1, wire.string(GROUP)))
    return struct.unpack(">h", wire.read_frame(sock)[1][:2])[0]


def commit(sock, offset):
    sock.sendall(wire.request(OFFSET_COMMIT, 2, 1, wire.string(GROUP) + struct.pack(">i", -1) + wire.string("") + struct.pack(">qi", -1, 1) + wire.string(TOPIC)
                              + struct.pack(">iiq", 1, 0, offset) + wire.string("m")))
    return struct.unpack(">h", wire.read_frame(sock)[1][-2:])[0]


def committed(sock):
    """(error, offset)"""
    sock.sendall(wire.request(OFFSET_FETCH, 1, 1, wire.string(GROUP) + struct.pack(">i", 1) + wire.string(TOPIC) + struct.pack(">ii", 1, 0)))
    body = wire.read_frame(sock)[1]
    at = 4 + 2 + len(TOPIC) + 4 + 4
    offset, size = struct.unpack(">qh", body[at:at + 10])
    at += 10 + max(size, 0)
    return struct.unpack(">h", body[at:at + 2])[0], offset


def tear(folder):
    """As a power cut in the middle of a write: recovery cuts it off and waits for the disk, where the gate holds it."""
    newest = max(folder.glob("*.log"))
    with open(newest, "ab") as file:
        file.write(b"\0\0\0\0\0\0\0\x07torn")


def remaining(broker):
    return broker.metric(f'{REMAINING}{{dir="{data}"}}')


def entries(checkpoint):
    return {line.rsplit(" ", 1)[0] for line in (data / checkpoint).read_text().splitlines()[2:]}


gate = Gate()
directory = pathlib.Path(tempfile.mkdtemp(prefix="odradek-test-"))
data = directory / "data"
settings = {"log.dirs": str(data), "offsets.topic.num.partitions": "5", "num.recovery.threads.per.data.dir": "2", "log.retention.ms": "-1",
            "replica.high.watermark.checkpoint.interval.ms": "100"}
with Broker(settings, directory=directory, env=gate.env()) as broker, gate:
    with connect(broker.port, 60) as sock:
        assert wire.create_topic(sock, TOPIC, PARTITIONS) == 0
        for partition in range(PARTITIONS):
            wait_until(lambda: put(sock, partition) == 0, what="a leader")
            assert put(sock, partition) == 0
        wait_until(lambda: find_coordinator(sock) == 0, what="a coordinator")
        wait_until(lambda: commit(sock, 1) == 0, what="a loaded group")
    # Their high watermarks are written down: they must not be forgotten while the logs are not loaded.
    wait_until(lambda: len(entries("replication-offset-checkpoint")) >= PARTITIONS, what="a checkpoint of all high watermarks")

    # One log is held up in its recovery.
    broker.kill()
    held = 7
    tear(data / f"{TOPIC}-{held}")
    gate.hold(f"{data}/{TOPIC}-{held}/")
    broker.start()
    gate.wait_held()
    wait_until(lambda: remaining(broker) == 1, what="all logs but one")
    with connect(broker.port, 60) as sock:
        topic = wire.metadata(sock, [TOPIC])["topics"][TOPIC]
        assert (topic[held]["error"], topic[held]["leader"]) == (LEADER_NOT_AVAILABLE, -1), topic[held]
        wait_until(lambda: all(state["error"] == 0 for p, state in wire.metadata(sock, [TOPIC])["topics"][TOPIC].items() if p != held), what="the other leaders")
        assert put(sock, held) == NOT_LEADER
        assert wire.fetch(sock, TOPIC, held, 0)[0] == NOT_LEADER
        assert wire.list_offset(sock, TOPIC, held)[0] == NOT_LEADER
        for partition in range(PARTITIONS):
            if partition != held:
                assert put(sock, partition) == 0
                assert read_all(sock, partition) == acked[partition]
        wait_until(lambda: committed(sock) == (0, 1), what="the group's offset")
        assert commit(sock, 2) == 0
    assert remaining(broker) == 1
    assert entries("replication-offset-checkpoint") >= {f"{TOPIC} {p}" for p in range(PARTITIONS)}

    # A second kill meanwhile; then both threads are held up, and what waits behind them stays as it is. Groups come before that.
    broker.kill()
    for partition in range(PARTITIONS):
        tear(data / f"{TOPIC}-{partition}")
    gate.hold(f"{data}/{TOPIC}-")
    broker.start()
    wait_until(lambda: remaining(broker) == PARTITIONS, what="the groups' logs")
    with connect(broker.port, 60) as sock:
        wait_until(lambda: committed(sock) == (0, 2), what="the group's offset")
        assert commit(sock, 3) == 0
        assert put(sock, 0) == NOT_LEADER
        # What is new is served at once.
        assert wire.create_topic(sock, "new", 1) == 0
        wait_until(lambda: wire.produce(sock, "new", 0, wire.batch([b"x"]))[0] == 0, what="a new topic")
    # A third one in this state, and a clean stop in the next: not all is recovered, so the dir is not clean.
    broker.kill()
    for partition in range(PARTITIONS):
        tear(data / f"{TOPIC}-{partition}")
    held_before = gate.held()
    broker.start()
    gate.wait_held(held_before + 2)
    with connect(broker.port, 60) as sock:
        wait_until(lambda: committed(sock) == (0, 3), what="the group's offset")
    broker.process.terminate()
    wait_until(lambda: "the session is closed" in broker.log_text()[broker.log_begin:], what="the stop")
    # What is being recovered is brought to its end; were the rest begun too, it would take until long after.
    gate.delay(100, f"{data}/{TOPIC}-")
    gate.release()
    broker.process.wait(60)
    broker.process = None
    gate.delay(0, f"{data}/{TOPIC}-")
    marker = (data / ".kafka_cleanshutdown").exists()
    assert entries("replication-offset-checkpoint") >= {f"{TOPIC} {p}" for p in range(PARTITIONS)}
    torn = sum(1 for p in range(PARTITIONS) if max((data / f"{TOPIC}-{p}").glob("*.log")).read_bytes().endswith(b"torn"))
    assert not (marker and torn), f"a clean marker beside {torn} logs that were not recovered"
    assert torn > 0, "the stop recovered everything first"

    broker.start()
    check_all(broker)
    wait_until(lambda: remaining(broker) == 0, what="all logs")
    with connect(broker.port, 60) as sock:
        wait_until(lambda: committed(sock) == (0, 3), what="the group's offset")
        for partition in range(PARTITIONS):
            assert put(sock, partition) == 0
    broker.stop()
    assert (data / ".kafka_cleanshutdown").exists()
    broker.start()
    check_all(broker)
    print(f"{sum(map(len, acked.values()))} acked records of {PARTITIONS} partitions all there, after {torn} of them were left unrecovered by a stop")
