#!/usr/bin/env python3
# timeout: 1200
"""The operators' tools on Apache Kafka 3.9.2 brokers, under load: status and health that name what is wrong, drain, add, reassign (planned here
and executed by Kafka's tool and the other way round; throttled, watched, cancelled, rolled back), elections. Nothing that was acknowledged is lost. With the argument "odradek"
the brokers are Odradek's."""
import collections
import json
import os
import pathlib
import pty
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import BIN
from cluster import Cluster
from load import Producer, check

REASSIGN = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
THROTTLES = {"leader.replication.throttled.replicas", "follower.replication.throttled.replicas", "leader.replication.throttled.rate", "follower.replication.throttled.rate"}
PROGRAM = sys.argv[1] if len(sys.argv) > 1 else "kafka"
env = dict(os.environ)


def tool(*words, code=0, timeout=240):
    if code != 2 and "--help" not in words:
        words = (*words, "--timeout", 60)
    done = subprocess.run([str(BIN / "odradek"), *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout, env=env)
    assert done.returncode == code, f"odradek {' '.join(map(str, words))} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done


def answer(*words, **options):
    return json.loads(tool(*words, "--json", **options).stdout)


def replicas(topic):
    return {partition: state["replicas"] for partition, state in cluster.partitions(topic).items()}


def told(condition, what):
    """Apache's controller ends a reassignment before it tells the brokers of it: what they tell comes to hold in a moment."""
    cluster.wait(condition, what, 20)


def holdings(*topics):
    """broker → replicas."""
    return collections.Counter(broker for topic in topics for each in replicas(topic).values() for broker in each)


def throttles():
    """Everything in the cluster that limits replication."""
    found = []
    for topic in cluster.metadata()["topics"]:
        found += [(topic, each["name"], each["value"]) for each in answer("config", "describe", "--topic", topic)["configs"] if each["name"] in THROTTLES]
    for node in cluster:
        if node.alive():
            found += [(node.id, each["name"], each["value"]) for each in answer("config", "describe", "--broker", node.id)["configs"] if each["name"] in THROTTLES]
    return [each for each in found if each[2]]


def settled():
    assert answer("topic", "reassign", "watch", "--once")["completed"] is True


def status_and_health():
    status = answer("cluster", "status")
    assert status["controller"] == cluster.controller().id and status["brokers_alive"] == 3, status
    assert [each["broker"] for each in status["brokers"]] == [1, 2, 3] and [each["rack"] for each in status["brokers"]] == ["a", "b", "c"], status
    assert sum(each["replicas"] for each in status["brokers"]) == status["replicas"] == 6 * 2 + 4 * 2, status
    assert all(each["bytes"] > 0 and each["usable_bytes"] > 0 for each in status["brokers"]), status
    described = answer("cluster", "describe", "2")
    broker, = described["brokers"]
    assert broker["broker"] == 2 and broker["log_dirs"][0]["path"] == str(cluster[2].dirs[0]), described
    assert described["partitions_to_look_at"] == [], described
    well = answer("health", "--no-http")
    assert well["healthy"] and set(well["cluster"]["controller_by_broker"].values()) == {status["controller"]}, well
    assert "all 3 brokers agree" in tool("health", "--no-http").stdout
    assert "CONTROLLER" not in tool("cluster", "status").stdout and "controller" in tool("cluster", "status").stdout


def drain():
    before = replicas("orders")
    plan = answer("cluster", "drain", "3")
    moved = {(each["topic"], each["partition"]) for each in plan["moves"]}
    assert moved == {(t, p) for t in ("orders", "spread") for p, each in replicas(t).items() if 3 in each} and plan["executed"] is False, plan
    assert replicas("orders") == before, "a plan that was only shown moved something"
    # Two replicas do not fit on one broker.
    assert "INVALID_REPLICATION_FACTOR" in tool("cluster", "drain", "3", "2", code=1).stderr
    done = answer("cluster", "drain", "3", "--execute")
    assert done["completed"] and done["copied_bytes"] > 0, done
    told(lambda: holdings("orders", "spread")[3] == 0 and holdings("orders", "spread")[4] == 0, "brokers 3 and 4 hold nothing")
    for topic in ("orders", "spread"):
        cluster.wait_isr(topic)
    assert all(before[p] == each for p, each in replicas("orders").items() if 3 not in before[p]), "drain moved what could stay"
    assert answer("cluster", "drain", "3")["moves"] == []
    print("drained", flush=True)


def add():
    cluster.add(4, PROGRAM).properties["broker.rack"] = "a"
    cluster[4].start()
    env["ODRADEK_BOOTSTRAP"] = cluster.address
    before = {t: replicas(t) for t in ("orders", "spread")}
    plan = answer("cluster", "add", "4")
    assert {b for each in plan["moves"] for b in set(each["to"]) - set(each["from"])} == {4}, plan
    done = answer("cluster", "add", "--execute", "--throttle", "200")  # 3 is empty too: both get their share
    assert done["completed"] and done["throttle_removed"], done
    assert throttles() == []
    for topic, total in (("orders", 12), ("spread", 8)):
        cluster.wait_isr(topic)
        counts = holdings(topic)
        assert all(total // 4 <= counts[broker] <= -(-total // 4) for broker in (1, 2, 3, 4)), (topic, counts)
        for partition, each in replicas(topic).items():
            assert not set(each) - set(before[topic][partition]) - {3, 4}, f"{topic}-{partition} was moved between old brokers"
            racks = [{1: "a", 2: "b", 3: "c", 4: "a"}[broker] for broker in each]
            assert len(set(racks)) == len(racks), f"{topic}-{partition}: {each} has two replicas in a rack"
    led = collections.Counter(state["leader"] for topic in ("orders", "spread") for state in cluster.partitions(topic).values())
    assert led[3] > 0 and led[4] > 0, f"the new brokers lead nothing: {led}"
    print("added", flush=True)


def kafkas_plans(folder):
    """Either tool executes what the other planned."""
    ours, theirs = folder / "ours.json", folder / "theirs.json"
    plan = answer("topic", "reassign", "plan", "--topic", "orders", "--brokers", "1,2", "--ignore-racks", "--file", ours)
    assert json.loads(ours.read_text()) == plan["plan"] and len(plan["plan"]["partitions"]) > 0
    text = cluster.kafka_tool(REASSIGN, "--execute", "--reassignment-json-file", ours)
    assert "Successfully started" in text, text
    tool("topic", "reassign", "watch")
    text = cluster.kafka_tool(REASSIGN, "--verify", "--reassignment-json-file", ours)
    assert text.count("is completed") == len(plan["plan"]["partitions"]), text
    told(lambda: holdings("orders") == {1: 6, 2: 6}, "brokers 1 and 2 hold orders")
    (folder / "topics.json").write_text('{"topics":[{"topic":"orders"}],"version":1}')
    assert {each["topic"] for each in answer("topic", "reassign", "plan", "--topics-file", folder / "topics.json")["moves"]} == {"orders"}
    text = cluster.kafka_tool(REASSIGN, "--generate", "--topics-to-move-json-file", folder / "topics.json", "--broker-list", "3,4")
    theirs.write_text(text.strip().splitlines()[-1])
    done = answer("topic", "reassign", "execute", theirs, "--rollback", folder / "back.json", "--elect")
    assert done["completed"], done
    wanted = {each["partition"]: each["replicas"] for each in json.loads(theirs.read_text())["partitions"]}
    told(lambda: replicas("orders") == wanted, "replicas as planned")
    told(lambda: all(state["leader"] == state["replicas"][0] for state in cluster.partitions("orders").values()), "preferred leaders")
    tool("topic", "reassign", "execute", folder / "back.json")
    told(lambda: holdings("orders") == {1: 6, 2: 6}, "brokers 1 and 2 hold orders")
    print("plans exchanged with Kafka's tool", flush=True)


def throttle_and_cancel(folder):
    """With the topic that has some megabytes: Kafka's quota lets the first fetches pass."""
    plan = folder / "far.json"
    planned = answer("topic", "reassign", "plan", "--topic", "spread", "--brokers", "3,4", "--file", plan)
    count, before = len(planned["moves"]), replicas("spread")
    assert count >= 2 and all(set(each["to"]) - set(each["from"]) for each in planned["moves"]), planned
    involved = {broker for each in planned["moves"] for broker in (*each["from"], *each["to"])}
    started = answer("topic", "reassign", "execute", plan, "--throttle", "0.001", "--no-watch")
    assert started["executed"] and "completed" not in started, started
    limits = throttles()
    assert {each[0] for each in limits} == {"spread", *involved} and {each[1] for each in limits} == THROTTLES, limits
    assert {each[2] for each in limits if each[1].endswith("rate")} == {"1000"}, limits
    once = answer("topic", "reassign", "watch", "--once", code=1)
    assert len(once["under_way"]) == count and once["copied_bytes"] < once["total_bytes"], once
    assert "REASSIGNMENT_IN_PROGRESS" in tool("cluster", "drain", "1", code=1).stderr
    assert "REASSIGNMENT_IN_PROGRESS" in tool("topic", "reassign", "execute", plan, code=1).stderr
    words = answer("cluster", "describe")["partitions_to_look_at"]
    assert sum("being reassigned to" in each["words"] for each in words) == count, words
    assert answer("topic", "reassign", "watch", "--limit", "2", code=1)["completed"] is False
    cancelled = answer("topic", "reassign", "cancel")
    assert cancelled["cancelled"] == count and cancelled["completed"] and cancelled["throttle_removed"], cancelled
    told(lambda: replicas("spread") == before, "spread is as it was")
    assert throttles() == []

    # The same on a terminal, with the limit raised meanwhile.
    tool("topic", "reassign", "execute", plan, "--throttle", "0.001", "--no-watch")
    main, side = pty.openpty()
    watcher = subprocess.Popen([str(BIN / "odradek"), "topic", "reassign", "watch"], stdout=subprocess.PIPE, stderr=side, env=env, text=True)
    os.close(side)
    shown = b""
    while b"\r" not in shown:
        shown += os.read(main, 4096)
    changed = answer("topic", "reassign", "throttle", "--rate", "500")
    assert changed == {"partitions": count, "bytes_per_second": 500000000}, changed
    while True:
        try:
            if not (data := os.read(main, 4096)):
                break
        except OSError:
            break
        shown += data
    result = watcher.communicate()[0]
    assert watcher.returncode == 0 and f"done: {count} partitions" in result and "the throttle was taken away" in result, result
    assert re.search(rb"\r\[#*\.*\] +\d+ %  .* of .*, .*/s, \d of \d partitions left", shown), shown
    told(lambda: set(holdings("spread")) == {3, 4}, "brokers 3 and 4 hold spread")
    assert throttles() == []
    assert answer("topic", "reassign", "cancel")["cancelled"] == 0
    assert "NO_REASSIGNMENT_IN_PROGRESS" in tool("topic", "reassign", "throttle", "--rate", "5", code=1).stderr
    # More and fewer replicas.
    grown = answer("topic", "reassign", "plan", "--topic", "orders", "--replication-factor", "3", "--ignore-racks", "--execute")
    assert grown["completed"], grown
    told(lambda: all(len(each) == 3 for each in replicas("orders").values()), "three replicas")
    shrunk = answer("topic", "reassign", "plan", "--topic", "orders", "--replication-factor", "2", "--execute")
    assert shrunk["completed"] and shrunk["copied_bytes"] == 0, shrunk
    told(lambda: all(len(each) == 2 for each in replicas("orders").values()), "two replicas")
    print("throttled, cancelled, watched", flush=True)


def elections():
    cluster.create_topic("lead", assignment=[[1, 2], [1, 2], [2, 1]])
    cluster[1].stop()
    cluster.wait_isr("lead", [2])
    bad = answer("health", "--no-http", code=1)
    assert {(each["topic"], each["partition"]) for each in bad["cluster"]["under_replicated"]} >= {("lead", 0), ("lead", 1), ("lead", 2)}, bad
    assert all(each["not_in_sync"] == [1] for each in bad["cluster"]["under_replicated"]) and bad["cluster"]["dead_brokers"] == [1], bad
    assert bad["cluster"]["offline_partitions"] == 0, bad
    assert "lead-0 (not in sync: 1)" in tool("health", "--no-http", code=1).stdout
    assert "broker 1 holds replicas and is not alive" in tool("cluster", "add", "3", code=1).stderr
    assert [each for each in answer("cluster", "status")["brokers"] if not each["alive"]][0]["broker"] == 1
    refused = tool("elect", "preferred", "--topic", "lead:0", code=1)
    assert "PREFERRED_LEADER_NOT_AVAILABLE" in refused.stderr and refused.stderr.count("\n") == 1, refused.stderr
    cluster[1].start()
    cluster.wait_isr("lead")
    look = {each["partition"]: each["words"] for each in answer("cluster", "describe", "1")["partitions_to_look_at"] if each["topic"] == "lead"}
    assert look == {0: "preferred leader 1", 1: "preferred leader 1"}, look
    elected = answer("elect", "preferred", "--topic", "lead:0,2")
    assert (elected["elected"], elected["not_needed"]) == (1, 1), elected
    assert answer("elect", "preferred", "--all")["elected"] >= 1
    for partition, leader in enumerate((1, 1, 2)):
        cluster.wait_leader("lead", partition, leader)

    cluster.create_topic("lost", assignment=[[4, 3], [3, 4]])
    cluster[3].kill()
    cluster.wait_isr("lost", [4])
    cluster[4].kill()
    cluster[3].start()
    cluster.wait(lambda: cluster.partitions("lost")[0]["leader"] == -1, "lost-0 has no leader")
    bad = answer("health", "--no-http", code=1)
    assert {"topic": "lost", "partition": 0} in bad["cluster"]["offline"], bad
    assert "lost-0" in next(each["words"] for each in bad["checks"] if each["check"] == "partitions online"), bad
    assert "PREFERRED_LEADER_NOT_AVAILABLE" in tool("elect", "preferred", "--topic", "lost:0", code=1).stderr
    unclean = answer("elect", "unclean", "--topic", "lost", "--topic", "lead:0")
    assert (unclean["elected"], unclean["not_needed"]) == (2, 1), unclean
    for partition in range(2):
        cluster.wait_leader("lost", partition, leader=3)
    cluster[4].start()
    for topic in ("orders", "spread", "lost", "lead"):
        cluster.wait_isr(topic)
    # A dead broker is drained from what the others have.
    cluster[4].kill()
    cluster.wait(lambda: 4 not in cluster.metadata()["brokers"], "broker 4 is gone")
    drained = answer("cluster", "drain", "4", "--ignore-racks", "--execute")
    assert drained["completed"], drained
    told(lambda: holdings("orders", "spread", "lost", "lead")[4] == 0, "broker 4 holds nothing")
    cluster[4].start()
    print("elected", flush=True)


def wrong_words():
    for words in [["cluster"], ["cluster", "drain"], ["cluster", "drain", "x"], ["topic", "reassign"], ["topic", "reassign", "execute"],
                  ["topic", "reassign", "plan", "--throttle", "-1"], ["topic", "reassign", "throttle"], ["topic", "reassign", "throttle", "--rate", "5", "--remove"],
                  ["elect"], ["elect", "preferred"], ["elect", "preferred", "--all", "--topic", "t"], ["elect", "unclean", "--topic", "t:x"]]:
        text = tool(*words, code=2).stderr
        assert text.count("\n") == 1, text
    plan = cluster.folder / "bad.json"
    plan.write_text('{"version":1,"partitions":[{"topic":"orders","partition":0,"replicas":[1,1]}]}')
    assert "orders-0 names broker 1 twice" in tool("topic", "reassign", "execute", plan, code=2).stderr
    for text, words in (('{"topic":"orders","partition":77,"replicas":[1]}', "UNKNOWN_TOPIC_OR_PARTITION"), ('{"topic":"orders","partition":0,"replicas":[9]}', "broker 9 is not alive")):
        plan.write_text('{"version":1,"partitions":[' + text + "]}")
        assert words in tool("topic", "reassign", "execute", plan, code=1).stderr
    assert "UNKNOWN_TOPIC_OR_PARTITION" in tool("topic", "reassign", "plan", "--topic", "none", code=1).stderr
    assert "broker 9 is not alive" in tool("cluster", "add", "9", code=1).stderr and "no broker 9" in tool("cluster", "drain", "9", code=1).stderr
    for words in (["cluster", "drain"], ["topic", "reassign", "plan"], ["elect", "unclean"]):
        assert "Example" in tool(*words, "--help").stdout


with Cluster({1: PROGRAM, 2: PROGRAM, 3: PROGRAM}, start=False) as cluster:
    for node, rack in zip(cluster, "abc"):
        node.properties["broker.rack"] = rack
    cluster.start()
    env["ODRADEK_BOOTSTRAP"] = cluster.address
    cluster.create_topic("orders", assignment=[[1, 2], [2, 3], [3, 1], [1, 3], [2, 1], [3, 2]])
    cluster.create_topic("spread", assignment=[[1, 2], [2, 3], [3, 1], [1, 2]])
    # One producer goes on through all of it; some megabytes lie there before.
    with Producer(cluster.address, "orders", "java", per_second=200, properties={"max.block.ms": 120000}) as steady:
        done = subprocess.run([str(BIN / "odradek"), "bench", "produce", "-t", "spread", "-c", "4", "--partitions", "0", "--record-size", "1000", "--records-per-batch", "50", "-n", "40000"],
                              stdout=subprocess.PIPE, env=env)
        assert done.returncode == 0, done.stdout
        steady.wait_acked(500)
        status_and_health()
        drain()
        add()
        kafkas_plans(cluster.folder)
        throttle_and_cancel(cluster.folder)
        steady.wait_acked(100)
    settled()
    checked = check(cluster, "orders", [steady])
    compared = cluster.compare_logs("orders") + cluster.compare_logs("spread")
    print(f"{checked} acknowledged records there, {compared} bytes of each log equal", flush=True)
    elections()
    wrong_words()
print("operators' tools: status, health, drain, add, reassign, elect")
