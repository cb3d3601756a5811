#!/usr/bin/env python3
# timeout: 2400
"""Three brokers and three ZooKeeper servers, each in a network namespace of its own, under a seeded mix of faults and a load of acks=all: kill -9, silent
processes, partitions (whole and one-way; of brokers, from ZooKeeper, so that sessions expire), ZooKeeper without a quorum, slow, full and failing disks,
clocks that jump, restarts in order, reassignments meanwhile. Checked as Jepsen's Kafka workload does: nothing acknowledged is lost, doubled (idempotent
Java producer), out of order or at another offset; no reader sees what later differs; acknowledged commits are there; logs are equal byte for byte.

usage: test_faults.py [--program odradek|kafka] [--seed N] [--seconds N] [--only KIND,...]     quick: 80 s of faults, full: 15 minutes"""
import argparse
import contextlib
import pathlib
import random
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import messages
from broker import FULL, not_run
from cluster import Cluster
from distance import HERE, Distance
from ensemble import Ensemble
from gate import Gate
from group_offsets import GroupOffsets
from load import Producer, Reader, check

BROKERS, SERVERS = {1: "b1", 2: "b2", 3: "b3"}, ["z1", "z2", "z3"]
TOPIC, REPLICAS = "load", [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 3, 2]]
SESSION = 6  # seconds
DISK_MB = 384

parser = argparse.ArgumentParser()
parser.add_argument("--program", default="odradek", choices=["odradek", "kafka"])
parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
parser.add_argument("--seconds", type=int, default=900 if FULL else 80)
parser.add_argument("--only", default="")
options = parser.parse_args()
rng = random.Random(options.seed)
begin = time.monotonic()


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {time.monotonic() - begin:6.1f} s  {text}", flush=True)


class Faults:
    """Each method is one fault from its beginning to its end, when nothing of it is left."""

    def __init__(self, cluster, lab, gates, disks):
        self.cluster, self.lab, self.gates, self.disks = cluster, lab, gates, disks

    def _node(self):
        return self.cluster[rng.choice([1, 2, 3])]

    def _hold(self, shortest, longest):
        time.sleep(rng.uniform(shortest, longest))

    def kill(self):
        node = self.cluster.controller() if rng.random() < 0.3 else self._node()
        say(f"kill -9 of {node}")
        node.kill()
        self._hold(0, 8)
        node.start()

    def silence(self):
        node = self._node()
        say(f"{node} silent")
        node.pause()
        self._hold(1, SESSION * 2)
        node.pause(False)

    def _cut(self, ways, shortest, longest):
        say("cut " + ", ".join(f"{a}->{b}" for a, b in ways))
        for way in ways:
            self.lab.cut(*way)
        self._hold(shortest, longest)
        for way in ways:
            self.lab.mend(*way)

    def partition(self):
        """One broker from everything or from the brokers; both ways."""
        one = rng.choice(list(BROKERS.values()))
        others = [*(b for b in BROKERS.values() if b != one), *rng.choice([[], [*SERVERS, HERE]])]
        self._cut([way for other in others for way in ((one, other), (other, one))], 2, SESSION * 2)

    def one_way(self):
        one, other = rng.sample(list(BROKERS.values()), 2)
        self._cut([(one, other)], 2, SESSION * 2)

    def expiry(self):
        """From ZooKeeper alone, longer than a session lasts."""
        one = rng.choice(list(BROKERS.values()))
        self._cut([way for server in SERVERS for way in ((one, server), (server, one))], SESSION * 1.3, SESSION * 2)

    def quorum(self):
        members = rng.sample(self.cluster.zookeeper.members, 2)
        silent = rng.random() < 0.5
        say(f"{members} {'silent' if silent else 'killed'}")
        for member in members:
            member.pause() if silent else member.kill()
        self._hold(1, SESSION * 2)
        for member in members:
            member.pause(False) if silent else member.launch()
        self.cluster.zookeeper.wait_serving()

    def restarts(self):
        for node in rng.sample(list(self.cluster), rng.choice([1, 3])):
            say(f"{node} stopped in order")
            node.stop()
            self._hold(0, 2)
            node.start()
            self.cluster.wait_isr(TOPIC, wait=120)  # as an operator does

    def reassignment(self):
        """Replicas go and come back, with other leaders."""
        for _ in range(2):
            kept = [rng.sample([1, 2, 3], rng.choice([2, 3])) for _ in REPLICAS]
            self._assign(kept)
            self._hold(0, 3)
        self._assign(rng.sample(REPLICAS, len(REPLICAS)))

    def _assign(self, replicas):
        say(f"reassign to {replicas}")

        def accepted():
            node = self.cluster.controller()
            connection = messages.Connection(node.port, node.host)
            try:
                wanted = [{"partition_index": p, "replicas": r} for p, r in enumerate(replicas)]
                answer = connection.call("AlterPartitionReassignments", 0, topics=[{"name": TOPIC, "partitions": wanted}])
            finally:
                connection.close()
            return answer["error_code"] == 0 and all(p["error_code"] == 0 for p in answer["responses"][0]["partitions"])
        self.cluster.wait(accepted, "a reassignment is accepted")
        self.cluster.wait(lambda: all(sorted(told["replicas"]) == sorted(replicas[p]) for p, told in self.cluster.partitions(TOPIC).items()), f"reassigned to {replicas}", 120)

    def slow_disk(self):
        node, ms = self._node(), rng.choice([50, 400, 2000])
        say(f"each fsync of {node} takes {ms} ms longer")
        self.gates[node.id].delay(ms, node.folder)
        self._hold(3, 10)
        self.gates[node.id].delay(0)

    def full_disk(self):
        node = self._node()
        say(f"the disk of {node} is full")
        ballast = self.disks[node.id] / "ballast"
        with contextlib.suppress(OSError), open(ballast, "wb") as file:
            for _ in range(DISK_MB):
                file.write(bytes(1 << 20))
                file.flush()
        self._hold(3, 10)
        ballast.unlink()

    def failing_disk(self):
        """Final for the log dir, and the only one: the broker is replaced by a new process after the repair."""
        node = self._node()
        say(f"each fsync of {node} fails")
        self.gates[node.id].fail(5, node.folder)
        self._hold(4, 10)
        self.gates[node.id].fail(0)
        if node.server.process is not None:
            node.kill()
        node.start()

    def clock(self):
        node, seconds = self._node(), rng.choice([-3600, -5, 5, 3600])
        say(f"the clock of {node} jumps by {seconds} s")
        self.gates[node.id].jump(seconds)
        self._hold(3, 8)
        self.gates[node.id].jump(0)


COMMON = ["kill", "silence", "partition", "one_way", "expiry", "quorum", "restarts", "reassignment"]
# What the preloaded gate does is for Odradek alone; Apache Kafka ends itself when its only log dir fails.
OWN = ["slow_disk", "full_disk", "failing_disk", "clock"]
kinds = options.only.split(",") if options.only else COMMON + (OWN if options.program == "odradek" else [])


@contextlib.contextmanager
def small_disks(cluster, folders):
    """A tmpfs on each folder. After a failure their files stay in the cluster's folder, as its __exit__ leaves the rest."""
    mounted, failed = [], True
    try:
        for folder in folders:
            done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "odradek-test", folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode != 0:
                not_run("tmpfs cannot be mounted: " + done.stdout.strip())
            mounted.append(folder)
        yield
        failed = False
    finally:
        for folder in mounted:
            kept = folder.with_name(folder.name + "-kept")
            if failed:
                subprocess.run(["cp", "-a", "--sparse=always", folder, kept], check=False)
            subprocess.run(["umount", "-l", folder], check=False)
        if not failed:
            shutil.rmtree(cluster.folder, ignore_errors=True)


def mix(cluster, lab, gates, disks):
    cluster.create_topic(TOPIC, assignment=REPLICAS, configs={"min.insync.replicas": "2", **({"flush.ms": "500"} if options.program == "odradek" else {})})
    cluster.wait_isr(TOPIC)
    producers = [Producer(cluster.address, TOPIC, "java", per_second=300, properties={"delivery.timeout.ms": 300000}),
                 Producer(cluster.address, TOPIC, "confluent-kafka", per_second=300, properties={"message.timeout.ms": 300000})]
    producers[1].exact = False  # a new leader may refuse the second request before it takes the first: librdkafka sends again in a new epoch
    readers = [Reader(cluster.address, TOPIC), Reader(cluster.address, TOPIC, "group", "java-4.3.1")]
    offsets = GroupOffsets(cluster, {"group": TOPIC})
    faults = Faults(cluster, lab, gates, disks)
    counts = dict.fromkeys(kinds, 0)
    try:
        for each in producers:
            each.wait_acked(100)
        cluster.wait(lambda: all(reader.seen for reader in readers), "every reader reads", 60)
        end, bag = time.monotonic() + options.seconds, []
        while time.monotonic() < end:
            if not bag:
                bag = rng.sample(kinds, len(kinds))
            kind = bag.pop()
            getattr(faults, kind)()
            counts[kind] += 1
            assert all(reader.process.poll() is None for reader in readers), "a reader ended by itself"
            say(f"{kind} is over; acknowledged {[each.acknowledged() for each in producers]}, read {[len(reader.seen) for reader in readers]}")
            if rng.random() < 0.7:  # else the next one meets a cluster that has not recovered
                cluster.wait_isr(TOPIC, wait=120)
                time.sleep(rng.uniform(0, 2))
        say(f"the faults are over: {counts}")
        # Liveness: everything goes on.
        cluster.wait_isr(TOPIC, wait=120)
        cluster.wait_isr("__consumer_offsets", wait=120)
        for each in producers:
            each.wait_acked(300)
        say("all in sync, producers go on")
        for each in producers:
            each.stop(320)
        cluster.wait(lambda: all(len(reader.seen) >= sum(cluster.high_watermark(TOPIC, p) for p in range(len(REPLICAS))) for reader in readers), "everything is read", 120)
        for reader in readers:
            reader.stop()
    except BaseException:
        for each in (*producers, *readers):
            print(f"---- {each.kind}: {each.errors[-1500:]}", flush=True)
            each.process.kill()
        raise
    say(f"{check(cluster, TOPIC, producers, readers)} acknowledged records checked, {len(readers[1].retries)} retries of the group's reader")
    offsets.check(readers, watched=False)
    say(f"{cluster.compare_logs(TOPIC)} bytes are the same on three brokers")


print(f"seed {options.seed}, {options.program}, {options.seconds} s of {', '.join(kinds)}", flush=True)
with Distance(HERE, *BROKERS.values(), *SERVERS) as lab:
    ensemble = Ensemble([(lab.address(server), lab.prefix(server)) for server in SERVERS])
    cluster = Cluster(dict.fromkeys(BROKERS, options.program), {"zookeeper.session.timeout.ms": str(SESSION * 1000)}, start=False, lab=lab, places=BROKERS,
                      ensemble=ensemble)
    gates = {}
    if options.program == "odradek":
        for node in cluster:
            gates[node.id] = Gate()
            gates[node.id].jump(0)
            node.env = gates[node.id].env()
            node.dirs[0].mkdir()
    disks = {node.id: node.dirs[0] for node in cluster}
    try:
        with small_disks(cluster, disks.values() if gates else []), cluster:
            cluster.start()
            mix(cluster, lab, gates, disks)
    except BaseException:
        print(f"seed {options.seed}", flush=True)
        raise
    finally:
        for gate in gates.values():
            shutil.rmtree(gate.directory, ignore_errors=True)
print("no fault did harm")
