"""Right and odd requests of the APIs that tests/configs and tests/groups do not cover, for any broker that runs with PROPERTIES.
Each question is asked in every version that both brokers know; equal answers of neighbouring versions make one line."""
import pathlib
import random
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from lib import wire  # noqa: E402
from lib.messages import Connection, schemas  # noqa: E402

PROPERTIES = {"broker.id": "0", "num.partitions": "4", "offsets.topic.num.partitions": "3", "offsets.topic.replication.factor": "1",
              "group.initial.rebalance.delay.ms": "0"}
# The newest versions of Apache Kafka 3.9 in ZooKeeper mode.
NEWEST = {"Produce": 11, "Fetch": 17, "ListOffsets": 9, "Metadata": 12, "FindCoordinator": 6, "ListGroups": 5, "ApiVersions": 4, "CreateTopics": 7,
          "DeleteTopics": 6, "DeleteRecords": 2, "InitProducerId": 5, "OffsetForLeaderEpoch": 4, "DescribeLogDirs": 4, "CreatePartitions": 3,
          "ElectLeaders": 2, "AlterPartitionReassignments": 0, "ListPartitionReassignments": 0, "DescribeCluster": 1, "DescribeProducers": 0,
          "DescribeAcls": 3, "CreateAcls": 3, "DeleteAcls": 3, "SaslHandshake": 1, "SaslAuthenticate": 2}
ZERO = bytes(16)
NO_ID = bytes.fromhex("00112233445566778899aabbccddeeff")
# Where ours answers otherwise on purpose: the questions, and why.
ON_PURPOSE = {
    "Produce topic twice": "each entry is appended and answered; Kafka drops all but the last",
    "Produce unknown codec": "76, not -1",
    "Produce codec none of garbage zstd": "87, not -1",
    "Fetch isolation 2": "no records instead of null", "Fetch isolation -1": "no records instead of null",
    "Fetch replica 5": "the leader is named from v12 on, in a tagged field", "Fetch replica 0": "the leader is named from v12 on, in a tagged field",
    "FindCoordinator type": "the reason names the type",
    "CreateTopics name '__consumer_offsets'": "it depends on who looked for a coordinator before",
    "DescribeProducers unknown": "the reason stands beside each partition",
}
# What differs from run to run or from machine to machine.
DROPPED = {"throttle_time_ms", "cluster_id", "host", "port", "log_dir", "total_bytes", "usable_bytes", "last_timestamp"}
MAX32, MIN32, MAX64, MIN64 = 2**31 - 1, -2**31, 2**63 - 1, -2**63


class Asker:
    """Asks and keeps the lines. Topic names get a prefix of the run, so that the same broker may be asked again."""

    def __init__(self, port):
        self.port, self.lines, self.connection = port, [], None
        self.run = f"q{random.randrange(1 << 40)}-"
        self.ids = {}

    def close(self):
        if self.connection:
            self.connection.close()

    def topic(self, name):
        return self.run + name

    def call(self, api, version, **fields):
        """The answer, or a word: what else happened."""
        if self.connection is None:
            self.connection = Connection(self.port)
        try:
            return self.connection.call(api, version, timeout=20, **fields)
        except (EOFError, ConnectionResetError, BrokenPipeError):
            self.connection.close()
            self.connection = None
            return "the connection is closed"
        except TimeoutError:
            self.connection.close()
            self.connection = None
            return "no answer"

    def clean(self, value, name=""):
        if isinstance(value, dict):
            return {k: self.clean(v, k) for k, v in value.items() if k not in DROPPED}
        if isinstance(value, list):
            if name in ("topics", "responses", "partitions", "partition_responses", "partition_result", "results"):  # no order is promised
                value = sorted(value, key=lambda row: [self.ids.get(row[k], str(row[k])) if k == "topic_id" and k in row else str(row.get(k)) for k in ("name", "topic", "topic_id", "index", "partition_index", "partition_id", "partition", "error_code")])
            return [self.clean(each, name) for each in value]
        if isinstance(value, bytes) and name in ("topic_id",):
            return self.ids.get(value, "<none>" if value == ZERO else "<unknown>" if value == NO_ID else "<id>")
        if name == "session_id" and value:
            return "<session>"
        if name == "producer_id" and isinstance(value, int) and value >= 0:
            return "<producer>"
        if name == "log_append_time_ms" and value > 0:
            return "<time>"
        if isinstance(value, str):
            return re.sub(r"(?:ArrayBuffer|HashMap|Set)\(([^()]*)\)", r"\1", re.sub(r"(?:ArrayBuffer|Set)\(([^()]*)\)", r"\1", value.replace(self.run, "")))
        return value

    def note(self, what, answer):
        self.lines.append(f"{what}: {answer if isinstance(answer, str) else self.clean(answer)}")

    def ask(self, what, api, versions=None, order=None, **fields):
        """Asks in all versions, or in `versions` (first, last). Fields may be functions of the version; None leaves one out."""
        low, high = versions or (0, NEWEST[api])
        groups = []
        for version in range(low, min(high, NEWEST[api]) + 1):
            given = {k: v(version) if callable(v) else v for k, v in fields.items()}
            answer = self.call(api, version, **given)
            text = answer if isinstance(answer, str) else str(self.clean(order(answer) if order else answer))
            if groups and groups[-1][1] == text:
                groups[-1][0].append(version)
            else:
                groups.append(([version], text))
        for asked, text in groups:
            span = f"v{asked[0]}" if len(asked) == 1 else f"v{asked[0]}-{asked[-1]}"
            self.lines.append(f"{api} {what} {span}: {text}")

    def make(self, name, partitions=2, **configs):
        answer = self.call("CreateTopics", 7, topics=[dict(name=self.topic(name), num_partitions=partitions, replication_factor=1, configs=[
            dict(name=k.replace("_", "."), value=v) for k, v in configs.items()])], timeout_ms=20000)
        assert answer["topics"][0]["error_code"] == 0, answer
        self.ids[answer["topics"][0]["topic_id"]] = f"<id of {name}>"
        for _ in range(200):  # a new topic is served after its creation has been answered, not before
            metadata = self.call("Metadata", 12, topics=[dict(name=self.topic(name))], allow_auto_topic_creation=False)["topics"][0]
            if metadata["error_code"] == 0 and all(p["error_code"] == 0 for p in metadata["partitions"]):
                return metadata["topic_id"]
            time.sleep(0.05)
        raise AssertionError(metadata)

    def produce(self, name, partition, records, version=9, acks=-1):
        answer = self.call("Produce", version, acks=acks, timeout_ms=5000, topic_data=[dict(name=self.topic(name), partition_data=[
            dict(index=partition, records=records)])])
        assert answer["responses"][0]["partition_responses"][0]["error_code"] == 0, answer


def produce_questions(a):
    a.make("p")
    a.make("append", message_timestamp_type="LogAppendTime")
    a.make("compact", cleanup_policy="compact")
    a.make("two", min_insync_replicas="2")
    a.make("old", message_timestamp_before_max_ms="1000", message_timestamp_after_max_ms="1000")
    topic = a.topic("p")
    one = wire.batch([b"one"])

    def data(*topics):
        return [dict(name=name, partition_data=[dict(index=i, records=r) for i, r in partitions]) for name, partitions in topics]

    def ask(what, *topics, versions=(3, 11), **fields):
        fields = {"acks": -1, "timeout_ms": 3000, "topic_data": data(*topics), **fields}
        a.ask(what, "Produce", versions, order=shown, **fields)

    def shown(answer):
        """Without the reason for a refusal, where ours says more, and without the log start beside it, which Kafka tells for some."""
        for t in answer["responses"]:
            for p in t["partition_responses"]:
                if not p["error_code"]:
                    continue
                p.pop("error_message", None)
                p.pop("log_start_offset", None)
                for record in p.get("record_errors", []):
                    record["batch_index_error_message"] = record["batch_index_error_message"].split(". The timestamp should")[0]
        return answer

    ask("good", (topic, [(0, one)]))
    ask("a v2 batch in an old version", (topic, [(1, one)]), versions=(0, 2))
    ask("acks 1", (topic, [(0, one)]), acks=1, versions=(3, 3))
    for acks in (2, -2, 32767, -32768):
        ask(f"acks {acks}", (topic, [(0, one)]), acks=acks)
    for timeout in (0, -1, MAX32, MIN32):
        ask(f"timeout {timeout}", (topic, [(0, one)]), timeout_ms=timeout, versions=(9, 9))
    ask("no topics")
    ask("unknown topic", (a.topic("none"), [(0, one)]))
    ask("unknown partitions", (topic, [(2, one), (-1, one), (MAX32, one), (MIN32, one)]))
    for name in ("", ".", "..", "a/b", "x" * 249, "x" * 250, "ü"):
        ask(f"topic '{name[:3]}' of {len(name)}", (name, [(0, one)]), versions=(9, 9))
    ask("topic null", (None, [(0, one)]))
    a.make("twice")
    twice = a.topic("twice")
    ask("topic twice", (twice, [(0, one)]), (twice, [(1, one)]), versions=(9, 9))
    ask("records empty", (topic, [(0, b"")]))
    ask("records empty and good", (topic, [(0, b""), (1, one)]))
    ask("two batches", (topic, [(0, one + one)]))
    ask("a short batch", (topic, [(0, one[:40])]), versions=(9, 9))
    ask("a few bytes", (topic, [(0, one[:7])]), versions=(9, 9))
    ask("control batch", (topic, [(0, wire.batch([b"x"], attributes=0x20))]))
    ask("transactional without id", (topic, [(0, wire.batch([b"x"], producer_id=5, epoch=0, sequence=0, attributes=0x10))]))
    ask("delete horizon flag", (topic, [(0, wire.batch([b"x"], attributes=0x40))]), versions=(9, 9))
    ask("unknown attribute bits", (topic, [(0, wire.batch([b"x"], attributes=0x80))]), versions=(9, 9))
    ask("unknown codec", (topic, [(0, wire.batch([b"x"], attributes=5))]), versions=(9, 9))
    ask("codec none of garbage zstd", (topic, [(0, wire.batch([b"x"], attributes=4))]))
    ask("no records in the batch", (topic, [(0, wire.batch([]))]))
    ask("create time -1", (topic, [(0, wire.batch([b"x"], timestamp=-1))]), versions=(9, 9))
    ask("create time -2", (topic, [(0, wire.batch([b"x"], timestamp=-2))]), versions=(9, 9))
    ask("create time far ahead", (topic, [(0, wire.batch([b"x"], timestamp=MAX64))]), versions=(9, 9))
    ask("create time too old", (a.topic("old"), [(0, wire.batch([b"x", b"y"], timestamp=1000))]))
    ask("create time too new", (a.topic("old"), [(0, wire.batch([b"x", b"y"], timestamp=99_999_999_999_999))]))
    ask("append time", (a.topic("append"), [(0, one)]))
    ask("append time flag from a client", (topic, [(0, wire.batch([b"x"], attributes=8))]))
    ask("no key into a compacted topic", (a.topic("compact"), [(0, wire.batch([b"x", b"y"]))]))
    ask("too few in sync", (a.topic("two"), [(0, one)]))
    ask("too few in sync, acks 1", (a.topic("two"), [(0, one)]), acks=1)
    ask("too large", (topic, [(0, wire.batch([b"x" * 1_100_000]))]))
    ask("internal topic", ("__consumer_offsets", [(0, one)]), versions=(9, 9))
    ask("base offset 7, epoch 9", (topic, [(0, (7).to_bytes(8, "big") + one[8:12] + (9).to_bytes(4, "big") + one[16:])]), versions=(9, 9))
    # A producer's sequences.
    a.make("s", 1)
    for what, producer, epoch, sequence, count in (
            ("first sequence 3", 900, 0, 3, 1), ("first", 901, 0, 0, 2), ("again", 901, 0, 0, 2), ("gap", 901, 0, 5, 1), ("next", 901, 0, 2, 1), ("overlap", 901, 0, 1, 2),
            ("new epoch not from 0", 901, 1, 3, 1), ("new epoch", 901, 1, 0, 1), ("old epoch", 901, 0, 3, 1), ("negative sequence", 902, 0, -1, 1),
            ("negative epoch", 902, -1, 0, 1), ("negative producer", -2, 0, 0, 1), ("sequence at the end", 903, 0, MAX32, 1)):
        ask(f"producer: {what}", (a.topic("s"), [(0, wire.batch([b"x"] * count, producer_id=producer, epoch=epoch, sequence=sequence))]), versions=(9, 9))
    ask("producer with another batch", (topic, [(0, wire.batch([b"x"], producer_id=904, epoch=0, sequence=0)), (1, wire.batch([b"x"], producer_id=905, epoch=0, sequence=0))]), versions=(9, 9))


def fetch_questions(a):
    topic_id = a.make("f")
    topic = a.topic("f")
    base = 1_700_000_000_000
    for i in range(3):
        a.produce("f", 0, wire.batch([b"%d" % i, b"again"], timestamp=base + i))

    def shown(answer):
        for t in answer["responses"]:
            for p in t["partitions"]:
                if p["records"]:
                    p["records"] = [f"{low}..{high}" for low, high, _ in wire.batches(p["records"])] or len(p["records"])
        return answer

    def ask(what, partitions, versions=(4, 17), name=topic, topics=None, **fields):
        def entries(version):
            if topics is not None:
                return topics
            named = dict(topic_id=topic_id) if version >= 13 and name == topic else dict(topic_id=NO_ID) if version >= 13 else dict(topic=name)
            return [dict(named, partitions=[dict({"partition_max_bytes": 1 << 20}, **p) for p in partitions])]
        fields = {"max_wait_ms": 50, "min_bytes": 1, "topics": entries, **fields}
        a.ask(what, "Fetch", versions, order=shown, **fields)

    ask("all", [dict(partition=0, fetch_offset=0)])
    for offset in (1, 2, 5, 6, 7, -1, -2, MAX64, MIN64):
        ask(f"from {offset}", [dict(partition=0, fetch_offset=offset)])
    ask("empty partition", [dict(partition=1, fetch_offset=0)])
    ask("both partitions", [dict(partition=1, fetch_offset=0), dict(partition=0, fetch_offset=4)])
    ask("unknown topic", [dict(partition=0, fetch_offset=0)], name=a.topic("none"))
    ask("unknown partitions", [dict(partition=p, fetch_offset=0) for p in (2, -1, MAX32, MIN32)])
    again = [dict(partition=0, fetch_offset=0), dict(partition=1, fetch_offset=0), dict(partition=0, fetch_offset=4), dict(partition=0, fetch_offset=2)]
    ask("partition twice", again)
    ask("partition twice in a session", again, session_epoch=0, versions=(7, 17))
    limits = dict(partition_max_bytes=1 << 20)
    ask("topic twice", [], topics=[dict(topic=topic, partitions=[dict(limits, partition=0, fetch_offset=0)]),
                                   dict(topic=topic, partitions=[dict(limits, partition=1, fetch_offset=0), dict(limits, partition=0, fetch_offset=4)])], versions=(4, 12))
    ask("no topics", [], topics=[])
    ask("no partitions", [])
    ask("zero id", [], topics=[dict(topic_id=ZERO, partitions=[dict(partition=0, fetch_offset=0, partition_max_bytes=100)])], versions=(13, 17))
    ask("invalid names", [], topics=[dict(topic=n, partitions=[dict(partition=0, fetch_offset=0, partition_max_bytes=100)]) for n in ("", "a/b", "x" * 250)], versions=(4, 12))
    for limit in (0, 1, 70, 75, 150):
        ask(f"partition bytes {limit}", [dict(partition=0, fetch_offset=0, partition_max_bytes=limit)])
        ask(f"bytes {limit}", [dict(partition=0, fetch_offset=0)], max_bytes=limit)
    for limit in (0, -1, MAX32, MIN32):
        ask(f"min bytes {limit}", [dict(partition=0, fetch_offset=0)], min_bytes=limit, versions=(11, 11))
        ask(f"min bytes {limit} at the end", [dict(partition=0, fetch_offset=6)], min_bytes=limit, versions=(11, 11))
    for wait in (0, -1, MIN32):
        ask(f"wait {wait} at the end", [dict(partition=0, fetch_offset=6)], max_wait_ms=wait, versions=(11, 11))
    for level in (1, 2, -1):
        ask(f"isolation {level}", [dict(partition=0, fetch_offset=0)], isolation_level=level)
    for epoch in (0, 1, 5, -2, MIN32):
        ask(f"leader epoch {epoch}", [dict(partition=0, fetch_offset=0, current_leader_epoch=epoch)], versions=(9, 17))
    for epoch in (0, 1, 5, -2):
        ask(f"last epoch {epoch}", [dict(partition=0, fetch_offset=4, last_fetched_epoch=epoch)], versions=(12, 17))
    ask("last epoch 0 beyond the end", [dict(partition=0, fetch_offset=9, last_fetched_epoch=0)], versions=(12, 17))
    for start in (0, 3, MAX64, MIN64):
        ask(f"log start {start}", [dict(partition=0, fetch_offset=0, log_start_offset=start)], versions=(11, 11))
    for replica in (-2, -3, 5, 0):
        ask(f"replica {replica}", [dict(partition=0, fetch_offset=0)], replica_id=replica, versions=(4, 14))
        ask(f"replica {replica}", [dict(partition=0, fetch_offset=0)], replica_state=dict(replica_id=replica, replica_epoch=-1), versions=(15, 17))
    ask("rack", [dict(partition=0, fetch_offset=0)], rack_id="r1", versions=(11, 17))
    ask("cluster id of another", [dict(partition=0, fetch_offset=0)], cluster_id="other", versions=(12, 17))
    # Sessions that do not exist.
    for session, epoch in ((0, 0), (0, -1), (0, 1), (0, 7), (12345, 0), (12345, 1), (12345, -1), (-5, 3), (0, MIN32)):
        ask(f"session {session} epoch {epoch}", [dict(partition=0, fetch_offset=4)], session_id=session, session_epoch=epoch, versions=(7, 17))

    def story(version):
        """One incremental session from its start to its end."""
        key = (lambda tid, name: dict(topic_id=tid)) if version >= 13 else (lambda tid, name: dict(topic=name))
        mine = key(topic_id, topic)
        def step(what, session, epoch, topics=(), forget=()):
            answer = a.call("Fetch", version, max_wait_ms=0, min_bytes=1, max_bytes=1 << 20, session_id=session, session_epoch=epoch, topics=list(topics),
                            forgotten_topics_data=list(forget))
            a.note(f"session v{version} {what}", answer if isinstance(answer, str) else str(a.clean(shown(answer))))
            return answer["session_id"]
        def want(*partitions, of=mine):
            return dict(of, partitions=[dict(partition=p, fetch_offset=o, partition_max_bytes=1 << 20) for p, o in partitions])
        session = step("begin", 0, 0, [want((0, 0), (1, 0))])
        step("nothing asked, data comes again", session, 1)
        step("moved to the end", session, 2, [want((0, 6))])
        step("nothing new", session, 3)
        step("wrong epoch", session, 3)
        step("next epoch", session, 4)
        other = key(NO_ID, a.topic("none"))
        step("an unknown topic", session, 5, [want((0, 0), of=other)])
        step("said once more", session, 6)
        step("forgets it", session, 7, (), [dict(other, partitions=[0])])
        step("forgets what it never had", session, 8, (), [dict(mine, partitions=[7, -1]), dict(other, partitions=[3])])
        step("out of range", session, 9, [want((0, 99))])
        step("said again", session, 10)
        step("forgets and asks the same", session, 11, [want((0, 4))], [dict(mine, partitions=[0])])
        step("then", session, 12)
        step("begins anew over it", session, 0, [want((0, 5))])
        session = step("another", 0, 0, [want((0, 6))])
        step("ends", session, -1, [want((0, 5))])
        step("after the end", session, 1)
    for version in (7, 11, 12, 13, 17):
        story(version)


def list_offsets_questions(a):
    a.make("l")
    topic = a.topic("l")
    base = 1_700_000_000_000
    for i, at in enumerate((10, 30, 20, 40, 40)):
        a.produce("l", 0, wire.batch([b"%d" % i] * 2, timestamp=base + at))

    def ask(what, partitions, versions=(1, 9), name=topic, **fields):
        a.ask(what, "ListOffsets", versions, **{"replica_id": -1, "topics": [dict(name=name, partitions=partitions)], **fields})

    for stamp in (-1, -2, -3, -4, -5, -6, -7, MIN64, 0, base + 10, base + 11, base + 25, base + 30, base + 35, base + 40, base + 41, MAX64):
        ask(f"time {stamp}", [dict(partition_index=0, timestamp=stamp)])
        ask(f"time {stamp}, empty partition", [dict(partition_index=1, timestamp=stamp)], versions=(7, 7))
        ask(f"time {stamp}, at most 5", [dict(partition_index=0, timestamp=stamp, max_num_offsets=5)], versions=(0, 0))
    for count in (0, 1, -1, MAX32):
        ask(f"at most {count}", [dict(partition_index=0, timestamp=-1, max_num_offsets=count)], versions=(0, 0))
    ask("unknown topic", [dict(partition_index=0, timestamp=-1)], name=a.topic("none"), versions=(0, 9))
    ask("unknown partitions", [dict(partition_index=p, timestamp=-1) for p in (2, -1, MAX32, MIN32)], versions=(0, 9))
    for name in ("", "a/b", "x" * 250):
        ask(f"topic '{name[:3]}' of {len(name)}", [dict(partition_index=0, timestamp=-1)], name=name, versions=(0, 9))
    ask("topic null", [dict(partition_index=0, timestamp=-1)], name=None, versions=(0, 9))
    ask("partition twice", [dict(partition_index=0, timestamp=-1), dict(partition_index=0, timestamp=-2)], versions=(0, 9))
    ask("topic twice", [], topics=[dict(name=topic, partitions=[dict(partition_index=0, timestamp=-1)]), dict(name=topic, partitions=[dict(partition_index=1, timestamp=-1)])])
    ask("the same twice in two entries", [], topics=[dict(name=topic, partitions=[dict(partition_index=0, timestamp=-1)])] * 2)
    ask("no topics", [], topics=[])
    ask("no partitions", [])
    for level in (1, 2, -1):
        ask(f"isolation {level}", [dict(partition_index=0, timestamp=-1)], isolation_level=level, versions=(2, 9))
    for epoch in (0, 1, 5, -2):
        ask(f"leader epoch {epoch}", [dict(partition_index=0, timestamp=-1, current_leader_epoch=epoch)], versions=(4, 9))
        ask(f"leader epoch {epoch}, by time", [dict(partition_index=0, timestamp=base + 30, current_leader_epoch=epoch)], versions=(4, 9))
    for replica in (-2, -3, 0, 5):
        ask(f"replica {replica}", [dict(partition_index=0, timestamp=-1)], replica_id=replica, versions=(0, 9))


def metadata_questions(a):
    topic_id = a.make("m")
    topic = a.topic("m")

    def own(answer):
        answer["topics"] = [t for t in answer["topics"] if t["name"] is None or t["name"].startswith(a.run) or len(t["name"]) in (0, 249, 250) or t["error_code"]]
        return answer

    def ask(what, topics, versions=(0, 12), order=own, **fields):
        a.ask(what, "Metadata", versions, order=order, topics=topics, **fields)

    def only(answer):
        answer["topics"] = [t for t in answer["topics"] if t["name"] == topic]
        return answer
    ask("all", lambda v: [] if v == 0 else None, order=only)
    ask("none", [], versions=(1, 12))
    ask("one", [dict(name=topic)])
    ask("twice", [dict(name=topic), dict(name=topic)])
    ask("unknown, not created", [dict(name=a.topic("unknown"))], versions=(4, 12), allow_auto_topic_creation=False)
    for name in ("", ".", "..", "a/b", "x" * 250, "ü", "a b"):
        ask(f"topic '{name[:3]}' of {len(name)}", [dict(name=name)])
        ask(f"topic '{name[:3]}' of {len(name)}, not created", [dict(name=name)], versions=(4, 12), allow_auto_topic_creation=False)
    ask("name null", [dict(name=None)])
    ask("by id", [dict(topic_id=topic_id, name=None)], versions=(10, 12))
    ask("by unknown id", [dict(topic_id=NO_ID, name=None)], versions=(10, 12))
    ask("by unknown id, not created", [dict(topic_id=NO_ID, name=None)], versions=(10, 12), allow_auto_topic_creation=False)
    ask("by zero id", [dict(topic_id=ZERO, name=None)], versions=(10, 12))
    ask("by id and name", [dict(topic_id=topic_id, name=topic)], versions=(10, 12))
    ask("by id and another name", [dict(topic_id=topic_id, name=a.topic("x"))], versions=(10, 12), allow_auto_topic_creation=False)
    ask("by id and by name", [dict(topic_id=topic_id, name=None), dict(name=topic)], versions=(10, 12))
    ask("by two ids", [dict(topic_id=topic_id, name=None), dict(topic_id=NO_ID, name=None)], versions=(10, 12))
    ask("operations", [dict(name=topic)], versions=(8, 12), include_topic_authorized_operations=True)
    ask("cluster operations", [dict(name=topic)], versions=(8, 10), include_cluster_authorized_operations=True)
    ask("operations of an unknown one", [dict(name=a.topic("unknown"))], versions=(8, 12), include_topic_authorized_operations=True, allow_auto_topic_creation=False)
    ask("created on asking", [dict(name=a.topic("auto"))], versions=(0, 0))


def create_topics_questions(a):
    a.make("c")
    number = iter(range(100000))

    def named(topics):
        return [dict(t, name=t["name"] if "name" in t else a.topic(f"c{next(number)}")) for t in topics]

    def shown(answer):
        for t in answer["topics"]:
            t["name"] = re.sub(r"^(q\d+-c)\d+$", r"\1*", t["name"]) if t["name"] else t["name"]
            if t.get("configs"):
                t["configs"] = f"{len(t['configs'])} configs" if len(t["configs"]) < 20 else "all configs"
            if t.get("error_message"):
                t["error_message"] = re.sub(r"(q\d+-c)\d+", r"\1*", t["error_message"])
        return answer

    def ask(what, *topics, versions=(0, 7), **fields):
        a.ask(what, "CreateTopics", versions, order=shown, **{"topics": lambda v: named([dict({"num_partitions": 1, "replication_factor": 1}, **t) for t in topics]), "timeout_ms": 20000, **fields})

    def assigned(*pairs):
        return [dict(partition_index=p, broker_ids=list(b)) for p, b in pairs]

    ask("good", {})
    ask("good, to be checked", {}, versions=(1, 7), validate_only=True)
    ask("none", versions=(0, 7))
    ask("exists", dict(name=a.topic("c")))
    ask("exists, to be checked", dict(name=a.topic("c")), versions=(1, 7), validate_only=True)
    ask("two", {}, {})
    ask("one twice", dict(name=a.topic("same")), dict(name=a.topic("same")))
    ask("one twice and another", dict(name=a.topic("same")), {}, dict(name=a.topic("same")))
    for name in (".", "..", "a/b", "x" * 250, "ü", "a b", "__consumer_offsets", "__cluster_metadata"):
        ask(f"name '{name[:20]}' of {len(name)}", dict(name=name), versions=(5, 5), validate_only=True)
    ask("no name", dict(name=""))
    ask("name null", dict(name=None))
    a.make("dot.and")
    ask("a dot for an underscore", dict(name=a.topic("dot_and")))
    for partitions in (0, -1, -2, MIN32, 10001):
        for replication in (1, -1, 0, 2, -2, 32767):
            if partitions in (-1, 0) or replication in (1, -1):
                ask(f"{partitions} partitions, {replication} replicas", dict(num_partitions=partitions, replication_factor=replication), versions=(7, 7) if partitions > 0 else (4, 7), validate_only=True)
    for replication in (-1, 0, 2, -2):
        ask(f"{replication} replicas", dict(replication_factor=replication), versions=(3, 7))
    ask("default partitions", dict(num_partitions=-1), versions=(3, 7))
    for what, pairs in (("0 on 0", [(0, [0])]), ("two", [(0, [0]), (1, [0])]), ("from 1", [(1, [0])]), ("a hole", [(0, [0]), (2, [0])]),
                        ("broker twice", [(0, [0, 0])]), ("other lengths", [(0, [0]), (1, [0, 9])])):
        ask(f"assigned {what}", dict(num_partitions=-1, replication_factor=-1, assignments=assigned(*pairs)))
    ask("assigned with a number of partitions", dict(num_partitions=1, replication_factor=-1, assignments=assigned((0, [0]))))
    ask("assigned with a number of replicas", dict(num_partitions=-1, replication_factor=1, assignments=assigned((0, [0]))))
    for configs in ([("retention.ms", "1000")], [("nope", "1")], [("retention.ms", "x")], [("retention.ms", None)], [("retention.ms", "")], [("segment.bytes", "13")], [("segment.bytes", "14")],
                    [("cleanup.policy", "compact,delete")], [("cleanup.policy", "nope")], [("cleanup.policy", "")], [("min.insync.replicas", "0")], [("retention.ms", "5"), ("retention.ms", "6")],
                    [("compression.type", "zstd"), ("compression.zstd.level", "99")], [("", "x")], [("message.format.version", "0.9.0")], [("message.format.version", "x")],
                    [("remote.storage.enable", "true")], [("min.cleanable.dirty.ratio", "1.1")], [("flush.ms", "-1")], [("preallocate", "yes")], [("retention.bytes", "99999999999999999999")],
                    [("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "5")], [("leader.replication.throttled.replicas", "0:0")], [("leader.replication.throttled.replicas", "x")]):
        ask(f"configs {configs}", dict(configs=[dict(name=n, value=v) for n, v in configs]), versions=(1, 7), validate_only=True)
    ask("a config null", dict(configs=[dict(name=None, value="1")]), versions=(4, 5))
    for timeout in (0, -1, MIN32):
        ask(f"timeout {timeout}, to be checked", {}, versions=(5, 5), timeout_ms=timeout, validate_only=True)


def delete_topics_questions(a):
    kept = a.make("d")
    number = iter(range(1000))

    def named(name):
        return a.topic(name)

    def ask(what, names, versions=(0, 5), **fields):
        a.ask(what, "DeleteTopics", versions, **{"topic_names": names, "timeout_ms": 20000, **fields})

    def ask6(what, topics, **fields):
        a.ask(what, "DeleteTopics", (6, 6), **{"topics": topics, "timeout_ms": 20000, **fields})

    def fresh(_):
        name = f"d{next(number)}"
        a.make(name)
        return [named(name)]

    def shown(answer):
        for r in answer["responses"]:
            r["name"] = re.sub(r"^(q\d+-d)\d+$", r"\1*", r["name"])
            if "topic_id" in r and r["topic_id"] != ZERO:
                r["topic_id"] = b"x"
        return answer
    a.ask("good", "DeleteTopics", (0, 5), order=shown, topic_names=fresh, timeout_ms=20000)
    a.ask("good", "DeleteTopics", (6, 6), order=shown, topics=lambda v: [dict(name=fresh(v)[0])], timeout_ms=20000)
    gone = a.make("dgone")
    ask6("by id", [dict(name=None, topic_id=gone)])
    ask("none", [])
    ask("unknown", [named("none")])
    ask("invalid names", ["", "a/b", "x" * 250])
    ask("name null", [None])
    ask("unknown twice", [named("none"), named("none")])
    a.make("dtwice")
    ask("one twice", [named("dtwice"), named("dtwice")], versions=(5, 5))
    ask6("none", [])
    ask6("name and id", [dict(name=named("d"), topic_id=kept)])
    ask6("unknown id", [dict(name=None, topic_id=NO_ID)])
    ask6("unknown name", [dict(name=named("none"))])
    ask6("unknown name twice", [dict(name=named("none"))] * 2)
    ask6("unknown id twice", [dict(name=None, topic_id=NO_ID)] * 2)
    ask6("name and its id in two entries", [dict(name=named("d")), dict(name=None, topic_id=kept)])


def create_partitions_questions(a):
    a.make("k")
    a.make("grow", 1)

    def ask(what, *topics, versions=(0, 3), **fields):
        a.ask(what, "CreatePartitions", versions, **{"topics": [dict({"name": a.topic("k"), "assignments": None}, **t) for t in topics], "timeout_ms": 20000, "validate_only": True, **fields})

    counts = iter(range(2, 100))
    a.ask("good", "CreatePartitions", topics=lambda v: [dict(name=a.topic("grow"), count=next(counts), assignments=None)], timeout_ms=20000, validate_only=False)
    ask("to be checked", dict(count=5))
    ask("none")
    for count in (2, 1, 0, -1, 10003):
        ask(f"to {count}", dict(count=count))
    ask("unknown", dict(name=a.topic("none"), count=5))
    ask("invalid name", dict(name="a/b", count=5))
    ask("name null", dict(name=None, count=5))
    ask("twice", dict(count=5), dict(count=6))
    ask("twice and another", dict(count=5), dict(count=5), dict(name=a.topic("grow"), count=50))
    for what, count, brokers in (("good", 3, [[0]]), ("two for one", 3, [[0], [0]]), ("one for two", 4, [[0]]), ("none for one", 3, []), ("unknown broker", 3, [[7]]), ("twice the broker", 3, [[0, 0]]),
                                 ("no broker", 3, [[]]), ("more replicas", 3, [[0, 1]]), ("negative broker", 3, [[-1]])):
        ask(f"assigned: {what}", dict(count=count, assignments=[dict(broker_ids=b) for b in brokers]))
    for timeout in (0, -1):
        ask(f"timeout {timeout}", dict(count=5), timeout_ms=timeout)


def delete_records_questions(a):
    a.make("r")
    a.make("rcompact", cleanup_policy="compact")
    a.make("rboth", cleanup_policy="compact,delete")
    a.make("rempty")
    for i in range(5):
        a.produce("r", 0, wire.batch([b"%d" % i] * 2))

    def ask(what, partitions, name=None, versions=(0, 2), **fields):
        a.ask(what, "DeleteRecords", versions, **{"topics": [dict(name=name or a.topic("r"), partitions=[dict(partition_index=p, offset=o) for p, o in partitions])], "timeout_ms": 5000, **fields})

    for offset in (0, 3, 2, 11, -2, MIN64, MAX64):
        ask(f"to {offset}", [(0, offset)])
    a.ask("then the first", "ListOffsets", (5, 5), replica_id=-1, topics=[dict(name=a.topic("r"), partitions=[dict(partition_index=0, timestamp=-2)])])
    a.ask("then a fetch below", "Fetch", (11, 11), max_wait_ms=0, topics=[dict(topic=a.topic("r"), partitions=[dict(partition=0, fetch_offset=1, partition_max_bytes=1000)])])
    ask("unknown partitions", [(2, 0), (-1, 0), (MIN32, 0)])
    ask("unknown topic", [(0, 0)], name=a.topic("none"))
    ask("invalid name", [(0, 0)], name="a/b")
    ask("partition twice", [(0, 4), (0, 5)])
    ask("topic twice", [], topics=[dict(name=a.topic("r"), partitions=[dict(partition_index=0, offset=5)])] * 2)
    ask("no topics", [], topics=[])
    ask("no partitions", [])
    ask("compacted", [(0, 0)], name=a.topic("rcompact"))
    ask("compacted and deleted", [(0, 0)], name=a.topic("rboth"))
    ask("empty partition", [(0, 0)], name=a.topic("rempty"))
    ask("empty partition to the end", [(0, -1)], name=a.topic("rempty"))
    ask("internal", [(0, 0)], name="__consumer_offsets")
    for timeout in (0, -1):
        ask(f"timeout {timeout}", [(0, 7)], timeout_ms=timeout)
    ask("to the end", [(0, -1)])
    ask("to the end again", [(0, -1)])


def producer_questions(a):
    def ask(what, versions=(0, 5), **fields):
        a.ask(what, "InitProducerId", versions, **{"transactional_id": None, "transaction_timeout_ms": 60000, **fields})

    ask("idempotent")
    for timeout in (0, -1, MAX32, MIN32):
        ask(f"timeout {timeout}", transaction_timeout_ms=timeout)
    ask("empty id", transactional_id="")
    for producer, epoch in ((5, 0), (5, -1), (-1, 5), (-2, -2), (MAX64, 32767), (0, 0)):
        ask(f"producer {producer} epoch {epoch}", versions=(3, 5), producer_id=producer, producer_epoch=epoch)
    a.make("dp")
    a.produce("dp", 0, wire.batch([b"x", b"y"], producer_id=7000, epoch=3, sequence=0))

    def described(what, topics):
        a.ask(what, "DescribeProducers", topics=[dict(name=name, partition_indexes=p) for name, p in topics])
    described("one", [(a.topic("dp"), [0])])
    described("both", [(a.topic("dp"), [1, 0])])
    described("twice", [(a.topic("dp"), [0, 0])])
    described("topic twice", [(a.topic("dp"), [0]), (a.topic("dp"), [1])])
    described("unknown", [(a.topic("none"), [0]), (a.topic("dp"), [2, -1])])
    described("invalid name", [("a/b", [0])])
    described("no name", [("", [0])])
    described("none", [])
    described("no partitions", [(a.topic("dp"), [])])


def epoch_questions(a):
    a.make("e")
    a.produce("e", 0, wire.batch([b"x", b"y"]))

    def ask(what, partitions, name=None, versions=(0, 4), **fields):
        a.ask(what, "OffsetForLeaderEpoch", versions, **{"topics": [dict(topic=name or a.topic("e"), partitions=partitions)], **fields})
    for epoch in (0, 1, 7, -1, -2, MAX32, MIN32):
        ask(f"epoch {epoch}", [dict(partition=0, leader_epoch=epoch)])
        ask(f"epoch {epoch}, empty partition", [dict(partition=1, leader_epoch=epoch)])
    for current in (0, 1, -2, MIN32):
        ask(f"current {current}", [dict(partition=0, leader_epoch=0, current_leader_epoch=current)], versions=(2, 4))
    for replica in (-1, -2, -3, 0, 5):
        ask(f"replica {replica}", [dict(partition=0, leader_epoch=0)], versions=(3, 4), replica_id=replica)
    ask("unknown partitions", [dict(partition=p, leader_epoch=0) for p in (2, -1, MIN32)])
    ask("unknown topic", [dict(partition=0, leader_epoch=0)], name=a.topic("none"))
    ask("invalid name", [dict(partition=0, leader_epoch=0)], name="a/b")
    ask("twice", [dict(partition=0, leader_epoch=0), dict(partition=0, leader_epoch=0)])
    ask("none", [], topics=[])
    ask("no partitions", [])


def cluster_questions(a):
    a.make("z")
    topic = a.topic("z")

    def dirs(answer):
        for result in answer["results"]:
            result["topics"] = sorted((t for t in result["topics"] if t["name"].startswith(a.run)), key=lambda t: t["name"])
            for t in result["topics"]:
                t["partitions"].sort(key=lambda p: p["partition_index"])
        return answer

    def log_dirs(what, topics, keep=lambda name: True):
        a.ask(what, "DescribeLogDirs", order=dirs, topics=topics)
    log_dirs("one", [dict(topic=topic, partitions=[0])])
    log_dirs("both", [dict(topic=topic, partitions=[1, 0])])
    log_dirs("twice", [dict(topic=topic, partitions=[0, 0])])
    log_dirs("unknown", [dict(topic=a.topic("none"), partitions=[0]), dict(topic=topic, partitions=[5, -1])])
    log_dirs("none", [])
    log_dirs("no partitions", [dict(topic=topic, partitions=[])])

    def elect(what, partitions, versions=(0, 2), name=topic, **fields):
        a.ask(what, "ElectLeaders", versions, **{"topic_partitions": [dict(topic=name, partitions=partitions)], "timeout_ms": 10000, **fields})
    elect("preferred", [0])
    elect("both", [0, 1])
    elect("twice", [0, 0])
    elect("unknown partition", [9, -1])
    elect("unknown topic", [0], name=a.topic("none"))
    elect("invalid name", [0], name="a/b")
    elect("unclean", [0], versions=(1, 2), election_type=1)
    elect("none", [], topic_partitions=[])
    elect("no partitions", [])
    elect("timeout 0", [0], timeout_ms=0)
    elect("topic twice", [0], topic_partitions=[dict(topic=topic, partitions=[0])] * 2)

    def alter(what, *partitions, name=topic, **fields):
        a.ask(what, "AlterPartitionReassignments", **{"topics": [dict(name=name, partitions=[dict(partition_index=p, replicas=r) for p, r in partitions])], "timeout_ms": 10000, **fields})
    alter("the same", (0, [0]))
    alter("null without one", (0, None))
    alter("no replicas", (0, []))
    alter("unknown broker", (0, [9]))
    alter("negative broker", (0, [-1]))
    alter("broker twice", (0, [0, 0]))
    alter("unknown partition", (9, [0]), (-1, [0]))
    alter("unknown topic", (0, [0]), name=a.topic("none"))
    alter("partition twice", (0, [0]), (0, None))
    alter("no partitions")
    alter("none", topics=[])

    def reassignments(what, topics):
        a.ask(what, "ListPartitionReassignments", topics=topics, timeout_ms=10000)
    reassignments("all", None)
    reassignments("none", [])
    reassignments("one", [dict(name=topic, partition_indexes=[0])])
    reassignments("unknown", [dict(name=a.topic("none"), partition_indexes=[0]), dict(name=topic, partition_indexes=[9, -1])])

    for kind in (1, 2, 3, 0, -1):
        a.ask(f"endpoints {kind}", "DescribeCluster", (1, 1), endpoint_type=kind)
    a.ask("operations", "DescribeCluster", include_cluster_authorized_operations=True)
    a.ask("plain", "DescribeCluster")

    def coordinator(what, keys, kind=0, versions=(0, 6)):
        for low, high in ((0, 3), (4, 6)):
            if versions[0] <= high and versions[1] >= low:
                fields = dict(key=keys[0]) if low == 0 else dict(coordinator_keys=keys)
                if kind is not None:
                    a.ask(what, "FindCoordinator", (max(low, versions[0], 1 if kind else 0), min(high, versions[1])), key_type=kind, **fields)
    coordinator("group", ["g"])
    coordinator("no name", [""])
    coordinator("null", [None])
    coordinator("two", ["g", "h"], versions=(4, 6))
    coordinator("one twice", ["g", "g"], versions=(4, 6))
    coordinator("none", [], versions=(4, 6))
    for kind in (2, 3, -1, 99):
        coordinator(f"type {kind}", ["g"], kind)

    def groups(answer):
        answer["groups"] = [g for g in answer["groups"] if g["group_id"].startswith(a.run)]
        return answer
    group = a.topic("listed")
    a.call("OffsetCommit", 7, group_id=group, generation_id_or_member_epoch=-1, topics=[dict(name=topic, partitions=[dict(partition_index=0, committed_offset=1)])])
    a.ask("all", "ListGroups", order=groups)
    for states in (["Empty"], ["empty"], ["EMPTY", "Stable"], ["Stable"], ["Nonsense"], ["", "Empty"], ["Dead"]):
        a.ask(f"states {states}", "ListGroups", (4, 5), order=groups, states_filter=states)
    for types in (["classic"], ["Classic"], ["CLASSIC"], ["consumer"], ["nonsense"], [""], ["classic", "consumer"]):
        a.ask(f"types {types}", "ListGroups", (5, 5), order=groups, types_filter=types)


def acl_questions(a):
    """Without an authorizer."""
    topic, prefixed = 2, 4
    right = dict(resource_type=topic, resource_name="t", principal="User:a", host="*", operation=3, permission_type=3)
    filters = dict(resource_type_filter=1, operation=1, permission_type=1)
    a.ask("any", "DescribeAcls", (0, 3), **filters)
    a.ask("a topic", "DescribeAcls", (0, 3), **{**filters, "resource_type_filter": topic, "resource_name_filter": "t", "principal_filter": "User:a"})
    a.ask("prefixed", "DescribeAcls", (1, 3), **filters, pattern_type_filter=prefixed)
    a.ask("none", "CreateAcls", (0, 3))
    a.ask("one", "CreateAcls", (0, 3), creations=[right])
    a.ask("two", "CreateAcls", (0, 3), creations=[right, {**right, "resource_name": ""}])
    a.ask("none", "DeleteAcls", (0, 3))
    a.ask("two", "DeleteAcls", (0, 3), filters=[filters, {**filters, "resource_type_filter": topic}])
    for pattern in (0, 1, 3, prefixed, 99):
        a.ask(f"pattern {pattern}", "CreateAcls", (1, 3), creations=[{**right, "resource_pattern_type": pattern}])
        a.ask(f"pattern {pattern}", "DescribeAcls", (1, 3), **filters, pattern_type_filter=pattern)
        a.ask(f"pattern {pattern}", "DeleteAcls", (1, 3), filters=[{**filters, "pattern_type_filter": pattern}])
    # Kinds that no ACL can have.
    for what, change in (("resource", "resource_type"), ("operation", "operation"), ("permission", "permission_type")):
        for value in (0, 1, 99, -1):
            a.ask(f"{what} {value}", "CreateAcls", (0, 3), creations=[{**right, change: value}])
            field = "resource_type_filter" if change == "resource_type" else change
            if value != 1:
                a.ask(f"{what} {value}", "DescribeAcls", (0, 3), **{**filters, field: value})
                a.ask(f"{what} {value}", "DeleteAcls", (0, 3), filters=[{**filters, field: value}])


def version_questions(a):
    def own(answer):  # which APIs are offered is told elsewhere: here those that answer questions above
        known = {schemas()[name][0] for name in NEWEST}
        answer["api_keys"] = " ".join(f"{k['api_key']}:{k['min_version']}-{k['max_version']}" for k in sorted(answer["api_keys"], key=lambda k: k["api_key"]) if k["api_key"] in known)
        return answer
    a.ask("good", "ApiVersions", (0, 4), order=own, client_software_name=lambda v: "probe", client_software_version=lambda v: "1.0")
    for name, version in (("", "1"), ("a", ""), ("a b", "1"), ("a", "1 2"), ("-a", "1"), ("a-", "1"), ("a.b-c", "1.2-SNAPSHOT"), ("ü", "1"), ("a" * 300, "1")):
        a.ask(f"software '{name[:4]}' of {len(name)} '{version}'", "ApiVersions", (3, 3), order=own, client_software_name=name, client_software_version=version)


def sasl_questions(a):
    """At a listener where nobody has to authenticate."""
    for mechanism in ("PLAIN", "nonsense", ""):
        a.ask(f"'{mechanism}'", "SaslHandshake", mechanism=mechanism)
    for token in (b"", b"\0user\0password"):
        a.ask(f"of {len(token)} bytes", "SaslAuthenticate", auth_bytes=token)
    a.ask("then a request", "ListGroups", (4, 4), states_filter=["Nonsense"])


SECTIONS = [produce_questions, fetch_questions, list_offsets_questions, metadata_questions, create_topics_questions, delete_topics_questions, create_partitions_questions,
            delete_records_questions, producer_questions, epoch_questions, cluster_questions, version_questions, acl_questions, sasl_questions]


def lines_of(port, only=""):
    lines = []
    first = Asker(port)  # the topic of the groups' offsets is made at the first look-up; the answers do not tell when
    for _ in range(200):
        if first.call("FindCoordinator", 4, coordinator_keys=["first"])["coordinators"][0]["error_code"] == 0:
            break
        time.sleep(0.1)
    first.close()
    for section in SECTIONS:
        name = section.__name__.removesuffix("_questions")
        if only not in name:
            continue
        asker = Asker(port)
        section(asker)
        asker.close()
        lines.append(f"== {name}")
        lines += [f"   {line}" for line in asker.lines if not line.startswith(tuple(ON_PURPOSE))]
    return lines
