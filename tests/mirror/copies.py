"""What the tests of `odradek mirror` share: the program itself, load, and what a cluster holds as a client sees it."""
import collections
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import BIN, wait_until

TOOL = str(BIN / "odradek")
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def tool(*words, data=None, timeout=120, code=0):
    done = subprocess.run([TOOL, *map(str, words)], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)
    assert done.returncode == code, f"odradek {' '.join(map(str, words))} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def settings(more):
    return [word for pair in {"refresh.topics.interval.seconds": 1, "sync.topic.configs.interval.seconds": 1, "sync.group.offsets.interval.seconds": 1,
                              "checkpoint.interval.ms": 500, "session.timeout.ms": 6000, "fetch.range.bytes": 262144, **more}.items()
            for word in ("--set", f"{pair[0]}={pair[1]}")]


class Mirror:
    """One `odradek mirror` that runs; its progress is read as it comes."""

    def __init__(self, source, target, name="mirror", words=(), **more):
        more = {key.replace("_", "."): value for key, value in more.items()}
        self.process = subprocess.Popen(
            [TOOL, "mirror", "--source", source, "--target", target, "--name", name, "--json", "--every", "1", "--metrics-listener", "127.0.0.1:0", *words, *settings(more)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines, self.progress = [], {}
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                self.progress = json.loads(line)
            else:
                self.lines.append(line)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.kill()
        if kind is not None:
            print("---- the mirror\n" + "".join(self.lines[-40:]) + json.dumps(self.progress), flush=True)

    def page(self, path):
        port = next(line.rsplit(":", 1)[1].split("/")[0] for line in self.lines if "metrics on" in line)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def wait_for(self, phase, wait=60):
        wait_until(lambda: self.progress.get("phase") == phase or self.process.poll() is not None, wait, f"the mirror is '{phase}'")
        assert self.process.poll() is None, "".join(self.lines[-20:])

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.thread.join()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self.thread.join()
        assert code == 0, "".join(self.lines[-20:])


def mirror_until_caught_up(source, target, name="mirror", timeout=120, **more):
    more = {key.replace("_", "."): value for key, value in more.items()}
    out = tool("mirror", "--source", source, "--target", target, "--name", name, "--json", "--every", "1", "--exit-when-caught-up", *settings(more), timeout=timeout)
    return json.loads(out.decode().splitlines()[-1])


def records(address, topics, kcat=False, committed=True):
    """(topic, partition) -> the records in order, each (timestamp, key, value, headers), without offsets."""
    found = collections.defaultdict(list)
    for topic in topics:
        if kcat:
            level = "read_committed" if committed else "read_uncommitted"
            out = subprocess.run(["kcat", "-b", address, "-X", f"isolation.level={level}", "-X", "check.crcs=true", "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J"],
                                 stdout=subprocess.PIPE, check=True, timeout=120).stdout
            for line in out.splitlines():
                each = json.loads(line)
                found[topic, each["partition"]].append((each["offset"], each.get("ts", -1), each["key"], each["payload"], json.dumps(each.get("headers", []))))
        else:
            for line in tool("consume", topic, "-b", address, "--exit-at-end", "--json", *(["--read-committed"] if committed else [])).splitlines():
                each = json.loads(line)
                found[topic, each["partition"]].append((each["offset"], each["timestamp"], each.get("key"), each.get("value"), json.dumps(each["headers"])))
    result = {}
    for partition, of_partition in found.items():
        of_partition.sort(key=lambda record: record[0])
        result[partition] = [record[1:] for record in of_partition]
    return result


def digest(of_partition):
    return hashlib.sha256("\n".join(map(repr, of_partition)).encode()).hexdigest()


def compare(source, target):
    assert source, "nothing to compare"
    for partition in sorted(source.keys() | target.keys()):
        a, b = source.get(partition, []), target.get(partition, [])
        if digest(a) == digest(b):
            continue
        first = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        doubled = [key for key, count in collections.Counter(b).items() if count > 1]
        raise AssertionError(f"{partition}: {len(a)} records in the source, {len(b)} in the target, {len(doubled)} of them twice, first difference at {first}:\n"
                             f"  {a[first:first + 2]}\n  {b[first:first + 2]}")


class Load:
    """A producer for each codec that sends records with keys and headers until it is stopped."""

    def __init__(self, address, topic, prefix="", per_second=1500):
        self.stopped = False
        self.sent = 0
        self.processes = [subprocess.Popen([TOOL, "produce", topic, "-b", address, "--json-lines", "--codec", codec, "--batch-bytes", str(random.choice((2000, 16000, 100000)))],
                                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for codec in CODECS]
        self.threads = [threading.Thread(target=self._feed, args=(codec, process, prefix, per_second)) for codec, process in zip(CODECS, self.processes)]
        for thread in self.threads:
            thread.start()

    def _feed(self, codec, process, prefix, per_second):
        number = 0
        while not self.stopped:
            lines = []
            for _ in range(per_second // 20):
                record = {"key": None if number % 17 == 0 else f"{prefix}{codec}-{number % 500}", "value": f"{prefix}{codec} {number} " + "v" * (number % 300)}
                if number % 5 == 0:
                    record["headers"] = [{"name": "number", "value": str(number)}, {"name": "codec", "value": codec}]
                lines.append(json.dumps(record))
                number += 1
            process.stdin.write(("\n".join(lines) + "\n").encode())
            process.stdin.flush()
            self.sent += len(lines)
            time.sleep(0.05)
        process.stdin.close()

    def stop(self):
        self.stopped = True
        for thread in self.threads:
            thread.join()
        for process in self.processes:
            assert process.wait(60) == 0, process.stderr.read()
