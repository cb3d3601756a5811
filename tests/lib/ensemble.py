"""Three ZooKeeper servers, one quorum. Takes the place of zookeeper.Server in a Cluster (attributes host, port, address, process, folder)."""
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import environments
from broker import free_port
from zookeeper import Client


class Member:
    def __init__(self, ensemble, number, host, prefix):
        self.ensemble, self.number, self.host, self.prefix = ensemble, number, host, list(prefix)
        self.port, self.peer_port, self.election_port = free_port(), free_port(), free_port()
        self.folder = ensemble.folder / f"server-{number}"
        (self.folder / "data").mkdir(parents=True)
        (self.folder / "data/myid").write_text(f"{number}\n")
        self.process = None

    def __repr__(self):
        return f"ZooKeeper server {self.number}"

    def launch(self):
        servers = "".join(f"server.{m.number}={m.host}:{m.peer_port}:{m.election_port}\n" for m in self.ensemble.members)
        (self.folder / "zoo.cfg").write_text(f"tickTime=500\ninitLimit=20\nsyncLimit=8\ndataDir={self.folder}/data\nclientPort={self.port}\nclientPortAddress={self.host}\n"
                                             f"admin.enableServer=false\nmaxClientCnxns=0\nminSessionTimeout=1000\nmaxSessionTimeout=60000\n{servers}")
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([*self.prefix, "setpriv", "--pdeathsig", "KILL", "java", "-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                                             "-Dzookeeper.jmx.log4j.disable=true", "-cp", environments.kafka_class_path("3.9.2"),
                                             "org.apache.zookeeper.server.quorum.QuorumPeerMain", self.folder / "zoo.cfg"], stdout=log, stderr=subprocess.STDOUT)

    def pause(self, paused=True):
        self.process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None


class Ensemble:
    def __init__(self, places=(("127.0.0.1", ()),) * 3):
        """`places`: (address, words before the command) of each server."""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="odradek-zookeeper-"))
        self.members = []
        for number, (host, prefix) in enumerate(places, 1):
            self.members.append(Member(self, number, host, prefix))

    @property
    def address(self):
        return ",".join(f"{m.host}:{m.port}" for m in self.members)

    @property
    def host(self):
        return self.members[0].host

    @property
    def port(self):
        return self.members[0].port

    @property
    def process(self):
        """Of any that runs; None: none does."""
        return next((m.process for m in self.members if m.process is not None), None)

    def start(self, wait=120):
        for member in self.members:
            if member.process is None:
                member.launch()
        self.wait_serving(wait)

    def wait_serving(self, wait=120):
        """Every server is part of a quorum."""
        deadline = time.monotonic() + wait
        for member in self.members:
            while True:
                assert member.process.poll() is None, f"{member} ended:\n" + (member.folder / "log").read_text()[-3000:]
                try:
                    Client(member.port, host=member.host).close()
                    break
                except (OSError, EOFError):
                    assert time.monotonic() < deadline, f"{member} does not serve"
                    time.sleep(0.1)

    def kill(self):
        for member in self.members:
            if member.process is not None:
                member.kill()

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)
