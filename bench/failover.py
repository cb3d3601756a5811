#!/usr/bin/env python3
"""How long partitions cannot be written to when a broker dies: three brokers on one ZooKeeper, replication factor 3, kill -9.

usage: bench/failover.py [--programs odradek,kafka] [--partitions 1000] [--rounds 1] [--timeline] [--write docs/performance.md]

Two cases: a leader is killed that is not the controller, and the controller is killed (which leads its third too). Every partition is then
written to with acks=all until each one has taken a record. "detected" is the time from the kill to the end of the dead broker's registration in
ZooKeeper (its session has to time out: zookeeper.session.timeout.ms, 6 s here, the same for both programs); "writable" from then until the
last partition has acknowledged a record. Kafka is Apache Kafka 3.9.2 in ZooKeeper mode, 1 GiB heap, the options of its start script; it has been warmed by
the creation of the topics and one such failure before the first that counts. --timeline: what the brokers' logs tell of each failover, in ms from detection.
"""
import argparse
import datetime
import os
import pathlib
import re
import socket
import statistics
import struct
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
os.environ.setdefault("ODRADEK_BIN", str(ROOT / "build/release/bin"))
sys.path.insert(0, str(ROOT / "tests/lib"))
import report
import wire
from cluster import Cluster

TOPICS = 10
JAVA = ["-Xmx1g", "-Xms1g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35", "-Djava.awt.headless=true"]
NAMES = {"odradek": "Odradek", "kafka": "Apache Kafka 3.9.2"}
PAUSE_S = 0.01
# Of both programs' logs: the milestones of a failover.
MILESTONES = re.compile(r"is the controller, epoch|broker \d+ is gone|have other leaders or ISRs|LeaderAndIsr of controller|successfully elected as the controller|"
                        r"deleted brokers: \d|Finished LeaderAndIsr request|LeaderAndIsr request with \d+ become-leader|UpdateMetadata request to brokers|New leader is|"
                        r"Initialized controller epoch|Starting become controller state|Partitions being reassigned")


def names():
    return [f"failover-{i}" for i in range(TOPICS)]


def metadata(sock):
    return {(topic, p): state for topic, states in wire.metadata(sock, names())["topics"].items() for p, state in states.items()}


def produce_all(sock, partitions):
    """One record to each, acks=all, in one Produce v3; those that have it."""
    record = wire.batch([b"x" * 100], timestamp=int(time.time() * 1000))
    by_topic = {}
    for topic, partition in partitions:
        by_topic.setdefault(topic, []).append(partition)
    body = wire.string(None) + struct.pack(">hii", -1, 1000, len(by_topic))
    for topic, indexes in by_topic.items():
        body += wire.string(topic) + struct.pack(">i", len(indexes)) + b"".join(struct.pack(">ii", p, len(record)) + record for p in indexes)
    sock.sendall(wire.request(0, 3, 1, body))
    reader = wire.Reader(wire.read_frame(sock)[1])
    done = set()
    for _ in range(reader.take("i")):
        topic = reader.text()
        for _ in range(reader.take("i")):
            partition, error, _, _ = reader.take("ihqq")
            if error == 0:
                done.add((topic, partition))
    return done


def write_everywhere(cluster, deadline_s):
    """Until each partition has acknowledged a record to its present leader; moments (monotonic) of the first answers that brought something."""
    sockets = {node.id: socket.create_connection(("127.0.0.1", node.port), 60) for node in cluster if node.alive()}
    left, end, last = None, time.monotonic() + deadline_s, None
    try:
        while left is None or left:
            leaders = metadata(next(iter(sockets.values())))
            if left is None:
                left = set(leaders)
            before = len(left)
            for broker, sock in sockets.items():
                here = [tp for tp in left if leaders.get(tp, {}).get("leader") == broker]
                if here:
                    left -= produce_all(sock, here)
            if len(left) < before:
                last = time.monotonic()
            elif time.monotonic() > end:
                raise RuntimeError(f"{len(left)} partitions take no record within {deadline_s} s: {sorted(left)[:3]}")
            else:
                time.sleep(PAUSE_S)
    finally:
        for sock in sockets.values():
            sock.close()
    return last


def wait_in_sync(cluster):
    def all_in_sync():
        with cluster.controller().socket(60) as sock:
            states = metadata(sock).values()
        return states and all(s["leader"] >= 0 and len(s["isr"]) == 3 for s in states)
    cluster.wait(all_in_sync, "all replicas in sync", 300)


def print_timeline(cluster, begin, detected, end):
    """Wall times in seconds."""
    print(f"    {(begin - detected) * 1000:8.0f} ms  killed", flush=True)
    told = []
    for node in cluster:
        for line in node.log_text().splitlines():
            if not MILESTONES.search(line):
                continue
            try:
                at = datetime.datetime.strptime(line[1:24], "%Y-%m-%d %H:%M:%S,%f").timestamp()
            except ValueError:
                continue
            if begin <= at <= end + 0.2:
                told.append((at, node.id, line[26:200]))
    for at, broker, text in sorted(told):
        print(f"    {(at - detected) * 1000:8.0f} ms  {broker}: {text}", flush=True)
    print(f"    {(end - detected) * 1000:8.0f} ms  all writable", flush=True)


def fail(cluster, victim, timeline=False):
    """Kills it. (partitions that it led, seconds to detection, seconds from there until all can be written)"""
    with cluster.controller().socket(60) as sock:
        led = sum(state["leader"] == victim.id for state in metadata(sock).values())
    watch = cluster.zookeeper_client()
    path = f"{cluster.chroot}/brokers/ids/{victim.id}"
    victim.kill()
    killed = time.monotonic()
    while watch.exists(path):
        time.sleep(0.002)
    detected = time.monotonic()
    to_wall = time.time() - detected
    writable = write_everywhere(cluster, 120)
    if timeline:
        print_timeline(cluster, killed + to_wall, detected + to_wall, writable + to_wall)
    watch.close()
    victim.start()
    wait_in_sync(cluster)
    return led, detected - killed, max(0.0, writable - detected)


def measure(program, partitions, rounds, timeline=False):
    """case → list of (led, detected, writable)"""
    results = {"leader": [], "controller": []}
    properties = {"auto.leader.rebalance.enable": "false", "num.replica.fetchers": "1", "replica.lag.time.max.ms": "30000"}
    with Cluster(dict.fromkeys((1, 2, 3), program), properties, start=False) as cluster:
        for node in cluster:
            node.java = JAVA
        cluster.start()
        for topic in names():
            with cluster.controller().socket(120) as sock:
                error = wire.create_topic(sock, topic, partitions // TOPICS, 3)
            if error:
                raise RuntimeError(f"{topic}: error {error}")
        wait_in_sync(cluster)
        write_everywhere(cluster, 120)
        controller = cluster.controller()
        fail(cluster, next(node for node in cluster if node is not controller))  # warms it
        begin = time.monotonic()
        print(f"{NAMES[program]}, {partitions} partitions: one pass of this program over a healthy cluster takes {write_everywhere(cluster, 120) - begin:.2f} s", flush=True)
        for _ in range(rounds):
            controller = cluster.controller()
            with controller.socket(60) as sock:
                leaders = [state["leader"] for state in metadata(sock).values()]
            others = [node for node in cluster if node is not controller]
            results["leader"].append(fail(cluster, max(others, key=lambda node: leaders.count(node.id)), timeline))
            results["controller"].append(fail(cluster, cluster.controller(), timeline))
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", default="odradek,kafka")
    parser.add_argument("--partitions", default="1000")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--write", help="puts the table between the marks `failover: begin` and `failover: end` of this file")
    parser.add_argument("--timeline", action="store_true")
    options = parser.parse_args()
    rows = ["| partitions | killed | program | it led | detected after s | all writable after that: s |", "| --- | --- | --- | --- | --- | --- |"]
    for partitions in map(int, options.partitions.split(",")):
        for program in options.programs.split(","):
            for case, runs in measure(program, partitions, options.rounds, options.timeline).items():
                led, detected, writable = (list(values) for values in zip(*runs))
                spread = f" ({min(writable):.2f}-{max(writable):.2f})" if len(runs) > 1 else ""
                rows.append(f"| {partitions} | {'a leader' if case == 'leader' else 'the controller'} | {NAMES[program]} | {statistics.median(led):.0f} | "
                            f"{statistics.median(detected):.1f} | {statistics.median(writable):.2f}{spread} |")
                print(rows[-1], flush=True)
    print("\n".join(rows))
    if options.write:
        made = f"Made {time.strftime('%Y-%m-%d')} by `bench/failover.py --partitions {options.partitions} --rounds {options.rounds}`."
        report.put(options.write, "failover", "\n".join([made, "", *rows]))


if __name__ == "__main__":
    main()
