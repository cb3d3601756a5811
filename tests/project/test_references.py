#!/usr/bin/env python3
"""docs/config.md and docs/metrics.md are what the server prints from its tables; a start that cannot succeed says why in one line."""
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import BIN, ROOT, Broker, run

for option, name in (("--print-config-reference", "config.md"), ("--print-metrics-reference", "metrics.md")):
    printed = run([BIN / "odradek-server", option])
    assert printed == (ROOT / "docs" / name).read_text(), f"docs/{name} is not what the server prints: print it again with {option}"

with tempfile.TemporaryDirectory() as folder:
    for setting, word in (("authorizer.class.name=kafka.security.authorizer.AclAuthorizer", "authorizer.class.name"), ("num.io.threads=0", "num.io.threads"),
                          ("listeners=SASL_PLAINTEXT://127.0.0.1:0", "SASL"), ("listeners=PLAINTEXT://127.0.0.1:99999", "listeners"),
                          ("zookeeper.connect=/chroot", "zookeeper.connect"), ("process.roles=broker", "process.roles")):
        done = subprocess.run([BIN / "odradek-server", "--override", f"log.dirs={folder}/data", "--override", setting], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=30)
        assert done.returncode != 0, f"{setting} starts"
        assert word in done.stdout and len(done.stdout.strip().splitlines()) <= 2, f"{setting}: {done.stdout}"

with Broker() as broker:
    # A second broker on the same folder, and one on the same port, are refused in words.
    for extra, word in ((["log.dirs=" + broker.properties["log.dirs"], "listeners=PLAINTEXT://127.0.0.1:0"], "lock"),
                        ([f"log.dirs={broker.directory}/other", f"listeners=PLAINTEXT://127.0.0.1:{broker.port}"], str(broker.port))):
        command = [BIN / "odradek-server", "--override", "metrics.listener=127.0.0.1:0"]
        for one in extra:
            command += ["--override", one]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
        assert done.returncode != 0 and word in done.stdout, f"{extra}: {done.stdout}"
    assert broker.alive()
print("references and refusals")
