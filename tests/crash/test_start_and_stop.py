#!/usr/bin/env python3
# timeout: 300
"""Signals in every phase, and starts that are refused: each with its exit code and a line that says why."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import Broker, connect, free_port, wait_until
import wire
import zookeeper

SCRATCH = tempfile.TemporaryDirectory(prefix="odradek-start-")


def directory(name):
    return pathlib.Path(SCRATCH.name) / name


def ends(broker, code, what):
    """The broker that was launched ends by itself, or after a signal, with this code and this in its log."""
    got = broker.process.wait(60)
    broker.process = None
    assert got == code, f"{what}: ended with {got} instead of {code}:\n{broker.log_text()[-3000:]}"
    assert re.search(what, broker.log_text()), f"no line with '{what}':\n{broker.log_text()[-3000:]}"


def threads_of(process):
    return {(task / "comm").read_text().strip() for task in pathlib.Path(f"/proc/{process.pid}/task").iterdir()}


def launched(name, **properties):
    broker = Broker({key.replace("_", "."): value for key, value in properties.items()}, directory=directory(name))
    broker.launch()
    return broker


# A signal while it waits for ZooKeeper ends it at once, whoever writes the log.
for number, file in ((signal.SIGTERM, None), (signal.SIGINT, "server.log")):
    name = f"waiting{number}"
    settings = {"zookeeper_connect": f"127.0.0.1:{free_port()}", "zookeeper_connection_timeout_ms": "300000"}
    if file:
        settings["server_log_file"] = str(directory(name) / file)
    broker = launched(name, **settings)
    wait_until(lambda: "zookeeper" in threads_of(broker.process), what="the broker waits for ZooKeeper")
    broker.process.send_signal(number)
    ends(broker, 128 + number, "while the broker starts")

# A second signal does not cut short what the first one began.
own = directory("twice")
with Broker({"server.log.file": str(own / "server.log"), "message.max.bytes": "2000000"}, directory=own) as broker:
    with connect(broker.port) as sock:
        assert wire.create_topic(sock, "t") == 0
        batch = wire.batch([b"x" * (1 << 20)])
        for at in range(16):
            assert wire.produce(sock, "t", 0, batch) == (0, at)
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    slow.connect(("127.0.0.1", broker.port))
    slow.sendall(wire.request(wire.FETCH, 4, 1, wire.fetch_body("t", 0, 0, max_bytes=32 << 20)))
    assert len(slow.recv(4)) > 0  # the answer is on its way, and is not read on
    broker.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping: SIGTERM" in broker.log_text(), what="the stop begins")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        broker.process.send_signal(number)
    time.sleep(0.5)  # one that kills does so at once
    assert broker.alive(), "a second signal ended the broker in the middle of its stop"
    slow.close()
    ends(broker, 0, r"\[app\] stopped")

# A log file that cannot be made.
broker = launched("nolog", server_log_file="/dev/null/server.log")
ends(broker, 2, "server.log.file: .*/dev/null/server.log")

# A start that is refused after the logs were opened leaves them closed in order.
first = Broker(directory=directory("taken"))
first.start()
with connect(first.port) as sock:
    assert wire.create_topic(sock, "t") == 0
    assert wire.produce(sock, "t", 0, wire.batch([b"a"])) == (0, 0)
second = launched("taken")
ends(second, 1, "is in use by another process")
first.stop()
with socket.create_server(("127.0.0.1", first.port)):
    first.launch()
    ends(first, 1, "cannot listen on .*Address already in use")
assert (directory("taken") / "data/.kafka_cleanshutdown").exists(), "the logs were left as after a crash"
first.properties["metrics.listener"] = "nowhere"
first.launch()
ends(first, 1, "metrics.listener")
assert (directory("taken") / "data/.kafka_cleanshutdown").exists(), "the logs were left as after a crash"

# One directory under two names would be two log dirs on the same files.
twice = directory("same")
(twice / "a").mkdir(parents=True)
(twice / "b").symlink_to(twice / "a")
broker = launched("same", log_dirs=f"{twice}/a,{twice}/b")
ends(broker, 1, "log.dirs names one directory twice")

# Without standard descriptors, and with a configuration that comes through a pipe: no file of the broker gets their numbers.
bare = Broker({"server.log.file": str(directory("bare") / "server.log")}, directory=directory("bare"))
bare.directory.mkdir()
config = bare.directory / "by-pipe"
config.write_text("".join(f"{key}={value}\n" for key, value in bare.properties.items()))
bare.log_begin = 0
bare.process = subprocess.Popen(["bash", "-c", f"exec {bare.server} <(cat {config}) <&- >&- 2>&-"])
wait_until(lambda: bare.log_path.exists() and "started in" in bare.log_text(), what="a start without standard descriptors")
for number in range(3):
    target = os.readlink(f"/proc/{bare.process.pid}/fd/{number}")
    assert target == "/dev/null", f"descriptor {number} is {target}"
bare.stop()

# In ZooKeeper's tree a listener on all addresses has the name of this machine: brokers and clients elsewhere go there.
with zookeeper.Server() as ensemble:
    with Broker({"listeners": "PLAINTEXT://:0", "zookeeper.connect": ensemble.address}, directory=directory("named")) as broker:
        client = zookeeper.Client(ensemble.port)
        registered = json.loads(client.get("/brokers/ids/0")[0])
        client.close()
        assert registered["host"] and registered["endpoints"] == [f"PLAINTEXT://{registered['host']}:{broker.port}"], registered
        with socket.create_connection((registered["host"], broker.port), 10) as sock:
            assert wire.api_versions(sock)
print("every start and stop ended as it should")
