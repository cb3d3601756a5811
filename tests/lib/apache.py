"""Apache Kafka's own server for tests: with ZooKeeper or as a KRaft node of its own; stopped in order or killed."""
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import environments
from broker import connect, free_port

# Starts soon and is slow; measurements give options of their own.
QUICK = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


class Kafka:
    """`Kafka("4.3.1")`: KRaft, broker and controller in one. `Kafka("3.9.2", zookeeper="host:port")`: ZooKeeper mode.
    Its log dirs are `dirs`. What else it needs is in `folder`, which __exit__ removes unless it was given. `prefix`: words before
    the command, such as `ip netns exec NAME`, with the address `host` there. `java`: options of the JVM instead of those of a quick start."""

    def __init__(self, version, zookeeper=None, dirs=None, broker=1, properties=None, folder=None, port=None, host="127.0.0.1", prefix=(), java=None):
        self.version, self.zookeeper, self.broker = version, zookeeper, broker
        self.class_path = environments.kafka_class_path(version)
        self.own_folder = folder is None
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="odradek-apache-"))
        self.dirs = [pathlib.Path(d) for d in dirs] if dirs else [self.folder / "data"]
        self.host, self.prefix, self.java = host, list(prefix), java or ["-Xmx512m", *QUICK]
        self.port, self.controller_port = port or free_port(), free_port()
        self.properties = properties or {}
        self.process = None

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def _java(self, options):
        config = self.folder / "log4j.properties"
        config.write_text("log4j.rootLogger=INFO, out\nlog4j.logger.kafka.request.logger=WARN\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n"
                          "log4j.appender.out.layout=org.apache.log4j.PatternLayout\nlog4j.appender.out.layout.ConversionPattern=[%d] %p %m (%c)%n\n")
        return ["java", *options, f"-Dlog4j.configuration=file:{config}", "-cp", self.class_path]

    def _write_properties(self):
        values = {
            "log.dirs": ",".join(map(str, self.dirs)),
            "num.partitions": "1",
            "offsets.topic.num.partitions": "3",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "3",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "controlled.shutdown.enable": "true",
        }
        if self.zookeeper:
            values |= {"broker.id": self.broker, "zookeeper.connect": self.zookeeper, "listeners": f"PLAINTEXT://{self.address}",
                       "zookeeper.session.timeout.ms": "6000"}
        else:
            values |= {"node.id": self.broker, "process.roles": "broker,controller",
                       "listeners": f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{self.controller_port}",
                       "advertised.listeners": f"PLAINTEXT://{self.address}", "controller.listener.names": "CONTROLLER",
                       "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                       "controller.quorum.voters": f"{self.broker}@127.0.0.1:{self.controller_port}"}
        values |= self.properties
        path = self.folder / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
        return path

    def start(self, wait=180):
        self.launch()
        return self.wait_started(wait)

    def launch(self):
        path = self._write_properties()
        if not self.zookeeper and not (self.dirs[0] / "meta.properties").exists():
            done = subprocess.run([*self._java(["-Xmx256m", *QUICK]), "kafka.tools.StorageTool", "format", "-t", "wQbSm0zFTkWXq5y3sRzE1A", "-c", str(path)],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            assert done.returncode == 0, done.stdout[-3000:]
        with open(self.folder / "server.log", "ab") as log:
            self.log_begin = log.tell()
            self.process = subprocess.Popen([*self.prefix, "setpriv", "--pdeathsig", "KILL", *self._java(self.java), "kafka.Kafka", str(path)], stdout=log,
                                            stderr=subprocess.STDOUT)

    def wait_started(self, wait=180):
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with open(self.folder / "server.log", "rb") as log:
                log.seek(self.log_begin)
                started = b"started (kafka.server" in log.read()
            if started:
                try:
                    connect(self.port, host=self.host).close()
                    return self
                except OSError:
                    pass
            time.sleep(0.2)
        raise RuntimeError("Apache Kafka did not start:\n" + self.log_text()[-5000:])

    def log_text(self):
        return (self.folder / "server.log").read_text(errors="replace")

    def stop(self, wait=120):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(wait)
        assert code in (0, 143), f"Apache Kafka ended with {code}:\n" + self.log_text()[-3000:]
        self.process = None

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if self.process is not None:
            self.kill()
        if kind is not None:
            print("---- end of Apache Kafka's log", flush=True)
            print("\n".join(self.log_text().splitlines()[-25:]), flush=True)
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)
