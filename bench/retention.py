#!/usr/bin/env python3
"""What retention costs the others: producers beside checks of many partitions, without and with segments that fall due.

usage: bench/retention.py [--partitions 10000] [--kafka 3.9.2] [--kafka-partitions 4000] [--write docs/performance.md]
short: bench/retention.py --partitions 200 --seconds 5 --kafka ''

Odradek makes the directory: 20 topics with --partitions partitions in all, --segments segments of one record in each, and beside it a topic of 12
partitions for the load; the retention check runs every --interval seconds and finds nothing due. It is stopped in order; each broker then starts on a copy of
its own (Kafka with the tree exported to a ZooKeeper of its own), so that both work on the same files. An open-loop producer (1 KB x 16 a request)
runs twice for --seconds: first with nothing due; then, one second after it has begun, the settings of the topics change, so that the next check finds
due all segments of one half of the partitions by time (retention.ms; the active ones are rolled and go, too) and all but the last one of the other half by size
(retention.bytes). The files are removed log.segment.delete.delay.ms (2 s here) later, within the same run. "all gone after" counts from the change of the
settings to the moment at which no such segment is left in a listing of the folders, renamed or not (looked for every second).
"""
import argparse
import datetime
import os
import pathlib
import shutil
import struct
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import brokers
import report
import same_directory
from scenarios import BENCH, load, produce_options

sys.path.insert(0, str(brokers.ROOT / "tests/lib"))
import wire

LOAD = "retention-load"
INCREMENTAL_ALTER_CONFIGS = 44


def settings(options):
    return {"log.retention.check.interval.ms": int(options.interval * 1000), "log.segment.delete.delay.ms": 2000, "log.initial.task.delay.ms": 1000,
            "log.retention.ms": -1, "num.network.threads": 3, "num.io.threads": 8}


def alter(port, configs):
    """IncrementalAlterConfigs v0: sets topic -> {name: value}."""
    body = struct.pack(">i", len(configs))
    for topic, values in configs.items():
        body += struct.pack(">b", 2) + wire.string(topic) + struct.pack(">i", len(values))
        body += b"".join(wire.string(name) + b"\0" + wire.string(str(value)) for name, value in values.items())
    with socket.create_connection(("127.0.0.1", port), 120) as sock:
        sock.sendall(wire.request(INCREMENTAL_ALTER_CONFIGS, 0, 1, body + b"\0"))
        reader = wire.Reader(wire.read_frame(sock)[1])
        reader.take("i")
        for _ in range(reader.take("i")):
            error, why, _, name = reader.take("h"), reader.text(), reader.take("b"), reader.text()
            if error:
                raise RuntimeError(f"configs of {name}: error {error} {why}")


def due_files(data):
    """Segments (also those that wait for their removal) that the changed settings leave no place for."""
    left = 0
    for folder in os.scandir(data):
        if not folder.name.startswith("many-"):
            continue
        logs = [name for name in os.listdir(folder.path) if ".log" in name]
        left += max(len(logs) - 1, 0)
    return left


def produce(broker, seconds, rate):
    return load("produce", broker, "-s", seconds, *produce_options(LOAD, 1024, 16, connections=12, partitions=12), "--in-flight", 5, "--rate", rate)


def measure(kind, data, options, partitions):
    """Figures of one broker on its copy of `data`."""
    with same_directory.broker_on_copy(kind, data, settings(options)) as broker:
        began = time.monotonic()
        broker.start_timed()
        same_directory.wait_for_all(broker.port, partitions, options.segments)
        started = time.monotonic() - began
        produce(broker, options.warm, options.rate)
        without = produce(broker, options.seconds, options.rate)
        before = due_files(broker.data)
        gone = {}

        def change():
            time.sleep(1)
            begin = time.monotonic()
            alter(broker.port, {f"many-{i}": {"retention.ms": 1000} if i % 2 == 0 else {"retention.bytes": 100} for i in range(same_directory.TOPICS)})
            while time.monotonic() - begin < options.seconds + 300:
                if due_files(broker.data) == 0:
                    gone["after"] = time.monotonic() - begin
                    return
                time.sleep(1)

        changing = threading.Thread(target=change)
        changing.start()
        rounds = []
        cpu = broker.cpu_seconds()
        while changing.is_alive() or not rounds:  # the load goes on until nothing is left
            rounds.append(produce(broker, options.seconds, options.rate))
        cpu = broker.cpu_seconds() - cpu
        changing.join()
        result = {"partitions": partitions, "segments": before, "started": started, "without": without["latency_ms"], "gone": gone.get("after"),
                  "p50": max(r["latency_ms"]["p50"] for r in rounds), "p99": max(r["latency_ms"]["p99"] for r in rounds),
                  "max": max(r["latency_ms"]["max"] for r in rounds), "cpu": cpu}
        print(f"{broker.name}: {result}", flush=True)
        return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", type=int, default=10000)
    parser.add_argument("--segments", type=int, default=4, help="of each partition")
    parser.add_argument("--interval", type=float, default=5, help="seconds between retention checks")
    parser.add_argument("--seconds", type=float, default=30, help="of each load; the second one goes on until all is gone")
    parser.add_argument("--warm", type=float, default=8)
    parser.add_argument("--rate", type=int, default=20000, help="records/s of 1 KB")
    parser.add_argument("--kafka", default="3.9.2")
    parser.add_argument("--kafka-partitions", type=int, default=0, help="where Kafka cannot have as many open files as it needs; 0: --partitions")
    parser.add_argument("--write", help="puts the table between the marks `retention: begin` and `retention: end` of this file")
    options = parser.parse_args()
    rows = ["| broker | partitions | segments due | p50 ms without; with | p99 ms without; with | max ms without; with | all gone after s | CPU s meanwhile |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    made = {}
    try:
        beside = options.kafka_partitions or options.partitions  # what Kafka has
        runs = [("odradek", options.partitions)] if beside != options.partitions or not options.kafka else []
        for kind, partitions in runs + ([(kind, beside) for kind in ["odradek", *options.kafka.split(",")]] if options.kafka else []):
            if not same_directory.fits(kind, partitions, options.segments):
                sys.exit(f"Apache Kafka keeps the file of each segment open; {partitions * options.segments} are too many here: --kafka-partitions")
            if partitions not in made:
                made[partitions] = same_directory.make(partitions, options.segments, {LOAD: 12}, settings(options))
            r = measure(kind, made[partitions], options, partitions)
            gone = f"{r['gone']:.0f}" if r["gone"] is not None else "not all"
            rows.append(f"| {'Odradek' if kind == 'odradek' else 'Apache Kafka ' + kind} | {r['partitions']} | {r['segments']} | "
                        + " | ".join(f"{r['without'][f]:.2f}; {r[f]:.2f}" for f in ("p50", "p99", "max")) + f" | {gone} | {r['cpu']:.1f} |")
    finally:
        for folder in made.values():
            shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(rows))
    if options.write:
        text = (f"Made {datetime.date.today()} by `bench/retention.py --partitions {options.partitions}"
                + (f" --kafka-partitions {options.kafka_partitions}" if options.kafka_partitions else "") + f" --segments {options.segments} --seconds {options.seconds:g}`: "
                f"{options.rate * 1024 / 1e6:.0f} MB/s beside it, a check every {options.interval:g} s.")
        report.put(options.write, "retention", "\n".join([text, "", *rows]))


if __name__ == "__main__":
    main()
