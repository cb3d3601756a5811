#!/usr/bin/env python3
# timeout: 600
"""odradek mirror between two Odradek nodes: all codecs under load while the mirror is killed ten times, groups, configs, partitions, a
standby, fail-over and fail-back; compared record by record."""
import json
import random
import socket
import struct
import subprocess
import time

from copies import *
import wire
from broker import Broker, FULL


def described(address, topic):
    return json.loads(tool("topic", "describe", topic, "-b", address, "--json"))[0]


def ordered(some):
    return sorted(some, key=repr)


def group_offsets(address, group):
    lines = json.loads(tool("group", "describe", group, "-b", address, "--json"))
    lines = lines[0] if isinstance(lines, list) else lines
    return {(each["topic"], each["partition"]): each["committed"] for each in lines["offsets"] if each.get("committed") is not None}


def killed_under_load(a, b):
    tool("topic", "create", "orders", "-b", a.address, "--partitions", "4", "--config", "retention.ms=86400000")
    load = Load(a.address, "orders")
    kills = 40 if FULL else 10
    for kill in range(kills):
        with Mirror(a.address, b.address) as mirror:
            time.sleep(random.uniform(0.2, 2.5))
            mirror.kill()
    with Mirror(a.address, b.address) as mirror:
        tool("topic", "alter", "orders", "-b", a.address, "--partitions", "6", "--config", "max.message.bytes=2000000", "--delete-config", "retention.ms")
        tool("topic", "create", "late", "-b", a.address)
        tool("produce", "late", "-b", a.address, data=b"one\ntwo\n")
        wait_until(lambda: described(b.address, "orders")["configs"] == {"max.message.bytes": "2000000"}, 60, "the configs on the target")
        wait_until(lambda: len(described(b.address, "orders")["partitions"]) == 6, 60, "six partitions on the target")
        load.stop()
        mirror.wait_for("caught up")
        status, page = mirror.page("/metrics")
        assert 'odradek_mirror_lag_records{topic="orders",partition="0"} 0' in page and "odradek_mirror_active 1" in page, page
        wait_until(lambda: mirror.page("/health/ready")[0] == 200, 60, "health")
        mirror.stop()
    final = mirror_until_caught_up(a.address, b.address)
    assert final["lag"] == 0 and final["stopped"] == 0, final
    source, target = records(a.address, ["orders", "late"]), records(b.address, ["orders", "late"])
    compare(source, target)
    count = sum(map(len, source.values()))
    assert count == load.sent + 2, (count, load.sent)
    print(f"{count} records equal after {kills} kills")


def standby(a, b):
    load = Load(a.address, "orders", "standby ", 200)
    with Mirror(a.address, b.address, instance_id="first") as first:
        first.wait_for("caught up")
        with Mirror(a.address, b.address, instance_id="second") as second:
            second.wait_for("standby")
            time.sleep(1)
            assert second.progress["phase"] == "standby" and first.process.poll() is None
            first.kill()
            second.wait_for("caught up")
            # The same instance again takes the place at once, and the one before it ends and says why.
            with Mirror(a.address, b.address, instance_id="second") as third:
                third.wait_for("caught up")
                assert second.process.wait(30) == 1
                second.thread.join()
                assert "FENCED_INSTANCE_ID" in "".join(second.lines), second.lines
                load.stop()
                third.wait_for("caught up")
                third.stop()
    mirror_until_caught_up(a.address, b.address)
    compare(records(a.address, ["orders"]), records(b.address, ["orders"]))
    print("a standby took over")


def announce_more(address, mirror, topic, partition):
    """Leaves in the positions of a mirror what its death leaves between the announcement of a run of records and their way to the target."""
    positions = {}
    for line in tool("consume", f"odradek-mirror-{mirror}-positions", "-b", address, "--exit-at-end", "--json").splitlines():
        each = json.loads(line)
        positions[each["key"]] = each.get("value")
    positions = {key: json.loads(value) for key, value in positions.items() if value is not None}
    life = max(int(key.split("/")[0]) for key in positions if key.endswith("/whole"))
    key = max((key for key in positions if key.startswith(f"{life}/runs/{topic}/{partition}/")), key=lambda key: int(key.split("/")[-1]))
    chunk = positions[key]
    ahead = positions[f"{life}/at/{topic}/{partition}"]["target"] + 30 - sum(chunk["runs"][1::2])
    chunk["runs"] += [ahead + 5, ahead]  # behind 5 offsets of the source that are not copied
    tool("produce", f"odradek-mirror-{mirror}-positions", "-b", address, "--json-lines", data=json.dumps({"key": key, "value": json.dumps(chunk)}).encode())


def fail_over_and_back(a, b):
    # A group reads a part on A; its offsets come to B.
    def read(address, *words):
        out = tool("consume", "orders", "-b", address, "--group", "billing", "--json", *words, timeout=120)
        return [json.loads(line) for line in out.splitlines()]

    def values(lines):
        return [(each["partition"], each["timestamp"], each.get("key"), each.get("value")) for each in lines]

    def present(address):
        return [(partition[1], *record[:3]) for partition, of in records(address, ["orders"]).items() for record in of]

    first = values(read(a.address, "--from", "earliest", "--max-records", 3000))
    mirror_until_caught_up(a.address, b.address)
    assert group_offsets(b.address, "billing") == group_offsets(a.address, "billing"), "nothing is left out here: offsets are equal"

    # A ends, with records that never reached B. The programs go on with B.
    tool("produce", "orders", "-b", a.address, "--key", "lost", data=b"".join(b"never copied %d\n" % i for i in range(50)))
    copied = present(b.address)
    a.kill()
    announce_more(b.address, "mirror", "orders", 0)
    second = values(read(b.address, "--exit-at-end"))
    twice = len(first + second) - len(set(first + second))
    assert ordered(first + second) == ordered(copied), f"the group goes on where it was: {len(first)} + {len(second)} of {len(copied)} read, {twice} twice"
    load = Load(b.address, "orders", "on B ", 300)
    time.sleep(2)
    load.stop()
    third = values(read(b.address, "--exit-at-end"))
    assert len(third) == load.sent

    # A is back. The old direction stops by itself: others wrote to its target.
    a.start()
    with Mirror(a.address, b.address) as old:
        wait_until(lambda: old.progress.get("stopped", 0) > 0, 60, "the old direction is stopped")
        assert any("another producer wrote" in trouble for trouble in old.progress["troubles"]), old.progress
        wait_until(lambda: old.page("/health/ready")[0] == 503, 30, "health")
        old.stop()
    # The mirror back brings what was written on B, and only that.
    before = present(a.address)
    final = mirror_until_caught_up(b.address, a.address, name="back", start="after:mirror")
    assert final["stopped"] == 0, final
    after = present(a.address)
    on_b = [record for record in present(b.address) if "on B " in record[3]]
    assert len(on_b) == load.sent
    assert ordered(after) == ordered(before + on_b), f"{len(before)} before, {len(on_b)} written on B, {len(after)} after"
    # Killed and again: nothing comes twice. The group's offsets go back too.
    mirror_until_caught_up(b.address, a.address, name="back", start="after:mirror")
    assert ordered(present(a.address)) == ordered(after)
    assert values(read(a.address, "--exit-at-end")) == [], "the group has read everything that came back"

    # Fail-back is done: the programs write on A, a new mirror brings that to B.
    tool("produce", "orders", "-b", a.address, data=b"".join(b"home again %d\n" % i for i in range(200)))
    before = present(b.address)
    mirror_until_caught_up(a.address, b.address, name="again", start="after:back")
    after = present(b.address)
    home = [record for record in present(a.address) if "home again" in record[3]]
    assert len(home) == 200 and ordered(after) == ordered(before + home), f"{len(before)} before, {len(after)} after"
    print("failed over and back")


def grown(a, b):
    """A topic that the running mirror found, and not one before it, gets more partitions: nothing comes twice."""
    with Mirror(a.address, b.address, name="grown", topics="grown") as mirror:
        mirror.wait_for("caught up")
        tool("topic", "create", "grown", "-b", a.address, "--partitions", "2")
        tool("produce", "grown", "-b", a.address, data=b"".join(b"%d\n" % i for i in range(100)))
        wait_until(lambda: mirror.progress.get("records", 0) == 100, 60, "the records before")
        tool("topic", "alter", "grown", "-b", a.address, "--partitions", "5")
        wait_until(lambda: mirror.progress.get("partitions", 0) == 5, 60, "five partitions")
        tool("produce", "grown", "-b", a.address, "-K", ":", data=b"".join(b"%d:after\n" % i for i in range(100)))
        wait_until(lambda: mirror.progress.get("records", 0) >= 200, 60, "the records after")
        mirror.stop()
    mirror_until_caught_up(a.address, b.address, name="grown", topics="grown")
    compare(records(a.address, ["grown"]), records(b.address, ["grown"]))
    print("partitions were added under a running mirror")


def made_anew(a, b):
    tool("produce", "late", "-b", a.address, data=b"three\n")
    mirror_until_caught_up(a.address, b.address, name="anew", topics="late")
    tool("topic", "delete", "late", "-b", a.address)
    tool("topic", "create", "late", "-b", a.address)
    tool("produce", "late", "-b", a.address, data=b"of the new topic\n")
    for _ in range(2):  # what `start` says is of the topic before
        mirror_until_caught_up(a.address, b.address, name="anew", topics="late", start="latest")
    assert [record[2] for record in records(b.address, ["late"])["late", 0]][-1] == "of the new topic"
    assert [record[2] for record in records(b.address, ["late"])["late", 0]].count("of the new topic") == 1
    tool("topic", "delete", "late", "-b", a.address)
    with Mirror(a.address, b.address, name="anew", topics="late", delete_topics="true") as mirror:
        # It never saw the topic: only what it copied itself in this life is deleted.
        mirror.wait_for("caught up")
        tool("topic", "create", "late", "-b", a.address)
        tool("produce", "late", "-b", a.address, data=b"x\n")
        wait_until(lambda: mirror.progress.get("records", 0) == 1, 60, "the third topic is copied")
        tool("topic", "delete", "late", "-b", a.address)
        wait_until(lambda: b"late" not in tool("topic", "list", "-b", b.address).split(), 60, "the topic is gone from the target")
        mirror.stop()
    print("topics made anew and deleted")


def lease_lost_and_won(a, b):
    """Put out of its group a mirror joins again at once. What it had begun ends with it, and is not taken for everything that was to be copied."""
    for cluster, most in ((a, 1000000), (b, 1000)):
        tool("topic", "create", "held", "-b", cluster.address, "--config", f"max.message.bytes={most}")
    tool("produce", "held", "-b", a.address, data=b"x" * 5000 + b"\n")
    with Mirror(a.address, b.address, name="lease", words=["--exit-when-caught-up"], topics="held", instance_id="one", sync_topic_configs_enabled="false") as mirror:
        wait_until(lambda: any("MESSAGE_TOO_LARGE" in trouble for trouble in mirror.progress.get("troubles", [])), 60, "the target refuses the record")
        with socket.create_connection((b.host, b.port)) as sock:
            member = wire.string("") + wire.string("one")
            sock.sendall(wire.request(13, 3, 1, wire.string("odradek-mirror-lease") + struct.pack(">i", 1) + member))  # LeaveGroup
            assert wire.read_frame(sock)[1][4:6] == b"\0\0"
        wait_until(lambda: sum("producer id" in line for line in mirror.lines) == 2 or mirror.process.poll() is not None, 60, "a second life")
        assert mirror.process.poll() is None, "it ended and had not copied everything"
        tool("topic", "alter", "held", "-b", b.address, "--config", "max.message.bytes=1000000")
        assert mirror.process.wait(60) == 0
    compare(records(a.address, ["held"]), records(b.address, ["held"]))
    print("a lease was lost and won again")


def refused(a, b):
    def complaint(*words, code):
        done = subprocess.run([TOOL, "mirror", *words, "--every", "0", "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == code, (words, done)
        return done.stderr

    assert "target.bootstrap.servers is missing" in complaint("--source", a.address, code=2)
    assert "there is no key topic" in complaint("--source", a.address, "--target", b.address, "--set", "topic=x", code=2)
    assert "the same cluster" in complaint("--source", a.address, "--target", a.address, "--name", "self", code=2)
    assert "has no topic" in complaint("--source", a.address, "--target", b.address, "--name", "x", "--start", "after:nobody", code=2)
    keys = tool("mirror", "--print-config").decode()
    assert "start=earliest" in keys and "#source.bootstrap.servers=" in keys


with Broker({"offsets.topic.num.partitions": "3"}) as a, Broker({"offsets.topic.num.partitions": "3"}) as b:
    killed_under_load(a, b)
    standby(a, b)
    fail_over_and_back(a, b)
    grown(a, b)
    made_anew(a, b)
    lease_lost_and_won(a, b)
    refused(a, b)
