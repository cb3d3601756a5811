"""Starts the broker under test and other helpers of the script tests (Python's standard library only)."""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(os.environ.get("ODRADEK_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
BIN = pathlib.Path(os.environ.get("ODRADEK_BIN", ROOT / "build/release/bin"))
FULL = os.environ.get("ODRADEK_TEST_TIER") == "full"


def not_run(why):
    """Ends a test script that cannot run here."""
    print(f"not run: {why}")
    sys.exit(77)


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            not_run(f"{program} is not installed")


class Broker:
    """One odradek-server on a free loopback port with its own data folder; `with Broker() as b: b.address`."""

    def __init__(self, properties=None, directory=None, server=None, env=None, prefix=(), host="127.0.0.1"):
        """`prefix`: words before the command, such as `ip netns exec NAME`, with the address `host` there."""
        self.properties = {
            "broker.id": "0",
            "listeners": f"PLAINTEXT://{host}:0",
            "metrics.listener": f"{host}:0",
            "offsets.topic.replication.factor": "1",
            "group.initial.rebalance.delay.ms": "0",
            **(properties or {}),
        }
        self.own_directory = directory is None
        self.directory = pathlib.Path(directory or tempfile.mkdtemp(prefix="odradek-test-"))
        self.properties.setdefault("log.dirs", str(self.directory / "data"))
        self.server = server or BIN / "odradek-server"
        self.env = dict(os.environ, **(env or {}))
        self.prefix, self.host = list(prefix), host
        self.process = None
        self.port = None
        self.ports = {}
        self.metrics_port = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        if self.process is not None:
            self.stop()
        if kind is not None:
            print("---- end of server.log", flush=True)
            print("\n".join(self.log_text().splitlines()[-60:]), flush=True)
        if self.own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def log_path(self):
        return self.directory / "server.log"

    def log_text(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def metric(self, sample):
        """The value of a sample, name{labels}; 0 if it has none yet."""
        with urllib.request.urlopen(f"http://{self.host}:{self.metrics_port}/metrics") as page:
            for line in page.read().decode().splitlines():
                if line.startswith(sample + " "):
                    return float(line.split()[-1])
        return 0.0

    def start(self, wait=60):
        self.launch()
        return self.wait_started(wait)

    def launch(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.port:  # a restart keeps its port, as clients expect
            self.properties["listeners"] = re.sub(r"(PLAINTEXT://[\d.]+:)0\b", rf"\g<1>{self.port}", self.properties["listeners"])
        config = self.directory / "server.properties"
        config.write_text("".join(f"{k}={v}\n" for k, v in self.properties.items()))
        self.log_begin = self.log_path.stat().st_size if self.log_path.exists() else 0
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([*self.prefix, str(self.server), str(config)], stdout=log, stderr=subprocess.STDOUT, env=self.env)

    def wait_started(self, wait=60):
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            with open(self.log_path, "rb") as log:
                log.seek(self.log_begin)
                text = log.read().decode(errors="replace")
            if re.search(r"\bstarted in\b", text):
                self.ports = {name: int(port) for name, port in re.findall(r"listener (\S+) on \S*:(\d+)", text)}
                self.port = self.ports.get("PLAINTEXT") or next(iter(self.ports.values()))
                metrics = re.search(r"metrics on \S*:(\d+)", text)
                self.metrics_port = int(metrics.group(1)) if metrics else None
                return self
            if self.process.poll() is not None:
                raise RuntimeError(f"the broker ended with {self.process.returncode}:\n{text[-4000:]}")
            time.sleep(0.01)
        raise RuntimeError(f"the broker did not start in {wait} s:\n{self.log_text()[-4000:]}")

    def stop(self, wait=60):
        """A clean stop; anything but exit code 0 is an error."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(wait)
        self.process = None
        if code != 0:
            raise RuntimeError(f"the broker ended with {code}:\n{self.log_text()[-6000:]}")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def alive(self):
        return self.process is not None and self.process.poll() is None


def run(command, check=True, timeout=120, **options):
    """Runs a command and returns its output as text; an exit code other than 0 is an error that shows the output."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          timeout=timeout, **options)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(str(p) for p in command)} ended with {done.returncode}:\n{done.stdout[-6000:]}")
    return done.stdout


def wait_until(condition, wait=30, what="condition"):
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not hold within {wait} s")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(port, timeout=10, host="127.0.0.1"):
    return socket.create_connection((host, port), timeout)
