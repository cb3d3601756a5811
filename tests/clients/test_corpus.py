#!/usr/bin/env python3
# timeout: 5400
"""Real text (documentation, headers, sources of this machine) through kcat and Java's console tools in every codec: what one wrote
the other reads, equal to the byte and in order. quick: 12 MB, full: 500 MB."""
import hashlib
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import FULL, ROOT, Broker, need, not_run
import environments

WANTED = 500_000_000 if FULL else 12_000_000
FOLDERS = ["/var/lib/apt/lists", "/usr/share/doc", "/usr/include", "/usr/share", "/usr/local/go", "/usr/lib", "/root/.pyenv", "/usr/src", "/opt"]
VERSION = "3.9.2"

need("kcat")
try:
    environments.kafka_class_path(VERSION)
except environments.Missing as why:
    not_run(str(why))


def collect(path):
    """Lines that every tool takes as one: not empty, valid UTF-8 without CR and NUL, at most 100,000 bytes. (lines, bytes, SHA-256)"""
    digest, size, count = hashlib.sha256(), 0, 0
    seen = set()
    with open(path, "wb") as out:
        for folder in FOLDERS:
            for root, folders, names in os.walk(folder):
                folders.sort()
                for name in sorted(names):
                    file = os.path.join(root, name)
                    try:
                        status = os.lstat(file)
                        if not os.path.isfile(file) or os.path.islink(file) or status.st_size > 200_000_000 or (status.st_dev, status.st_ino) in seen:
                            continue
                        seen.add((status.st_dev, status.st_ino))
                        data = open(file, "rb").read()
                        data.decode()
                    except (OSError, UnicodeDecodeError):
                        continue
                    if b"\0" in data or b"\r" in data:
                        continue
                    kept = b"".join(line + b"\n" for line in data.split(b"\n") if 0 < len(line) <= 100_000)
                    out.write(kept)
                    digest.update(kept)
                    size += len(kept)
                    count += kept.count(b"\n")
                    if size >= WANTED:
                        return count, size, digest.hexdigest()
    return count, size, digest.hexdigest()


def digest_of(command):
    """SHA-256 of what a command prints."""
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    digest, size = hashlib.sha256(), 0
    while piece := reader.stdout.read(1 << 20):
        digest.update(piece)
        size += len(piece)
    assert reader.wait(60) == 0, f"{command[:6]} ended with {reader.returncode} after {size} bytes"
    return digest.hexdigest(), size


def java(name, *arguments):
    return ["bash", "-c", f". {ROOT}/tests/lib/kafka.sh && kafka_run {VERSION} {name} " + '"$@"', "kafka", *map(str, arguments)]


with Broker({"num.partitions": "1", "log.segment.bytes": "100000000"}) as broker:
    corpus = broker.directory / "corpus"
    lines, size, wanted = collect(corpus)
    assert size >= WANTED * 0.9, f"only {size} bytes of text were found"
    print(f"{lines} lines, {size} bytes", flush=True)
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        start = time.monotonic()
        by_kcat, by_java = f"kcat-{codec}", f"java-{codec}"
        with open(corpus, "rb") as text:
            subprocess.run(["kcat", "-b", broker.address, "-P", "-t", by_kcat, "-z", codec, "-X", "queue.buffering.max.messages=1000000"], stdin=text, check=True)
        with open(corpus, "rb") as text:
            subprocess.run(java("org.apache.kafka.tools.ConsoleProducer" if VERSION >= "4" else "kafka.tools.ConsoleProducer", "--bootstrap-server", broker.address,
                                "--topic", by_java, "--compression-codec", codec, "--batch-size", 100000, "--producer-property", "linger.ms=20"),
                           stdin=text, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        for topic in (by_kcat, by_java):
            # With its default of 100,000 messages librdkafka rests for a second each time that it has so many.
            got, count = digest_of(["kcat", "-b", broker.address, "-C", "-t", topic, "-e", "-q", "-X", "check.crcs=true", "-X", "queued.min.messages=10000000"])
            assert got == wanted, f"kcat read {count} bytes of {topic}, another text than the {size} written"
            got, count = digest_of(java("org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", broker.address, "--topic", topic, "--partition", 0,
                                        "--offset", "earliest", "--max-messages", lines))
            assert got == wanted, f"Java read {count} bytes of {topic}, another text than the {size} written"
        print(f"{codec}: equal by both, {time.monotonic() - start:.0f} s", flush=True)
