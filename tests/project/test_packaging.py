#!/usr/bin/env python3
# timeout: 120
"""The files of packaging/ and what docs/cluster.md says of them: every key of the three properties files works, they differ only where they say,
and systemd takes the unit."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import BIN, ROOT

PACKAGING = ROOT / "packaging"
NODES = ("one", "two", "three")


def properties(name):
    text = (PACKAGING / f"three-nodes/{name}.properties").read_text()
    return dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))


keys = {}
for line in (ROOT / "docs/config.md").read_text().splitlines():
    found = re.match(r"\| `([^`]+)` \|.*\| ([^|]*) \|$", line)
    if found:
        keys[found.group(1)] = found.group(2)
assert len(keys) > 300, "docs/config.md has another form"
files = [properties(name) for name in NODES]
for name, file in zip(NODES, files):
    for key in file:
        assert key in keys, f"{name}.properties: docs/config.md does not know {key}"
        assert "**Refused" not in keys[key] or "if" in keys[key], f"{name}.properties: {key} is refused: {keys[key]}"
    assert file["log.dirs"] == f"/var/lib/odradek/{name}", file
    # Read by the broker itself: it goes as far as the name of a host that does not exist.
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([BIN / "odradek-server", PACKAGING / f"three-nodes/{name}.properties", "--override", f"log.dirs={folder}/data", "--override",
                               "zookeeper.connect=127.0.0.1:1/odradek", "--override", "zookeeper.connection.timeout.ms=300"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        assert done.returncode != 0 and ("did not answer within 300 ms" in done.stdout or f"{name}.example.net" in done.stdout), done.stdout
        assert "unknown" not in done.stdout.lower().split("cannot start")[0], done.stdout
differ = {key for key in files[0] if len({file.get(key) for file in files}) > 1}
assert all(file.keys() == files[0].keys() for file in files) and differ == {"broker.id", "listeners", "broker.rack", "log.dirs", "metrics.listener"}, differ

unit = (PACKAGING / "systemd/odradek@.service").read_text()
assert "/etc/odradek/%i.properties" in unit and "StateDirectory=odradek/%i" in unit
if shutil.which("systemd-analyze"):
    with tempfile.TemporaryDirectory() as folder:
        # Verified with the program of this build; the documentation is not installed.
        text = unit.replace("/usr/bin/odradek-server", str(BIN / "odradek-server")).replace("Documentation=file:/usr/share/doc/odradek/cluster.md\n", "")
        path = pathlib.Path(folder) / "odradek@one.service"
        path.write_text(text)
        done = subprocess.run(["systemd-analyze", "verify", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        complaints = [line for line in done.stdout.splitlines() if "odradek@" in line]
        assert not complaints, "\n".join(complaints)
print("three nodes and the unit")
