#!/usr/bin/env python3
"""What many partitions cost: start-up after a clean stop and after kill -9, memory, and the time of one /metrics scrape.

usage: bench/partitions.py [--partitions 100,10000] [--segments 1] [--kafka 3.9.2]     (Apache Kafka beside it: its start-up and memory alone)

A start is timed to the first answer to Metadata, to the moment when one partition that is asked for has answered ListOffsets, and to the
moment when every partition has.
"""
import argparse
import pathlib
import shutil
import socket
import statistics
import struct
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import brokers

sys.path.insert(0, str(brokers.ROOT / "tests/lib"))
import wire

TOPICS = 20


def create(port, partitions, segments):
    with socket.create_connection(("127.0.0.1", port), 120) as sock:
        for i in range(TOPICS):
            # A segment for each record: they have more than half of its size.
            error = wire.create_topic(sock, f"many-{i}", partitions=partitions // TOPICS, configs={"segment.bytes": "250"} if segments > 1 else None)
            if error:
                raise RuntimeError(f"topic many-{i}: error {error}")
    # One record each: every log has something to load.
    for _ in range(segments):
        write_one_each(port, partitions)


def write_one_each(port, partitions):
    with socket.create_connection(("127.0.0.1", port), 120) as sock:
        for i in range(TOPICS):
            for partition in range(partitions // TOPICS):
                wire.produce(sock, f"many-{i}", partition, wire.batch([b"x" * 100], timestamp=int(time.time() * 1000)))


def wait_for_one(port, records):
    """Until ListOffsets gives the end of one partition in the middle; seconds that took."""
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 120) as sock:
        while wire.list_offset(sock, f"many-{TOPICS // 2}", 1) != (0, records):
            time.sleep(0.005)
    return time.monotonic() - begin


def wait_for_all(port, partitions, records):
    """Until ListOffsets v1 gives the end of every partition; seconds that took."""
    begin = time.monotonic()
    left = set(range(TOPICS))
    each = partitions // TOPICS
    with socket.create_connection(("127.0.0.1", port), 120) as sock:
        while left:
            for topic in sorted(left):
                name = f"many-{topic}"
                body = struct.pack(">ii", -1, 1) + wire.string(name) + struct.pack(">i", each) + b"".join(struct.pack(">iq", p, -1) for p in range(each))
                sock.sendall(wire.request(2, 1, 1, body))
                _, answer = wire.read_frame(sock)
                at = 4 + 2 + len(name) + 4
                found = [struct.unpack(">ihqq", answer[at + 22 * p:at + 22 * p + 22]) for p in range(each)]
                if all(error == 0 for _, error, _, _ in found):
                    if any(end != records for _, _, _, end in found):
                        raise RuntimeError(f"{name}: an end is not {records}")
                    left.discard(topic)
            if left:
                time.sleep(0.02)
            if time.monotonic() - begin > 300:
                raise RuntimeError(f"{len(left)} topics are not served after 300 s")
    return time.monotonic() - begin


def scrape(port):
    start = time.monotonic()
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read()
    return time.monotonic() - start, len(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", default="100,10000")
    parser.add_argument("--segments", type=int, default=1, help="of each partition")
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
                create(broker.port, count, options.segments)
                made = time.monotonic() - begin
                loaded = broker.memory_mib()
                broker.stop()
                clean = broker.start(settings)
                clean_one = wait_for_one(broker.port, options.segments)
                clean_all = clean_one + wait_for_all(broker.port, count, options.segments)
                memory = broker.memory_mib()
                line = (f"{kind}: {count} partitions of {options.segments} segments: start empty {empty * 1000:.0f} ms, creating and one record each {made:.1f} s, start after a clean stop "
                        f"{clean * 1000:.0f} ms (one served {(clean + clean_one) * 1000:.0f} ms, all {(clean + clean_all) * 1000:.0f} ms), {idle:.0f} MiB empty, {loaded:.0f} MiB loaded, {memory:.0f} MiB after the start "
                        f"({(memory - idle) * 1024 / count:.1f} KiB a partition)")
                if kind == "odradek":
                    scrape(metrics_port)
                    times = [scrape(metrics_port) for _ in range(5)]
                    line += f", scrape {statistics.median(t for t, _ in times) * 1000:.0f} ms ({times[0][1] >> 10} KiB)"
                broker.kill()
                killed = broker.start(settings)
                killed_one = wait_for_one(broker.port, options.segments)
                killed_all = killed_one + wait_for_all(broker.port, count, options.segments)
                line += f", start after kill -9 {killed * 1000:.0f} ms (one served {(killed + killed_one) * 1000:.0f} ms, all {(killed + killed_all) * 1000:.0f} ms)"
                if kind == "odradek":
                    # And with a record in each log that no flush has covered.
                    write_one_each(broker.port, count)
                    broker.kill()
                    dirty = broker.start(settings)
                    dirty_one = wait_for_one(broker.port, options.segments + 1)
                    dirty_all = dirty_one + wait_for_all(broker.port, count, options.segments + 1)
                    line += (f", after one more record in each and kill -9 {dirty * 1000:.0f} ms (one served {(dirty + dirty_one) * 1000:.0f} ms, "
                             f"all {(dirty + dirty_all) * 1000:.0f} ms)")
                print(line, flush=True)
            finally:
                broker.stop()
                shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
