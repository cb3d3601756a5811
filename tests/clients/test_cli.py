#!/usr/bin/env python3
# timeout: 300
"""The operator's tool: every command, text and binary round trips with kcat in every codec, and its exit codes."""
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import BIN, Broker, need, wait_until

need("kcat")
env = dict(os.environ)


def tool(*words, data=b"", code=0, timeout=60):
    done = subprocess.run([str(BIN / "odradek"), *map(str, words)], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, env=env)
    assert done.returncode == code, f"odradek {' '.join(map(str, words))} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done


def out(*words, **options):
    return tool(*words, **options).stdout


def answer(*words, **options):
    return json.loads(out(*words, "--json", **options))


def complaint(*words, code=1, **options):
    text = tool(*words, code=code, **options).stderr.decode()
    assert text.count("\n") == 1, f"not one line: {text}"
    return text


def kcat(*words, data=None):
    done = subprocess.run(["kcat", "-b", env["ODRADEK_BOOTSTRAP"], *words], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def topics():
    made = answer("topic", "create", "orders", "--partitions", "3", "--config", "retention.ms=86400000")
    assert (made["created"], made["partitions"]) == (True, 3), made
    assert "TOPIC_ALREADY_EXISTS" in complaint("topic", "create", "orders")
    assert answer("topic", "create", "orders", "--if-not-exists")["created"] is False
    assert "INVALID_CONFIG" in complaint("topic", "create", "bad", "--config", "no.such.key=1")
    described = answer("topic", "describe", "orders")[0]
    assert len(described["partitions"]) == 3 and described["configs"]["retention.ms"] == "86400000", described
    answer("topic", "alter", "orders", "--partitions", "5", "--config", "max.message.bytes=2000000", "--delete-config", "retention.ms")
    described = answer("topic", "describe", "orders")[0]
    assert len(described["partitions"]) == 5 and described["configs"] == {"max.message.bytes": "2000000"}, described
    assert "INVALID_PARTITIONS" in complaint("topic", "alter", "orders", "--partitions", "2")
    assert "orders" in [each["topic"] for each in answer("topic", "list")]
    plan = broker.directory / "plan.json"
    out("topic", "reassign", "plan", "--topic", "orders", "--file", plan)
    assert out("topic", "reassign", "execute", plan) == b"nothing has to move\n"
    assert b"orders" in out("topic", "list") and b"LEADER" in out("topic", "describe", "orders")
    out("topic", "create", "gone")
    assert answer("topic", "delete", "gone") == [{"topic": "gone", "deleted": True}]
    assert "UNKNOWN_TOPIC_OR_PARTITION" in complaint("topic", "delete", "gone")
    assert "UNKNOWN_TOPIC_OR_PARTITION" in complaint("topic", "describe", "gone")


def configs():
    answer("config", "alter", "--topic", "orders", "--set", "max.message.bytes=3000000", "--delete", "retention.ms")
    entry, = answer("config", "describe", "--topic", "orders")["configs"]
    assert (entry["name"], entry["value"], entry["source"]) == ("max.message.bytes", "3000000", "DYNAMIC_TOPIC_CONFIG"), entry
    assert any(synonym["source"] == "DEFAULT_CONFIG" for synonym in entry["synonyms"]), entry
    everything = answer("config", "describe", "--broker", "0", "--all")["configs"]
    assert {"num.network.threads", "broker.id"} <= {each["name"] for each in everything}
    answer("config", "alter", "--broker", "default", "--set", "log.retention.ms=7000000")
    # Brokers hear of it from the store, after the answer (Kafka's do too).
    defaults = lambda: [(each["name"], each["value"]) for each in answer("config", "describe", "--broker", "default")["configs"]]
    wait_until(lambda: defaults() == [("log.retention.ms", "7000000")], what="the brokers' default")
    answer("config", "alter", "--broker", "default", "--delete", "log.retention.ms")
    answer("config", "alter", "--topic", "orders", "--delete", "max.message.bytes")
    assert "INVALID_CONFIG" in complaint("config", "alter", "--topic", "orders", "--set", "retention.ms=soon")


def messages():
    lines = b"".join(b"line %d %s\n" % (i, b"x" * (i % 200)) for i in range(3000))
    binary = [bytes((i * 7 + k) % 256 for k in range(i % 900)) for i in range(300)]
    prefixed = b"".join(len(each).to_bytes(4, "big") + each for each in binary)
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        text = f"text-{codec}"
        out("topic", "create", text, "--partitions", "1")
        sent = answer("produce", text, "--codec", codec, data=lines)
        assert sent["delivered"] == 3000, sent
        assert kcat("-C", "-t", text, "-e", "-q", "-X", "check.crcs=true") == lines, codec
        assert out("consume", text, "--exit-at-end") == lines, codec
        kcat("-P", "-t", text, "-z", codec, data=lines)
        assert out("consume", text, "--exit-at-end", "--from", "3000") == lines, codec
        raw = f"binary-{codec}"
        out("topic", "create", raw, "--partitions", "1")
        out("produce", raw, "--codec", codec, "--format", "length-prefixed", data=prefixed)
        assert kcat("-C", "-t", raw, "-e", "-q", "-f", "%R%s") == prefixed, codec
        assert out("consume", raw, "--exit-at-end", "--format", "%R%s") == prefixed, codec
    out("topic", "create", "copy", "--partitions", "1")
    out("produce", "copy", "--json-lines", data=out("consume", "binary-zstd", "--exit-at-end", "--json"))
    assert out("consume", "copy", "--exit-at-end", "--format", "%R%s") == prefixed
    out("topic", "create", "whole", "--partitions", "1")
    out("produce", "whole", "--format", "whole", "--header", "from=test", data=lines)
    assert out("consume", "whole", "--max-records", "1", "--format", "%h %v") == b"from=test " + lines


def keys():
    out("topic", "create", "keyed", "--partitions", "7")
    out("topic", "create", "keyed-kcat", "--partitions", "7")
    lines = b"".join(b"key-%d:value %d\n" % (i, i) for i in range(500))
    out("produce", "keyed", "--key-separator", ":", data=lines)
    kcat("-P", "-t", "keyed-kcat", "-K", ":", "-X", "topic.partitioner=murmur2_random", data=lines)
    ours, theirs = (sorted(out("consume", topic, "-e", "-f", "%p %k %v\\n").splitlines()) for topic in ["keyed", "keyed-kcat"])
    assert ours == theirs, "keys are in other partitions than librdkafka's murmur2 puts them"
    first, = (json.loads(line) for line in out("consume", "keyed", "-p", "3", "-n", "1", "--json").splitlines())
    assert first["partition"] == 3 and first["offset"] == 0 and first["key"].startswith("key-"), first
    assert out("consume", "keyed", "-e", "--from", f"@{first['timestamp'] + 10 ** 9}") == b""
    assert len(out("consume", "keyed", "-e", "--from", "2020-01-01T00:00:00Z").splitlines()) == 500


def feeds():
    """Records leave while the input goes on: full batches whatever the linger, others when their linger is over."""
    out("topic", "create", "feed", "--partitions", "1")
    there = lambda: len(out("consume", "feed", "-e").splitlines())
    line = b"x" * 199 + b"\n"
    for linger, lines in [(60000, 10000), (1, 1)]:
        before = there()
        feed = subprocess.Popen([str(BIN / "odradek"), "produce", "feed", "--linger", str(linger)], stdin=subprocess.PIPE, env=env)
        feed.stdin.write(line * lines)
        feed.stdin.flush()
        wait_until(lambda: there() > before, 40, "records of an input that has not ended")
        feed.stdin.close()
        assert feed.wait(60) == 0
        assert there() == before + lines


def many():
    lines = b"".join(b"%d\n" % i for i in range(100000))
    out("topic", "create", "many", "--partitions", "4")
    sent = answer("produce", "many", "--batch-bytes", "16384", data=lines)
    assert sent["delivered"] == 100000, sent
    read = b"".join(sorted(out("consume", "many", "-e").splitlines(keepends=True), key=int))
    assert hashlib.sha256(read).digest() == hashlib.sha256(lines).digest(), f"{len(read)} bytes of {len(lines)}"
    for partition in range(4):
        numbers = [int(line) for line in out("consume", "many", "-e", "-p", partition).split()]
        assert numbers == sorted(numbers), f"partition {partition} is out of order"


def groups():
    kcat("-X", "auto.offset.reset=earliest", "-G", "readers", "-c", "1000", "-q", "text-none")
    listed = {each["group"]: each for each in answer("group", "list")}
    assert listed["readers"]["state"] == "Empty", listed
    offset, = answer("group", "describe", "readers")[0]["offsets"]
    assert (offset["committed"], offset["end"], offset["lag"]) == (1000, 6000, 5000), offset
    plan = answer("group", "reset-offsets", "readers", "--all-topics", "--shift-by=-400")
    assert (plan["executed"], plan["offsets"][0]["from"], plan["offsets"][0]["to"]) == (False, 1000, 600), plan
    assert answer("group", "describe", "readers")[0]["offsets"][0]["committed"] == 1000
    for words, to in [(["--to-latest"], 6000), (["--to-earliest"], 0), (["--to-offset", "99"], 99), (["--to-offset", "99999"], 6000),
                      (["--to-datetime", "2020-01-01T00:00:00Z"], 0), (["--by-duration", "PT0S"], 6000), (["--shift-by=-2000"], 4000)]:
        moved = answer("group", "reset-offsets", "readers", "--topic", "text-none:0", *words, "--execute")
        assert moved["offsets"][0]["to"] == to, (words, moved)
    assert len(kcat("-G", "readers", "-e", "-q", "text-none").splitlines()) == 2000
    assert b"readers" in out("group", "describe")
    assert answer("group", "delete", "readers") == [{"group": "readers", "deleted": True}]
    assert "GROUP_ID_NOT_FOUND" in complaint("group", "describe", "readers")
    assert "GROUP_ID_NOT_FOUND" in complaint("group", "delete", "readers")


def members():
    """Two members share a topic, read each record once; kcat goes on where they committed."""
    for assignor in ["range", "cooperative"]:
        topic, group = f"shared-{assignor}", f"team-{assignor}"
        out("topic", "create", topic, "--partitions", "4")
        command = [str(BIN / "odradek"), "consume", topic, "--group", group, "--assignor", assignor, "--format", "%p %v\\n"]
        both = [subprocess.Popen(command, stdout=open(broker.directory / f"{group}-{i}", "wb"), env=env) for i in range(2)]

        def shares():
            described = subprocess.run([str(BIN / "odradek"), "group", "describe", group, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env)
            if described.returncode != 0:
                return []
            state = json.loads(described.stdout)[0]
            return sorted(len(member["assigned"]) for member in state["members"]) if state["state"] == "Stable" else []

        wait_until(lambda: shares() == [2, 2], wait=60, what=f"{assignor}: two members with two partitions each")
        assert "NON_EMPTY_GROUP" in complaint("group", "reset-offsets", group, "--topic", topic, "--to-latest")
        assert "NON_EMPTY_GROUP" in complaint("group", "delete", group)
        lines = b"".join(b"k%d:%d\n" % (i, i) for i in range(2000))
        out("produce", topic, "-K", ":", data=lines)
        read = lambda: [(broker.directory / f"{group}-{i}").read_bytes().splitlines() for i in range(2)]
        wait_until(lambda: sum(map(len, read())) >= 2000, what=f"{assignor}: 2000 records")
        for member in both:
            member.terminate()
        assert [member.wait(30) for member in both] == [0, 0]
        seen = [line.split() for lines_of_one in read() for line in lines_of_one]
        assert sorted(int(value) for _, value in seen) == list(range(2000)), f"{assignor}: {len(seen)} records"
        assert not {p for p, _ in map(bytes.split, read()[0])} & {p for p, _ in map(bytes.split, read()[1])}, "a partition was read by both"
        assert sum(each["lag"] for each in answer("group", "describe", group)[0]["offsets"]) == 0
        out("produce", topic, data=b"one more\n")
        assert kcat("-X", "auto.offset.reset=earliest", "-G", group, "-e", "-q", topic) == b"one more\n"
        out("produce", topic, data=b"and one\n")
        assert out("consume", topic, "--group", group, "--assignor", assignor, "--exit-at-end") == b"and one\n"


def streams():
    """Readers that go away, disks that are full, input that cannot be read, names that are not for terminals."""
    program = str(BIN / "odradek")
    reader, writer = os.pipe()
    os.close(reader)
    cut = subprocess.run([program, "config", "describe", "--broker", "0", "--all"], stdout=writer, stderr=subprocess.PIPE, env=env, timeout=60)
    os.close(writer)
    assert (cut.returncode, cut.stderr) == (128 + signal.SIGPIPE, b""), cut
    for words in [["config", "describe", "--broker", "0", "--all"], ["topic", "list"], ["consume", "many", "-e"], ["consume", "many", "-e", "--group", "full-disk"]]:
        with open("/dev/full", "wb") as full:
            done = subprocess.run([program, *words], stdout=full, stderr=subprocess.PIPE, env=env, timeout=60)
        assert done.returncode == 1 and b"standard output: No space left on device" in done.stderr, (words, done)
    assert len(out("consume", "many", "-e", "--group", "full-disk").splitlines()) == 100000, "what could not be written was committed"
    out("topic", "create", "strict", "--partitions", "1", "--config", "max.message.bytes=10000")
    sent = answer("produce", "strict", data=b"".join(b"%04d %s\n" % (i, b"x" * 500) for i in range(200)))
    assert sent["delivered"] == 200, "batches are as small as the topic wants them"
    folder = os.open("/", os.O_RDONLY)
    done = subprocess.run([program, "produce", "strict"], stdin=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, timeout=60)
    os.close(folder)
    assert done.returncode == 1 and b"standard input: Is a directory" in done.stderr, done
    json.loads(tool("produce", 'no"topic', "--json", data=b"x\n", code=1).stdout)
    for line in [b'{"value":"x","partition":4294967296}', b'{"value":"x","timestamp":9300000000000000000}', b'{"value":"x","partition":-1}']:
        complaint("produce", "strict", "--json-lines", data=line)
    headers = {"z": "1", "a": "2"}
    out("produce", "strict", "--json-lines", data=json.dumps({"value": "last, without a newline", "headers": headers}).encode())
    last = json.loads(out("consume", "strict", "-e", "--from", "200", "--json"))
    assert last["value"] == "last, without a newline" and [each["name"] for each in last["headers"]] == ["z", "a"], last
    typing = subprocess.Popen([program, "produce", "strict", "--linger", "60000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    typing.stdin.write(b"typed\nhalf a line")
    typing.stdin.flush()
    time.sleep(1)
    typing.send_signal(signal.SIGINT)
    assert typing.wait(30) == 130, typing.stderr.read()
    typing.stdin.close()
    assert out("consume", "strict", "-e", "--from", "201") == b"typed\n"
    name = "a\nb\x1b[2J"
    out("group", "reset-offsets", name, "--topic", "strict", "--to-latest", "--execute")
    listed = out("group", "list").decode()
    assert "a\\x0ab\\x1b[2J" in listed and "\x1b" not in listed and name in {each["group"] for each in answer("group", "list")}, listed
    for words, to in [(["--by-duration", "P30000D"], 0), (["--to-datetime", "1969-12-31T23:59:59.999Z"], 0), (["--shift-by", "9223372036854775807"], 202)]:
        moved = answer("group", "reset-offsets", name, "--topic", "strict", *words)
        assert moved["offsets"][0]["to"] == to, (words, moved)
    complaint("group", "reset-offsets", name, "--topic", "strict", "--by-duration", "PnanD", code=2)


def wrong_words():
    for words in [[], ["nonsense"], ["topic"], ["topic", "create"], ["topic", "create", "t", "--config", "k"], ["topic", "alter", "orders"],
                  ["produce", "orders", "--codec", "brotli"], ["consume", "orders", "--from", "yesterday"], ["consume", "orders", "--format", "%q"],
                  ["config", "describe"], ["config", "alter", "--topic", "orders"], ["group", "reset-offsets", "g", "--all-topics"],
                  ["group", "reset-offsets", "g", "--topic", "t:x", "--to-latest"], ["consume", "orders", "--group", "g", "-p", "0"], ["health", "--no-such-flag"],
                  ["topic", "list", "-b", "nowhere"]]:
        complaint(*words, code=2)
    for words in [["produce", "unknown-topic"], ["consume", "unknown-topic", "-e"], ["config", "describe", "--topic", "unknown-topic"]]:
        text = complaint(*words, data=b"x\n")
        assert "UNKNOWN_TOPIC_OR_PARTITION" in text, text
    assert "NETWORK_EXCEPTION" in complaint("topic", "list", "-b", "127.0.0.1:1", "--timeout", "1")
    assert b"Examples" in out("produce", "--help")


with Broker() as broker:
    env["ODRADEK_BOOTSTRAP"] = broker.address
    topics()
    configs()
    messages()
    keys()
    many()
    feeds()
    groups()
    members()
    streams()
    wrong_words()
    url = f"http://127.0.0.1:{broker.metrics_port}"
    well = answer("health", "--url", url)
    assert well["healthy"] and well["cluster"]["offline_partitions"] == 0, well
    assert b"\nhealthy\n" in out("health", "--url", url)
    out("health", "--no-http")
    tool("health", "--url", "http://127.0.0.1:1", code=1)
    port = broker.port
    broker.stop()
    assert answer("health", "--url", url, "--timeout", "1", code=1)["healthy"] is False
print("odradek: topics, configs, groups, messages in 5 codecs both ways with kcat, health, wrong command lines")
