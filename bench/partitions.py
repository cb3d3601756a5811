#!/usr/bin/env python3
"""What many partitions cost: start-up after a clean stop and after kill -9, memory, and the time of one /metrics scrape.

usage: bench/partitions.py [--partitions 100,10000] [--kafka 3.9.2]     (Apache Kafka beside it: its start-up and memory alone)
"""
import argparse
import pathlib
import shutil
import socket
import statistics
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import brokers

sys.path.insert(0, str(brokers.ROOT / "tests/lib"))
import wire

TOPICS = 20


def create(port, partitions):
    with socket.create_connection(("127.0.0.1", port), 120) as sock:
        for i in range(TOPICS):
            error = wire.create_topic(sock, f"many-{i}", partitions=partitions // TOPICS)
            if error:
                raise RuntimeError(f"topic many-{i}: error {error}")
        # One record each: every log has something to load.
        for i in range(TOPICS):
            for partition in range(partitions // TOPICS):
                wire.produce(sock, f"many-{i}", partition, wire.batch([b"x" * 100], timestamp=int(time.time() * 1000)))


def scrape(port):
    start = time.monotonic()
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read()
    return time.monotonic() - start, len(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", default="100,10000")
    parser.add_argument("--kafka", default="")
    options = parser.parse_args()
    for count in map(int, options.partitions.split(",")):
        for kind in ["odradek", *filter(None, options.kafka.split(","))]:
            folder = tempfile.mkdtemp(prefix="odradek-partitions-")
            metrics_port = brokers.free_ports(1)[0]
            settings = {"metrics.listener": f"127.0.0.1:{metrics_port}"} if kind == "odradek" else {}
            broker = brokers.make(kind, folder)
            try:
                empty = broker.start(settings)
                idle = broker.memory_mib()
                begin = time.monotonic()
                create(broker.port, count)
                made = time.monotonic() - begin
                loaded = broker.memory_mib()
                broker.stop()
                clean = broker.start(settings)
                memory = broker.memory_mib()
                line = (f"{kind}: {count} partitions: start empty {empty * 1000:.0f} ms, creating and one record each {made:.1f} s, start after a clean stop "
                        f"{clean * 1000:.0f} ms, {idle:.0f} MiB empty, {loaded:.0f} MiB loaded, {memory:.0f} MiB after the start "
                        f"({(memory - idle) * 1024 / count:.1f} KiB a partition)")
                if kind == "odradek":
                    scrape(metrics_port)
                    times = [scrape(metrics_port) for _ in range(5)]
                    line += f", scrape {statistics.median(t for t, _ in times) * 1000:.0f} ms ({times[0][1] >> 10} KiB)"
                broker.kill()
                line += f", start after kill -9 {broker.start(settings) * 1000:.0f} ms"
                print(line, flush=True)
            finally:
                broker.stop()
                shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
