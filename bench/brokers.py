"""Starts the brokers that are compared, each alone on the machine, and reads what they cost from the system's accounting."""
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/lib"))
import environments
from gate import Gate
from slow_disk import SlowDisk

VARIANTS = sorted(path.stem for path in (ROOT / "bench/ablation").glob("*.variant"))  # programs odradek-server-<variant>
TICKS = os.sysconf("SC_CLK_TCK")


def free_ports(count):
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def drop_pages(path):
    """Takes the file out of the page cache."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def kafka_tool(main_class, *arguments):
    """What one of Kafka's tools prints."""
    command = ["java", "-Xmx256m", "-cp", environments.kafka_class_path("4.3.1"), main_class, *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout


class Process:
    """A broker process; `start()` returns the seconds until its first answer."""

    program = ""  # the name of the process's file
    patience_s = 120  # how long a start may take, and twice a stop

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.process = None
        self.port = None
        self.gate = None
        self.disk = None
        self.delay_ms = 0  # how much longer every fsync takes

    def put_gate(self, delay_ms):
        """Before the start: counts every fsync, and makes each take so much longer."""
        self.gate, self.delay_ms = Gate(self.program), delay_ms
        if delay_ms:
            self.gate.delay(delay_ms, "/")

    def put_on_slow_disk(self, delay_ms):
        """Before the start: the data lies on a file system whose journal every fsync stops for so long, while it is told to (slowed)."""
        self.delay_ms = delay_ms
        self.disk = SlowDisk(self.folder / "data", self.folder / "device", 0)

    @contextlib.contextmanager
    def slowed(self):
        """Starts, warm-ups and new topics need no slow disk; what is measured does."""
        if self.disk is not None:
            self.disk.set_delay(self.delay_ms)
        try:
            yield
        finally:
            if self.disk is not None:
                self.disk.set_delay(0)

    def launch(self, command):
        env = dict(os.environ, **(self.gate.env() if self.gate else {}))
        log = open(self.folder / "server.log", "ab")
        begin = time.monotonic()
        self.process = subprocess.Popen([str(c) for c in command], stdout=log, stderr=subprocess.STDOUT, env=env, cwd=self.folder)
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"{command[0]} ended:\n{(self.folder / 'server.log').read_text(errors='replace')[-3000:]}")
            if self.answers():
                return time.monotonic() - begin
            if time.monotonic() - begin > self.patience_s:
                raise RuntimeError(f"no answer within {self.patience_s} s")
            time.sleep(0.005)

    def answers(self):
        """Whether Metadata names a broker (Kafka answers ApiVersions before it serves)."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as sock:
                sock.settimeout(2)
                sock.sendall(bytes.fromhex("0000000f" "0003" "0001" "00000001" "0001" "78" "00000000"))
                size = int.from_bytes(sock.recv(4), "big")
                answer = b""
                while len(answer) < size:
                    piece = sock.recv(size - len(answer))
                    if not piece:
                        return False
                    answer += piece
                return size > 8 and int.from_bytes(answer[4:8], "big") > 0
        except OSError:
            return False

    def cpu_seconds(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_mib(self):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(self.patience_s / 2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        if self.disk is not None:
            self.disk.close()
            self.disk = None
        if self.gate is not None:
            shutil.rmtree(self.gate.directory, ignore_errors=True)


def properties_text(properties):
    return "".join(f"{key}={value}\n" for key, value in properties.items())


class Odradek(Process):
    def __init__(self, folder, variant=None):
        """`variant`: one of ablation/*.variant."""
        super().__init__(folder)
        self.name = variant or "Odradek"
        self.program = "odradek-server" + (f"-{variant}" if variant else "")

    def start(self, properties):
        self.port = free_ports(1)[0]
        settings = {"broker.id": 0, "listeners": f"PLAINTEXT://127.0.0.1:{self.port}", "log.dirs": self.folder / "data", "metrics.listener": "127.0.0.1:0",
                    **properties}
        (self.folder / "server.properties").write_text(properties_text(settings))
        return self.launch([ROOT / "build/release/bin" / self.program, self.folder / "server.properties"])


class Kafka(Process):
    """Apache Kafka as one KRaft node, with the options of Kafka's own start scripts and a heap of 1 GiB."""

    program = "java"

    def __init__(self, folder, version):
        super().__init__(folder)
        self.version = version
        self.name = f"Kafka {version}"
        self.class_path = environments.kafka_class_path(version)

    def java(self):
        (self.folder / "log4j.properties").write_text("log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n"
                                                      "log4j.appender.out.layout=org.apache.log4j.PatternLayout\n")
        return ["java", "-Xmx1g", "-Xms1g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
                "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true", f"-Dlog4j.configuration=file:{self.folder}/log4j.properties", "-cp",
                self.class_path]

    def start(self, properties):
        self.port, controller = free_ports(2)
        settings = {"process.roles": "broker,controller", "node.id": 0, "controller.quorum.voters": f"0@127.0.0.1:{controller}",
                    "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}", "controller.listener.names": "CONTROLLER",
                    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT", "log.dirs": self.folder / "data",
                    "offsets.topic.replication.factor": 1, **properties}
        config = self.folder / "server.properties"
        config.write_text(properties_text(settings))
        if not (self.folder / "data/meta.properties").exists():
            subprocess.run([*self.java(), "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", str(config)], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self.launch([*self.java(), "kafka.Kafka", config])


class Floor(Process):
    """One bare epoll thread that checks, appends and answers (floor.cc): what is left to the brokers above it is theirs."""

    name = "Floor"
    program = "floor"

    def start(self, properties):
        self.port = free_ports(1)[0]
        return self.launch([ROOT / "build/release/bin/floor", self.port, self.folder])


def make(kind, folder):
    folder = pathlib.Path(folder)
    SlowDisk.clear(folder / "data")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if kind in ("odradek", "floor"):
        return {"odradek": Odradek, "floor": Floor}[kind](folder)
    return Odradek(folder, kind) if kind in VARIANTS else Kafka(folder, kind)
