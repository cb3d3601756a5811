#!/usr/bin/env python3
# timeout: 900
# exclusive: yes
"""Members of mixed libraries, some static, join, leave and die at random while records arrive. Meanwhile no committed offset goes
back; at the end every partition has exactly one owner, every record was read by somebody, and the group has committed all of it.

quick: 8 members for 25 s; full: 20 members for 60 s. Each member prints a line for each record before it commits."""
import collections
import pathlib
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "lib")]
from broker import FULL, Broker, not_run, wait_until  # noqa: E402
import environments  # noqa: E402
import wire  # noqa: E402
from lib.messages import Connection  # noqa: E402

PARTITIONS = 12
MEMBERS, SECONDS, SURVIVORS = (20, 60, 8) if FULL else (8, 25, 4)
SEED = int(sys.argv[1]) if len(sys.argv) > 1 else random.randrange(1 << 30)

libraries, missing = {}, []


def offer(name, make, static=True):
    try:
        libraries[name] = (make(), static)
    except environments.Missing as why:
        missing.append(f"{name}: {why}")


members = HERE / "members"
offer("confluent-kafka", lambda: [environments.python("confluent-kafka"), members / "confluent_member.py"])
offer("kafka-python", lambda: [environments.python("kafka-python", "python-snappy", "lz4", "zstandard", "crc32c"), members / "kafka_python_member.py"])
offer("aiokafka", lambda: [environments.python("aiokafka", "cramjam"), members / "aiokafka_member.py"], static=False)
for library in ("franz-go", "sarama", "kafka-go"):
    offer(library, lambda: [environments.go(members / "go"), library], static=library != "kafka-go")
for version in ("3.9.2", "4.3.1"):
    offer(f"java-{version}", lambda: environments.java(members / "java/Member.java", version))
if len(libraries) < 3:
    not_run("; ".join(missing))
print(f"seed {SEED}; {', '.join(libraries)}", flush=True)
chance = random.Random(SEED)


class Slot:
    """One place in the group: at times a process, at times none."""

    def __init__(self, index, broker, folder):
        self.index, self.broker, self.folder = index, broker, folder
        self.library = list(libraries)[index % len(libraries)]
        command, can_be_static = libraries[self.library]
        self.instance = f"instance-{index}" if can_be_static and index % 3 == 0 else "-"
        self.command, self.process = [*map(str, command), broker.address, "records", "churn", self.instance], None
        self.next = time.monotonic() + chance.uniform(0, 3)
        self.leaving = []  # threads that wait for former processes of this place
        self.starts = 0

    def start(self):
        # A file for each process: a former one that still leaves, or was killed within a line, must not spoil the lines of the next.
        self.starts += 1
        with open(self.folder / f"{self.index}.{self.starts}.out", "wb") as out, open(self.folder / f"{self.index}.err", "ab") as err:
            self.process = subprocess.Popen(self.command, stdout=out, stderr=err)

    def end(self, hard):
        """Waits; a process that starts in this place meanwhile is not touched."""
        process, self.process = self.process, None
        self.finish(process, hard)

    @staticmethod
    def finish(process, hard):
        if process is None:
            return
        process.kill() if hard else process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def step(self):
        """Whether something happened."""
        if time.monotonic() < self.next:
            return False
        if self.process is not None and self.process.poll() is None:
            hard = chance.random() < 0.3
            if hard:
                self.end(True)
            else:
                process, self.process = self.process, None
                self.leaving.append(threading.Thread(target=self.finish, args=(process, False)))
                self.leaving[-1].start()
            self.next = time.monotonic() + chance.uniform(0.5, 4)
        elif self.process is None or self.process.poll() is not None:
            self.start()
            self.next = time.monotonic() + chance.uniform(4, 20)
        return True


def assigned(member):
    """(topic, partition) of a ConsumerProtocolAssignment."""
    data = member["member_assignment"]
    at, found = 2, []
    if len(data) < 6:
        return found
    (topics,) = struct.unpack(">i", data[at:at + 4])
    at += 4
    for _ in range(topics):
        (length,) = struct.unpack(">h", data[at:at + 2])
        topic = data[at + 2:at + 2 + length].decode()
        at += 2 + length
        (count,) = struct.unpack(">i", data[at:at + 4])
        found += [(topic, p) for p in struct.unpack(f">{count}i", data[at + 4:at + 4 + 4 * count])]
        at += 4 + 4 * count
    return found


def main():
    with Broker({"group.initial.rebalance.delay.ms": "500"}) as broker, tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        control = socket.create_connection(("127.0.0.1", broker.port))
        assert wire.create_topic(control, "records", PARTITIONS) == 0
        ends, stop = collections.Counter(), threading.Event()

        def produce():
            at = 0
            while not stop.is_set():
                partition = at % PARTITIONS
                error, base = wire.produce(control, "records", partition, wire.batch([b"value"] * 20))
                assert error == 0 and base == ends[partition], (error, base, ends[partition])
                ends[partition] += 20
                at += 1
                time.sleep(0.02)

        producer = threading.Thread(target=produce)
        producer.start()
        probe, committed, reads = Connection(broker.port), {}, 0

        def look():
            nonlocal reads
            answer = probe.call("OffsetFetch", 5, group_id="churn", topics=[dict(name="records", partition_indexes=list(range(PARTITIONS)))])
            if answer["error_code"] != 0:
                return
            reads += 1
            for entry in answer["topics"][0]["partitions"]:
                partition, offset = entry["partition_index"], entry["committed_offset"]
                assert offset >= committed.get(partition, -1), f"partition {partition}: committed {offset} after {committed[partition]}"
                assert offset <= ends[partition] + 20, f"partition {partition}: committed {offset} of {ends[partition]}"
                committed[partition] = offset

        slots = [Slot(i, broker, folder) for i in range(MEMBERS)]
        deadline, changes = time.monotonic() + SECONDS, 0
        while time.monotonic() < deadline:
            for slot in slots:
                changes += slot.step()
            look()
            time.sleep(0.1)

        stop.set()
        producer.join()
        time.sleep(1)
        for slot in slots:
            for thread in slot.leaving:
                thread.join()
        for slot in slots[SURVIVORS:]:
            slot.end(chance.random() < 0.5)
        for slot in slots[:SURVIVORS]:
            if slot.process is None or slot.process.poll() is not None:
                slot.start()

        def settled():
            look()
            group = probe.call("DescribeGroups", 4, groups=["churn"])["groups"][0]
            if group["group_state"] != "Stable" or len(group["members"]) != SURVIVORS:
                return False
            owned = collections.Counter(partition for member in group["members"] for partition in assigned(member))
            assert all(count == 1 for count in owned.values()), f"two owners: {owned}"
            return len(owned) == PARTITIONS and all(committed[p] == ends[p] for p in range(PARTITIONS))

        try:
            wait_until(settled, 90, "one owner for each partition and everything committed")
        except AssertionError:
            print("committed", committed, "ends", dict(ends))
            print(probe.call("DescribeGroups", 4, groups=["churn"])["groups"][0])
            for slot in slots:
                print(slot.index, slot.library, slot.instance, (folder / f"{slot.index}.err").read_text(errors="replace")[-600:])
                slot.end(True)
            raise
        for slot in slots:
            slot.end(False)
        read = collections.defaultdict(set)
        for path in folder.glob("*.out"):
            # What stands behind the last line end was cut off by a kill: "C 3 1" may have been going to be "C 3 17".
            for line in path.read_bytes().rpartition(b"\n")[0].splitlines():
                parts = line.split()
                if len(parts) == 3 and parts[0] == b"C":
                    read[int(parts[1])].add(int(parts[2]))
        for partition in range(PARTITIONS):
            lost = set(range(ends[partition])) - read[partition]
            assert not lost, f"partition {partition}: {len(lost)} records were committed but read by nobody, the first {min(lost)}"
        print(f"{changes} changes of {MEMBERS} members, {sum(ends.values())} records, {reads} looks at the offsets; missing: {missing or 'none'}")


main()
