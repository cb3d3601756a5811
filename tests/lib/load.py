"""Producers that note what was acknowledged, readers that note what they saw, and the check of both against what the cluster holds at the end.

    with Producer(cluster.address, "t", "java") as java, Producer(cluster.address, "t", "kcat") as kcat, Reader(cluster.address, "t") as reader:
        ...  # kill, swap, reassign
    check(cluster, "t", [java, kcat], [reader])

Kinds of producers: "kcat" (librdkafka of the system; one topic partition or keys), "java" (Kafka's VerifiableProducer 3.9.2), "confluent-kafka", "kafka-python",
"java-VERSION" (Kafka's clients since 0.8.2.2). Kinds of readers: "confluent-kafka" (librdkafka), in a group also "java-VERSION" (since 2.0) and "scala-0.8.2.2"."""
import collections
import json
import os
import pathlib
import subprocess
import threading
import time

import environments
from broker import not_run

LIB = pathlib.Path(__file__).resolve().parent
KINDS = ("kcat", "java", "confluent-kafka", "kafka-python")
IDEMPOTENT = ("kcat", "java", "confluent-kafka", "java-3.9.2", "java-4.3.1")  # unless told otherwise by properties
PROGRAMS = LIB.parent / "clients/programs/java_load"
QUIET = "org.slf4j:slf4j-nop:1.7.36"


def java_client(program, version):
    """The command of a program in PROGRAMS with Kafka's clients of `version`."""
    path = environments.maven(f"kafka-clients-{version}", f"org.apache.kafka:kafka-clients:{version}", QUIET)
    return environments.java_with(PROGRAMS / f"{program}.java", path, f"clients-{version}")


def scala_client(program, version):
    """The same with the clients that were written in Scala."""
    path = environments.maven(f"kafka-scala-{version}", f"org.apache.kafka:kafka_2.11:{version}", QUIET)
    return environments.java_with(PROGRAMS / f"{program}.java", path, f"scala-{version}")


class Producer:
    """Values are PREFIX.0, PREFIX.1, ...: `acked` holds (partition, offset) of each that was acknowledged, `sent` how many there were, `failed` those that
    were refused for good. kcat tells no offsets: its lines all count as acknowledged if none failed, at offset None. stop() waits for all answers."""

    count = 0

    def __init__(self, address, topic, kind="java", per_second=500, properties=None, prefix=None):
        Producer.count += 1
        self.topic, self.kind, self.per_second = topic, kind, per_second
        self.prefix = prefix or str(Producer.count)  # VerifiableProducer's must be a number
        self.acked, self.failed, self.errors = {}, {}, ""
        self.sent, self.stopped = 0, False
        self.properties = properties or {}
        self.exact = self.properties.get("enable.idempotence", kind in IDEMPOTENT) in (True, "true")
        self.lock = threading.Lock()
        self.process = subprocess.Popen([str(word) for word in self._command(address)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, bufsize=1)
        self.threads = [threading.Thread(target=body, daemon=True) for body in (self._read, self._read_errors, *([self._feed] if kind == "kcat" else []))]
        for thread in self.threads:
            thread.start()

    def _command(self, address):
        try:
            if self.kind == "kcat":
                settings = {"acks": "all", "enable.idempotence": "true", "linger.ms": 5, "message.timeout.ms": 120000, **self.properties}
                return ["kcat", "-b", address, "-P", "-t", self.topic, "-K", ":", *[w for k, v in settings.items() for w in ("-X", f"{k}={v}")]]
            if self.kind == "java":
                settings = {"enable.idempotence": "true", "retries": 2147483647, "delivery.timeout.ms": 120000, "linger.ms": 5, **self.properties}
                self.config = pathlib.Path(os.environ.get("TMPDIR", "/tmp")) / f"odradek-producer-{os.getpid()}-{Producer.count}.properties"
                self.config.write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
                return ["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", environments.kafka_class_path("3.9.2"),
                        "org.apache.kafka.tools.VerifiableProducer", "--bootstrap-server", address, "--topic", self.topic, "--throughput", self.per_second,
                        "--acks", settings.pop("acks", "-1"), "--value-prefix", self.prefix, "--producer.config", self.config]
            if self.kind.startswith("java-"):
                return [*java_client("LoadProducer", self.kind.removeprefix("java-")), address, self.topic, self.prefix, self.per_second,
                        *[f"{k}={v}" for k, v in self.properties.items()]]
            return [environments.python(self.kind), LIB / "acked_producer.py", self.kind, address, self.topic, self.prefix, self.per_second, json.dumps(self.properties)]
        except environments.Missing as why:
            not_run(str(why))

    def _feed(self):
        """kcat's lines."""
        begin = time.monotonic()
        while not self.stopped:
            while self.sent < (time.monotonic() - begin) * self.per_second:
                try:
                    self.process.stdin.write(f"{self.sent}:{self.prefix}.{self.sent}\n")
                except BrokenPipeError:
                    return  # its exit code tells
                self.sent += 1
            self.process.stdin.flush()
            time.sleep(0.02)

    def _read(self):
        for line in self.process.stdout:
            with self.lock:
                if self.kind == "java":
                    try:
                        told = json.loads(line)
                    except ValueError:
                        continue
                    if told["name"] == "producer_send_success":
                        self.acked[told["value"]] = (told["partition"], told["offset"])
                    elif told["name"] == "producer_send_error":
                        self.failed[told["value"]] = told.get("message", "")
                    elif told["name"] == "tool_data":
                        self.sent = told["sent"]
                else:
                    kind, *words = line.strip().split(None, 3 if line.startswith("acked") else 2)
                    if kind == "acked":
                        # Where a broker calls a repetition a duplicate, librdkafka takes it as delivered without an offset.
                        self.acked[words[2]] = None if words[1] == "None" else (int(words[0]), int(words[1]))
                    elif kind == "failed":
                        self.failed[words[0]] = words[1]
                    elif kind == "done":
                        self.sent = int(words[0])

    def _read_errors(self):
        for line in self.process.stderr:
            self.errors = (self.errors + line)[-20000:]

    def acknowledged(self):
        """How many by now; kcat: written to its input."""
        with self.lock:
            return self.sent if self.kind == "kcat" else len(self.acked)

    def wait_acked(self, more, wait=120):
        """Until so many more than now were acknowledged."""
        goal, deadline = self.acknowledged() + more, time.monotonic() + wait
        while self.acknowledged() < goal:
            assert self.process.poll() is None, f"producer {self.kind} ended with {self.process.poll()}:\n{self.errors[-3000:]}"
            assert time.monotonic() < deadline, f"producer {self.kind}: {self.acknowledged()} acknowledged, {goal} wanted within {wait} s\n{self.errors[-3000:]}"
            time.sleep(0.05)

    def stop(self, wait=180):
        """Ends the producer in order; every record has its answer afterwards."""
        if self.stopped:
            return self
        self.stopped = True
        if self.kind == "kcat":
            self.threads[2].join()
        if self.kind == "java":
            self.process.terminate()  # it closes its producer in a shutdown hook
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        code = self.process.wait(wait)
        for thread in self.threads[:2]:
            thread.join()
        assert code in ((0, 143) if self.kind == "java" else (0,)), f"producer {self.kind} ended with {code}:\n{self.errors[-3000:]}"
        if self.kind == "java":
            self.config.unlink()
        if self.kind == "kcat":
            assert "Delivery failed" not in self.errors, self.errors
            self.acked = {f"{self.prefix}.{i}": None for i in range(self.sent)}
        return self

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        elif self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Reader:
    """Reads all partitions of a topic from the beginning and goes on until stop(): (partition, offset) → value of each record seen, each
    seen once. With `group` as a member of that group, where a record may come again after a rebalance. `committed`: partition → the
    greatest offset whose commit was acknowledged, `retries`: failures after which a program goes on (kind "java-VERSION" tells both).
    `zookeeper`: the connect string, for kind "scala-0.8.2.2"."""

    def __init__(self, address, topic, group=None, kind="confluent-kafka", zookeeper=None, properties=None):
        self.topic, self.group, self.kind, self.seen, self.again, self.errors = topic, group, kind, {}, 0, ""
        self.different, self.committed, self.retries, self.failures, self.stopped = [], {}, [], [], False
        extra = properties or {}
        try:
            if kind == "confluent-kafka":
                command = [environments.python(kind), LIB / "reading_consumer.py", address, topic, group or "", json.dumps(extra)]
            elif kind.startswith("java-"):
                command = [*java_client("LoadConsumer", kind.removeprefix("java-")), address, topic, group, *[f"{k}={v}" for k, v in extra.items()]]
            else:
                command = [*scala_client("LoadScala", kind.removeprefix("scala-")), zookeeper, topic, group]
        except environments.Missing as why:
            not_run(str(why))
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.threads = [threading.Thread(target=body, daemon=True) for body in (self._read, self._read_errors)]
        for thread in self.threads:
            thread.start()

    def _read(self):
        for line in self.process.stdout:
            kind, *words = line.rstrip("\n").split(" ", 3)
            if kind == "read":
                at = (int(words[0]), int(words[1]))
                if at in self.seen:
                    self.again += 1
                    if self.seen[at] != words[2]:
                        self.different.append((at, self.seen[at], words[2]))
                self.seen[at] = words[2]
            elif kind == "committed":
                self.committed[int(words[0])] = max(int(words[1]), self.committed.get(int(words[0]), 0))
            else:
                (self.retries if kind == "retry" else self.failures).append(line.strip())

    def _read_errors(self):
        for line in self.process.stderr:
            self.errors = (self.errors + line)[-20000:]

    def stop(self):
        if self.stopped:
            return self
        self.stopped = True
        assert self.process.poll() is None, f"reader {self.kind} ended by itself with {self.process.poll()}:\n{self.errors[-3000:]}"
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        code = self.process.wait(120)
        for thread in self.threads:
            thread.join()
        assert code == 0, f"reader {self.kind} ended with {code}:\n{self.errors[-3000:]}"
        return self

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        elif self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def read_all(address, topic, timeout=300):
    """partition → {offset: value}, by a consumer of today."""
    done = subprocess.run(["kcat", "-b", address, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%p %o %s\n", "-X", "check.crcs=true"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-3000:]
    held = collections.defaultdict(dict)
    for line in done.stdout.splitlines():
        partition, offset, value = line.split(" ", 2)
        held[int(partition)][int(offset)] = value
    return held


def check(cluster, topic, producers, readers=(), refused=False):
    """After stop() of all: every acknowledged record is at its offset; offsets are dense; an idempotent producer's records come once and in its
    order on each partition; no reader saw a record that is another one now, or is gone; nothing is there that nobody sent. `refused`: whether
    producers may have been refused records. Returns how many acknowledged records were checked."""
    held = read_all(cluster.address, topic)
    places = collections.defaultdict(list)  # value → where
    for partition, records in held.items():
        assert sorted(records) == list(range(len(records))), f"{topic}-{partition}: offsets are not dense"
        for offset in range(len(records)):
            places[records[offset]].append((partition, offset))
    checked = 0
    for producer in producers:
        name = f"{producer.kind} {producer.prefix}"
        assert refused or not producer.failed, f"{name}: {len(producer.failed)} refused, first {next(iter(producer.failed.items()))}"
        lost = [value for value, at in producer.acked.items() if value not in places or (at is not None and at not in places[value])]
        assert not lost, f"{name}: {len(lost)} of {len(producer.acked)} acknowledged records lost or elsewhere, first {lost[0]} at {producer.acked[lost[0]]}, found at {places.get(lost[0])}"
        checked += len(producer.acked)
        twice = {value: at for value, at in places.items() if value.startswith(producer.prefix + ".") and len(at) > 1}
        if twice:
            print(f"{name}: {len(twice)} records more than once, such as {next(iter(twice.items()))}", flush=True)
        if producer.exact:
            assert not twice, f"{name}: {len(twice)} records more than once: {next(iter(twice.items()))}"
            for partition, records in held.items():
                numbers = [int(records[o].split(".")[1]) for o in range(len(records)) if records[o].startswith(producer.prefix + ".")]
                assert numbers == sorted(numbers), f"{name}: out of order in {topic}-{partition}"
    known = {producer.prefix: producer.sent for producer in producers}
    strange = [value for value in places if value.split(".")[0] not in known]
    assert not strange, f"records that nobody sent: {strange[:3]}"
    for reader in readers:
        assert not reader.failures, f"reader {reader.kind}: {len(reader.failures)} failures, first: {reader.failures[0]}"
        assert not reader.different, f"a reader saw two records at one offset: {reader.different[:3]}"
        assert reader.group or not reader.again, f"a reader saw {reader.again} records again"
        changed = [(at, value, held[at[0]].get(at[1])) for at, value in reader.seen.items() if held[at[0]].get(at[1]) != value]
        assert not changed, f"{len(changed)} records that a reader saw are others or gone: {changed[:3]}"
    assert checked > 0, "nothing was acknowledged"
    return checked
