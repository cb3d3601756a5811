#!/usr/bin/env python3
"""What many partitions cost: start-up after a clean stop and after kill -9, memory, and the time of one /metrics scrape.

usage: bench/partitions.py [--partitions 100,10000] [--segments 4] [--kafka 3.9.2] [--write docs/performance.md]
short: bench/partitions.py --partitions 100 --segments 2

Odradek makes the directory: 20 topics, each partition with so many segments of one record. With --kafka, Apache Kafka in ZooKeeper mode starts on a
copy of it as the clean stop has left it, with the tree exported to a ZooKeeper of its own, so that both work on the same files (in the page cache
in both cases) and nobody waits for Kafka to make 10,000 partitions.

A start is timed to the first answer to Metadata that names a broker ("first answer"), to the moment when one partition that is asked for has
answered ListOffsets ("one led"), and to the moment when every partition has ("all led"). After the clean stop; after kill -9 of an idle broker; and
after one more record in each log that no flush has covered and kill -9 ("dirty"). Memory is what the process has after the first of these
starts above what it has on an empty directory, divided by the partitions. With ZooKeeper, the time-out of the killed broker's session is waited
for before the next start, and is not part of it.
"""
import argparse
import datetime
import pathlib
import shutil
import statistics
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import brokers
import report
from same_directory import broker_on_copy, empty_kafka, fits, make, wait_for_all, wait_for_one, write_one_each


def scrape(port):
    start = time.monotonic()
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read()
    return time.monotonic() - start, len(text)


def start(broker, count, records):
    """(first answer, one led, all led): seconds."""
    first = broker.start_timed()
    one = first + wait_for_one(broker.port, records)
    return first, one, one + wait_for_all(broker.port, count, records)


def idle(kind):
    """Memory of a broker without partitions, MiB, and the seconds of its start."""
    if kind != "odradek":
        with empty_kafka(kind) as broker:
            seconds = broker.start_timed()
            time.sleep(2)
            return broker.memory_mib(), seconds
    broker = brokers.make(kind, "/tmp/odradek-partitions-empty")
    try:
        seconds = broker.start({})
        time.sleep(2)
        return broker.memory_mib(), seconds
    finally:
        broker.stop()
        shutil.rmtree(broker.folder, ignore_errors=True)


def measure(kind, made, count, segments):
    empty_mib, empty_s = idle(kind)
    metrics_port = brokers.free_ports(1)[0]
    settings = {"metrics.listener": f"127.0.0.1:{metrics_port}"} if kind == "odradek" else {}
    with broker_on_copy(kind, made, settings) as broker:
        result = {"empty": empty_s, "clean": start(broker, count, segments)}
        time.sleep(2)
        result["kib"] = (broker.memory_mib() - empty_mib) * 1024 / count
        result["mib"] = broker.memory_mib()
        if kind == "odradek":
            scrape(metrics_port)
            result["scrape"] = statistics.median(scrape(metrics_port)[0] for _ in range(5))
        broker.kill()
        result["killed"] = start(broker, count, segments)
        write_one_each(broker.port, count)
        broker.kill()
        result["dirty"] = start(broker, count, segments + 1)
        print(f"{kind}, {count} partitions: {result}", flush=True)
        return result


def ms(seconds):
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", default="100,10000")
    parser.add_argument("--segments", type=int, default=4, help="of each partition")
    parser.add_argument("--kafka", default="", help="version; in ZooKeeper mode, so 3.x")
    parser.add_argument("--write", help="puts the table between the marks `partitions: begin` and `partitions: end` of this file")
    options = parser.parse_args()
    kinds = ["odradek", *filter(None, options.kafka.split(","))]
    columns, left_out = [], []  # (heading, result); what did not run and why
    for count in map(int, options.partitions.split(",")):
        made = make(count, options.segments, {}, {})
        try:
            for kind in kinds:
                if not fits(kind, count, options.segments):
                    left_out.append(f"Apache Kafka {kind} keeps the file of each segment open; {count * options.segments:,} are more than a process may have here.")
                    continue
                columns.append((f"{'Odradek' if kind == 'odradek' else 'Apache Kafka ' + kind}, {count:,}", measure(kind, made, count, options.segments)))
        finally:
            shutil.rmtree(made, ignore_errors=True)
    rows = ["| | " + " | ".join(heading for heading, _ in columns) + " |", "| --- |" + " --- |" * len(columns)]
    for key, title in (("clean", "start after a clean stop"), ("killed", "start after kill -9"), ("dirty", "start after a record more in each log and kill -9")):
        rows.append(f"| {title}: first answer; one led; all led | " + " | ".join("; ".join(map(ms, r[key])) for _, r in columns) + " |")
    rows.append("| memory with all of them | " + " | ".join(f"{r['mib']:.0f} MiB" for _, r in columns) + " |")
    rows.append("| memory a partition | " + " | ".join(f"{r['kib']:.1f} KiB" for _, r in columns) + " |")
    rows.append("| one scrape of /metrics | " + " | ".join(ms(r["scrape"]) if "scrape" in r else "-" for _, r in columns) + " |")
    print("\n".join(rows))
    if options.write:
        text = (f"Made {datetime.date.today()} by `bench/partitions.py --partitions {options.partitions} --segments {options.segments}"
                + (f" --kafka {options.kafka}" if options.kafka else "") + "`. " + " ".join(left_out)).rstrip()
        report.put(options.write, "partitions", "\n".join([text, "", *rows]))


if __name__ == "__main__":
    main()
