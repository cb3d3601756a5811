#!/usr/bin/env python3
"""Every change that tools/plant.py makes to a copy of the product (bugs for the simulation, variants for bench/) still applies to the
sources as they are; and one that does not is found."""
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def plant(*words):
    done = subprocess.run([sys.executable, ROOT / "tools/plant.py", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


changes = [path for pattern in ("src/sim/**/planted/*.bug", "bench/ablation/*.variant") for path in sorted(ROOT.glob(pattern))]
assert len(changes) > 15, changes
code, text = plant("--check", ROOT, *changes)
assert code == 0, text

with tempfile.TemporaryDirectory() as folder:
    source, change, copy = (pathlib.Path(folder, name) for name in ("a.cc", "a.variant", "copy.cc"))
    change.write_text("# why\nfile: a.cc\n--- shipped\ntwo\n--- planted\nTWO\nand more\n--- shipped\nthree\n--- planted\n--- file: b.cc\n--- shipped\nx\n--- planted\ny\n")
    source.write_text("one\ntwo\nthree\n")
    pathlib.Path(folder, "b.cc").write_text("x\n")
    assert plant("--sources", change) == (0, "a.cc;b.cc")
    assert plant("--check", folder, change)[0] == 0
    assert plant(change, folder, "a.cc", copy, "--strict")[0] == 0 and copy.read_text() == "one\nTWO\nand more\n", copy.read_text()
    for moved in ("one\n2\nthree\n", "one\ntwo\ntwo\nthree\n"):
        source.write_text(moved)
        code, text = plant("--check", folder, change)
        assert code == 1 and "two" in text and "a.cc" in text, text
        assert plant(change, folder, "a.cc", copy, "--strict")[0] == 1
        assert plant(change, folder, "a.cc", copy)[0] == 0 and copy.read_text() == moved.replace("three\n", "")
print(f"{len(changes)} changes apply")
