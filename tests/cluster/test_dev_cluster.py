#!/usr/bin/env python3
# timeout: 600
"""`odradek dev-cluster`: ZooKeeper and brokers up in one command, a killed broker is told with the command that starts it, Ctrl-C stops all in
order, the next start goes on with what was there. With Odradek, and with three Apache Kafka 3.9.2 brokers in place of its own program."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import BIN, free_port, need, not_run, wait_until
import environments

need("java")
try:
    jars = environments.kafka_class_path("3.9.2")
except environments.Missing as why:
    not_run(str(why))
debian = pathlib.Path("/usr/share/java/zookeeper.jar")


def ports(count):
    """The first of so many free ones in a row."""
    while True:
        first = free_port()
        try:
            probes = [socket.create_server(("127.0.0.1", first + i)) for i in range(count)] if first + count < 65000 else None
        except OSError:
            continue
        if probes:
            for probe in probes:
                probe.close()
            return first


def tool(*words, code=0, data=None):
    if "-b" in words:
        words = (*words, "--timeout", 60)
    done = subprocess.run([str(BIN / "odradek"), *map(str, words)], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=200)
    assert done.returncode == code, f"odradek {' '.join(map(str, words))} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done


def alive(pid):
    return pathlib.Path(f"/proc/{pid}").exists()


class Running:
    """The command, until its end; `ready` is what it said."""

    def __init__(self, folder, brokers, *words):
        first = ports(2 * brokers + 1)
        self.words = ["--folder", folder, "-n", brokers, "--port", first, "--metrics-port", first + brokers, "--zookeeper-port", first + 2 * brokers, "--wait", 180, *words]
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([str(BIN / "odradek"), "dev-cluster", "--json", *map(str, self.words)], stdout=subprocess.PIPE, stderr=self.errors, text=True)
        text = ""
        while not text.endswith("\n}\n"):
            line = self.process.stdout.readline()
            assert line, f"it ended with {self.process.wait()}: {text}{self.complaints()}"
            text += line
        self.ready = json.loads(text)
        self.bootstrap = self.ready["bootstrap"]
        self.pids = [each["pid"] for each in self.ready["brokers"]]

    def complaints(self):
        self.errors.seek(0)
        return self.errors.read()

    def children(self):
        return [int(pid) for pid in pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()]

    def stop(self, number=signal.SIGINT):
        """Its exit code; none of its processes is left."""
        children = self.children()
        self.process.send_signal(number)
        code = self.process.wait(240)
        assert not [pid for pid in children if alive(pid)], "something was left behind"
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()  # takes its children along
            self.process.wait()


def play(folder, brokers, *words):
    factor = min(3, brokers)
    with Running(folder, brokers, *words) as cluster:
        status = json.loads(tool("cluster", "status", "-b", cluster.bootstrap, "--json").stdout)
        assert status["brokers_alive"] == brokers and status["controller"] > 0, status
        assert len(cluster.children()) == brokers + 1
        created = json.loads(tool("topic", "create", "kept", "-b", cluster.bootstrap, "--partitions", "3", "--json").stdout)
        assert created["replication_factor"] == factor, created
        tool("produce", "kept", "-b", cluster.bootstrap, data="".join(f"{i}\n" for i in range(1000)))
        # A second one in the same folder, and one on the same ports.
        assert "is used by another dev-cluster" in tool("dev-cluster", *cluster.words, code=1).stderr
        with tempfile.TemporaryDirectory() as other:
            assert "is taken" in tool("dev-cluster", "--folder", other, *cluster.words[2:], code=1).stderr
        if brokers > 1:
            os.kill(cluster.pids[-1], signal.SIGKILL)
            wait_until(lambda: "was ended by signal 9" in cluster.complaints(), what="the death is told")
            command = cluster.complaints().strip().split("to start it again: ")[1]
            seen = lambda key: json.loads(tool("cluster", "status", "-b", cluster.bootstrap, "--json").stdout)[key]
            wait_until(lambda: seen("brokers_alive") == brokers - 1, 60, "its session ends")
            with open(f"{folder}/again.log", "wb") as log:
                again = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command.split()], stdout=log, stderr=log)
            wait_until(lambda: seen("brokers_alive") == brokers and seen("under_replicated_partitions") == 0, 120, "all in sync again")
            again.terminate()
            assert again.wait(120) in (0, 143)
        assert cluster.stop() == 0, cluster.complaints()
    with Running(folder, brokers, *words) as cluster:
        read = tool("consume", "kept", "-b", cluster.bootstrap, "--exit-at-end").stdout.splitlines()
        assert sorted(map(int, read)) == list(range(1000)), f"{len(read)} records after a restart"
        children = cluster.children()
        cluster.process.kill()
        cluster.process.wait()
        wait_until(lambda: not [pid for pid in children if alive(pid)], what="nobody outlives the command")


with tempfile.TemporaryDirectory(prefix="odradek-dev-") as folder:
    folder = pathlib.Path(folder)
    at = [] if debian.exists() else ["--zookeeper-jars", jars]
    play(folder / "own", 1, *at)
    print(f"Odradek, ZooKeeper of {'Debian' if debian.exists() else 'Kafka 3.9.2'}", flush=True)
    kafka = folder / "kafka.sh"
    kafka.write_text(f"#!/bin/sh\nexec java -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp '{jars}' kafka.Kafka \"$1\"\n")
    kafka.chmod(0o755)
    play(folder / "three", 3, "--server", kafka, "--zookeeper-jars", jars)
    print("three Apache brokers", flush=True)

    # What cannot start is told in words.
    assert "--zookeeper-jars" in tool("dev-cluster", "--help").stdout
    first = ports(4)
    small = ["-n", 1, "--port", first, "--metrics-port", first + 1, "--zookeeper-port", first + 2]
    assert "cannot be started: No such file" in tool("dev-cluster", "--folder", folder / "a", *small, "--zookeeper-jars", jars, "--java", "/no/java", code=1).stderr
    assert "zookeeper ended with code" in tool("dev-cluster", "--folder", folder / "b", *small, "--zookeeper-jars", "/no/jars", code=1).stderr
    failed = tool("dev-cluster", "--folder", folder / "c", *small, "--zookeeper-jars", jars, "--override", "num.io.threads=0", code=1).stderr
    assert "broker 1 ended with code" in failed and "num.io.threads" in failed, failed
    assert "is not key=value" in tool("dev-cluster", "--override", "x", code=2).stderr
    assert "asked for twice" in tool("dev-cluster", "--folder", folder / "d", "-n", 2, "--port", first, "--metrics-port", first + 1, "--zookeeper-jars", jars, code=2).stderr
print("dev-cluster")
