#!/usr/bin/env python3
"""Replication over distance: a leader and a follower in two network namespaces with a way between them (tools/distance), the producer
beside the leader. Needs root.

usage: bench/distance.py [--broker kafka|odradek] [--settings default,tuned] [--round-trips 0,20,50,100,200] [--way MB/s] [--rate MB/s] [--seconds S]
                         [--partitions N] [--acks-round-trip MS] [--folder DIR] [--json FILE] [--write docs/performance.md]

For each setting and round trip:
  follow   a producer with acks=1 writes at --rate for --seconds: what the follower appends a second meanwhile (its log files, from the
           fifth second on), how far it is behind at the end, how long it then takes to be at the end, how often the ISR lost it
  acks     acks=all, 10 connections with 5 requests of 16 x 1 KB in flight: MB/s and latency (at --acks-round-trip, and at 0)
The way carries every figure, also that of 0 ms, at --way MB/s (packets with their heads) in each direction. "default" is replication as it comes; "tuned" what Kafka's documents advise for a long way:
socket buffers large or left to the kernel, larger fetches, four fetchers.
"""
import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
os.environ.setdefault("ODRADEK_BIN", str(ROOT / "build/release/bin"))
sys.path.insert(0, str(ROOT / "tests/lib"))
import report
from broker import BIN
from cluster import Cluster
from distance import HERE, Distance

LEADER, FOLLOWER = 1, 2
RECORD_BYTES, RECORDS_PER_BATCH = 1024, 64
TUNED = {"replica.socket.receive.buffer.bytes": "4194304", "socket.send.buffer.bytes": "-1", "socket.receive.buffer.bytes": "-1", "num.replica.fetchers": "4",
         "replica.fetch.max.bytes": "16777216", "replica.fetch.response.max.bytes": "67108864"}
SETTINGS = {"default": {}, "tuned": TUNED}
COMMON = {"log.segment.bytes": str(1 << 30), "replica.lag.time.max.ms": "30000", "zookeeper.session.timeout.ms": "18000", "num.network.threads": "3",
          "num.io.threads": "8", "min.insync.replicas": "1", "log.retention.check.interval.ms": "300000"}
JAVA = ["-Xmx1g", "-Xms1g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent",
        "-Djava.awt.headless=true"]


class Bench:
    def __init__(self, options, lab, cluster):
        self.options, self.lab, self.cluster = options, lab, cluster
        self.count = 0

    def topic(self):
        """A new one, all leaders here and all followers there."""
        self.count += 1
        name = f"distance-{self.count}"
        self.cluster.create_topic(name, assignment=[[LEADER, FOLLOWER]] * self.options.partitions)
        self.cluster.wait_isr(name, wait=120)
        return name

    def drop(self, topic):
        self.cluster.kafka_tool("org.apache.kafka.tools.TopicCommand", "--delete", "--topic", topic)
        self.cluster.wait(lambda: not list(self.cluster.folder.glob(f"broker-*/data-0/{topic}-*[0-9]")) or None, f"folders of {topic} renamed", 120)

    def bytes_of(self, broker, topic):
        total = 0
        for folder in self.cluster[broker].dirs[0].glob(f"{topic}-*"):
            for file in folder.glob("*.log"):
                total += file.stat().st_size
        return total

    def in_sync(self, topic):
        return all(len(p["isr"]) == 2 for p in self.cluster[LEADER].metadata([topic])["topics"][topic].values())

    def produce(self, topic, *words, seconds, where="near"):
        command = [*self.lab.prefix(where), BIN / "odradek", "bench", "produce", "--json", "-b", self.cluster[LEADER].address, "-t", topic, "--partitions", "0",
                   "--record-size", RECORD_BYTES, "-s", seconds, *words]
        return subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @staticmethod
    def result(process):
        out, errors = process.communicate()
        if not out.strip():
            raise RuntimeError(errors)
        return json.loads(out.splitlines()[-1])

    def move(self, round_trip):
        """A far broker is not suddenly far: BBR believes in the shortest round trip of ten seconds, and sends next to nothing until that is over."""
        self.lab.set("near", "far", round_trip_ms=round_trip)
        if round_trip > 0:
            time.sleep(12)

    def follow(self, round_trip):
        options, topic = self.options, self.topic()
        self.move(round_trip)
        records = options.rate * 1e6 / RECORD_BYTES
        load = self.produce(topic, "-c", 12, "--in-flight", 4, "--records-per-batch", RECORDS_PER_BATCH, "--rate", records, seconds=options.seconds)
        begin = time.monotonic()
        out_of_sync, was_in, first = 0, True, None
        while load.poll() is None:
            now = time.monotonic()
            if first is None and now - begin >= 5:
                first = (now, self.bytes_of(FOLLOWER, topic), self.bytes_of(LEADER, topic))
            inside = self.in_sync(topic)
            out_of_sync += was_in and not inside
            was_in = inside
            time.sleep(0.2)
        now = time.monotonic()
        there, here = self.bytes_of(FOLLOWER, topic), self.bytes_of(LEADER, topic)
        made = self.result(load)
        result = {"produced_mb_s": made["mb_per_second"], "leader_mb_s": (here - first[2]) / (now - first[0]) / 1e6,
                  "follower_mb_s": (there - first[1]) / (now - first[0]) / 1e6, "behind_mb": (here - there) / 1e6, "isr_shrinks": out_of_sync, "errors": made["errors"]}
        # How fast it comes nearer when nothing new is written.
        limit = now + options.catch_up
        while self.bytes_of(FOLLOWER, topic) < here and time.monotonic() < limit:
            time.sleep(0.05)
        end = time.monotonic()
        result["catch_up_s"] = end - now if self.bytes_of(FOLLOWER, topic) >= here else None
        if here - there > 50e6:
            result["catch_up_mb_s"] = (self.bytes_of(FOLLOWER, topic) - there) / (end - now) / 1e6
        self.lab.set("near", "far", round_trip_ms=0)
        self.drop(topic)
        return result

    def acks(self, round_trip):
        topic = self.topic()
        self.move(round_trip)
        made = self.result(self.produce(topic, "-c", 10, "--in-flight", 5, "--records-per-batch", 16, "--acks", -1, seconds=self.options.seconds))
        self.lab.set("near", "far", round_trip_ms=0)
        self.drop(topic)
        return {"mb_s": made["mb_per_second"], "p50_ms": made["latency_ms"]["p50"], "p99_ms": made["latency_ms"]["p99"], "errors": made["errors"]}


def warm(bench):
    """A JVM needs some ten seconds of load before its code is compiled."""
    topic = bench.topic()
    bench.result(bench.produce(topic, "-c", 12, "--in-flight", 4, "--records-per-batch", RECORDS_PER_BATCH, "--rate", 50e6 / RECORD_BYTES, seconds=12))
    bench.cluster.wait_isr(topic, wait=120)
    bench.drop(topic)


def shown(result):
    return "  ".join(f"{key} {value:.2f}" if isinstance(value, float) else f"{key} {value}" for key, value in result.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", default="kafka", choices=["kafka", "odradek"])
    parser.add_argument("--settings", default="default,tuned")
    parser.add_argument("--round-trips", default="0,20,50,100,200")
    parser.add_argument("--way", type=float, default=100, help="MB/s that the way carries in each direction")
    parser.add_argument("--rate", type=float, default=90, help="MB/s that are produced")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--catch-up", type=float, default=60, help="longest wait for the follower afterwards")
    parser.add_argument("--partitions", type=int, default=12)
    parser.add_argument("--acks-round-trip", type=float, default=50)
    parser.add_argument("--folder", help="where the data lie (default: TMPDIR)")
    parser.add_argument("--json", help="write the results to this file too")
    parser.add_argument("--write", help="puts the tables between the marks `distance BROKER: begin` and `distance BROKER: end` of this file")
    options = parser.parse_args()
    if options.folder:
        tempfile.tempdir = options.folder
    round_trips = [float(ms) for ms in options.round_trips.split(",") if ms]
    results = []
    for setting in options.settings.split(","):
        with Distance(HERE, "near", "far") as lab:
            lab.set("near", "far", rate_mb=options.way)
            properties = {**COMMON, **SETTINGS[setting]}
            places = {"zookeeper": "near", LEADER: "near", FOLLOWER: "far"}
            with Cluster({LEADER: options.broker, FOLLOWER: options.broker}, properties, start=False, lab=lab, places=places) as cluster:
                for node in cluster:
                    node.java = JAVA
                cluster.start()
                bench = Bench(options, lab, cluster)
                warm(bench)
                for ms in round_trips:
                    results.append({"broker": options.broker, "settings": setting, "what": "follow", "round_trip_ms": ms, **bench.follow(ms)})
                    print(shown(results[-1]), flush=True)
                for ms in sorted({0, options.acks_round_trip}) if options.acks_round_trip >= 0 else []:
                    results.append({"broker": options.broker, "settings": setting, "what": "acks", "round_trip_ms": ms, **bench.acks(ms)})
                    print(shown(results[-1]), flush=True)
                overflows, refused = lab.overflows(), lab.stats()[1]
                if overflows or refused:
                    print(f"the way itself dropped {overflows} packets and was refused {refused}: the figures are too low", flush=True)
    title = {"kafka": "Apache Kafka 3.9.2", "odradek": "Odradek"}[options.broker]
    congestion = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    lines = [f"{title}, {datetime.date.today()}: {options.partitions} partitions, a way of {options.way:g} MB/s, {options.rate:g} MB/s produced for "
             f"{options.seconds:g} s; {os.cpu_count()} shared cores, TCP with {congestion}.", "",
             "| settings | round trip ms | produced MB/s | follower MB/s | behind at the end MB | catch-up s | catch-up MB/s | ISR shrinks |", "| --- " * 8 + "|"]
    for each in results:
        if each["what"] == "follow":
            late = "-" if each["catch_up_s"] is None else f"{each['catch_up_s']:.1f}"
            caught = f"{each['catch_up_mb_s']:.1f}" if "catch_up_mb_s" in each else "-"
            lines.append(f"| {each['settings']} | {each['round_trip_ms']:g} | {each['produced_mb_s']:.1f} | {each['follower_mb_s']:.1f} | {each['behind_mb']:.0f} | {late} | "
                         f"{caught} | {each['isr_shrinks']} |")
    lines += ["", "| settings | round trip ms | acks=all, 10 connections with 5 requests of 16 KB in flight: MB/s | p50 ms | p99 ms |", "| --- " * 5 + "|"]
    for each in results:
        if each["what"] == "acks":
            lines.append(f"| {each['settings']} | {each['round_trip_ms']:g} | {each['mb_s']:.1f} | {each['p50_ms']:.1f} | {each['p99_ms']:.1f} |")
    table = "\n".join(lines)
    print("\n" + table)
    if options.write:
        report.put(options.write, f"distance {options.broker}", table)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
