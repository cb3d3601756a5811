#!/usr/bin/env python3
"""Runs the tests and ends with `N passed, N failed`.

usage: ./test [full] [--list] [--no-build] [pattern ...]

A test is one of
  unit:    a test program of a room (`<room>_test`); each of its cases counts as one test. It runs with ASan+UBSan and, where
           threads meet, with TSan; the simulation (full: all) also without a sanitizer
  fuzz:    a fuzz target on its corpus and for some seconds of new input (full: minutes)
  script:  an executable file tests/<area>/test_*.{py,sh}; it passes with exit code 0, fails with another, and says with
           exit code 77 that it cannot run here (its last line tells why). Its head may hold the lines
             # tier: full          only in ./test full        (default: quick; both tiers see ODRADEK_TEST_TIER)
             # timeout: 600        seconds                     (default 300)
             # exclusive: yes      nothing runs beside it
Scripts get ODRADEK_BIN (folder of the release programs) and ODRADEK_SOURCE. With patterns only tests whose names contain one run.
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TSAN_ROOMS = ["base", "metrics", "net", "server", "storage_log", "storage", "replication_partition", "replication", "replication_sessions",
              "coordinator_runtime", "coordinator_group", "metadata_store", "metadata_image", "metadata_tree", "metadata"]
FUZZ_SECONDS = {"quick": 10, "full": 300}
# Rooms whose tests run in a build; None: all. The whole simulation needs the speed of a build without sanitizer.
ROOMS = {"quick": {"debug": ["sim", "sim_cluster"], "asan": None, "tsan": TSAN_ROOMS}, "full": {"debug": None, "asan": None, "tsan": TSAN_ROOMS}}

# Unit tests that have a long form: by tier and room what asks for it, in the build without sanitizer, and its limit in seconds.
LONG_FORMS = {("full", "sim_cluster"): ({"ODRADEK_CLUSTER_SIM_SEEDS": "10000"}, 4 * 3600)}

FAILURES = ROOT / "build/failures"  # the whole output of what failed

print_lock = threading.Lock()


def say(line):
    with print_lock:
        print(line, flush=True)


class Outcome:
    """passed, failed and not run, each with names; seconds by name."""

    def __init__(self):
        self.passed, self.failed, self.not_run, self.seconds = [], [], [], {}
        self.outputs = []  # of what failed: name, the lines that tell why
        self.lock = threading.Lock()

    def add(self, kind, name, seconds=0.0, why=""):
        with self.lock:
            {"ok": self.passed, "failed": self.failed, "not run": self.not_run}[kind].append((name, why))
            self.seconds[name] = seconds
        if kind == "ok" and seconds < 1:
            return
        say(f"{kind:8} {seconds:7.1f} s  {name}{': ' + why if why else ''}")


    def explain(self, name, text):
        """Keeps the output of something that failed, shows its end, and its heart again at the end of all."""
        path = FAILURES / (name.replace("/", "_") + ".log")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        lines = text.splitlines()
        say("\n".join(lines[-80:]))
        with self.lock:
            self.outputs.append((name, [*heart_of(lines), f"all of it: {path.relative_to(ROOT)}"]))


def heart_of(lines):
    """The few lines of an output that tell why it failed: of a unit test its failures, of a script what it printed itself (not the
    logs of its servers, which stand between "---- end of" and the traceback) and its last lines."""
    failures = [i for i, line in enumerate(lines) if re.search(r": Failure$|ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:", line)]
    if failures:
        return [line for i in failures[:3] for line in lines[i:i + 12]]
    logs = next((i for i, line in enumerate(lines) if line.startswith("---- ")), len(lines))
    return [*lines[max(0, logs - 15):logs], *lines[max(logs, len(lines) - 15):]]


def build(preset, targets):
    start = time.monotonic()
    done = subprocess.run([ROOT / "scripts/build.sh", preset, *targets], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    say(f"built {preset} in {time.monotonic() - start:.0f} s")
    if done.returncode != 0:
        say(done.stdout[-8000:])
    return done.returncode == 0


def room_tests():
    found = []
    for line in (ROOT / "src/CMakeLists.txt").read_text().splitlines() + (ROOT / "src/protocol/CMakeLists.txt").read_text().splitlines():
        match = re.match(r"\s*room\((\S+?)[\s)]", line)
        if match and list((ROOT / "src" / match.group(1)).glob("*_test.cc")):
            found.append(match.group(1).replace("/", "_"))
    return [*found, "tools"]


def run_unit(outcome, preset, room, tier):
    program = ROOT / "build" / preset / "bin" / f"{room}_test"
    env = dict(os.environ)
    env.setdefault("TSAN_OPTIONS", "halt_on_error=1 second_deadlock_stack=1 suppressions=" + str(ROOT / "tests/tsan.supp"))
    env.setdefault("ASAN_OPTIONS", "detect_stack_use_after_return=1")
    settings, timeout = LONG_FORMS.get((tier, room), ({}, 900)) if preset == "debug" else ({}, 900)
    env.update({key: os.environ.get(key, value) for key, value in settings.items()})
    env.setdefault("LSAN_OPTIONS", "print_suppressions=0 suppressions=" + str(ROOT / "tests/lsan.supp"))
    start = time.monotonic()
    try:
        done = subprocess.run([program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=timeout, env=env, cwd=ROOT)
        text, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        text, code = (late.stdout or b"").decode(errors="replace") + f"\ntimed out after {timeout} s", -1
    seen_failure = False
    for match in re.finditer(r"^\[ +(OK|FAILED|SKIPPED) +\] (\S+?)(?:,.*)? \((\d+) ms\)$", text, re.M):
        kind, case, ms = match.groups()
        name = f"{preset}/{room}/{case}"
        if kind == "OK":
            outcome.add("ok", name, int(ms) / 1000)
        elif kind == "SKIPPED":
            reason = re.search(re.escape(case) + r"[^\n]*\n(?:.*\n)*?.*not run: (.*)", text)
            outcome.add("not run", name, int(ms) / 1000, reason.group(1) if reason else "skipped")
        else:
            seen_failure = True
            outcome.add("failed", name, int(ms) / 1000)
    if code != 0:
        if not seen_failure:
            outcome.add("failed", f"{preset}/{room}", time.monotonic() - start, f"exit code {code}")
        outcome.explain(f"{preset}/{room}", text)


def run_script(outcome, path, tier, timeout):
    name = str(path.relative_to(ROOT))
    env = dict(os.environ, ODRADEK_BIN=str(ROOT / "build/release/bin"), ODRADEK_SOURCE=str(ROOT), ODRADEK_TEST_TIER=tier)
    start = time.monotonic()
    try:
        done = subprocess.run([path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=timeout, env=env, cwd=ROOT)
        text, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        text, code = (late.stdout or b"").decode(errors="replace"), f"none: timed out after {timeout} s"
    seconds = time.monotonic() - start
    if code == 0:
        outcome.add("ok", name, seconds)
    elif code == 77:
        lines = text.strip().splitlines()
        outcome.add("not run", name, seconds, re.sub(r"^not run: ", "", lines[-1]) if lines else "no reason given")
    else:
        outcome.add("failed", name, seconds, f"exit code {code}")
        outcome.explain(name, text)


def run_fuzz(outcome, program, tier):
    name = f"fuzz/{program.name}"
    corpus = ROOT / "fuzz/corpus" / program.name
    work = ROOT / "build/fuzz/corpus" / program.name
    work.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    command = [program, f"-max_total_time={FUZZ_SECONDS[tier]}", "-rss_limit_mb=2048", "-timeout=10", "-print_final_stats=0",
               f"-artifact_prefix={work.parent}/", work, *([corpus] if corpus.is_dir() else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", cwd=ROOT)
    outcome.add("ok" if done.returncode == 0 else "failed", name, time.monotonic() - start)
    if done.returncode != 0:
        outcome.explain(name, done.stdout)


def head_of(path):
    facts = {}
    for line in path.read_text(errors="replace").splitlines()[:30]:
        match = re.match(r"#\s*(tier|timeout|exclusive):\s*(\S+)", line)
        if match:
            facts[match.group(1)] = match.group(2)
    return facts


def main():
    arguments = sys.argv[1:]
    if "--help" in arguments or "-h" in arguments:
        print(__doc__)
        return 0
    tier = "full" if "full" in arguments else "quick"
    do_build = "--no-build" not in arguments
    patterns = [a for a in arguments if a not in ("full", "--list", "--no-build")]

    def wanted(name):
        return not patterns or any(p in name for p in patterns)

    rooms = room_tests()
    # A pattern that names a build (asan/storage) runs it in any tier.
    units = []
    for preset, its_rooms in ROOMS[tier].items():
        named = any(a.startswith(f"{preset}/") for a in patterns)
        units += [(preset, r) for r in rooms if (its_rooms is None or r in its_rooms or named) and wanted(f"{preset}/{r}")]
    presets = list(ROOMS[tier])
    scripts = []
    for path in sorted((ROOT / "tests").glob("*/test_*")):
        facts = head_of(path)
        if os.access(path, os.X_OK) and wanted(str(path.relative_to(ROOT))) and (tier == "full" or facts.get("tier") != "full"):
            scripts.append((path, facts))
    fuzz = not patterns or any(p.startswith("fuzz") for p in patterns)

    if "--list" in arguments:
        for preset, room in units:
            print(f"{preset}/{room}")
        for path, _ in scripts:
            print(path.relative_to(ROOT))
        return 0

    start = time.monotonic()
    outcome = Outcome()
    if do_build:
        builds = []
        if scripts:
            builds.append(("release", ["odradek-server", "odradek", "fsync_gate", "distance", "slow_disk"]))
        for preset in presets:
            targets = [f"{r}_test" for p, r in units if p == preset]
            if preset != "debug" and any(path.parent.name == "sanitizers" for path, _ in scripts):
                targets.append("odradek-server")
            if targets:
                builds.append((preset, targets))
        if fuzz:
            builds.append(("fuzz", ["fuzz_targets"]))
        for preset, targets in builds:
            if not build(preset, targets):
                outcome.add("failed", f"build/{preset}")

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for preset, room in units:
            pool.submit(run_unit, outcome, preset, room, tier)
    if fuzz:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for program in sorted((ROOT / "build/fuzz/bin").glob("fuzz_*")):
                if wanted(f"fuzz/{program.name}"):
                    pool.submit(run_fuzz, outcome, program, tier)
    for path, facts in scripts:
        run_script(outcome, path, tier, int(facts.get("timeout", "300")))

    say(f"\nslowest of {len(outcome.seconds)} ({(time.monotonic() - start) / 60:.1f} min in all):")
    for name, seconds in sorted(outcome.seconds.items(), key=lambda item: -item[1])[:20]:
        say(f"{seconds:9.1f} s  {name}")
    for name, why in outcome.not_run:
        say(f"not run: {name}: {why}")
    for name, lines in outcome.outputs:
        say("\n".join([f"---- why {name} failed:", *lines]))
    for name, why in outcome.failed:
        say(f"FAILED: {name}{': ' + why if why else ''}")
    say((f"{len(outcome.not_run)} not run\n" if outcome.not_run else "") + f"{len(outcome.passed)} passed, {len(outcome.failed)} failed")
    return 1 if outcome.failed or not outcome.passed else 0


if __name__ == "__main__":
    sys.exit(main())
