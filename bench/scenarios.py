"""What compare.py measures: groups of scenarios that share a broker, its settings and its disk.

A scenario's `run(broker, seconds, known)` gives a dict of figures; `known` is kept over all rounds (the rate that Kafka reaches, say).
"""
import collections
import json
import pathlib
import re
import statistics
import subprocess
import time

import brokers

BENCH = [brokers.ROOT / "build/release/bin/odradek", "bench"]
PARTITIONS = 12
CONSUMED = 20_000_000  # records

# figures: (key of the result, heading, digits); floor: the floor can do it, too
Scenario = collections.namedtuple("Scenario", "title run figures floor", defaults=(False,))
# settings: by "odradek" and "kafka" beside those of both; delay_ms: how much longer every fsync takes; gate: count fsyncs; disk_ms: on a slow
# disk (slow_disk.py), for how long each fsync stops its journal; variants: compared with Odradek instead of Kafka; what: said above the table
Group = collections.namedtuple("Group", "title settings scenarios delay_ms gate idle_first disk_ms variants what", defaults=(0, False, False, 0, (), ""))

RATE = [("mb_per_second", "MB/s", 0), ("cpu_per_gb", "CPU s/GB", 2)]
REQUESTS = [("records_per_second", "requests/s", 0), ("cpu_us_per_request", "CPU us/request", 1)]
LATENCY = [("p50_ms", "p50 ms", 2), ("p99_ms", "p99 ms", 2), ("cpu_per_gb", "CPU s/GB", 2)]
FLUSHED = [("records_per_second", "records/s", 0), ("p99_ms", "p99 ms", 1), ("cpu_per_gb", "CPU s/GB", 2),
           ("fsyncs_per_partition", "fsyncs of a partition", 1)]


def load(command, broker, *options):
    done = subprocess.run([*map(str, BENCH), command, "-b", f"127.0.0.1:{broker.port}", "--json", *map(str, options)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    if not done.stdout:
        raise RuntimeError(f"bench {command} {options}: {done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    if result["errors"]:
        raise RuntimeError(f"bench {command} {options} against {broker.name}: {result['errors']} errors {done.stderr}")
    return result


def measured(command, broker, *options):
    before = broker.cpu_seconds()
    result = load(command, broker, *options)
    cpu = broker.cpu_seconds() - before
    result["cpu_per_gb"] = cpu / (result["bytes"] / 1e9) if result["bytes"] else 0
    result["cpu_us_per_request"] = cpu / result["requests"] * 1e6 if result["requests"] else 0
    for name in ("p50", "p99"):
        result[f"{name}_ms"] = result.get("latency_ms", {}).get(name, 0)
    return result


def produce_options(topic, size, batch, connections=140, partitions=PARTITIONS):
    return ["-t", topic, "-c", connections, "--partitions", partitions, "--record-size", size, "--records-per-batch", batch]


def produce(topic, size, batch, *more, connections=140, partitions=PARTITIONS):
    return lambda broker, seconds, known: measured("produce", broker, "-s", seconds, *produce_options(topic, size, batch, connections, partitions), *more)


def produce_kb(broker, seconds, known):
    result = produce("kb", 1024, 16)(broker, seconds, known)
    if broker.name.startswith("Kafka"):
        known.setdefault("kafka_peak", result["records_per_second"])
    return result


def paced(share):
    """Latencies at a share of the rate that Kafka reached in the first round (open loop), 1 KB x 16 a request."""

    def run(broker, seconds, known):
        if "kafka_peak" not in known:
            return None
        return measured("produce", broker, "-s", seconds, *produce_options("paced", 1024, 16, connections=20), "--in-flight", 5, "--rate",
                        int(known["kafka_peak"] * share))

    return run


def consume(broker, seconds, known):
    load("produce", broker, "-n", CONSUMED, "-s", 300, *produce_options("hot", 100, 150, connections=12))
    return measured("consume", broker, "-t", "hot", "-c", 12, "-s", 300)


def consume_cold(broker, seconds, known):
    """The same records from the disk: the broker's pages are given up first."""
    for path in pathlib.Path(broker.folder).glob("data/hot-*/*.log"):
        brokers.drop_pages(path)
    return measured("consume", broker, "-t", "hot", "-c", 12, "-s", 300)


def together(broker, seconds, known):
    """Consumers at the ends of the logs, while producers write."""
    rate = ["-s", seconds, *produce_options("both", 1024, 16, connections=20), "--in-flight", 5]
    load("produce", broker, "-n", 1000, *rate)
    before = broker.cpu_seconds()
    reader = subprocess.Popen([*map(str, BENCH), "consume", "-b", f"127.0.0.1:{broker.port}", "--json", "--follow", "-t", "both", "-c", "12", "-s", str(seconds + 1)],
                              stdout=subprocess.PIPE, text=True)
    written = load("produce", broker, *rate)
    read = json.loads(reader.communicate()[0].splitlines()[-1])
    cpu = broker.cpu_seconds() - before
    return {"mb_per_second": written["mb_per_second"], "read_mb_per_second": read["mb_per_second"],
            "cpu_per_gb": cpu / ((written["bytes"] + read["bytes"]) / 1e9), "errors": 0}


def idle(broker, seconds, known):
    before, start = broker.cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    return {"cpu_percent": 100 * (broker.cpu_seconds() - before) / (time.monotonic() - start), "memory_mib": broker.memory_mib()}


class Void(Exception):
    """The run does not count: it did not flush as it was told to. `result`: what was measured nevertheless."""

    def __init__(self, why, result=None):
        super().__init__(why)
        self.result = result


def flushing(topic, size, batch, flush_messages, flush_ms):
    """Produces while logs are flushed by count and time, and counts the flushes. Void with less than 80 % of what settings and disk allow."""

    def run(broker, seconds, known):
        if broker.disk:
            # The topic is there, and flushed once: what comes once only is no part of the measurement.
            load("produce", broker, "-n", 1000, *produce_options(topic, size, batch))
            time.sleep(flush_ms / 1000 + 1)
        first = len(broker.gate.calls())
        with broker.slowed():
            result = produce(topic, size, batch)(broker, seconds, known)
        if broker.gate.bypasses():
            raise Void(f"went past the gate: {broker.gate.bypasses()[0]}")
        entered, took = {}, []  # ms of fsyncs of this topic's records: by thread and path when they began; how long they took
        for call in broker.gate.calls()[first:]:
            if not re.search(rf"/{topic}-\d+/\d+\.log$", call.path) or call.call not in ("fsync", "fdatasync"):
                continue
            if call.step == "enter":
                entered[call.thread, call.path] = int(call.ms)
            elif (call.thread, call.path) in entered:
                took.append(int(call.ms) - entered.pop((call.thread, call.path)))
        result["fsyncs_per_partition"] = (len(took) + len(entered)) / PARTITIONS
        took_ms = statistics.mean(took) if took else broker.delay_ms
        # Where the journal stalls no record comes during a flush that could be due two seconds later.
        by_setting = max(result["records"] / PARTITIONS / flush_messages, seconds * 1000 / (flush_ms + (took_ms if broker.disk else 0)))
        # What the device allows: a partition's next flush may begin when the one before has ended.
        by_disk = seconds * 1000 / max(took_ms, 1)
        if result["fsyncs_per_partition"] < 0.8 * min(by_setting, by_disk) - 1:
            raise Void(f"{result['fsyncs_per_partition']:.1f} fsyncs of a partition, {min(by_setting, by_disk):.1f} wanted", result)
        return result

    return run


def perf_test(broker, seconds, known):
    """Kafka's own tool for producers, of the newest release here, one process."""
    before = broker.cpu_seconds()
    text = brokers.kafka_tool("org.apache.kafka.tools.ProducerPerformance", "--topic", "perf", "--num-records", 2_000_000, "--record-size", 100, "--throughput", -1,
                              "--producer-props", f"bootstrap.servers=127.0.0.1:{broker.port}", "acks=1", "linger.ms=5", "batch.size=65536")
    found = re.search(r"2000000 records sent, ([\d.]+) records/sec \(([\d.]+) MB/sec\).* ([\d.]+) ms 99th", text)
    return {"records_per_second": float(found.group(1)), "p99_ms": float(found.group(3)), "cpu_per_gb": (broker.cpu_seconds() - before) / 0.2}


def scaled(count):
    return Scenario(f"Produce 100 B x 150, 140 connections, {count} partitions", produce(f"over{count}", 100, 150, partitions=count), RATE)


FLUSH_SETTINGS = {"log.flush.interval.messages": 100_000, "log.flush.interval.ms": 2000, "log.flush.scheduler.interval.ms": 2000}
TALK = {
    "talk-small": Scenario("Produce 100 B x 150, 140 connections", flushing("talk", 100, 150, 100_000, 2000), FLUSHED),
    "talk-kb": Scenario("Produce 1 KB x 16, 140 connections", flushing("talkkb", 1024, 16, 100_000, 2000), FLUSHED),
}
GROUPS = {
    "plain": Group("Defaults", {}, {
        "idle": Scenario("Idle after the start", idle, [("memory_mib", "MiB", 0), ("cpu_percent", "% of a core", 2)]),
        "small": Scenario("Produce 100 B x 150 a request, 140 connections, 12 partitions", produce("small", 100, 150), RATE, floor=True),
        "kb": Scenario("Produce 1 KB x 16 a request, 140 connections, 12 partitions", produce_kb, RATE, floor=True),
        "single": Scenario("Produce one record of 100 B a request, 140 connections", produce("single", 100, 1), REQUESTS, floor=True),
        "deep": Scenario("Produce 100 B x 150, 10 connections, 5 requests in flight", produce("deep", 100, 150, "--in-flight", 5, connections=10), RATE, floor=True),
        "paced25": Scenario("Produce 1 KB at 25 % of Kafka's peak (open loop)", paced(0.25), LATENCY),
        "paced50": Scenario("Produce 1 KB at 50 % of Kafka's peak (open loop)", paced(0.5), LATENCY),
        "paced75": Scenario("Produce 1 KB at 75 % of Kafka's peak (open loop)", paced(0.75), LATENCY),
    }, idle_first=True),
    "consume": Group("Consume", {}, {
        "consume": Scenario("Consume 20 million records of 100 B from the cache, 12 connections", consume, RATE),
        "cold": Scenario("Consume the same from the disk", consume_cold, RATE),
        "together": Scenario("Produce 1 KB x 16, 20 connections x 5 in flight, and consume at the end of the logs", together,
                             [("mb_per_second", "MB/s in", 0), ("read_mb_per_second", "MB/s out", 0), ("cpu_per_gb", "CPU s/GB in and out", 2)]),
    }),
    "codecs": Group("Compressed by the producer, 100 B x 150, 140 connections", {},
                    {codec: Scenario(f"Produce {codec}", produce(codec, 100, 150, "--codec", codec), RATE) for codec in ("gzip", "snappy", "lz4", "zstd")}),
    "partitions": Group("Partitions", {}, {f"over{count}": scaled(count) for count in (1, 12, 100, 1000, 10_000)}),
    "talk": Group("Flush every 100,000 messages or 2 s", {"both": FLUSH_SETTINGS}, TALK, gate=True),
    "talk-slow": Group("The same, every fsync 400 ms longer", {"both": FLUSH_SETTINGS}, TALK, delay_ms=400, gate=True),
    "talk-fuse": Group("The same on a slow disk whose journal stalls", {"both": FLUSH_SETTINGS}, TALK, gate=True, disk_ms=400, what=
                       "The data lies on a FUSE file system (`tools/slow_disk`): every write goes through it, an fsync takes 400 ms longer, and until it is over nothing on the "
                       "disk is written, made, renamed or removed. Fsyncs that come within 15 ms share the 400 ms (as ext4 gathers them), later ones the next. void: fewer "
                       "flushes than the setting and the disk allow, so that the other figures say nothing."),
    "durable": Group("Answered when it is on the disk: flush.before.ack=all beside flush.messages=1",
                     {"odradek": {"log.flush.before.ack": "all"}, "kafka": {"log.flush.interval.messages": 1}}, {
        "durable-single": Scenario("Produce one record of 100 B a request, 140 connections", produce("durable1", 100, 1), [*REQUESTS, ("p99_ms", "p99 ms", 1)]),
        "durable-batch": Scenario("Produce 100 B x 150 a request, 140 connections", produce("durable150", 100, 150), [*RATE, ("p99_ms", "p99 ms", 1)]),
    }),
    "tool": Group("Kafka's own tool", {}, {
        "perf": Scenario("kafka-producer-perf-test, 2 million records of 100 B", perf_test, [("records_per_second", "records/s", 0), ("p99_ms", "p99 ms", 1), ("cpu_per_gb", "CPU s/GB", 2)]),
    }),
    "ablation-queue": Group("Ablation: the request queue", {}, {
        "queue-single": Scenario("Produce one record of 100 B a request, 140 connections", produce("single", 100, 1), [*REQUESTS, ("p99_ms", "p99 ms", 2)]),
        "queue-deep": Scenario("Produce one record of 100 B a request, 20 connections, 10 in flight", produce("singledeep", 100, 1, "--in-flight", 10, connections=20),
                               [*REQUESTS, ("p99_ms", "p99 ms", 2)]),
        "queue-batch": Scenario("Produce 100 B x 150 a request, 140 connections", produce("small", 100, 150), RATE),
    }, variants=("locked-queue", "condvar-queue"), what="Odradek's shared lock-free request queue beside a deque with a lock in its place (who is woken when stays), and beside a lock "
       "with a condition variable at which every request wakes a handler (as Kafka's)."),
    "ablation-flush": Group("Ablation: flush threads", {"both": FLUSH_SETTINGS}, TALK, gate=True, variants=("flush-in-handler",), what=
                            "A flush every 100,000 messages or 2 s by flush threads beside the same by the handler whose append makes the log due (as Kafka), on the plain disk."),
    "ablation-flush-slow": Group("Ablation: flush threads, every fsync 400 ms longer", {"both": FLUSH_SETTINGS}, TALK, delay_ms=400, gate=True,
                                 variants=("flush-in-handler",), what="The same with every fsync 400 ms longer."),
    "ablation-validation": Group("Ablation: validation in place", {}, {
        "validate-150": Scenario("Produce 100 B x 150 a request, 140 connections", produce("v150", 100, 150), RATE),
        "validate-1500": Scenario("Produce 100 B x 1500 a request, 140 connections", produce("v1500", 100, 1500), RATE),
        "validate-lz4": Scenario("Produce 100 B x 150 in lz4, 140 connections", produce("vlz4", 100, 150, "--codec", "lz4"), RATE),
    }, variants=("record-objects", "record-objects-rebuilt"), what="Records checked where they lie in the request's bytes, beside an object for each record that owns copies of "
       "key, value and headers, and beside the same with the batch built (and compressed) again from the objects."),
}
