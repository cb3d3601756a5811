"""What a group coordinator answers, case by case. The same calls go to Odradek and to Apache Kafka; the printed lines must be equal.

Broker settings: group.initial.rebalance.delay.ms=1000, group.min.session.timeout.ms=1000, group.max.size=3,
offsets.topic.num.partitions=3, offsets.retention.check.interval.ms=1000, offset.metadata.max.bytes=16. Topics orders, other (3 partitions)."""
import random
import re
import struct
import threading
import time

from lib.messages import Connection

PROPERTIES = {
    "group.initial.rebalance.delay.ms": "1000",
    "group.min.session.timeout.ms": "1000",
    "group.max.size": "3",
    "offsets.topic.num.partitions": "3",
    "offsets.topic.replication.factor": "1",
    "offsets.retention.check.interval.ms": "1000",
    "offset.metadata.max.bytes": "16",
}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def subscription(*topics):
    return struct.pack(">hi", 0, len(topics)) + b"".join(struct.pack(">h", len(t)) + t.encode() for t in topics) + struct.pack(">i", -1)


class Scenario:
    """Connections to one broker and the lines that say what came back. Member ids are replaced by the names that the case gives them."""

    def __init__(self, port, name):
        self.port, self.name, self.lines, self.names, self.connections = port, name, [], {}, []
        self.run = f"-{random.randrange(1 << 40)}"  # the same broker may see the cases again
        self.main = self.connect()

    def connect(self, client_id="probe"):
        connection = Connection(self.port, client_id=client_id)
        self.connections.append(connection)
        return connection

    def close(self):
        for connection in self.connections:
            connection.close()

    def group(self, suffix=""):
        return f"{self.name}{self.run}{suffix}"

    def say(self, what, value):
        self.lines.append(f"{what}: {self.clean(value)}")

    def clean(self, value):
        if isinstance(value, dict):
            if isinstance(value.get("members"), list):  # no order is promised
                value["members"].sort(key=lambda m: (m.get("error_code", 0), self.names.get(m["member_id"], m["member_id"])))
            return {k: self.clean(v) for k, v in sorted(value.items()) if k != "throttle_time_ms"}
        if isinstance(value, (list, tuple)):
            return [self.clean(each) for each in value]
        if isinstance(value, str):
            value = self.names.get(value, value) if value else value
            return UUID.sub("<uuid>", value).replace(self.run, "")
        return value

    def call(self, what, api, version, **fields):
        """One call on the main connection, its answer printed."""
        answer = self.main.call(api, version, **fields)
        self.say(what, answer)
        return answer

    # --- members --------------------------------------------------------------------------------------------------------------
    def join_fields(self, version, member="", instance=None, protocols=None, session=6000, rebalance=8000, kind="consumer", group=None):
        fields = dict(group_id=self.group() if group is None else group, session_timeout_ms=session, member_id=member, protocol_type=kind,
                      protocols=[dict(name=n, metadata=m) for n, m in (protocols if protocols is not None else [("range", subscription("orders"))])])
        if version >= 1:
            fields["rebalance_timeout_ms"] = rebalance
        if version >= 5:
            fields["group_instance_id"] = instance
        return fields

    def start_join(self, version=5, connection=None, **options):
        connection = connection or self.connect()
        connection.send("JoinGroup", version, **self.join_fields(version, **options))
        return connection

    def join(self, version=5, **options):
        """Joins on a connection of its own and waits for the answer; a required member id is used at once."""
        connection = self.connect()
        answer = connection.call("JoinGroup", version, **self.join_fields(version, **options))
        if answer["error_code"] == 79:
            options["member"] = answer["member_id"]
            answer = connection.call("JoinGroup", version, **self.join_fields(version, **options))
        return answer

    def named(self, name, answer):
        if answer["member_id"]:
            self.names[answer["member_id"]] = name
        return answer

    def sync_fields(self, version, member, generation, assignments=(), instance=None, kind="consumer", protocol="range", group=None):
        fields = dict(group_id=self.group() if group is None else group, generation_id=generation, member_id=member,
                      assignments=[dict(member_id=m, assignment=a) for m, a in assignments])
        if version >= 3:
            fields["group_instance_id"] = instance
        if version >= 5:
            fields["protocol_type"], fields["protocol_name"] = kind, protocol
        return fields

    def sync(self, version, member, generation, assignments=(), **options):
        connection = self.connect()
        return connection.call("SyncGroup", version, **self.sync_fields(version, member, generation, assignments, **options))

    def heartbeat(self, member, generation, version=3, instance=None, group=None):
        fields = dict(group_id=self.group() if group is None else group, generation_id=generation, member_id=member)
        if version >= 3:
            fields["group_instance_id"] = instance
        return self.main.call("Heartbeat", version, **fields)["error_code"]

    def leave(self, *members, version=3):
        """Members are (id, instance)."""
        if version < 3:
            return self.main.call("LeaveGroup", version, group_id=self.group(), member_id=members[0][0])
        return self.main.call("LeaveGroup", version, group_id=self.group(), members=[dict(member_id=m, group_instance_id=i) for m, i in members])

    def commit(self, topic="orders", offset=1, partition=0, version=7, member="", generation=-1, metadata="", instance=None, group=None, **more):
        fields = dict(group_id=self.group() if group is None else group)
        entry = dict(partition_index=partition, committed_offset=offset, committed_metadata=metadata)
        if version >= 1:
            fields.update(generation_id_or_member_epoch=generation, member_id=member)
        if version >= 7:
            fields["group_instance_id"] = instance
        if version >= 6:
            entry["committed_leader_epoch"] = 7
        if "commit_timestamp" in more:
            entry["commit_timestamp"] = more.pop("commit_timestamp")
        fields.update(more)
        return self.main.call("OffsetCommit", version, topics=[dict(name=topic, partitions=[entry])], **fields)

    def commit_error(self, **options):
        return self.commit(**options)["topics"][0]["partitions"][0]["error_code"]

    def fetch(self, topics=(("orders", (0,)),), version=5, group=None, **more):
        return self.main.call("OffsetFetch", version, group_id=self.group() if group is None else group,
                              topics=None if topics is None else [dict(name=t, partition_indexes=list(p)) for t, p in topics], **more)

    def describe(self, version=4, group=None, **more):
        return self.main.call("DescribeGroups", version, groups=[self.group() if group is None else group], **more)["groups"][0]

    def state(self):
        return self.describe()["group_state"]

    def stable(self, count=1, **options):
        """`count` members, each synced; their ids, the leader first."""
        # (v3 where it may be: from v4 on an id is given out first, and Kafka forgets a group that has nothing else at its next check.)
        version = 5 if "instance" in options else 3
        connections = []
        for i in range(count):
            each = dict(options)
            if "instance" in each:
                each["instance"] = f"{each['instance']}{i}"
            connections.append(self.start_join(version, **each))
            time.sleep(0.1)
        answers = [connection.receive() for connection in connections]
        assert all(answer["error_code"] == 0 and answer["generation_id"] == 1 for answer in answers), answers
        leader = answers[0]["leader"]
        ids = [leader] + [a["member_id"] for a in answers if a["member_id"] != leader]
        for i, member in enumerate(ids):
            self.names[member] = f"<m{i}>"
        generation = answers[0]["generation_id"]
        waiting = []
        for member in ids[1:]:
            connection = self.connect()
            connection.send("SyncGroup", 2 if version < 5 else 3, **self.sync_fields(2 if version < 5 else 3, member, generation))
            waiting.append(connection)
        time.sleep(0.1)
        self.sync(2, leader, generation, [(m, f"to {i}".encode()) for i, m in enumerate(ids)])
        for connection in waiting:
            connection.receive()
        return ids


def case_join_versions(s):
    for version in range(0, 10):
        answer = s.join(version, group=s.group(str(version)))
        s.named("<me>", answer)
        s.say(f"v{version}", answer)


def case_member_id_required(s):
    for version in (3, 4, 5, 9):
        connection = s.start_join(version, group=s.group(str(version)))
        s.say(f"v{version} asks back", connection.receive()["error_code"])


def case_join_errors(s):
    s.say("empty group", s.join(5, group=""))
    s.say("unknown member", s.join(5, member="stranger"))
    s.say("session too short", s.join(5, session=999))
    s.say("session too long", s.join(5, session=1800001))
    s.say("no protocols", s.join(5, protocols=[]))
    s.say("no type", s.join(5, kind=""))
    s.say("no type v3", s.join(3, kind=""))
    ids = s.stable()
    s.say("other type", s.join(5, kind="connect"))
    s.say("other protocol", s.join(5, protocols=[("sticky", b"")]))
    s.say("known member, other type", s.join(5, member=ids[0], kind="connect"))
    s.say("state", s.state())


def case_session_timeout_bounds(s):
    s.say("shortest", s.join(5, session=1000)["error_code"])


def case_rebalance_and_heartbeats(s):
    ids = s.stable(2)
    s.say("stable", s.heartbeat(ids[0], 1))
    s.say("wrong generation", s.heartbeat(ids[0], 0))
    s.say("wrong member", s.heartbeat("stranger", 1))
    s.say("wrong group", s.heartbeat(ids[0], 1, group=s.group("-none")))
    s.say("empty group", s.heartbeat(ids[0], 1, group=""))
    s.say("wrong instance", s.heartbeat(ids[0], 1, instance="nobody"))
    joining = s.start_join(5, member=ids[0], protocols=[("range", subscription("other"))])
    time.sleep(0.1)
    s.say("state", s.state())
    s.say("preparing", s.heartbeat(ids[1], 1))
    s.say("commit while preparing", s.commit_error(member=ids[1], generation=1))
    s.say("sync while preparing", s.sync(3, ids[1], 1)["error_code"])
    again = s.start_join(5, member=ids[1])
    first, second = joining.receive(), again.receive()
    s.say("leader again", first)
    s.say("follower again", second)
    s.say("state", s.state())
    s.say("completing", s.heartbeat(ids[1], 2))
    s.say("commit while completing", s.commit_error(member=ids[1], generation=2))
    s.say("repeated join while completing", s.join(5, member=ids[1]))
    s.say("sync by leader", s.sync(3, ids[0], 2, [(ids[0], b"x")]))
    s.say("sync by follower, forgotten", s.sync(3, ids[1], 2))
    s.say("follower joins unchanged in stable", s.join(5, member=ids[1]))


def case_sync_errors(s):
    ids = s.stable()
    s.say("unknown group", s.sync(3, "m", 1, group=s.group("-none")))
    s.say("empty group", s.sync(3, "m", 1, group=""))
    s.say("unknown member", s.sync(3, "stranger", 1))
    s.say("wrong generation", s.sync(3, ids[0], 9))
    s.say("v5 without type", s.sync(5, ids[0], 1, kind=None))
    s.say("v5 without name", s.sync(5, ids[0], 1, protocol=None))
    s.say("v5 wrong type", s.sync(5, ids[0], 1, kind="connect"))
    s.say("v5 wrong name", s.sync(5, ids[0], 1, protocol="sticky"))
    s.say("v5 right", s.sync(5, ids[0], 1))
    s.say("v0 right", s.sync(0, ids[0], 1))


def case_group_max_size(s):
    ids = s.stable(3)
    s.say("fourth", s.join(5))
    s.say("fourth v3", s.join(3))
    s.say("state", s.state())


def case_static_members(s):
    ids = s.stable(2, instance="i")
    described = {m["member_id"]: m["group_instance_id"] for m in s.describe()["members"]}
    follower = ids[1]
    instance = described[follower]
    s.say("heartbeat with instance", s.heartbeat(follower, 1, instance=instance))
    back = s.join(5, instance=instance)
    s.names[back["member_id"]] = "<m1 again>"
    back["leader"] = "<m0>" if back["leader"] == ids[0] else back["leader"]
    s.say("follower is back", back)
    s.say("state", s.state())
    s.say("its assignment", s.sync(3, back["member_id"], 1, instance=instance))
    s.say("old id heartbeat with instance", s.heartbeat(follower, 1, instance=instance))
    s.say("old id heartbeat without", s.heartbeat(follower, 1))
    s.say("old id sync", s.sync(3, follower, 1, instance=instance))
    s.say("old id commit", s.commit_error(member=follower, generation=1, instance=instance))
    s.say("old id join", s.join(5, member=follower, instance=instance))
    s.say("old id leave", s.leave((follower, instance)))
    lead_instance = described[ids[0]]
    lead = s.join(5, instance=lead_instance)
    s.say("leader back before v9 sees its old id", lead["leader"] == ids[0])
    s.say("members told", lead["members"])
    current = lead["member_id"]
    s.names[current] = "<m0 again>"
    lead9 = s.join(9, instance=lead_instance)
    s.names[lead9["member_id"]] = "<m0 third>"
    s.say("leader back with v9", lead9)
    s.say("state", s.state())
    s.say("administrator removes unknown", s.leave(("", "nobody")))
    s.say("administrator removes", s.leave(("", instance)))
    s.say("state", s.state())


def case_static_duplicate_fences(s):
    first = s.start_join(5, instance="one")
    time.sleep(0.1)
    second = s.start_join(5, instance="one")
    answer = first.receive()
    s.say("first", answer["error_code"])
    s.say("second", second.receive()["error_code"])


def case_static_changed_protocol(s):
    s.stable(1, instance="p", protocols=[("range", b"r"), ("sticky", b"s")])
    answer = s.join(5, instance="p0", protocols=[("sticky", b"s2"), ("range", b"r2")])
    s.named("<again>", answer)
    s.say("again", answer)


def case_leave(s):
    ids = s.stable(3)
    s.commit(member=ids[0], generation=1)  # else the check of offsets could remove the group when it is empty
    s.say("unknown and known", s.leave(("stranger", None), (ids[2], None)))
    s.say("none", s.leave(("", None)))
    s.say("v2 unknown", s.leave(("stranger", None), version=2))
    s.say("v2 known", s.leave((ids[1], None), version=2))
    s.say("v0 known", s.leave((ids[0], None), version=0))
    time.sleep(0.2)
    described = s.describe()
    s.say("then", described)
    s.say("unknown group v3", s.main.call("LeaveGroup", 3, group_id=s.group("-none"), members=[dict(member_id="m", group_instance_id=None)]))
    s.say("unknown group v1", s.main.call("LeaveGroup", 1, group_id=s.group("-none"), member_id="m"))
    s.say("empty group", s.main.call("LeaveGroup", 3, group_id="", members=[dict(member_id="m", group_instance_id=None)]))
    s.say("no members", s.main.call("LeaveGroup", 4, group_id=s.group(), members=[]))


def case_pending_member_leaves(s):
    connection = s.start_join(5)
    answer = connection.receive()
    s.say("asked", answer["error_code"])
    s.say("leaves", s.leave((answer["member_id"], None))["members"][0]["error_code"])
    s.say("joins then", s.join(5, member=answer["member_id"])["error_code"])


def case_session_expiry(s):
    ids = s.stable(2, session=1500)
    for _ in range(4):
        time.sleep(0.7)
        s.heartbeat(ids[0], 1)
    s.say("state", s.state())
    s.say("survivor", s.heartbeat(ids[0], 1))
    s.say("expired", s.heartbeat(ids[1], 1))
    s.say("again", s.join(5, member=ids[0], session=1500)["generation_id"])


def case_rebalance_timeout(s):
    ids = s.stable(2, session=6000, rebalance=1500)
    began = time.monotonic()
    answer = s.join(5, member=ids[0], session=6000, rebalance=1500)
    waited = time.monotonic() - began
    s.say("waited about 1.5 s", 1.2 < waited < 2.5)
    s.say("members left", len(answer["members"]))
    s.say("late one", s.heartbeat(ids[1], 2))


def case_sync_timeout(s):
    ids = s.stable(2, session=6000, rebalance=1500)
    joins = [s.start_join(5, member=ids[0], session=6000, rebalance=1500)]
    time.sleep(0.1)
    joins.append(s.start_join(5, member=ids[1], session=6000, rebalance=1500))
    for each in joins:
        each.receive()
    waiting = s.connect()
    waiting.send("SyncGroup", 3, **s.sync_fields(3, ids[1], 2))
    began = time.monotonic()
    s.say("follower is sent back", waiting.receive())
    s.say("after about 1.5 s", 1.2 < time.monotonic() - began < 2.5)
    s.say("leader is out", s.heartbeat(ids[0], 2))


def case_initial_delay(s):
    began = time.monotonic()
    first = s.start_join(3)
    time.sleep(0.3)
    second = s.start_join(3)
    first.receive(), second.receive()
    s.say("seconds", round(time.monotonic() - began))


def case_initial_delay_of_used_group(s):
    ids = s.stable(1)
    s.commit(member=ids[0], generation=1)  # else the check of offsets could remove the group when it is empty
    s.leave((ids[0], None))
    time.sleep(0.1)
    began = time.monotonic()
    first = s.start_join(3)
    time.sleep(0.3)
    second = s.start_join(3)
    first.receive(), second.receive()
    s.say("seconds", round(time.monotonic() - began))


def case_simple_commits(s):
    for version in range(1, 10):
        s.say(f"commit v{version}", s.commit(offset=version, version=version))
    for version in range(1, 8):
        s.say(f"fetch v{version}", s.fetch(version=version, topics=(("orders", (0, 1)), ("nothing", (0,)))))
    for version in (8, 9):
        s.say(f"fetch v{version}", s.main.call("OffsetFetch", version, groups=[
            dict(group_id=s.group(), topics=[dict(name="orders", partition_indexes=[0])]), dict(group_id=s.group("-none"), topics=None)]))
    s.say("all v2", s.fetch(None, 2))
    s.say("all of unknown", s.fetch(None, 5, group=s.group("-none")))
    s.say("stable v7", s.fetch(version=7, require_stable=True))
    s.say("described", s.describe())


def case_commit_errors(s):
    s.say("unknown group with generation", s.commit(member="m", generation=3))
    s.say("unknown topic", s.commit(topic="unknown-topic"))
    s.say("partition beyond", s.commit(partition=99))
    s.say("negative partition", s.commit(partition=-1))
    s.say("metadata too long", s.commit(metadata="x" * 17))
    s.say("metadata of 16 wide characters", s.commit(metadata="\u00e9" * 16))
    s.say("metadata null", s.commit(metadata=None))
    s.say("empty group id", s.commit(group="")["topics"][0]["partitions"][0]["error_code"])
    s.say("fetch of empty group id", s.fetch(group=""))
    s.say("no topics", s.main.call("OffsetCommit", 7, group_id=s.group(), generation_id_or_member_epoch=-1, member_id="", group_instance_id=None, topics=[]))
    ids = s.stable()
    s.say("not a member", s.commit_error())
    s.say("stranger", s.commit_error(member="stranger", generation=1))
    s.say("stranger without generation", s.commit_error(member="stranger"))
    s.say("old generation", s.commit_error(member=ids[0], generation=0))
    s.say("instance unknown", s.commit_error(member=ids[0], generation=1, instance="nobody"))
    s.say("member", s.commit_error(member=ids[0], generation=1))


def case_offsets_v0(s):
    s.say("commit", s.commit(version=0, offset=12))
    s.say("fetch", s.fetch(version=0, topics=(("orders", (0, 1)),)))
    s.say("fetch v1 does not see it", s.fetch(version=1))
    s.say("unknown topic", s.commit(version=0, topic="unknown-topic"))
    s.say("fetch unknown topic", s.fetch(version=0, topics=(("unknown-topic", (0,)),)))
    s.say("metadata too long", s.commit(version=0, metadata="x" * 17))
    s.say("again", s.commit(version=0, offset=13))
    s.say("fetch again", s.fetch(version=0))


def case_expiry(s):
    s.say("one second", s.commit(version=3, retention_time_ms=1000))
    s.say("kept", s.commit(version=3, partition=1, retention_time_ms=3600000))
    s.say("old timestamp v1", s.commit(version=1, partition=2, commit_timestamp=1))
    time.sleep(4)
    s.say("left", s.fetch(topics=(("orders", (0, 1, 2)),)))


def case_describe(s):
    s.say("unknown", s.describe())
    for version in range(0, 6):
        s.say(f"unknown v{version}", s.describe(version))
    ids = s.stable()
    for version in range(0, 6):
        more = dict(include_authorized_operations=True) if version >= 3 else {}
        s.say(f"stable v{version}", s.describe(version, **more))
    joining = s.start_join(3)
    time.sleep(0.1)
    described = s.describe()
    s.say("preparing", described)
    s.leave((ids[0], None))
    joining.receive()
    described = s.describe()
    s.say("completing", described)


def case_list(s):
    ids = s.stable()
    s.commit(group=s.group("-offsets"))
    def listed(version, **more):
        answer = s.main.call("ListGroups", version, **more)
        groups = [g for g in answer["groups"] if g["group_id"].startswith(s.group())]
        return answer["error_code"], sorted(groups, key=lambda g: g["group_id"])
    for version in range(0, 6):
        s.say(f"v{version}", listed(version))
    s.say("Stable", listed(4, states_filter=["Stable"]))
    s.say("stable", listed(4, states_filter=["stable"]))
    s.say("Empty, Dead", listed(4, states_filter=["Empty", "Dead"]))
    s.say("nonsense", listed(4, states_filter=["nonsense"]))
    s.say("classic", listed(5, types_filter=["classic"]))
    s.say("Classic", listed(5, types_filter=["Classic"]))
    s.say("consumer", listed(5, types_filter=["consumer"]))
    s.say("nonsense type", listed(5, types_filter=["nonsense"]))
    s.say("both", listed(5, states_filter=["Stable"], types_filter=["classic"]))


def case_delete_groups(s):
    ids = s.stable()
    s.commit(group=s.group("-offsets"))
    def delete(version, *groups):
        answer = s.main.call("DeleteGroups", version, groups_names=list(groups))
        answer["results"].sort(key=lambda r: r["group_id"])
        return answer
    s.commit(member=ids[0], generation=1)  # else the check of offsets could remove the group when it is empty
    s.say("mixed", delete(1, s.group(), s.group("-offsets"), s.group("-none")))
    s.say("again", delete(2, s.group("-offsets"), s.group("-offsets")))
    s.leave((ids[0], None))
    time.sleep(0.1)
    s.say("empty group", delete(1, s.group()))
    s.say("then", s.describe())
    s.say("offsets", s.fetch(group=s.group("-offsets")))


def case_offset_delete(s):
    def delete(*topics, group=None):
        answer = s.main.call("OffsetDelete", 0, group_id=s.group() if group is None else group,
                             topics=[dict(name=t, partitions=[dict(partition_index=p) for p in parts]) for t, parts in topics])
        answer["topics"].sort(key=lambda t: t["name"])
        for topic in answer["topics"]:
            topic["partitions"].sort(key=lambda p: p["partition_index"])
        return answer
    s.say("unknown group", delete(("orders", (0,))))
    s.say("empty group id", delete(("orders", (0,)), group=""))
    s.say("unknown topic", delete(("unknown-topic", (0,))))
    s.say("no topic", delete())
    ids = s.stable()
    s.say("commit", s.commit_error(member=ids[0], generation=1))
    s.say("commit", s.commit_error(topic="other", member=ids[0], generation=1))
    s.say("while subscribed", delete(("orders", (0, 99)), ("other", (0, 2, 99)), ("unknown-topic", (1,))))
    s.say("only unknown", delete(("unknown-topic", (1,))))
    s.say("left", s.fetch(topics=(("orders", (0,)), ("other", (0,)))))
    s.leave((ids[0], None))
    time.sleep(0.1)
    s.say("when empty", delete(("orders", (0,))))
    s.say("left", s.fetch(topics=(("orders", (0,)), ("other", (0,)))))
    other = s.join(5, kind="connect", protocols=[("p", b"")], group=s.group("-connect"))
    s.say("other protocol type", delete(("orders", (0,)), group=s.group("-connect")))
    s.say("its member", other["error_code"])


def case_protocol_vote(s):
    a = s.start_join(3, protocols=[("x", b"ax"), ("range", b"ar"), ("sticky", b"as")])
    time.sleep(0.1)
    b = s.start_join(3, protocols=[("sticky", b"bs"), ("range", b"br")])
    c = s.start_join(3, protocols=[("sticky", b"cs"), ("range", b"cr")])
    answers = [each.receive() for each in (a, b, c)]
    s.say("chosen", [each["protocol_name"] for each in answers])
    leader = next(each for each in answers if each["members"])
    s.say("metadata", sorted(m["metadata"] for m in leader["members"]))


def case_duplicate_assignment_and_unknown_members(s):
    ids = s.stable(2)
    joins = [s.start_join(5, member=ids[0])]
    time.sleep(0.1)
    joins.append(s.start_join(5, member=ids[1]))
    for each in joins:
        each.receive()
    s.say("leader", s.sync(3, ids[0], 2, [("stranger", b"x"), (ids[1], b"first"), (ids[1], b"second")]))
    s.say("follower", s.sync(3, ids[1], 2))


CASES = [value for name, value in sorted(globals().items()) if name.startswith("case_")]


def run(port, only=None):
    """All cases against the broker on this port; {case: lines}."""
    results, lock = {}, threading.Lock()

    def one(case):
        name = case.__name__[len("case_"):]
        scenario = Scenario(port, name)
        try:
            case(scenario)
        except Exception as error:  # the other broker may answer where this one does not
            scenario.lines.append(f"stopped: {type(error).__name__} {error}")
        finally:
            scenario.close()
        with lock:
            results[name] = scenario.lines

    threads = [threading.Thread(target=one, args=(case,)) for case in CASES if only is None or only in case.__name__]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def create_topics(port):
    connection = Connection(port)
    connection.call("CreateTopics", 4, topics=[dict(name=name, num_partitions=3, replication_factor=1, assignments=[], configs=[])
                                               for name in ("orders", "other")], timeout_ms=20000, validate_only=False)
    # Makes __consumer_offsets, and waits for it.
    for _ in range(200):
        answer = connection.call("FindCoordinator", 2, key="anything", key_type=0)
        if answer["error_code"] == 0 and connection.call("DescribeGroups", 0, groups=["a", "b", "c", "anything"])["groups"][3]["error_code"] == 0:
            break
        time.sleep(0.1)
    if all(g["error_code"] == 0 for g in connection.call("DescribeGroups", 0, groups=["a", "b", "c", "d"])["groups"]):
        connection.close()
        return
    time.sleep(2)
    connection.close()
