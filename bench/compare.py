#!/usr/bin/env python3
"""Odradek beside Apache Kafka, the same settings and the same load from the same generator, in turn, several rounds, medians.

usage: bench/compare.py [--rounds N] [--seconds S] [--kafka 3.9.2,4.3.1] [--only SCENARIO,...] [--folder DIR] [--write docs/performance.md]

Each round starts every broker afresh on an empty folder, warms it, and measures the scenarios; the broker's CPU seconds come from
/proc. The first figure to read is CPU per GB (or per request): the generator runs on the same cores, so its share caps the rates.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import brokers

ROOT = brokers.ROOT
BENCH = [ROOT / "build/release/bin/odradek", "bench"]
SETTINGS = {"num.network.threads": 3, "num.io.threads": 8, "log.retention.check.interval.ms": 300000, "group.initial.rebalance.delay.ms": 0,
            "log.segment.bytes": 1 << 30}


def load(command, broker, *options):
    done = subprocess.run([*map(str, BENCH), command, "-b", f"127.0.0.1:{broker.port}", "--json", *map(str, options)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    if not done.stdout:
        raise RuntimeError(f"bench {command} {options}: {done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    if result["errors"]:
        raise RuntimeError(f"bench {command} {options} against {broker.name}: {result['errors']} errors {done.stderr}")
    return result


def measured(command, broker, *options):
    before = broker.cpu_seconds()
    result = load(command, broker, *options)
    cpu = broker.cpu_seconds() - before
    result["cpu"] = cpu
    result["cpu_per_gb"] = cpu / (result["bytes"] / 1e9) if result["bytes"] else 0
    result["cpu_us_per_request"] = cpu / result["requests"] * 1e6 if result["requests"] else 0
    return result


def produce(topic, size, batch, connections=140):
    return lambda broker, seconds: measured("produce", broker, "-t", topic, "-s", seconds, "-c", connections, "--partitions", 12, "--record-size", size,
                                            "--records-per-batch", batch)


def consume(broker, seconds):
    load("produce", broker, "-t", "hot", "-n", 5_000_000, "-s", 120, "-c", 12, "--record-size", 100, "--records-per-batch", 150)
    return measured("consume", broker, "-t", "hot", "-c", 12, "-s", 120)


def idle(broker, seconds):
    before, start = broker.cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    return {"cpu_percent": 100 * (broker.cpu_seconds() - before) / (time.monotonic() - start), "memory_mib": broker.memory_mib()}


# name: (title, run, [(figure, heading, digits)])
SCENARIOS = {
    "idle": ("Idle after the start", idle, [("memory_mib", "MiB", 0), ("cpu_percent", "% of a core", 2)]),
    "small": ("Produce 100 B x 150 a request, 140 connections, 12 partitions", produce("small", 100, 150),
              [("mb_per_second", "MB/s", 0), ("cpu_per_gb", "CPU s/GB", 2)]),
    "kb": ("Produce 1 KB x 16 a request, 140 connections, 12 partitions", produce("kb", 1024, 16), [("mb_per_second", "MB/s", 0), ("cpu_per_gb", "CPU s/GB", 2)]),
    "single": ("Produce one record of 100 B a request, 140 connections", produce("single", 100, 1),
               [("records_per_second", "requests/s", 0), ("cpu_us_per_request", "CPU us/request", 1)]),
    "consume": ("Consume 5 million records of 100 B from the cache, 12 connections", consume, [("mb_per_second", "MB/s", 0), ("cpu_per_gb", "CPU s/GB", 2)]),
}


def latency_at(rate):
    """Latencies at a fixed rate of records/s (open loop), 1 KB x 16 a request."""
    return lambda broker, seconds: measured("produce", broker, "-t", "paced", "-s", seconds, "-c", 20, "--in-flight", 5, "--partitions", 12, "--record-size", 1024,
                                            "--records-per-batch", 16, "--rate", rate)


def label(kind):
    return "Odradek" if kind == "odradek" else f"Apache Kafka {kind}"


def commit():
    return subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True).stdout.strip()


def cpu_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--kafka", default="3.9.2,4.3.1")
    parser.add_argument("--only", default="")
    parser.add_argument("--folder", default="/tmp/odradek-compare")
    parser.add_argument("--write", help="put the tables into this file, between its marks")
    options = parser.parse_args()
    kinds = ["odradek", *[v for v in options.kafka.split(",") if v]]
    wanted = [s for s in options.only.split(",") if s] or [*SCENARIOS, "paced"]
    results = {}  # scenario -> kind -> [result]
    starts = {}
    peak = None   # records/s of the first Kafka at 1 KB, for the paced scenario
    for round_number in range(options.rounds):
        # Kafka's peak is known before the first paced run; then the order turns round by round.
        order = kinds[1:] + kinds[:1] if round_number % 2 == 0 else kinds
        for kind in order:
            broker = brokers.make(kind, pathlib.Path(options.folder) / kind)
            try:
                starts.setdefault(kind, []).append(broker.start(SETTINGS))
                if "idle" in wanted:
                    time.sleep(3)
                    results.setdefault("idle", {}).setdefault(kind, []).append(idle(broker, options.seconds))
                load("produce", broker, "-t", "warm", "-s", 6, "-c", 140, "--record-size", 100, "--records-per-batch", 150)
                load("produce", broker, "-t", "warm", "-s", 4, "-c", 140, "--record-size", 100, "--records-per-batch", 1)
                for name, (_, run, _) in SCENARIOS.items():
                    if name == "idle" or name not in wanted:
                        continue
                    result = run(broker, options.seconds)
                    results.setdefault(name, {}).setdefault(kind, []).append(result)
                    print(f"round {round_number + 1} {broker.name:12} {name:8} " + "  ".join(f"{k} {v:.2f}" for k, v in result.items() if isinstance(v, (int, float))),
                          flush=True)
                    if name == "kb" and kind != "odradek" and peak is None:
                        peak = result["records_per_second"]
                if "paced" in wanted and peak:
                    result = latency_at(int(peak / 2))(broker, options.seconds)
                    result["p99_ms"], result["p50_ms"] = result["latency_ms"]["p99"], result["latency_ms"]["p50"]
                    results.setdefault("paced", {}).setdefault(kind, []).append(result)
                    print(f"round {round_number + 1} {broker.name:12} paced    p50 {result['p50_ms']} p99 {result['p99_ms']} ms", flush=True)
            finally:
                broker.stop()
                shutil.rmtree(broker.folder, ignore_errors=True)

    lines = [f"Made {datetime.date.today()} by `bench/compare.py --rounds {options.rounds} --seconds {options.seconds:g}` at commit {commit()}.",
             f"Machine: {cpu_name()}, {os.cpu_count()} shared cores, {platform.system()} {platform.release()}, the generator on the same cores.",
             "Medians over the rounds; in brackets Odradek's figure divided by that broker's, median of the rounds.", ""]
    scenarios = dict(SCENARIOS)
    if "paced" in results:
        scenarios["paced"] = (f"Produce 1 KB at {int(peak / 2)} records/s, half of Kafka's peak (open loop, 20 connections)", None,
                              [("p50_ms", "p50 ms", 2), ("p99_ms", "p99 ms", 2), ("cpu_per_gb", "CPU s/GB", 2)])
    lines += ["| scenario | figure | " + " | ".join(label(k) for k in kinds) + " |", "| --- | --- |" + " --- |" * len(kinds)]
    lines.append("| Start to first answer | s | " + " | ".join(f"{statistics.median(starts[k]):.3f}" for k in kinds) + " |")
    for name, (title, _, figures) in scenarios.items():
        for figure, heading, digits in figures:
            if name not in results:
                continue
            cells = []
            for kind in kinds:
                values = [r[figure] for r in results[name].get(kind, [])]
                if not values:
                    cells.append("-")
                    continue
                ours = [r[figure] for r in results[name]["odradek"]]
                ratios = [a / b for a, b in zip(ours, values) if b]
                cells.append(f"{statistics.median(values):.{digits}f}" + (f" ({statistics.median(ratios):.2f})" if kind != "odradek" and ratios else ""))
            lines.append(f"| {title} | {heading} | " + " | ".join(cells) + " |")
    table = "\n".join(lines)
    print("\n" + table)
    if options.write:
        path = ROOT / options.write
        begin, end = "<!-- compare: begin -->", "<!-- compare: end -->"
        head, rest = path.read_text().split(begin)
        path.write_text(head + begin + "\n" + table + "\n" + end + rest.split(end)[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
