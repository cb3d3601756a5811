#!/usr/bin/env python3
# timeout: 900
"""The whole broker, built with ASan+UBSan and with TSan, under load from all sides at once: producers in every codec, consumers,
groups, topics that come and go, changed thread counts, broken frames, kill -9, clean stops. No report of a sanitizer."""
import os
import pathlib
import random
import re
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import BIN, FULL, ROOT, Broker, connect, need, not_run
import wire

SECONDS = 60 if FULL else 12
INCREMENTAL_ALTER_CONFIGS, DELETE_TOPICS = 44, 20

need("kcat")
servers = {name: ROOT / "build" / name / "bin/odradek-server" for name in ("asan", "tsan")}
missing = [name for name, server in servers.items() if not server.exists()]
if missing:
    not_run(f"the builds {', '.join(missing)} are not there")

seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.SystemRandom().randrange(1 << 32)
print(f"seed {seed}", flush=True)


def until(stop, attempt):
    """Repeats an attempt that may fail because the broker is away."""
    while not stop.is_set():
        try:
            attempt()
        except (OSError, EOFError, subprocess.SubprocessError, struct.error):
            time.sleep(0.1)


def bench(broker, *arguments):
    subprocess.run([BIN / "odradek", "bench", *arguments, "-b", broker.address, "--json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)


def group(broker):
    subprocess.run(["kcat", "-b", broker.address, "-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms=6000", "-G", "load", "-c", "20000", "-q", "load"],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=5)


def topics(broker, rng):
    name = f"short-{rng.randrange(5)}"
    with connect(broker.port) as sock:
        wire.create_topic(sock, name, partitions=3, configs={"segment.bytes": "16384", "retention.bytes": "32768"})
        for i in range(20):
            wire.produce(sock, name, i % 3, wire.batch([b"x" * rng.randrange(3000)], timestamp=int(time.time() * 1000)))
        sock.sendall(wire.request(DELETE_TOPICS, 1, 1, struct.pack(">i", 1) + wire.string(name) + struct.pack(">i", 1000)))
        wire.read_frame(sock)


def threads(broker, rng):
    def compact(text):
        return bytes([len(text) + 1]) + text.encode()
    body = b"\x02" + b"\x04" + compact("") + b"\x03"
    for key in ("num.io.threads", "num.network.threads"):
        body += compact(key) + b"\x00" + compact(str(rng.randrange(1, 6))) + b"\x00"
    body += b"\x00" + b"\x00" + b"\x00"
    with connect(broker.port) as sock:
        sock.sendall(wire.request(INCREMENTAL_ALTER_CONFIGS, 1, 1, body, flexible=True))
        wire.read_frame(sock)
    time.sleep(0.3)


def noise(broker, rng):
    with connect(broker.port, 2) as sock:
        good = wire.request(rng.choice([0, 1, 2, 3, 8, 9, 10, 11, 12, 14, 18, 19]), rng.randrange(0, 12), 7, rng.randbytes(rng.randrange(200)))
        bad = bytearray(good)
        for _ in range(rng.randrange(4)):
            bad[rng.randrange(4, len(bad))] = rng.randrange(256)
        sock.sendall(bad[: rng.randrange(1, len(bad) + 1)])
        sock.settimeout(0.2)
        try:
            sock.recv(1000)
        except OSError:
            pass


def scrape(broker):
    with connect(broker.metrics_port) as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while sock.recv(65536):
            pass
    time.sleep(0.2)


for name, server in servers.items():
    options = {
        "ASAN_OPTIONS": "detect_stack_use_after_return=1:exitcode=99",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "TSAN_OPTIONS": f"second_deadlock_stack=1 exitcode=99 suppressions={ROOT / 'tests/tsan.supp'}",
    }
    properties = {"num.partitions": "4", "log.segment.bytes": "1048576", "log.retention.check.interval.ms": "500",
                  "log.flush.interval.messages": "5000", "log.segment.delete.delay.ms": "200"}
    with Broker(properties, server=server, env=options) as broker:
        stop, rng = threading.Event(), random.Random(seed)
        loads = [lambda codec=codec: bench(broker, "produce", "-t", "load", "--codec", codec, "-c", "7", "-s", "2", "--rate", "4000", "--in-flight", "3",
                                           "--records-per-batch", "20", "--acks", acks) for codec, acks in
                 (("none", "-1"), ("gzip", "1"), ("snappy", "1"), ("lz4", "-1"), ("zstd", "0"))]
        loads += [lambda: bench(broker, "consume", "-t", "load", "-c", "5", "-s", "2"), lambda: group(broker), lambda: group(broker),
                  lambda: topics(broker, rng), lambda: threads(broker, rng), lambda: noise(broker, rng), lambda: scrape(broker)]
        workers = [threading.Thread(target=until, args=(stop, load), daemon=True) for load in loads]
        for worker in workers:
            worker.start()
        for again in (broker.kill, broker.stop, None):
            until_time = time.monotonic() + SECONDS / 3
            while time.monotonic() < until_time and broker.alive():
                time.sleep(0.1)
            assert broker.alive(), f"{name}: the broker ended by itself:\n{broker.log_text()[-8000:]}"
            if again:
                again()
                broker.start(wait=120)
        stop.set()
        for worker in workers:
            worker.join(70)
        broker.stop(wait=120)
        report = re.search(r"(WARNING: ThreadSanitizer|ERROR: (Address|Leak)Sanitizer|runtime error:)(.*\n){0,80}", broker.log_text())
        assert report is None, f"{name}:\n{report.group(0)}"
        size = sum(f.stat().st_size for f in pathlib.Path(broker.properties["log.dirs"]).rglob("*.log"))
        assert size > 1 << 20, f"{name}: only {size} bytes were written: no load"
        print(f"{name}: {size >> 20} MiB written, no report", flush=True)
