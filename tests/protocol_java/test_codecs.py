#!/usr/bin/env python3
# tier: full
# timeout: 900
# Random messages of every message and version, exchanged with Kafka's own Java classes in both directions:
# Java makes them and we decode and encode them; we make them and Java does. The bytes must be equal.
# usage: test_codecs.py [build folder]     (default: build/debug; the program protocol_recode is built there)
import os
import pathlib
import random
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/debug").resolve()
COUNT = 5 if os.environ.get("ODRADEK_TEST_TIER") == "quick" else 20
# Early access in that release: the same version had other fields.
OTHER_LAYOUT = {
    "3.9.2": {("ShareGroupMetadataValue", 0), ("ReadShareGroupStateSummaryResponse", 0)},
    "4.3.1": set(),
}
# Kafka 3.9's own tables are wrong about which structs and records may be null: random bytes made from them do not always decode.
WRONG_TABLES = {"3.9.2": {"ConsumerGroupHeartbeatResponse", "ConsumerGroupMemberMetadataValue", "DescribeTopicPartitionsRequest",
                          "DescribeTopicPartitionsResponse", "FetchSnapshotResponse", "ShareGroupHeartbeatResponse"}, "4.3.1": set()}


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    if done.returncode != 0 and options.get("check", True):
        sys.exit(f"{command[0]} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done


def jars(version):
    done = run("bash", "-c", f". {ROOT}/tests/lib/kafka.sh; kafka_home {version}", check=False)
    if done.returncode != 0:
        print(done.stderr[-2000:])
        print(f"not run: Maven cannot bring Kafka {version}")
        sys.exit(77)
    return done.stdout.strip() + "/*"


def compare(title, version, wanted, got):
    """Lines of one direction; returns the number of differences."""
    same, skipped, differ = 0, set(), []
    if len(wanted) != len(got):
        differ.append(f"{len(wanted)} lines became {len(got)}")
    for a, b in zip(wanted, got):
        name, number = a.split()[:2]
        if (name, int(number)) in OTHER_LAYOUT[version] or b.endswith(" skip"):
            skipped.add((name, number))
        elif a == b:
            same += 1
        else:
            differ.append(f"  wanted {a[:300]}\n  got    {b[:300]}")
    print(f"{title}: {same} equal, {len(differ)} differ, {len(skipped)} versions that Kafka {version} lacks")
    print("\n".join(differ[:10]))
    return len(differ)


def main():
    for tool in ("java", "javac", "mvn"):
        if shutil.which(tool) is None:
            print(f"not run: no {tool}")
            return 77
    if not (BUILD / "build.ninja").exists():
        run("cmake", "--preset", BUILD.name, cwd=ROOT)
    run("cmake", "--build", BUILD, "--target", "protocol_recode")
    recode = BUILD / "bin/protocol_recode"
    seed = int(os.environ.get("ODRADEK_TEST_SEED", random.randrange(1 << 40)))
    print(f"ODRADEK_TEST_SEED={seed}")
    ours = run(recode, "random", seed, COUNT).stdout.splitlines()
    versions = {}
    for line in ours:
        name, number = line.split()[:2]
        low, high = versions.get(name, (int(number), int(number)))
        versions[name] = (min(low, int(number)), max(high, int(number)))
    work = BUILD / "protocol_java"
    work.mkdir(exist_ok=True)
    (work / "versions.txt").write_text("".join(f"{name} {low} {high}\n" for name, (low, high) in versions.items()))
    failures = 0
    for version in ("3.9.2", "4.3.1"):
        path = jars(version)
        classes = work / f"classes-{version}"
        run("javac", "-nowarn", "-d", classes, "-cp", path, HERE / "JavaCodecs.java")
        java = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{classes}:{path}", "JavaCodecs"]
        theirs = run(*java, "random", seed, COUNT, work / "versions.txt").stdout.splitlines()
        theirs = [line for line in theirs if not (" error " in line and line.split()[0] in WRONG_TABLES[version])]
        broken = [line for line in theirs if " error " in line]
        failures += len(broken)
        print("".join(f"  {line[:300]}\n" for line in broken[:10]), end="")
        theirs = [line for line in theirs if " error " not in line]
        back = run(recode, "recode", input="\n".join(theirs), check=False).stdout.splitlines()
        failures += compare(f"Java {version} to us", version, theirs, back)
        back = run(*java, "recode", input="\n".join(ours) + "\n").stdout.splitlines()
        failures += compare(f"us to Java {version}", version, ours, back)
    print("FAIL" if failures else "PASS")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
