#!/usr/bin/env python3
# tier: full
# timeout: 1200
"""franz-go's own integration tests (package kgo), from the Go module proxy, against the broker. TestTxnEtl needs transactions."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import Broker, need, not_run
from environments import CACHE

MODULE = "github.com/twmb/franz-go@v1.20.0"
RECORDS = "20000"

need("go")
folder = CACHE / "franz-go-1.20.0"
if not (folder / "kgo.test").exists():
    found = subprocess.run(["go", "mod", "download", "-json", MODULE], stdout=subprocess.PIPE, text=True, cwd="/", env=dict(os.environ, GOFLAGS="-mod=mod"))
    if found.returncode != 0:
        not_run(f"{MODULE} cannot be had")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(json.loads(found.stdout)["Dir"], folder)
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    subprocess.run(["go", "test", "-c", "-o", "kgo.test", "./pkg/kgo"], cwd=folder, check=True, env=dict(os.environ, GOFLAGS="-mod=mod"))

with Broker({"num.partitions": "4"}) as broker:
    env = dict(os.environ, KGO_SEEDS=broker.address, KGO_TEST_RF="1", KGO_TEST_RECORDS=RECORDS, KGO_LOG_LEVEL="none")
    done = subprocess.run([folder / "kgo.test", "-test.v", "-test.parallel", "2", "-test.skip", "TestTxnEtl", "-test.timeout", "1000s"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", env=env, cwd=folder)
passed = re.findall(r"^--- PASS: (\S+)", done.stdout, re.M)
print("\n".join(line for line in done.stdout.splitlines() if re.match(r"\s*--- FAIL|panic", line)))
print(f"franz-go: {len(passed)} tests passed, exit code {done.returncode}")
sys.exit(0 if done.returncode == 0 and passed else 1)
