#!/usr/bin/env python3
"""Copying over distance: a source in one network namespace, the mirror and its target here, a way between them (tools/distance).
`odradek mirror` beside Kafka's MirrorMaker 2. Needs root; MirrorMaker needs java and mvn.

usage: bench/mirror.py [--mirrors odradek,mm2,mm2-tuned] [--round-trips 0,100] [--partitions 1,12] [--megabytes N] [--json FILE]

A topic is written to the source; then the mirror starts and its target's log files are watched: MB/s from the moment when the first
tenth has arrived until nine tenths have (start-up does not count), and the whole time from the start of the process. The way carries 100 MB/s in
each direction, also at 0 ms. "mm2" is MirrorMaker 2 as it comes, "mm2-tuned" with large fetches, kernel-tuned buffers and a task for each partition.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
os.environ.setdefault("ODRADEK_BIN", str(ROOT / "build/release/bin"))
sys.path.insert(0, str(ROOT / "tests/lib"))
import environments
from broker import BIN, Broker, run
from distance import HERE, Distance

VERSION = "3.9.2"
TUNED = {"A.consumer.fetch.max.bytes": 104857600, "A.consumer.max.partition.fetch.bytes": 16777216, "A.consumer.receive.buffer.bytes": -1,
         "A.consumer.max.poll.records": 20000, "B.producer.batch.size": 262144, "B.producer.linger.ms": 5, "B.producer.buffer.memory": 134217728}


def mirror_maker(folder, source, target, topic, partitions, tuned):
    class_path = environments.maven(f"mirror-maker-{VERSION}", f"org.apache.kafka:connect-mirror:{VERSION}", f"org.apache.kafka:connect-runtime:{VERSION}",
                                    "org.slf4j:slf4j-reload4j:1.7.36")
    settings = {"clusters": "A,B", "A.bootstrap.servers": source, "B.bootstrap.servers": target, "A->B.enabled": "true", "B->A.enabled": "false", "A->B.topics": topic,
                "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy", "replication.factor": 1, "checkpoints.topic.replication.factor": 1,
                "heartbeats.topic.replication.factor": 1, "offset-syncs.topic.replication.factor": 1, "offset.storage.replication.factor": 1,
                "status.storage.replication.factor": 1, "config.storage.replication.factor": 1, "emit.heartbeats.enabled": "false", "dedicated.mode.enable.internal.rest": "false",
                "A->B.tasks.max": partitions if tuned else 1, **(TUNED if tuned else {})}
    (folder / "mm2.properties").write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
    (folder / "log4j.properties").write_text("log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\nlog4j.appender.out.layout=org.apache.log4j.SimpleLayout\n")
    return ["java", "-Xmx1g", "-XX:+UseG1GC", f"-Dlog4j.configuration=file:{folder}/log4j.properties", "-cp", class_path, "org.apache.kafka.connect.mirror.MirrorMaker",
            folder / "mm2.properties"]


def size_of(broker, topic):
    total = 0
    for file in pathlib.Path(broker.properties["log.dirs"]).glob(f"{topic}-*/*.log"):
        total += file.stat().st_size
    return total


def copy(options, lab, source, mirror, topic, partitions, round_trip):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="odradek-bench-mirror-"))
    total = size_of(source, topic)
    with Broker({"log.segment.bytes": str(1 << 30), "offsets.topic.num.partitions": "3"}) as target:
        lab.set("far", HERE, round_trip_ms=round_trip)
        if mirror == "odradek":
            command = [BIN / "odradek", "mirror", "--source", source.address, "--target", target.address, "--topics", topic, "--every", "0"]
        else:
            command = mirror_maker(folder, source.address, target.address, topic, partitions, mirror == "mm2-tuned")
        begin, marks = time.monotonic(), {}
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=subprocess.STDOUT)
        try:
            while (now := time.monotonic()) - begin < options.longest:
                there = size_of(target, topic)
                for tenth in (1, 9):
                    if there >= total * tenth / 10 * 0.98 and tenth not in marks:  # MirrorMaker's batches are a little smaller
                        marks[tenth] = (now, there)
                if there >= total * 0.98:
                    break
                if process.poll() is not None:
                    raise RuntimeError((folder / "log").read_text()[-3000:])
                time.sleep(0.02)
            usage = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            cpu = (int(usage[11]) + int(usage[12])) / os.sysconf("SC_CLK_TCK")
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            lab.set("far", HERE, round_trip_ms=0)
        result = {"mirror": mirror, "partitions": partitions, "round_trip_ms": round_trip, "mb": total / 1e6, "whole_s": time.monotonic() - begin, "cpu_s_per_gb": cpu / (total / 1e9),
                  "copied_mb": size_of(target, topic) / 1e6}
        if 9 in marks and 1 in marks and marks[9][0] > marks[1][0]:
            result["mb_s"] = (marks[9][1] - marks[1][1]) / (marks[9][0] - marks[1][0]) / 1e6
    shutil.rmtree(folder, ignore_errors=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirrors", default="odradek,mm2,mm2-tuned")
    parser.add_argument("--round-trips", default="0,100")
    parser.add_argument("--partitions", default="1,12")
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--rate", type=float, default=100, help="of the way, MB/s")
    parser.add_argument("--longest", type=float, default=240, help="seconds of one copy")
    parser.add_argument("--json")
    options = parser.parse_args()
    results = []
    with Distance("far", HERE) as lab:
        lab.set("*", "*", rate_mb=options.rate)
        folder = pathlib.Path(tempfile.mkdtemp(prefix="odradek-bench-mirror-source-"))
        host = lab.address("far")
        # Buffers of sockets are the kernel's affair, as far as a way needs it.
        with Broker({"listeners": f"PLAINTEXT://{host}:29092", "log.segment.bytes": str(1 << 30), "socket.send.buffer.bytes": "-1", "socket.receive.buffer.bytes": "-1"},
                    directory=folder, host=host, prefix=lab.prefix("far")) as source:
            for partitions in map(int, options.partitions.split(",")):
                topic = f"copied-{partitions}"
                run([*lab.prefix("far"), BIN / "odradek", "bench", "produce", "-b", source.address, "-t", topic, "--partitions", partitions, "--record-size", 1024,
                     "--records-per-batch", 16, "-c", max(4, partitions), "-s", 120, "-n", options.megabytes * 1000000 // 1100], timeout=200)
                for round_trip in map(float, options.round_trips.split(",")):
                    for mirror in options.mirrors.split(","):
                        result = copy(options, lab, source, mirror, topic, partitions, round_trip)
                        results.append(result)
                        rate = f"{result['mb_s']:.1f} MB/s" if "mb_s" in result else f"{result['copied_mb']:.0f} MB in {options.longest:.0f} s"
                        print(f"{mirror:10} {partitions:3} partitions {round_trip:5.0f} ms: {rate}, whole {result['whole_s']:.1f} s, {result['cpu_s_per_gb']:.1f} CPU-s/GB", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
