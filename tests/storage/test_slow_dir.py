#!/usr/bin/env python3
# timeout: 300
"""Six log dirs, flush.before.ack=all. While the flushes of one are held, the others go on as if nothing were; while each of its flushes
takes 400 ms longer, they acknowledge more. A dir whose flush fails goes offline alone, and the controller hears of it."""
import errno
import pathlib
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import Broker, connect, wait_until
from gate import Gate
from messages import Connection
import wire

PARTITIONS = 12
STORAGE_ERROR = 56


def load(broker, stop, counts, errors):
    """A producer for each partition, one record at a time."""
    def run(partition):
        try:
            with connect(broker.port, 60) as sock:
                while not stop.is_set():
                    error, _ = wire.produce(sock, "t", partition, wire.batch([b"x" * 100]))
                    if error:
                        errors[partition] = error
                        return
                    counts[partition] += 1
        except Exception as error:  # noqa: BLE001
            errors[partition] = repr(error)

    threads = [threading.Thread(target=run, args=(p,), daemon=True) for p in range(PARTITIONS)]
    for thread in threads:
        thread.start()
    return threads


def leaders(connection):
    answer = connection.call("Metadata", 1, topics=[{"name": "t"}])
    return {partition["partition_index"]: partition["leader_id"] for partition in answer["topics"][0]["partitions"]}


gate = Gate()
directory = pathlib.Path(tempfile.mkdtemp(prefix="odradek-test-"))
dirs = [directory / f"disk{i}" for i in range(6)]
with Broker({"log.dirs": ",".join(map(str, dirs)), "metadata.log.dir": str(dirs[5]), "log.retention.ms": "-1"}, env=gate.env()) as broker, gate:
    gate.check_in_place()
    with connect(broker.port, 60) as sock:
        assert wire.create_topic(sock, "t", PARTITIONS, configs={"flush.before.ack": "all"}) == 0
        for p in range(PARTITIONS):
            wait_until(lambda: wire.produce(sock, "t", p, wire.batch([b"first"]))[0] == 0, what="a leader")
    slow = [p for p in range(PARTITIONS) if (dirs[0] / f"t-{p}").exists()]
    fast = [p for p in range(PARTITIONS) if p not in slow]
    assert len(slow) == 2, slow

    # Held: whoever writes there waits, the others do not notice.
    gate.hold(f"{dirs[0]}/t-")
    stop, counts, errors = threading.Event(), [0] * PARTITIONS, {}
    threads = load(broker, stop, counts, errors)
    wait_until(lambda: all(counts[p] >= 200 for p in fast), wait=120, what="200 acks at each partition of the other dirs")
    assert all(counts[p] == 0 for p in slow), counts
    gate.release()
    wait_until(lambda: all(counts[p] > 0 for p in slow), what="acks of the dir that was held")
    # Slow: one ack in 400 ms at each of its partitions.
    gate.delay(400, f"{dirs[0]}/t-")
    before = list(counts)
    wait_until(lambda: all(counts[p] - before[p] >= 8 for p in slow), wait=120, what="acks of the slow dir")
    gained = [counts[p] - before[p] for p in range(PARTITIONS)]
    assert min(gained[p] for p in fast) > max(gained[p] for p in slow), gained
    gate.delay(0)
    stop.set()
    for thread in threads:
        thread.join(60)
    assert not errors, errors
    print(f"acks while the slow dir gave {[gained[p] for p in slow]}: {[gained[p] for p in fast]}", flush=True)

    # A flush that fails is final for its dir, and for no other.
    gate.fail(errno.EIO, f"{dirs[0]}/t-{slow[0]}/")
    connection = Connection(broker.port)
    with connect(broker.port, 60) as sock:
        assert wire.produce(sock, "t", slow[0], wire.batch([b"lost"]))[0] == STORAGE_ERROR
        gate.fail(0)
        for p in slow:
            wait_until(lambda: wire.produce(sock, "t", p, wire.batch([b"refused"]))[0] != 0, what="the whole dir to be offline")
        wait_until(lambda: all(leaders(connection)[p] == -1 for p in slow), what="the controller to take the leadership away")
        assert all(leaders(connection)[p] == 0 for p in fast), leaders(connection)
        for p in fast:
            assert wire.produce(sock, "t", p, wire.batch([b"y"]))[0] == 0, p
            assert wire.fetch(sock, "t", p, 0)[0] == 0, p
        described = {result["log_dir"]: result["error_code"] for result in connection.call("DescribeLogDirs", 1, topics=None)["results"]}
        assert described == {str(path): STORAGE_ERROR if path == dirs[0] else 0 for path in dirs}, described
    # It is back with the next start.
    broker.stop()
    broker.start()
    with connect(broker.port, 60) as sock:
        for p in range(PARTITIONS):
            wait_until(lambda: wire.produce(sock, "t", p, wire.batch([b"z"]))[0] == 0, what="a leader after the restart")
assert not gate.bypasses(), gate.bypasses()
print("the failed dir was offline alone")
