"""Network namespaces with a way between them that is as long as it is set (tools/distance).

    with Distance("near", "far") as lab:
        lab.set("near", "far", round_trip_ms=50)
        lab.run("far", ["ping", "-c", "1", lab.address("near")])

An end named "here" is the namespace of the test itself. Needs root; the test says that it was not run where that lacks."""
import ipaddress
import json
import os
import pathlib
import re
import shutil
import subprocess

from broker import BIN, not_run, run

HERE = "here"


def _sweep():
    """Namespaces of tests that were killed."""
    for line in run(["ip", "netns", "list"]).splitlines():
        found = re.match(r"odradek-(\d+)-", line)
        if found and not pathlib.Path(f"/proc/{found.group(1)}").exists():
            subprocess.run(["ip", "netns", "del", line.split()[0]], check=False)


class Distance:
    def __init__(self, *ends, mtu=1500):
        if os.geteuid() != 0:
            not_run("network namespaces need root")
        if shutil.which("ip") is None:
            not_run("ip (iproute2) is not installed")
        if not os.path.exists("/dev/net/tun"):
            not_run("there is no /dev/net/tun")
        self.program = BIN / "distance"
        if not self.program.exists():
            raise SystemExit(f"{self.program} is missing: build the target distance")
        self.ends, self.mtu = ends, mtu
        self.made = []
        self.process = None
        # A /24 of its own for each test process, so that several can have an end "here".
        self.subnet = int(ipaddress.ip_address("10.64.0.0")) + (os.getpid() % 16000) * 256

    def namespace(self, end):
        return f"odradek-{os.getpid()}-{end}"

    def address(self, end):
        return str(ipaddress.ip_address(self.subnet + 1 + self.ends.index(end)))

    def __enter__(self):
        try:
            _sweep()
            for end in self.ends:
                if end != HERE:
                    done = subprocess.run(["ip", "netns", "add", self.namespace(end)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                    if done.returncode != 0:
                        not_run("no network namespaces here: " + done.stdout.strip())
                    self.made.append(self.namespace(end))
                    run(["ip", "-n", self.namespace(end), "link", "set", "lo", "up"])
                    # Distances change in a test: what TCP knows of the shortest round trip is forgotten in seconds, not in five minutes.
                    run([*self.prefix(end), "sh", "-c", "echo 5 > /proc/sys/net/ipv4/tcp_min_rtt_wlen"])
            words = [f"{end}={'-' if end == HERE else self.namespace(end)}:{self.address(end)}" for end in self.ends]
            self.process = subprocess.Popen([self.program, "--mtu", str(self.mtu), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                            text=True)
            if self.process.stdout.readline() != "ready\n":
                why = self.process.stderr.read().strip()
                if "TUN" in why or "/dev/net/tun" in why:
                    not_run(why)
                raise RuntimeError(why)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait(10)
            for pipe in (self.process.stdout, self.process.stderr):
                pipe.close()
        for namespace in self.made:
            subprocess.run(["ip", "netns", "del", namespace], check=False)
        self.made = []

    def _ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer or answer.startswith("error"):
            raise RuntimeError(f"{line}: {answer or self.process.stderr.read()}")
        return answer

    def set_one_way(self, source, target, **values):
        """delay_ms, jitter_ms, loss_percent, rate_mb (10^6 bytes a second), buffer_ms of one direction; "*": every end."""
        self._ask(f"set {source} {target} " + " ".join(f"{key}={value:.6f}" for key, value in values.items()))

    def set(self, one, other, round_trip_ms=None, **values):
        """Both directions, half of the round trip in each."""
        if round_trip_ms is not None:
            values["delay_ms"] = round_trip_ms / 2
        self.set_one_way(one, other, **values)
        if (one, other) != ("*", "*"):
            self.set_one_way(other, one, **values)

    def cut(self, source, target):
        """Nothing from `source` comes to `target` any more, until mend()."""
        self.set_one_way(source, target, loss_percent=100)

    def mend(self, source, target):
        self.set_one_way(source, target, loss_percent=0)

    def stats(self):
        """(from, to) → packets, bytes, lost, dropped; and how many the kernel refused, which is 0 in a sound measurement."""
        told = json.loads(self._ask("stats"))
        return {(way["from"], way["to"]): way for way in told["ways"]}, told["refused"]

    def overflows(self):
        """Packets that the devices dropped because this process was too slow."""
        total = 0
        for end in self.ends:
            words = ["ip", *([] if end == HERE else ["-n", self.namespace(end)]), "-s", "-j", "address", "show"]
            for device in json.loads(run(words)):
                if any(each.get("local") == self.address(end) for each in device["addr_info"]):
                    total += device["stats64"]["tx"]["dropped"] if "stats64" in device else device["stats"]["tx"]["dropped"]
        return total

    def prefix(self, end):
        """The words before a command that is to run there."""
        return [] if end == HERE else ["ip", "netns", "exec", self.namespace(end)]

    def run(self, end, command, **options):
        return run([*self.prefix(end), *command], **options)
