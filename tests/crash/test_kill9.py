#!/usr/bin/env python3
# timeout: 1800
"""kill -9 at random moments under load: every acked record is at its offset, offsets are dense, idempotent producers go on
without a duplicate, and committed offsets never go back."""
import pathlib
import random
import struct
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import FULL, Broker, connect
import wire

KILLS = 50 if FULL else 6
PARTITIONS = 4
TOPIC = "crash"
OFFSET_COMMIT, OFFSET_FETCH, FIND_COORDINATOR = 8, 9, 10

seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.SystemRandom().randrange(1 << 32)
print(f"seed {seed}", flush=True)
moments = random.Random(seed)
stop = threading.Event()
failures = []


def guarded(body):
    def run(*arguments):
        try:
            body(*arguments)
        except Exception as error:
            failures.append(f"{body.__name__}{arguments[1:]}: {error!r}")
            raise
    return run


def persistent(broker, attempt):
    """Repeats `attempt(socket)` over new connections until it has an answer; None when the test ends."""
    while not stop.is_set():
        try:
            with connect(broker.port, 2) as sock:
                sock.settimeout(10)
                while not stop.is_set():
                    if not attempt(sock):
                        break
        except (OSError, EOFError):
            time.sleep(0.02)


@guarded
def producer(broker, partition, acked):
    rng = random.Random(seed + partition)
    state = {"id": None, "sequence": 0, "next": 0, "pending": None}

    def step(sock):
        if state["id"] is None:
            sock.sendall(wire.request(wire.INIT_PRODUCER_ID, 0, 1, wire.string(None) + struct.pack(">i", 60000)))
            _, body = wire.read_frame(sock)
            _, error, producer_id, epoch = struct.unpack(">ihqh", body[:16])
            if error != 0:
                time.sleep(0.05)
                return True
            state["id"] = (producer_id, epoch)
        if state["pending"] is None:
            count = rng.randrange(1, 20)
            # Of today: a producer whose last batch is older than producer.id.expiration.ms is forgotten at a restart.
            state["time"] = int(time.time() * 1000)
            state["pending"] = [b"%d:%d:%s" % (partition, state["next"] + i, b"x" * rng.randrange(200)) for i in range(count)]
        values = state["pending"]
        error, base = wire.produce(sock, TOPIC, partition, wire.batch(values, *state["id"], state["sequence"], timestamp=state["time"]), acks=-1)
        if error in (3, 5, 6, 7):
            time.sleep(0.02)
            return True
        assert error == 0, f"produce: error {error} at sequence {state['sequence']}"
        for i, value in enumerate(values):
            acked[base + i] = value
        state["sequence"] += len(values)
        state["next"] += len(values)
        state["pending"] = None
        return True

    persistent(broker, step)


@guarded
def committer(broker, committed):
    state = {"offset": 0}
    group = "crash-group"

    def step(sock):
        if state.get("sock") is not sock:  # a new connection: what was acked must be there
            sock.sendall(wire.request(OFFSET_FETCH, 1, 1, wire.string(group) + struct.pack(">i", 1) + wire.string(TOPIC) + struct.pack(">ii", 1, 0)))
            _, body = wire.read_frame(sock)
            at = 4 + 2 + len(TOPIC) + 4 + 4
            offset = struct.unpack(">q", body[at:at + 8])[0]
            size = max(struct.unpack(">h", body[at + 8:at + 10])[0], 0)
            error = struct.unpack(">h", body[at + 10 + size:at + 12 + size])[0]
            if error in (14, 15, 16):
                time.sleep(0.05)
                return True
            assert error == 0, f"offset fetch: error {error}"
            assert offset >= committed[0], f"offset {offset} after {committed[0]} was acked"
            state["sock"] = sock
            state["offset"] = max(offset, state["offset"])
        state["offset"] += 1
        body = (wire.string(group) + struct.pack(">i", -1) + wire.string("") + struct.pack(">qi", -1, 1) + wire.string(TOPIC)
                + struct.pack(">iiq", 1, 0, state["offset"]) + wire.string("m"))
        sock.sendall(wire.request(OFFSET_COMMIT, 2, 1, body))
        _, answer = wire.read_frame(sock)
        error = struct.unpack(">h", answer[-2:])[0]
        if error in (14, 15, 16):
            time.sleep(0.05)
            return True
        assert error == 0, f"offset commit: error {error}"
        committed[0] = state["offset"]
        return True

    # The coordinator's topic is made on the first look-up.
    def look_up(sock):
        sock.sendall(wire.request(FIND_COORDINATOR, 0, 1, wire.string(group)))
        _, body = wire.read_frame(sock)
        if struct.unpack(">h", body[:2])[0] != 0:
            time.sleep(0.1)
            return True
        return False

    with connect(broker.port) as sock:
        while look_up(sock):
            pass
    persistent(broker, step)


with Broker({"offsets.topic.num.partitions": "3", "log.segment.bytes": "200000"}) as broker:
    with connect(broker.port) as sock:
        assert wire.create_topic(sock, TOPIC, PARTITIONS) == 0
    acked = [{} for _ in range(PARTITIONS)]
    committed = [-1]  # none acked yet
    threads = [threading.Thread(target=producer, args=(broker, p, acked[p])) for p in range(PARTITIONS)]
    threads.append(threading.Thread(target=committer, args=(broker, committed)))
    for thread in threads:
        thread.start()
    try:
        for kill in range(KILLS):
            time.sleep(moments.uniform(0.2, 2.0))
            broker.kill()
            broker.start()
            assert not failures, failures
        time.sleep(0.5)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures, failures
    total = 0
    for partition in range(PARTITIONS):
        with connect(broker.port) as sock:
            sock.settimeout(30)
            offset, seen, next_number = 0, {}, 0
            while True:
                error, high_watermark, data = wire.fetch(sock, TOPIC, partition, offset)
                assert error == 0, error
                start = offset
                for base, last, raw in wire.batches(data):
                    if last < offset:
                        continue
                    assert base == offset, f"partition {partition}: a hole at {offset}, next batch starts at {base}"
                    for i, value in enumerate(wire.values(raw)):
                        seen[base + i] = value
                        number = int(value.split(b":")[1])
                        assert number == next_number, f"partition {partition}, offset {base + i}: record {number} where {next_number} belongs"
                        next_number += 1
                    offset = last + 1
                if offset >= high_watermark:
                    break
                assert offset > start, f"partition {partition}: no progress at {offset}"
        lost = [o for o, value in acked[partition].items() if seen.get(o) != value]
        assert not lost, f"partition {partition}: {len(lost)} acked records lost or changed, first at {min(lost)}"
        total += len(acked[partition])
    assert total > KILLS * 10, f"only {total} records acked"
    print(f"{KILLS} kills, {total} acked records and offset {committed[0]} of the group all there")
