"""Several brokers on one ZooKeeper, each Odradek or Apache Kafka 3.9.2: either program can be started on the same id, port and data.

    with Cluster({1: "odradek", 2: "kafka", 3: "kafka"}) as cluster:
        cluster.create_topic("t", assignment=[[1, 2, 3], [2, 3, 1]])
        cluster.wait_isr("t")
        cluster[2].kill(); cluster[2].swap("odradek"); cluster[2].start()
        cluster.wait_isr("t")
        cluster.compare_logs("t")

What runs against it and is checked afterwards: load.py. When the body fails, the ends of all logs are printed and the folder is kept."""
import contextlib
import pathlib
import re
import shutil
import signal
import tempfile
import time

import apache
import environments
import wire
import zookeeper
from broker import Broker, connect, free_port, need, not_run, run

KAFKA = "3.9.2"
PROGRAMS = ("odradek", "kafka")
# For both programs. Tests that look at the ISR or at failover set their own times.
COMMON = {
    "offsets.topic.num.partitions": "3",
    "transaction.state.log.num.partitions": "3",
    "transaction.state.log.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "zookeeper.session.timeout.ms": "6000",
    "replica.lag.time.max.ms": "10000",
    "auto.create.topics.enable": "false",
}


class Node:
    """One broker id with its port and its log dirs; the program that serves it may change while it is stopped."""

    def __init__(self, cluster, broker, program, dirs=1):
        self.cluster, self.id, self.port = cluster, broker, free_port()
        self.folder = cluster.folder / f"broker-{broker}"
        self.folder.mkdir()
        self.dirs = [self.folder / f"data-{i}" for i in range(dirs)]
        self.properties = {}  # of this node, above those of the cluster
        self.env, self.java = {}, None  # of Odradek's process; options of Kafka's JVM
        place = cluster.places.get(broker)
        self.host, self.prefix = (cluster.lab.address(place), cluster.lab.prefix(place)) if place else ("127.0.0.1", [])
        self.server = None
        self.swap(program)

    def __repr__(self):
        return f"broker {self.id} ({self.program})"

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    @property
    def pid(self):
        return self.server.process.pid

    @property
    def log_path(self):
        return self.folder / "server.log"  # both programs append to it

    def log_text(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def swap(self, program):
        """The next start is of `program`."""
        assert program in PROGRAMS, program
        assert not self.alive(), f"{self} runs"
        self.program = program

    def alive(self):
        return self.server is not None and self.server.alive()

    def launch(self):
        """Starts the process and does not wait: wait_started() does, so that several can start at once. It ends with the thread that calls this."""
        assert not self.alive(), f"{self} runs"
        count = str(min(3, len(self.cluster.nodes)))
        settings = {"offsets.topic.replication.factor": count, "transaction.state.log.replication.factor": count, **COMMON, **self.cluster.properties,
                    **self.properties}
        at = self.cluster.connect_string
        if self.program == "kafka":
            self.server = apache.Kafka(KAFKA, zookeeper=at, dirs=self.dirs, broker=self.id, properties=settings, folder=self.folder, port=self.port,
                                       host=self.host, prefix=self.prefix, java=self.java)
        else:
            listeners = f"PLAINTEXT://{self.address}"
            self.server = Broker({"broker.id": str(self.id), "listeners": listeners, "zookeeper.connect": at, "log.dirs": ",".join(map(str, self.dirs)), **settings},
                                 directory=self.folder, env=self.env, host=self.host,
                                 prefix=[*self.prefix, "setpriv", "--pdeathsig", "KILL"])
        self.server.launch()

    def wait_started(self):
        self.server.wait_started()
        return self

    def start(self):
        self.launch()
        return self.wait_started()

    def stop(self):
        """A clean stop (controlled shutdown); an exit code that tells of anything else is an error."""
        self.server.stop()

    def kill(self):
        self.server.kill()  # also when it is paused

    def pause(self, paused=True):
        self.server.process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    @contextlib.contextmanager
    def socket(self, timeout=10):
        with connect(self.port, timeout, self.host) as sock:
            yield sock

    def metadata(self, topics=None):
        """What this broker tells (wire.metadata)."""
        with self.socket() as sock:
            return wire.metadata(sock, topics)

    def replica_dir(self, topic, partition):
        """The folder of a replica, None without one."""
        found = [d / f"{topic}-{partition}" for d in self.dirs if (d / f"{topic}-{partition}").is_dir()]
        assert len(found) <= 1, f"two folders of {topic}-{partition} on {self}: {found}"
        return found[0] if found else None


class Cluster:
    """`programs`: broker id → "odradek" or "kafka". `properties`: server properties of all. All are started by __enter__ unless start=False.
    With `lab` (distance.Distance, which must have an end "here") each broker is at the end that `places` names, by its id, and ZooKeeper at places["zookeeper"].
    `ensemble`: the ZooKeeper servers (ensemble.Ensemble), instead of one server of its own.
    Ends the test as not run where Java or Kafka's jars cannot be had."""

    def __init__(self, programs, properties=None, dirs=1, start=True, chroot="/cluster", lab=None, places=None, ensemble=None):
        need("java", "kcat")
        try:
            environments.kafka_class_path(KAFKA)  # ZooKeeper's jars are among them
        except environments.Missing as why:
            not_run(str(why))
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="odradek-cluster-"))
        self.lab, self.places = lab, places or {}
        place = self.places.get("zookeeper")
        self.zookeeper = ensemble or (zookeeper.Server(lab.address(place), lab.prefix(place)) if place else zookeeper.Server())
        self.chroot, self.properties, self.start_all = chroot, properties or {}, start
        self.nodes = {}
        self.nodes = {broker: Node(self, broker, program, dirs) for broker, program in programs.items()}

    def __enter__(self):
        try:
            self.zookeeper.start()
            if self.start_all:
                self.start()
        except BaseException as why:
            self._end(not isinstance(why, SystemExit))
            raise
        return self

    def __exit__(self, kind, value, trace):
        self._end(kind is not None and kind is not SystemExit)

    def _end(self, failed):
        for node in self.nodes.values():
            if node.alive():
                node.kill()
        if self.zookeeper.process is not None:
            self.zookeeper.kill()
        if failed:
            for node in self.nodes.values():
                print(f"---- end of the log of {node}", flush=True)
                print("\n".join(node.log_text().splitlines()[-30:]), flush=True)
            print(f"---- kept: {self.folder}, {self.zookeeper.folder}", flush=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
            shutil.rmtree(self.zookeeper.folder, ignore_errors=True)

    def __getitem__(self, broker):
        return self.nodes[broker]

    def __iter__(self):
        return iter(self.nodes.values())

    def add(self, broker, program):
        """A further node, not started yet."""
        self.nodes[broker] = Node(self, broker, program)
        return self.nodes[broker]

    @property
    def connect_string(self):
        return self.zookeeper.address + self.chroot

    @property
    def address(self):
        """Bootstrap servers: all."""
        return ",".join(node.address for node in self)

    def start(self, *brokers):
        """These, or all that do not run, at once."""
        nodes = [self[b] for b in brokers] or [node for node in self if not node.alive()]
        for node in nodes:
            node.launch()
        for node in nodes:
            node.wait_started()

    def wait(self, condition, what, wait=60):
        """`condition` holds; an answer that does not come (OSError, EOFError) is not yet."""
        deadline, last = time.monotonic() + wait, None
        while time.monotonic() < deadline:
            try:
                last = condition()
                if last:
                    return last
            except (OSError, EOFError) as why:
                last = why
            for node in self:
                assert node.server is None or node.server.process is None or node.alive(), f"{node} ended by itself"
            time.sleep(0.05)
        raise AssertionError(f"{what}: not within {wait} s, last {last!r}")

    # ---- what the cluster tells

    def metadata(self, topics=None):
        """Of the first broker that answers."""
        error = None
        for node in self:
            if node.alive():
                try:
                    return node.metadata(topics)
                except (OSError, EOFError) as why:
                    error = why
        raise error or OSError("no broker runs")

    def controller(self, wait=60):
        """The node that all running brokers name as controller and that runs."""
        def agreed():
            named = {node.metadata([])["controller"] for node in self if node.alive()}
            return len(named) == 1 and self.nodes.get(named.pop())
        return self.wait(lambda: (found := agreed()) and found.alive() and found, "one controller", wait)

    def partitions(self, topic):
        return self.metadata([topic])["topics"].get(topic, {})

    def leader(self, topic, partition=0):
        """The node that leads now; None: no leader."""
        return self.nodes.get(self.partitions(topic)[partition]["leader"])

    def wait_leader(self, topic, partition=0, leader=None, wait=60):
        """A running leader (`leader`, an id, if given) that every running broker names; the node."""
        def agreed():
            told = [node.metadata([topic])["topics"].get(topic, {}).get(partition, {"leader": -1})["leader"] for node in self if node.alive()]
            found = self.nodes.get(told[0]) if len(set(told)) == 1 else None
            return found is not None and found.alive() and leader in (None, found.id) and found
        return self.wait(agreed, f"leader of {topic}-{partition}" + (f" is {leader}" if leader is not None else ""), wait)

    def wait_isr(self, topic, isr=None, partition=None, wait=60):
        """The ISR of every partition (or of one) is `isr`, a list of ids; without: all replicas. As every running broker tells it."""
        def reached():
            for node in [n for n in self if n.alive()]:
                told = node.metadata([topic])["topics"].get(topic, {})
                chosen = told.values() if partition is None else [told[partition]] if partition in told else []
                if not chosen or any(set(p["isr"]) != set(p["replicas"] if isr is None else isr) or p["leader"] < 0 for p in chosen):
                    return False
            return True
        self.wait(reached, f"ISR of {topic} {'all replicas' if isr is None else isr}", wait)

    def create_topic(self, topic, partitions=1, replication=None, configs=None, assignment=None, wait=60):
        """By counts, or `assignment`: the replicas of each partition. Returns when every running broker knows a leader of each."""
        def created():
            with self.controller().socket(60) as sock:
                error = wire.create_topic(sock, topic, partitions, replication or min(3, len(self.nodes)), configs, assignment=assignment)
            assert error in (0, 7, 36, 41), f"create {topic}: error {error}"
            return error in (0, 36)
        self.wait(created, f"topic {topic}", wait)
        for partition in range(len(assignment) if assignment else partitions):
            self.wait_leader(topic, partition, wait=wait)

    def high_watermark(self, topic, partition=0):
        def ask():
            with self.wait_leader(topic, partition).socket() as sock:
                error, offset = wire.list_offset(sock, topic, partition)
            return (offset,) if error == 0 else None
        return self.wait(ask, f"high watermark of {topic}-{partition}")[0]

    def zookeeper_client(self):
        """A session of its own; paths start with `chroot`."""
        return zookeeper.Client(self.zookeeper.port, host=self.zookeeper.host)

    def kafka_tool(self, main_class, *arguments, version=KAFKA, check=True, timeout=240):
        """Output of one of Kafka's tools; --bootstrap-server is given."""
        command = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", environments.kafka_class_path(version), main_class,
                   "--bootstrap-server", self.address, *map(str, arguments)]
        return run(command, check=check, timeout=timeout)

    # ---- files

    def compare_logs(self, topic, wait=60):
        """The logs of all replicas of each partition hold the same bytes, from the greatest start to the smallest end. First waits until every
        replica's end on disk is the leader's high watermark; brokers may run, but nothing should be produced. Returns the bytes compared."""
        total = 0
        for partition, state in sorted(self.partitions(topic).items()):
            end = self.high_watermark(topic, partition)
            dirs = {broker: self[broker].replica_dir(topic, partition) for broker in state["replicas"]}
            for broker, folder in dirs.items():
                assert folder is not None, f"{self[broker]} has no folder of {topic}-{partition}"
                self.wait(lambda: log_end(folder) >= end, f"log end {end} of {topic}-{partition} on {self[broker]}", wait)
            total += compare_dirs(dirs, f"{topic}-{partition}")
        return total


def batches(folder):
    """(base offset, last offset or None for formats v0 and v1, bytes) of each whole batch in the `.log` files of a partition, in order."""
    for file in sorted(pathlib.Path(folder).glob("*.log")):
        if not re.fullmatch(r"\d{20}\.log", file.name):
            continue
        with open(file, "rb") as data:
            while len(head := data.read(17)) == 17:
                base, size = int.from_bytes(head[:8], "big"), int.from_bytes(head[8:12], "big")
                assert size >= 14, f"{file}: a batch of {size} bytes at {data.tell() - 17}"
                rest = data.read(size - 5)
                if len(rest) < size - 5:
                    break  # being written
                last = base + int.from_bytes(rest[6:10], "big") if head[16] == 2 else None
                yield base, last, head + rest


def log_end(folder):
    """The offset behind the last whole batch on disk, 0 for an empty log. Of messages v0 and v1 the offset is that of the last inner one."""
    files = sorted(f for f in pathlib.Path(folder).glob("*.log") if re.fullmatch(r"\d{20}\.log", f.name))
    end = int(files[-1].stem) if files else 0
    for base, last, _ in batches(folder):
        end = max(end, (base if last is None else last) + 1)
    return end


def compare_dirs(dirs, name):
    """`dirs`: broker → folder of one partition. Asserts equal bytes; returns how many were compared for each."""
    iterators = {broker: batches(folder) for broker, folder in dirs.items()}
    heads = {broker: next(iterator, None) for broker, iterator in iterators.items()}
    compared = 0
    first = max((head[0] for head in heads.values() if head), default=0)
    for broker in heads:  # retention may have been here and not there yet
        while heads[broker] and heads[broker][0] < first:
            heads[broker] = next(iterators[broker], None)
    while all(heads.values()):
        (one, head), *others = heads.items()
        for other, its in others:
            if its == head:
                continue
            at = next((i for i, (a, b) in enumerate(zip(head[2], its[2])) if a != b), min(len(head[2]), len(its[2])))
            raise AssertionError(f"{name} differs at offset {head[0]}: broker {one} {head[:2]} of {len(head[2])} bytes, broker {other} {its[:2]} of {len(its[2])} bytes, "
                                 f"first at byte {at}: {head[2][max(0, at - 8):at + 24].hex()} and {its[2][max(0, at - 8):at + 24].hex()}")
        compared += len(head[2])
        heads = {broker: next(iterator, None) for broker, iterator in iterators.items()}
    return compared
