#!/usr/bin/env python3
"""Odradek beside Apache Kafka, the same settings and the same load from the same generator, in turn, several rounds, medians.

usage: bench/compare.py [--rounds N] [--seconds S] [--kafka 3.9.2,4.3.1] [--only GROUP|SCENARIO,...] [--folder DIR]
                        [--write docs/performance.md] [--picture docs/performance.svg]

Each round starts every broker afresh on an empty folder, warms it, and measures the scenarios (scenarios.py); the broker's CPU seconds
come from /proc. The first figure to read is CPU per GB (or per request): the generator runs on the same cores, so its share caps the
rates. "floor" is one bare epoll thread that checks, appends and answers (floor.cc): what the machine itself costs. Without --only the
groups "plain", "consume", "codecs", "talk", "talk-slow" and "durable" run; "all" names all of them. In the groups "ablation-..." the others are
Odradek too, with one part as others make it (ablation/*.variant).
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import brokers
import report
from scenarios import GROUPS, Void, load, produce_options

ROOT = brokers.ROOT
USUAL = ["plain", "consume", "codecs", "talk", "talk-slow", "durable"]
SETTINGS = {"num.network.threads": 3, "num.io.threads": 8, "log.retention.check.interval.ms": 300000, "group.initial.rebalance.delay.ms": 0,
            "log.segment.bytes": 1 << 30}


def label(kind):
    if kind in brokers.VARIANTS:
        return kind.replace("-", " ")
    return {"odradek": "Odradek", "floor": "floor"}.get(kind, f"Apache Kafka {kind}")


def commit():
    return subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True).stdout.strip()


def cpu_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def wanted(only):
    """group -> its scenarios that were asked for"""
    names = [n for n in only.split(",") if n] or USUAL
    chosen = {}
    for group, of in GROUPS.items():
        scenarios = [s for s in of.scenarios if s in names or group in names or "all" in names]
        if scenarios:
            chosen[group] = scenarios
    return chosen


def warm(broker):
    """A JVM needs some ten seconds of load before its code is compiled."""
    if broker.name == "Floor":
        return
    seconds = 8 if broker.name.startswith("Kafka") else 2
    load("produce", broker, "-s", seconds, *produce_options("warm", 100, 150))
    load("produce", broker, "-s", seconds / 2, *produce_options("warm", 100, 1))


class FullPageCache:
    """The page cache is as full as on a server that has run for a while: what a broker wrote stays until the next one has run.

    Without that it is a virtual machine's memory that is measured: free pages go back to the host, and writing to one that has to be fetched again costs
    ten times as much (2.6 s of CPU a GB here, beside 0.25), which meets the broker that writes most."""

    def __init__(self, folder):
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was cut off
        folder.mkdir(parents=True)
        self.kept = folder / "former"
        self.kept.mkdir()
        block = os.urandom(1 << 20)
        # A kernel that keeps some pages back is full when all of its memory has been written through once.
        left_mib = self.memory_mib("MemTotal")
        with open(self.kept / "pages", "wb") as file:
            while left_mib > 0 and self.memory_mib("MemFree") > 1500:
                for _ in range(256):
                    file.write(block)
                left_mib -= 256

    @staticmethod
    def memory_mib(field):
        return int(re.search(rf"{field}:\s+(\d+)", open("/proc/meminfo").read()).group(1)) >> 10

    def keep(self, folder):
        shutil.rmtree(self.kept, ignore_errors=True)
        self.kept = folder

    def drop(self):
        shutil.rmtree(self.kept, ignore_errors=True)


def play(kind, group_name, names, options, known, cache, folder):
    """Scenario -> result of one broker in one round, and the seconds that its start took."""
    group = GROUPS[group_name]
    if kind == "floor":
        names = [name for name in names if group.scenarios[name].floor]
        if not names:
            return None, {}
    broker = brokers.make(kind, folder)
    results = {}
    try:
        if group.gate:
            broker.put_gate(group.delay_ms)
        if group.disk_ms:
            broker.put_on_slow_disk(group.disk_ms)
        own = group.settings.get("odradek" if kind == "odradek" or kind in brokers.VARIANTS else "kafka", {})
        start = broker.start({**SETTINGS, **group.settings.get("both", {}), **own})
        if not group.idle_first:
            warm(broker)
        for name in names:
            if group.idle_first and name != "idle" and "warm" not in results:
                warm(broker)
                results["warm"] = None
            if name == "idle":
                time.sleep(3)
            try:
                results[name] = group.scenarios[name].run(broker, options.seconds, known)
            except Void as why:
                print(f"void: {broker.name} {name}: {why}", flush=True)
                results[name] = why.result and {**why.result, "void": True}
            if results[name]:
                print(f"{broker.name:12} {name:14} " + "  ".join(f"{k} {v:.2f}" for k, v in results[name].items() if isinstance(v, (int, float))), flush=True)
    finally:
        broker.stop()
        cache.keep(folder)
    return start, {name: result for name, result in results.items() if result}


def cell(kind, figure, digits, of_kind):
    """Median, and in brackets Odradek's figure divided by it. Void runs count only if there is no other."""
    runs = of_kind.get(kind, [])
    if not runs:
        return "-"
    valid = [r for r in runs if "void" not in r]
    text = f"{statistics.median(r[figure] for r in valid or runs):.{digits}f}"
    if not valid:
        return f"void: {text}"
    ratios = [ours[figure] / other[figure] for ours, other in zip(of_kind.get("odradek", []), runs) if other[figure] and "void" not in ours and "void" not in other]
    return text + (f" ({statistics.median(ratios):.2f})" if kind != "odradek" and ratios else "")


MARKS = "compare"


def sections_of(text):
    """Title -> text of each group that was measured at some time."""
    begin, end = report.marks(MARKS)
    inside = text.split(begin)[1].split(end)[0]
    return {title: body.strip() for title, body in re.findall(r"^### (.+)\n((?:(?!### ).*\n)*)", inside, re.M)}


def write(path, made):
    """Groups that were not measured this time keep their table; each table says when and how it was made."""
    sections = {**sections_of(path.read_text()), **made}
    tables = "\n\n".join(f"### {group.title}\n\n{sections[group.title]}" for group in GROUPS.values() if group.title in sections)
    report.put(path, MARKS, tables)


def draw(path, picture):
    """CPU of every scenario in the tables, as bars."""
    bars = []
    alone = {group.title for group in GROUPS.values() if group.variants}
    for title, body in sections_of(path.read_text()).items():
        if title in alone:
            continue
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in body.splitlines() if line.startswith("|")]
        for row in rows[2:]:
            values = {name: float(value.split()[0]) for name, value in zip(rows[0][2:], row[2:]) if value[0].isdigit()}
            if row[1].startswith("CPU") and values:
                bars.append({"group": title, "scenario": row[0], "figure": row[1], "values": values})
    with tempfile.NamedTemporaryFile("w", suffix=".json") as data:
        json.dump(bars, data)
        data.flush()
        subprocess.run([brokers.environments.python("matplotlib"), pathlib.Path(__file__).parent / "picture.py", data.name, picture], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--kafka", default="3.9.2,4.3.1")
    parser.add_argument("--only", default="")
    parser.add_argument("--folder", default="/tmp/odradek-compare")
    parser.add_argument("--write", help="put the tables of the groups measured into this file, between its marks")
    parser.add_argument("--picture", help="draw the CPU of all tables of that file into this SVG file")
    options = parser.parse_args()
    chosen = wanted(options.only)
    # group -> who is compared in it
    kinds = {group: ["odradek", *(GROUPS[group].variants or [*[v for v in options.kafka.split(",") if v], "floor"])] for group in chosen}
    targets = ["odradek-server", "odradek", "fsync_gate", "bench_floor"] + (["slow_disk"] if any(GROUPS[group].disk_ms for group in chosen) else [])
    targets += [f"odradek-server-{variant}" for group in chosen for variant in GROUPS[group].variants]
    subprocess.run([ROOT / "scripts/build.sh", "release", *dict.fromkeys(targets)], check=True, stdout=subprocess.DEVNULL)
    results = {}  # group -> scenario -> kind -> [result]
    starts, known, plays = {}, {}, 0
    folder = pathlib.Path(options.folder)
    cache = FullPageCache(folder)
    for round_number in range(options.rounds):
        for group, names in chosen.items():
            # Kafka's peak is known before the first paced run; then the order turns round by round.
            of_group = kinds[group]
            for kind in of_group[1:] + of_group[:1] if round_number % 2 == 0 else of_group:
                print(f"round {round_number + 1}, {GROUPS[group].title}: {label(kind)}", flush=True)
                plays += 1
                start, made = play(kind, group, names, options, known, cache, folder / f"{kind}-{plays}")
                if group == "plain" and kind != "floor":
                    starts.setdefault(kind, []).append(start)
                for name, result in made.items():
                    results.setdefault(group, {}).setdefault(name, {}).setdefault(kind, []).append(result)

    cache.drop()
    command = f"bench/compare.py --rounds {options.rounds} --seconds {options.seconds:g}" + (f" --only {options.only}" if options.only else "")
    made = f"`{command}`, {datetime.date.today()}, commit {commit()}, {cpu_name()}, {os.cpu_count()} shared cores, {platform.system()} {platform.release()}."
    sections = {}
    for group, of_group in results.items():
        columns = kinds[group]
        lines = [GROUPS[group].what, ""] if GROUPS[group].what else []
        lines += [made, "", "| scenario | figure | " + " | ".join(map(label, columns)) + " |", "| --- | --- |" + " --- |" * len(columns)]
        if group == "plain":
            lines.append("| Start to first answer | s | " + " | ".join(f"{statistics.median(starts[k]):.3f}" if k in starts else "-" for k in columns) + " |")
        for name, of_kind in of_group.items():
            scenario = GROUPS[group].scenarios[name]
            for figure, heading, digits in scenario.figures:
                lines.append(f"| {scenario.title} | {heading} | " + " | ".join(cell(kind, figure, digits, of_kind) for kind in columns) + " |")
        sections[GROUPS[group].title] = "\n".join(lines)
        print(f"\n### {GROUPS[group].title}\n\n{sections[GROUPS[group].title]}")
    if options.write:
        write(ROOT / options.write, sections)
        if options.picture:
            draw(ROOT / options.write, ROOT / options.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
