#!/usr/bin/env python3
# timeout: 3600
"""Clients of Kafka 0.8.2 to today write into ONE topic, in every codec each has, and each reads everything that all of them wrote.

Java's clients from Maven, the Scala clients of 0.8.2, and librdkafka (kcat) told to speak as to an old broker.
quick: the clients where the protocol changed; full: all of them."""
import hashlib
import pathlib
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from broker import BIN, FULL, Broker, not_run
import environments

COUNT = 1000 if FULL else 200
OLD_CODECS = ["none", "gzip", "snappy", "lz4"]
JAVA = ["0.8.2.2", "0.9.0.1", "0.10.0.1", "0.10.2.2", "0.11.0.3", "1.1.1", "2.0.1", "2.8.2", "3.9.2", "4.3.1"]
if not FULL:
    JAVA = ["0.8.2.2", "0.9.0.1", "0.10.0.1", "0.10.2.2", "4.3.1"]
WITH_ZSTD = {"2.8.2", "3.9.2", "4.3.1"}
PROGRAMS = HERE / "programs/java_old"
LOGGER = "org.slf4j:slf4j-nop:1.7.36"

# name -> command and codecs; name -> command
producers, consumers, missing = {}, {}, []
for version in JAVA:
    name = f"java-{version}"
    try:
        path = environments.maven(f"kafka-clients-{version}", f"org.apache.kafka:kafka-clients:{version}", LOGGER)
        producers[name] = environments.java_with(PROGRAMS / "OldProducer.java", path, f"clients-{version}")
        if version != "0.8.2.2":  # it has no consumer yet
            consumers[name] = environments.java_with(PROGRAMS / "OldConsumer.java", path, f"clients-{version}")
    except environments.Missing as why:
        missing.append(f"{name}: {why}")
try:
    path = environments.maven("kafka-scala-0.8.2.2", "org.apache.kafka:kafka_2.11:0.8.2.2", LOGGER)
    scala = environments.java_with(PROGRAMS / "OldScala.java", path, "scala-0.8.2.2")
    producers["scala-0.8.2.2"], consumers["scala-0.8.2.2"] = scala + ["produce"], scala + ["consume"]
except environments.Missing as why:
    missing.append(f"scala-0.8.2.2: {why}")
if not producers or not consumers:
    not_run("; ".join(missing))


def value_of(key, i):
    return f"{key}:" + "abcdefghij" * (i % 30)


def keys_of(name, codecs):
    return [(f"{name}-{codec}-{i}", i) for codec in codecs for i in range(COUNT)]


def digest(records):
    sha = hashlib.sha256()
    for key, value in sorted(records.items()):
        sha.update(f"{key}\t{value}\n".encode())
    return f"{len(records)} {sha.hexdigest()}"


def run(name, command, input=None):
    start = time.monotonic()
    done = subprocess.run([str(c) for c in command], input=input, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=240)
    assert done.returncode == 0, f"{name}: exit code {done.returncode}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    print(f"{name}: {time.monotonic() - start:.1f} s", flush=True)
    return done.stdout


kcat = shutil.which("kcat") or shutil.which("kafkacat")
FALLBACKS = ["0.8.2", "0.9.0", "0.10.0"] if kcat else []
if not kcat:
    missing.append("kcat is not installed")


def as_to(broker, fallback):
    return [kcat, "-q", "-b", broker.address, "-X", "api.version.request=false", "-X", f"broker.version.fallback={fallback}"]


def magics_of(broker, topic):
    """The formats of everything in the topic's files."""
    found = set()
    for path in pathlib.Path(broker.properties["log.dirs"]).glob(f"{topic}-*/*.log"):
        bytes, at = path.read_bytes(), 0
        while at < len(bytes):
            found.add(bytes[at + 16])
            at += 12 + int.from_bytes(bytes[at + 8:at + 12], "big")
    return found


def all_read_all(broker, topic):
    """Every client writes to the topic and then reads what all of them wrote."""
    written = {}
    for name, command in producers.items():
        run(f"{name} produces", [*command, broker.address, topic, COUNT, name, *OLD_CODECS])
        written.update({key: value_of(key, i) for key, i in keys_of(name, OLD_CODECS)})
    for fallback in FALLBACKS:
        for codec in OLD_CODECS:
            records = {key: value_of(key, i) for key, i in keys_of(f"kcat-{fallback}", [codec])}
            run(f"kcat as to {fallback} produces {codec}", [*as_to(broker, fallback), "-P", "-t", topic, "-z", codec, "-K", "\t"],
                input="".join(f"{key}\t{value}\n" for key, value in records.items()))
            written.update(records)
    expected = digest(written)
    for name, command in consumers.items():
        got = run(f"{name} consumes", [*command, broker.address, len(written), f"{name}-reads-{topic}", topic]).strip().splitlines()[-1]
        assert got == expected, f"{name}: {got}, not {expected}"
    for fallback in FALLBACKS:
        text = run(f"kcat as to {fallback} consumes", [*as_to(broker, fallback), "-C", "-e", "-t", topic, "-o", "beginning", "-f", "%k\t%s\n"])
        got = dict(line.split("\t") for line in text.splitlines())
        assert len(text.splitlines()) == len(got) and digest(got) == expected, f"kcat as to {fallback}: {digest(got)}, not {expected}"


with Broker({"num.partitions": "3"}) as broker:
    all_read_all(broker, "old")
    assert magics_of(broker, "old") == {2}, magics_of(broker, "old")
    run("odradek creates", [BIN / "odradek", "topic", "create", "kept", "--bootstrap", broker.address, "--partitions", "3", "--config", "message.format.policy=as-produced"])
    all_read_all(broker, "kept")
    assert magics_of(broker, "kept") == {0, 1, 2}, magics_of(broker, "kept")

    for topic in ("old", "kept"):
        for name in ("producemessageconversions", "fetchmessageconversions"):
            value = broker.metric(f'kafka_server_brokertopicmetrics_{name}_total{{topic="{topic}"}}')
            print(f"{topic}: {name} {value:.0f}")
            assert value > 0, f"{name} of {topic} is not counted"

    newer = [name for name in producers if name.removeprefix("java-") in WITH_ZSTD]
    written = {}
    for name in newer:
        run(f"{name} produces zstd", [*producers[name], broker.address, "new", COUNT, name, "zstd"])
        written.update({key: value_of(key, i) for key, i in keys_of(name, ["zstd"])})
    for name in newer:
        got = run(f"{name} consumes zstd", [*consumers[name], broker.address, len(written), f"{name}-reads-zstd", "new"]).strip().splitlines()[-1]
        assert got == digest(written), f"{name}: {got}, not {digest(written)}"
for why in missing:
    print(f"left out: {why}")
print(f"{len(producers) + len(FALLBACKS)} producers, {len(consumers) + len(FALLBACKS)} consumers, {len(OLD_CODECS)} codecs: every record equal")
