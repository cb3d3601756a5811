#!/usr/bin/env python3
# timeout: 600
"""What Kafka 4.3.1's command line tools print for the broker is what they print for Apache Kafka 3.9.2 (tool_answers-3.9.2.txt).

test_tool_answers.py --record PORT   prints what they print for a new broker that runs with the settings of PROPERTIES"""
import difflib
import json
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from broker import Broker, not_run
import environments

PROPERTIES = {"num.partitions": "1", "offsets.topic.num.partitions": "2", "group.initial.rebalance.delay.ms": "0"}
TOOLS = {
    "topics": "org.apache.kafka.tools.TopicCommand",
    "configs": "kafka.admin.ConfigCommand",
    "groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "all-groups": "org.apache.kafka.tools.GroupsCommand",
    "offsets": "org.apache.kafka.tools.GetOffsetShell",
    "reassign": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "elect": "org.apache.kafka.tools.LeaderElectionCommand",
    "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "produce": "org.apache.kafka.tools.ConsoleProducer",
    "consume": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "streams-groups": "org.apache.kafka.tools.streams.StreamsGroupCommand",
    "share-groups": "org.apache.kafka.tools.consumer.group.ShareGroupCommand",
    "quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "features": "org.apache.kafka.tools.FeatureCommand",
    "client-metrics": "org.apache.kafka.tools.ClientMetricsCommand",
    "acls": "org.apache.kafka.tools.AclCommand",
}
FILES = {
    "delete.json": {"partitions": [{"topic": "t", "partition": 0, "offset": 2}, {"topic": "t", "partition": 1, "offset": -1}], "version": 1},
    "beyond.json": {"partitions": [{"topic": "t", "partition": 0, "offset": 500}, {"topic": "none", "partition": 1, "offset": -1}], "version": 1},
    "compacted.json": {"partitions": [{"topic": "compacted", "partition": 0, "offset": 1}], "version": 1},
    "topics.json": {"topics": [{"topic": "a.b"}], "version": 1},
    "move.json": {"version": 1, "partitions": [{"topic": "t", "partition": 0, "replicas": [0]}]},
    "dead.json": {"version": 1, "partitions": [{"topic": "t", "partition": 0, "replicas": [7]}]},
    "elect.json": {"partitions": [{"topic": "t", "partition": 0}, {"topic": "none", "partition": 0}]},
}
# A line: a tool and its options; behind "<" its standard input, behind "@" a file. What may differ on purpose is not asked.
LINES = """
topics --list
topics --create --topic t --partitions 3 --config retention.ms=3600000 --config min.insync.replicas=1
topics --create --topic t
topics --create --topic t --if-not-exists
topics --create --topic compacted --config cleanup.policy=compact
topics --create --topic a.b
topics --create --topic a_b
topics --create --topic bad/name
topics --create --topic rf3 --replication-factor 3
topics --create --topic p0 --partitions 0
topics --create --topic bad --config no.such.config=1
topics --create --topic bad --config retention.ms=abc
topics --create --topic bad --config cleanup.policy=wrong
topics --create --topic bad --config remote.storage.enable=true
topics --create --topic assigned --replica-assignment 0,0
topics --create --topic bad --replica-assignment 0:0
topics --list
topics --describe
topics --describe --topic none
topics --describe --topic none --if-exists
topics --describe --topic-id AAAAAAAAAAAAAAAAAAAAAQ
topics --describe --under-replicated-partitions
topics --describe --at-min-isr-partitions
topics --describe --topics-with-overrides
topics --describe --partition-size-limit-per-response 2
topics --alter --topic t --partitions 4
topics --alter --topic t --partitions 2
topics --alter --topic t --partitions 4
topics --alter --topic none --partitions 4
topics --alter --topic t --partitions 6 --replica-assignment 0,0,0,0,0,0
topics --delete --topic none
topics --delete --topic none --if-exists
topics --delete --topic assigned
configs --describe --entity-type topics --entity-name t
configs --describe --entity-type topics
configs --describe --entity-type topics --entity-name none
configs --alter --entity-type topics --entity-name t --add-config segment.bytes=1048576,cleanup.policy=[compact,delete]
configs --alter --entity-type topics --entity-name t --delete-config cleanup.policy
configs --alter --entity-type topics --entity-name t --delete-config flush.ms
configs --alter --entity-type topics --entity-name t --add-config wrong=1
configs --alter --entity-type topics --entity-name t --add-config segment.bytes=abc
configs --alter --entity-type topics --entity-name t --add-config segment.bytes=-5
configs --alter --entity-type topics --entity-name none --add-config segment.bytes=1048576
configs --describe --entity-type topics --entity-name t
configs --describe --entity-type brokers --entity-name 0
configs --describe --entity-type brokers --entity-default
configs --describe --entity-type brokers --entity-name 5
configs --alter --entity-type brokers --entity-name 0 --add-config log.cleaner.threads=2
configs --alter --entity-type brokers --entity-default --add-config log.retention.ms=100000000
configs --alter --entity-type brokers --entity-name 0 --add-config broker.id=3
configs --alter --entity-type brokers --entity-name 5 --add-config log.cleaner.threads=2
configs --alter --entity-type brokers --entity-name 0 --delete-config log.cleaner.threads
configs --alter --entity-type brokers --entity-default --delete-config log.retention.ms
configs --describe --entity-type client-metrics
configs --alter --entity-type client-metrics --entity-name m --add-config interval.ms=1000
configs --describe --entity-type groups
produce --topic t --reader-property parse.key=true --reader-property key.separator=: < a:1\\nb:2\\nc:3\\nd:4\\ne:5\\nf:6\\ng:7\\nh:8\\ni:9\\n
consume --topic t --group g1 --from-beginning --max-messages 9 --timeout-ms 20000
consume --topic t --partition 1 --offset 0 --max-messages 2 --timeout-ms 20000 --formatter-property print.key=true --formatter-property print.offset=true --formatter-property print.epoch=true
offsets --topic t
offsets --topic t --time -2
offsets --topic t --time -4
offsets --topic t --time -5
offsets --topic t --time 1700000000000
offsets --topic t --time 9900000000000
offsets --topic-partitions t:0-1,none:1
offsets --topic none
groups --list
groups --list --state
groups --list --state Empty,Dead
groups --list --type
groups --list --type consumer
groups --describe --group g1
groups --describe --group g1 --members --verbose
groups --describe --group g1 --offsets --verbose
groups --describe --group none
groups --describe --group none --state
groups --describe --group none --members
groups --describe --all-groups
groups --reset-offsets --group g1 --topic t --to-earliest --dry-run
groups --reset-offsets --group g1 --topic t --to-latest --execute
groups --reset-offsets --group g1 --topic t:0,1 --to-offset 1 --execute
groups --reset-offsets --group g1 --topic t --to-offset 300000 --execute
groups --reset-offsets --group g1 --topic t --shift-by -1 --execute
groups --reset-offsets --group g1 --topic t --shift-by -1000 --execute
groups --reset-offsets --group g1 --topic t --to-datetime 2023-11-14T00:00:00.000 --execute
groups --reset-offsets --group g1 --topic t --to-datetime 2199-11-14T00:00:00.000 --execute
groups --reset-offsets --group g1 --topic t --by-duration P1D --execute
groups --reset-offsets --group g1 --topic t --to-current --export
groups --reset-offsets --group g1 --all-topics --to-earliest --execute
groups --reset-offsets --group fresh --topic t --to-earliest --execute
groups --reset-offsets --group fresh --topic none --to-earliest --execute
groups --reset-offsets --all-groups --all-topics --to-latest --dry-run
groups --delete-offsets --group g1 --topic t:0
groups --delete-offsets --group g1 --topic t:9
groups --delete-offsets --group g1 --topic none
groups --delete-offsets --group none --topic t
groups --describe --group g1
groups --delete --group fresh
groups --delete --group none
all-groups --list
all-groups --list --share
all-groups --list --streams
all-groups --list --protocol consumer
delete-records --offset-json-file @delete.json
delete-records --offset-json-file @compacted.json
offsets --topic t --time -2
log-dirs --describe --topic-list a.b --broker-list 0
log-dirs --describe --broker-list 0,5
log-dirs --describe --topic-list none
reassign --generate --topics-to-move-json-file @topics.json --broker-list 0
reassign --generate --topics-to-move-json-file @topics.json --broker-list 0,7
reassign --execute --reassignment-json-file @move.json
reassign --verify --reassignment-json-file @move.json
reassign --execute --reassignment-json-file @dead.json
reassign --execute --reassignment-json-file @move.json --throttle 100000
reassign --verify --reassignment-json-file @move.json
reassign --list
reassign --cancel --reassignment-json-file @move.json
elect --election-type preferred --topic t --partition 0
elect --election-type preferred --all-topic-partitions
elect --election-type unclean --topic t --partition 0
elect --election-type preferred --path-to-json-file @elect.json
streams-groups --list
streams-groups --describe --group s
streams-groups --delete --group s
share-groups --list
share-groups --describe --group s
share-groups --describe --group g1
share-groups --delete --group s
quorum describe --status
features describe
client-metrics --list
acls --list
topics --delete --topic a.*
topics --delete --topic __consumer_offsets
topics --list
"""


def answers(port):
    """What the tools print, one text a line of LINES: its lines sorted (some come in the order of a hash), columns one space apart."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, content in FILES.items():
            (folder / name).write_text(json.dumps(content))
        commands = []
        for line in LINES.split("\n")[1:-1]:
            line, _, text = line.partition(" < ")
            words = line.split(" ")
            words[:1] = [TOOLS[words[0]], "--bootstrap-server", f"127.0.0.1:{port}"]
            words = [str(folder / word[1:]) if word.startswith("@") else word for word in words]
            commands.append("\t".join(words) + ("\t\t" + text if text else ""))
        (folder / "commands").write_text("\n".join(commands) + "\n")
        command = environments.java(HERE / "programs/Tools.java", "4.3.1")
        command[1:1] = ["-Dlog4j2.level=OFF"]
        printed = subprocess.run([*command, str(folder / "commands")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=550).stdout
        printed = printed.replace(str(folder) + "/", "@").replace(str(port), "PORT")
    printed = re.sub(r"((?:TopicId|topicId)[:=] ?)[\w-]{22}", r"\1ID", printed)
    printed = re.sub(r'"(log_dirs|logDir)":(\[?)"[^"]*"', r'"\1":\2"DIR"', printed)
    result = []
    for block in re.split(r"^== ", printed, flags=re.M)[1:]:
        first, *rest = block.splitlines()
        rest = [re.sub(r"\s+", " ", line).strip() for line in rest if not re.match(r"\s+at |\s*\.\.\. \d+ more|Tools\$Exited", line)]
        exits = [line for line in rest if re.fullmatch(r"exit \d+", line)]  # some tools catch what leaves them, and leave again
        rest = [line for line in rest if line not in exits[:1]]
        if exits:
            rest[-1] = "-- " + exits[0]
        result.append(["== " + first, *sorted(line for line in rest[:-1] if line), rest[-1]])
    return [line for block in result for line in block]


def main():
    if sys.argv[1:2] == ["--record"]:
        print("\n".join(answers(int(sys.argv[2]))))
        return
    try:
        environments.kafka_class_path("4.3.1")
    except environments.Missing as why:
        not_run(str(why))
    expected = (HERE / "tool_answers-3.9.2.txt").read_text().splitlines()
    with Broker(PROPERTIES) as broker:
        got = answers(broker.port)
    difference = list(difflib.unified_diff(expected, got, "Apache Kafka 3.9.2", "Odradek", n=2, lineterm=""))
    print("\n".join(difference) or f"{len(got)} lines are equal")
    sys.exit(1 if difference else 0)


main()
