#!/usr/bin/env python3
# timeout: 1800
"""Unmodified clients, each produces in each of its codecs and each consumes everything in a group of its own: every record equal.

quick: every client produces in every codec it has, and every client reads all topics of two other clients; full: all pairs."""
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
sys.path.insert(0, str(HERE / "programs/python"))
from broker import FULL, Broker, not_run
import environments
import roles

COUNT = 3000
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]

clients, missing = {}, []  # name -> (command, codecs)


def offer(name, make, codecs=CODECS):
    try:
        clients[name] = (make(), codecs)
    except environments.Missing as why:
        missing.append(f"{name}: {why}")


python = HERE / "programs/python"
offer("confluent-kafka", lambda: [environments.python("confluent-kafka"), python / "confluent_client.py"])
offer("kafka-python", lambda: [environments.python("kafka-python", "python-snappy", "lz4", "zstandard", "crc32c"), python / "kafka_python_client.py"])
offer("aiokafka", lambda: [environments.python("aiokafka", "cramjam"), python / "aiokafka_client.py"])
for library in ("franz-go", "sarama", "kafka-go"):
    offer(library, lambda: [environments.go(HERE / "programs/go"), library])
offer("kafkajs", lambda: ["node", environments.node(HERE / "programs/node", "kafkajs", "kafkajs-snappy") / "client.js"], ["none", "gzip", "snappy"])
for version in ("3.9.2", "4.3.1"):
    offer(f"java-{version}", lambda: environments.java(HERE / "programs/java/Client.java", version))
if len(clients) < 3:
    not_run("; ".join(missing))


def do(name, *arguments):
    start = time.monotonic()
    done = subprocess.run([*map(str, clients[name][0]), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=180)
    assert done.returncode == 0, f"{name} {arguments}: exit code {done.returncode}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "", time.monotonic() - start


expected = f"{COUNT} {roles.expected(COUNT)}"
done = 0
with Broker({"num.partitions": "3"}) as broker:
    for name, (_, codecs) in clients.items():
        for codec in codecs:
            _, seconds = do(name, "produce", broker.address, f"{name}-{codec}", codec, COUNT)
        print(f"{name}: produced in {', '.join(codecs)}", flush=True)
    names = list(clients)
    for at, reader in enumerate(names):
        writers = names if FULL else [names[at], names[(at + 1) % len(names)], names[(at + 4) % len(names)]]
        for writer in dict.fromkeys(writers):
            for codec in clients[writer][1]:
                if codec not in clients[reader][1]:
                    continue
                line, _ = do(reader, "consume", broker.address, f"{writer}-{codec}", f"{reader}-reads", COUNT)
                assert line == expected, f"{reader} reads {writer}'s {codec}: {line}, not {expected}"
                done += 1
        print(f"{reader}: read all", flush=True)
for why in missing:
    print(f"left out: {why}")
print(f"{len(clients)} clients, {done} pairs of reader and topic equal")
