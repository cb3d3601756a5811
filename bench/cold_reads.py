#!/usr/bin/env python3
"""What readers far behind cost the others: producers and tail consumers beside a replay from the disk, and beside the same from the cache.

usage: bench/cold_reads.py [--gb 20] [--replay-mb 200] [--kafka 3.9.2] [--rounds 1] [--write docs/performance.md]
short: bench/cold_reads.py --gb 1 --kafka ''

Each broker alone: `cold` is filled with --gb of 1 KB records in 12 partitions, `small` with a twentieth of it. Then run, beside each other:
an open-loop producer (1 KB x 16 a request, 12 partitions) whose latencies count from the moments of its schedule; a consumer that follows it;
single 1 KB records on a topic of their own, timed from their scheduled moment until a consumer at its end has them ("tail"). That goes on

  alone:      with nothing beside it
  from cache: two consumers read `small` over and over, at the rate of the next phase: it is in the page cache as a whole
  from disk:  the pages of `cold` are given up, then two consumers read it once, all of it, each one half of the partitions

so that both replays ask for, send and receive the same number of bytes in the same requests; only where they come from differs. The first table
has the latencies and "from disk" divided by "from cache". The second one tells what the replay did to the page
cache: the part of the producer's topic, as it was before that phase, that was cached before and after (cachestat), and how much of its last 256 MiB was
missing at worst while the phase ran (looked at each second: what a tail consumer would have had to read from the disk).
"""
import argparse
import ctypes
import datetime
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import brokers
import report
from scenarios import BENCH, load, produce_options

PARTITIONS = 12
BATCH, SIZE = 16, 1024
PHASES = {"alone": "alone", "cache": "from cache", "disk": "from disk"}
TAIL_BYTES = 256 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")


class _Range(ctypes.Structure):
    _fields_ = [("offset", ctypes.c_uint64), ("length", ctypes.c_uint64)]


class _Stat(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("cached", "dirty", "writeback", "evicted", "recently_evicted")]


def cached_bytes(path, begin=0, length=None):
    """How much of this part of a file is in the page cache (cachestat, Linux 6.5)."""
    with open(path, "rb") as file:
        if length is None:
            length = os.fstat(file.fileno()).st_size - begin
        if length <= 0:
            return 0
        stat = _Stat()
        if ctypes.CDLL(None, use_errno=True).syscall(451, file.fileno(), ctypes.byref(_Range(begin, length)), ctypes.byref(stat), 0) != 0:
            raise OSError(ctypes.get_errno(), "cachestat")
        return stat.cached * PAGE


def segments(broker, topic):
    """path -> size of each segment, of all partitions."""
    return {path: path.stat().st_size for path in sorted((broker.folder / "data").glob(f"{topic}-*/*.log"))}


def cached_share(files):
    total = sum(files.values())
    return sum(min(cached_bytes(path, 0, size), size) for path, size in files.items()) / total if total else 1.0


def tail_missing(broker, topic):
    """Bytes of the last TAIL_BYTES of a topic (an equal part of each partition, of its last segment) that are not in the page cache."""
    last = {}
    for path, size in segments(broker, topic).items():
        last[path.parent] = (path, size)
    each = TAIL_BYTES // max(len(last), 1)
    missing = 0
    for path, size in last.values():
        begin = max(size - each, 0) // PAGE * PAGE
        missing += max(size - begin - cached_bytes(path, begin, size - begin), 0)
    return missing


def reads_of(broker):
    """Bytes that the process has had read from disks."""
    for line in open(f"/proc/{broker.process.pid}/io"):
        if line.startswith("read_bytes"):
            return int(line.split()[1])
    return 0


class Beside:
    """A load of `odradek bench` that runs meanwhile."""

    def __init__(self, broker, command, *options):
        self.process = subprocess.Popen([*map(str, BENCH), command, "-b", f"127.0.0.1:{broker.port}", "--json", *map(str, options)],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def result(self):
        out, err = self.process.communicate()
        if not out:
            raise RuntimeError(err)
        result = json.loads(out.splitlines()[-1])
        if result["errors"]:
            raise RuntimeError(f"{result}: {err}")
        return result


def produce_paced(topic, rate):
    return [*produce_options(topic, SIZE, BATCH, connections=PARTITIONS, partitions=PARTITIONS), "--in-flight", 5, "--rate", rate]


def fill(broker, topic, total):
    load("produce", broker, "-n", int(total // SIZE), "-s", 3600, *produce_options(topic, SIZE, BATCH, connections=PARTITIONS, partitions=PARTITIONS), "--in-flight", 5)


def phase(broker, name, seconds, options):
    """One phase; what its loads measured, and what became of the page cache."""
    files = segments(broker, "hot")
    before, disk_before, cpu_before = cached_share(files), reads_of(broker), broker.cpu_seconds()
    others = [Beside(broker, "produce", "-s", seconds, *produce_paced("hot", options.rate)),
              Beside(broker, "consume", "-t", "hot", "-c", PARTITIONS, "--follow", "--from-end", "-s", seconds),
              Beside(broker, "latency", "-t", "tail", "--partitions", 1, "--record-size", SIZE, "--rate", options.tail_rate, "-s", seconds)]
    replay = None
    if name != "alone":
        rate = options.replay_mb * 1e6
        replay = Beside(broker, "consume", "-t", "small" if name == "cache" else "cold", "-c", 2, "--bytes-per-second", rate,
                        *(["--again", "-s", seconds] if name == "cache" else ["-s", seconds + 60]))
    missing, over = [], threading.Event()

    def watch():
        while not over.wait(1):
            missing.append(tail_missing(broker, "hot"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    produced, followed, tail = [other.result() for other in others]
    over.set()
    watcher.join()
    replayed = replay.result() if replay else {"bytes": 0, "seconds": 1, "latency_ms": {"p99": 0}}
    return {"produce": produced["latency_ms"], "tail": tail["latency_ms"], "produced_mb": produced["mb_per_second"], "followed_mb": followed["mb_per_second"],
            "replay_mb": replayed["bytes"] / replayed["seconds"] / 1e6, "replayed_gb": replayed["bytes"] / 1e9, "fetch_p99": replayed["latency_ms"]["p99"],
            "disk_gb": (reads_of(broker) - disk_before) / 1e9, "cpu": broker.cpu_seconds() - cpu_before,
            "hot_before": before, "hot_after": cached_share(files), "hot_gb": sum(files.values()) / 1e9, "tail_missing": max(missing, default=0)}


def drop(broker, topic):
    for path in segments(broker, topic):
        brokers.drop_pages(path)


def measure(kind, options):
    """Phase -> figures of one round."""
    broker = brokers.make(kind, pathlib.Path(options.folder) / kind)
    try:
        broker.start({"num.network.threads": 3, "num.io.threads": 8, "group.initial.rebalance.delay.ms": 0, "log.segment.bytes": 1 << 30})
        fill(broker, "cold", options.gb * 1e9)
        fill(broker, "small", options.gb * 1e9 / 20)
        load("produce", broker, "-s", options.warm, *produce_paced("hot", options.rate))
        load("latency", broker, "-t", "tail", "--partitions", 1, "--record-size", SIZE, "--rate", options.tail_rate, "-s", options.warm)
        load("consume", broker, "-t", "small", "-c", 2, "-s", 60)  # it is in the cache now, whatever the filling has left
        drop(broker, "cold")
        os.sync()
        seconds = options.gb * 1e9 / (options.replay_mb * 1e6)
        results = {"alone": phase(broker, "alone", min(seconds, 30), options), "cache": phase(broker, "cache", seconds, options)}
        drop(broker, "cold")
        results["disk"] = phase(broker, "disk", seconds, options)
        for name, result in results.items():
            print(f"{broker.name:12} {PHASES[name]:10} " + "  ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in result.items()), flush=True)
        return results
    finally:
        broker.stop()
        shutil.rmtree(broker.folder, ignore_errors=True)


def tables(kinds, results):
    median = lambda kind, name, get: statistics.median(get(r[name]) for r in results[kind])
    lines = ["| broker | | " + " | ".join(PHASES.values()) + " | disk / cache |", "| --- | --- | --- | --- | --- | --- |"]
    for kind in kinds:
        for load_name, title in (("produce", "produce"), ("tail", "tail, end to end")):
            for figure in ("p50", "p99", "max"):
                values = {name: median(kind, name, lambda r: r[load_name][figure]) for name in PHASES}
                ratio = statistics.median(r["disk"][load_name][figure] / r["cache"][load_name][figure] for r in results[kind])
                lines.append(f"| {label(kind)} | {title}: {figure} ms | " + " | ".join(f"{values[n]:.2f}" for n in PHASES) + f" | {ratio:.2f} |")
    lines += ["", "| broker | phase | replay MB/s | replayed GB | read from the disk GB | p99 of its fetches ms | CPU s of the broker | hot topic GB, cached before -> after | "
              "missing of the last 256 MiB, at worst MiB |", "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for kind in kinds:
        for name, title in PHASES.items():
            of = lambda key: median(kind, name, lambda r: r[key])
            lines.append(f"| {label(kind)} | {title} | {of('replay_mb'):.0f} | {of('replayed_gb'):.1f} | {of('disk_gb'):.1f} | {of('fetch_p99'):.1f} | {of('cpu'):.1f} | "
                         f"{of('hot_gb'):.1f}, {100 * of('hot_before'):.0f} % -> {100 * of('hot_after'):.0f} % | {of('tail_missing') / (1 << 20):.1f} |")
    return lines


def label(kind):
    return "Odradek" if kind == "odradek" else f"Apache Kafka {kind}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=20, help="of cold records")
    parser.add_argument("--replay-mb", type=float, default=200, help="MB/s of both replaying consumers together: well below what the disk gives")
    parser.add_argument("--rate", type=int, default=20000, help="records/s of the producer")
    parser.add_argument("--tail-rate", type=int, default=500, help="single records/s")
    parser.add_argument("--warm", type=float, default=10, help="seconds of load before the first phase")
    parser.add_argument("--kafka", default="3.9.2")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", help="where the brokers have their data; must hold --gb and some more")
    parser.add_argument("--write", help="puts the tables between the marks `cold reads: begin` and `cold reads: end` of this file")
    options = parser.parse_args()
    own = None
    if not options.folder:
        own = options.folder = tempfile.mkdtemp(prefix="odradek-cold-")
    kinds = ["odradek", *[v for v in options.kafka.split(",") if v]]
    results = {kind: [] for kind in kinds}
    try:
        for _ in range(options.rounds):
            for kind in kinds:
                results[kind].append(measure(kind, options))
    finally:
        if own:
            shutil.rmtree(own, ignore_errors=True)
    lines = tables(kinds, results)
    print("\n".join(lines))
    if options.write:
        made = (f"Made {datetime.date.today()} by `bench/cold_reads.py --gb {options.gb:g} --replay-mb {options.replay_mb:g} --rounds {options.rounds}`: "
                f"producer {options.rate * SIZE / 1e6:.0f} MB/s, {options.tail_rate} single records/s.")
        report.put(options.write, "cold reads", "\n".join([made, "", *lines]))


if __name__ == "__main__":
    main()
