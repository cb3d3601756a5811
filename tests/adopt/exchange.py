"""What the tests of adoption share: a real client's view of a cluster, the adoption itself, Apache Kafka's own check of the files."""
import hashlib
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import BIN, ROOT, not_run, run
import environments

try:
    PROGRAMS = {version: environments.java(pathlib.Path(__file__).parent / "programs/Exchange.java", version) for version in ("3.9.2", "4.3.1")}
except environments.Missing as why:
    not_run(str(why))

# Segments are cleaned as soon as they are closed.
CLEANING = {"log.cleaner.backoff.ms": "200", "log.cleaner.min.compaction.lag.ms": "0"}


def exchange(action, address, version="3.9.2"):
    done = subprocess.run([*PROGRAMS[version], action, address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=240)
    assert done.returncode == 0, f"{action}: exit code {done.returncode}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    return done.stdout.splitlines()


def without_configs(lines):
    """For a cluster whose configs are not in its log dirs."""
    return [re.sub(r" \{.*\}$", "", line) if line.startswith("topic ") else line for line in lines]


def compare(before, after):
    gone, new = [line for line in before if line not in after], [line for line in after if line not in before]
    assert not gone and not new, "before:\n  " + "\n  ".join(gone) + "\nafter:\n  " + "\n  ".join(new)
    assert before, "nothing to compare"


def is_cleaned(dirs, topic):
    """Whether the cleaner came to the last segment of every partition here."""
    checkpoints = {}
    for folder in dirs:
        file = folder / "cleaner-offset-checkpoint"
        for line in file.read_text().splitlines()[2:] if file.exists() else []:
            name, partition, offset = line.split()
            checkpoints[f"{name}-{partition}"] = int(offset)
    partitions = [p for folder in dirs for p in folder.glob(f"{topic}-?")]
    return partitions and all(checkpoints.get(p.name) == max(int(f.stem) for f in p.glob("*.log")) > 0 for p in partitions)


def state(dirs):
    """Every file but the locks, and a digest of its bytes."""
    return {file: hashlib.sha256(file.read_bytes()).digest() for folder in dirs for file in sorted(folder.rglob("*")) if file.is_file() and file.name != ".lock"}


def check_untouched(dirs, before):
    after = state(dirs)
    different = [str(file) for file in before.keys() | after.keys() if before.get(file) != after.get(file)]
    assert not different, f"changed, new or gone: {different}"


def adopt(dirs, *options, code=0, overrides=()):
    """The report of odradek-server --adopt."""
    command = [BIN / "odradek-server", "--adopt", *options, "--override", "log.dirs=" + ",".join(map(str, dirs))]
    for override in overrides:
        command += ["--override", override]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def dump(dirs):
    """Apache Kafka's dump tool reads every file of live partitions and finds nothing wrong."""
    kinds = (".log", ".index", ".timeindex", ".snapshot", ".txnindex")
    files = sorted(f for folder in dirs for f in folder.glob("*/*") if f.suffix in kinds and re.search(r"-\d+$", f.parent.name) and "__cluster_metadata" not in f.parent.name)
    command = f". {ROOT}/tests/lib/kafka.sh && kafka_run 3.9.2 kafka.tools.DumpLogSegments " + '"$@"'
    text = run(["bash", "-c", command, "kafka", "--deep-iteration", "--index-sanity-check", "--files", ",".join(map(str, files))], timeout=240)
    for word in ("Found timestamp mismatch", "Found out of order", "Index offset", "Exception", "is corrupt", "mismatches in", "isvalid: false"):
        assert word not in text, f"{word}: {[line for line in text.splitlines() if word in line][:5]}"
    return len(files)
