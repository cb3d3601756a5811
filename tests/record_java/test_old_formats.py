#!/usr/bin/env python3
# tier: full
# timeout: 300
"""old_formats.txt, which the unit tests of src/record compare with, is what Kafka's classes make today. --write makes it anew.

Compressed bytes are compared as they are: the classes and their codecs' versions are fixed."""
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from broker import not_run
import environments

try:
    command = environments.java(HERE / "OldFormats.java", "3.9.2")
except environments.Missing as why:
    not_run(why)
text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
golden = HERE / "old_formats.txt"
if "--write" in sys.argv:
    golden.write_text(text)
wanted = golden.read_text().splitlines()
got = text.splitlines()
assert len(wanted) == len(got), f"{len(wanted)} lines became {len(got)}"
for a, b in zip(wanted, got):
    assert a == b, f"wanted {a}\ngot    {b}"
print(f"{len(got)} lines equal")
