"""Questions about configs, for any broker that runs with PROPERTIES: what DescribeConfigs, AlterConfigs and
IncrementalAlterConfigs answer."""
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.messages import Connection  # noqa: E402

PROPERTIES = {"broker.id": "0", "num.network.threads": "2", "num.io.threads": "4", "log.retention.minutes": "5000", "log.roll.ms": "123456789",
              "my.plugin.key": "hello", "listener.name.plaintext.max.connections": "500", "ssl.keystore.password": "secret",
              "offsets.topic.num.partitions": "5", "offsets.topic.replication.factor": "1", "group.initial.rebalance.delay.ms": "0"}
TOPIC, BROKER, LOGGER, METRICS = 2, 4, 8, 16
SET, DELETE, APPEND, SUBTRACT = 0, 1, 2, 3

# Where this test gives each broker other values, or where ours has other defaults or knows more on purpose (docs/config.md).
SKIPPED = {"zookeeper.connect", "zookeeper.connection.timeout.ms", "zookeeper.session.timeout.ms", "log.dirs", "listeners", "socket.send.buffer.bytes", "socket.receive.buffer.bytes",
           "replica.socket.receive.buffer.bytes", "zookeeper.max.in.flight.requests", "transaction.state.log.replication.factor", "transaction.state.log.min.isr",
           "transaction.state.log.num.partitions", "auto.create.topics.enable"}
KEYS = pathlib.Path(__file__).resolve().parents[2] / "src/config"
SKIPPED |= set(re.findall(r'ours\(works\("([^"]+)"', (KEYS / "broker_keys.h").read_text() + (KEYS / "topic_keys.h").read_text()))


def plain(message):
    """A message without what Java wraps around it."""
    if message is None:
        return None
    message = re.sub(r"Invalid value org\.apache\.kafka\.common\.config\.ConfigException: (.*) for configuration Invalid dynamic configuration", r"\1", message)
    return message.replace("requirement failed: ", "").replace("HashSet(", "Set(")


def row(config, version):
    parts = [config["name"], repr(config["value"]), "read-only" if config["read_only"] else "", "sensitive" if config["is_sensitive"] else ""]
    # v0 tells only whether a value is the default; 3.9 never says so there, older brokers did, and so do we.
    if version >= 1:
        parts.append(f"source {config['config_source']}")
        parts.append(" ".join(f"{s['name']}={s['value']}@{s['source']}" for s in config["synonyms"]))
    if version >= 3:
        parts.append(f"type {config['config_type']}")
    return " | ".join(parts)


def describe(connection, resources, version=4, synonyms=True):
    response = connection.call("DescribeConfigs", version, include_synonyms=synonyms, resources=[
        {"resource_type": kind, "resource_name": name, "configuration_keys": keys} for kind, name, keys in resources])
    lines = []
    for result in response["results"]:
        lines.append(f"type {result['resource_type']} '{result['resource_name']}': error {result['error_code']} {plain(result['error_message'])}")
        lines += sorted(row(config, version) for config in result["configs"] if config["name"] not in SKIPPED)
    return lines


def answers(response):
    return [f"type {r['resource_type']} '{r['resource_name']}': error {r['error_code']} {plain(r['error_message'])}" for r in response["responses"]]


def change(connection, resources, version=1, validate_only=True):
    return answers(connection.call("IncrementalAlterConfigs", version, validate_only=validate_only, resources=[
        {"resource_type": kind, "resource_name": name, "configs": [{"name": k, "config_operation": op, "value": v} for k, op, v in ops]}
        for kind, name, ops in resources]))


def replace(connection, resources, version=2, validate_only=True):
    return answers(connection.call("AlterConfigs", version, validate_only=validate_only, resources=[
        {"resource_type": kind, "resource_name": name, "configs": [{"name": k, "value": v} for k, v in configs]} for kind, name, configs in resources]))


TOPIC_CHANGES = [
    [("nope", SET, "1")], [("segment.bytes", SET, "13")], [("segment.bytes", SET, "abc")], [("segment.bytes", SET, None)], [("segment.bytes", APPEND, "5")],
    [("cleanup.policy", APPEND, "compact")], [("cleanup.policy", SUBTRACT, "delete")], [("cleanup.policy", SET, "foo")], [("compression.type", SET, "foo")],
    [("min.cleanable.dirty.ratio", SET, "1.5")], [("preallocate", SET, "maybe")], [("segment.bytes", SET, "1000"), ("segment.bytes", SET, "2000")],
    [("min.compaction.lag.ms", SET, "100"), ("max.compaction.lag.ms", SET, "50")], [("remote.storage.enable", SET, "true")],
    [("leader.replication.throttled.replicas", SET, "x")], [("leader.replication.throttled.replicas", SET, "0:1,1:2")], [("message.format.version", SET, "0.9.0")],
    [("message.format.version", SET, "zz")], [("", SET, "5")], [("nope", DELETE, None)], [("segment.ms", DELETE, "")], [("compression.gzip.level", SET, "0")],
    [("compression.gzip.level", SET, "10")], [("compression.lz4.level", SET, "99")], [("message.timestamp.type", SET, "x")], [("retention.ms", SET, "-2")],
    [("local.retention.ms", SET, "-3")], [("local.retention.ms", SET, "99999999999")], [("retention.bytes", SET, "-5")], [("max.message.bytes", SET, "3000000000")],
    [("flush.ms", SET, " 5 ")], [("cleanup.policy", SET, "")], [("cleanup.policy", SET, "compact,compact")], [("cleanup.policy", SET, "compact, delete")],
    [("remote.log.copy.disable", SET, "true")], [("cleanup.policy", APPEND, None)], [("segment.jitter.ms", SET, "-1")], []]
BROKER_CHANGES = [
    [("nope", SET, "1")], [("broker.id", SET, "5")], [("num.io.threads", SET, "0")], [("num.io.threads", SET, "100")], [("num.io.threads", SET, "1")],
    [("num.io.threads", SET, "x")], [("num.io.threads", APPEND, "x")], [("log.cleanup.policy", APPEND, "compact")], [("log.cleanup.policy", SUBTRACT, "delete")],
    [("ssl.keystore.password", SET, "x")], [("listener.name.plaintext.max.connections", SET, "4")], [("leader.replication.throttled.rate", SET, "5")],
    [("leader.replication.throttled.rate", SET, "-5")], [("log.retention.ms", SET, "0")], [("log.retention.hours", SET, "3")], [("num.network.threads", SET, "20")],
    [("num.io.threads", SET, None)], [("log.cleaner.dedupe.buffer.size", SET, "5")], [("unclean.leader.election.enable", SET, "true")],
    [("num.replica.fetchers", SET, "-1")], [("max.connections.per.ip", SET, "0")], [("min.insync.replicas", SET, "0")],
    [("log.message.timestamp.type", SET, "LogAppendTime")], [("foo.bar", SET, "1"), ("num.io.threads", SET, "6")]]


def wait_for(connection, resource, name, value):
    for _ in range(600):
        if any(f"{name} | '{value}'" in line for line in describe(connection, [resource])):
            return
        time.sleep(0.05)
    raise AssertionError(f"{name} did not become {value}")


def run(port):
    connection = Connection(port)
    for name, configs in (("t1", {"retention.ms": "1000", "cleanup.policy": "compact,delete", "max.message.bytes": "2000"}), ("t2", {})):
        connection.call("CreateTopics", 5, timeout_ms=10000, topics=[{"name": name, "num_partitions": 1, "replication_factor": 1, "configs": [
            {"name": k, "value": v} for k, v in configs.items()]}])
    for name in ("t1", "t2"):
        wait_for(connection, (TOPIC, name, ["preallocate"]), "preallocate", "false")
    results = {}

    def note(name, lines):
        results[f"{len(results) + 1:03} {name}"] = lines

    for version in range(5):
        note(f"describe v{version}", describe(connection, [(TOPIC, "t1", None), (TOPIC, "t2", ["segment.bytes", "nope"]), (BROKER, "0", None)], version))
    note("describe without synonyms", describe(connection, [(TOPIC, "t1", None)], synonyms=False))
    for resource in [(TOPIC, "missing", None), (TOPIC, "bad/name", None), (TOPIC, "", None), (BROKER, "99", None), (BROKER, "abc", None), (BROKER, "", None),
                     (LOGGER, "0", ["root"]), (LOGGER, "", None), (LOGGER, "99", None), (LOGGER, "abc", None), (METRICS, "x", None), (METRICS, "", None),
                     (32, "g", None), (99, "g", None), (TOPIC, "t2", []), (BROKER, "0", ["num.io.threads", "num.io.threads"])]:
        note(f"describe {resource}", describe(connection, [resource]))
    note("describe a topic beside an unknown type", describe(connection, [(TOPIC, "t1", ["segment.ms"]), (99, "x", None)]))
    for ops in TOPIC_CHANGES:
        note(f"topic {ops}", change(connection, [(TOPIC, "t1", ops)]))
    for name in ("0", ""):
        for ops in BROKER_CHANGES:
            note(f"broker '{name}' {ops}", change(connection, [(BROKER, name, ops)]))
    for resources in [[(TOPIC, "missing", [("segment.bytes", SET, "1000")])], [(TOPIC, "t1", []), (TOPIC, "t1", [])], [(BROKER, "99", [])], [(BROKER, "abc", [])],
                      [(LOGGER, "0", [("root", SET, "WARN")])], [(LOGGER, "0", [("root", DELETE, None)])], [(LOGGER, "0", [("nothing", SET, "WARN")])],
                      [(LOGGER, "0", [("root", APPEND, "WARN")])], [(LOGGER, "0", [("root", SET, None)])], [(LOGGER, "0", [("root", SET, "FOO")])],
                      [(LOGGER, "", [])], [(METRICS, "x", [("a", SET, "1")])], [(32, "x", [])], [(1, "x", [])]]:
        note(f"change {resources}", change(connection, resources))
    for resources in [[(TOPIC, "t1", [("nope", "1")])], [(TOPIC, "t1", [("segment.bytes", "13")])], [(TOPIC, "t1", [("segment.bytes", None)])],
                      [(TOPIC, "t1", [("segment.bytes", "99"), ("segment.bytes", "98")])], [(BROKER, "0", [("broker.id", "13")])], [(BROKER, "0", [("nope", "1")])],
                      [(LOGGER, "0", [("root", "WARN")])], [(METRICS, "x", [])], [(99, "x", [])], [(TOPIC, "missing", [])]]:
        note(f"replace {resources}", replace(connection, resources))
    for version in range(2):
        note(f"change v{version}", change(connection, [(TOPIC, "t2", [("retention.ms", SET, f"{version}99")])], version, False))
        note(f"after change v{version}", describe(connection, [(TOPIC, "t2", ["retention.ms"])]))
    for version in range(3):
        note(f"replace v{version}", replace(connection, [(TOPIC, "t2", [("segment.ms", f"{version}88")])], version, False))
        note(f"after replace v{version}", describe(connection, [(TOPIC, "t2", ["retention.ms", "segment.ms"])]))
    note("validate only", change(connection, [(TOPIC, "t2", [("retention.ms", SET, "5")])]) + describe(connection, [(TOPIC, "t2", ["retention.ms"])]))
    note("broker changes", change(connection, [
        (BROKER, "0", [("log.cleaner.backoff.ms", SET, "20000"), ("num.io.threads", SET, "8"), ("log.segment.bytes", SET, "1000000"), ("log.retention.ms", SET, "99999999"),
                       ("custom.x", SET, "5"), ("leader.replication.throttled.rate", SET, "777")]),
        (BROKER, "", [("log.segment.bytes", SET, "2000000"), ("log.roll.ms", SET, "777777777"), ("compression.type", SET, "lz4"), ("custom.y", SET, "z"),
                      ("listener.name.plaintext.max.connections", SET, "400")])], validate_only=False))
    wait_for(connection, (BROKER, "0", ["num.io.threads"]), "num.io.threads", "8")
    wait_for(connection, (BROKER, "0", ["compression.type"]), "compression.type", "lz4")
    note("after broker changes", describe(connection, [(BROKER, "0", None), (BROKER, "", None), (TOPIC, "t1", None), (TOPIC, "t2", None)]))
    note("broker deletes", change(connection, [(BROKER, "0", [("num.io.threads", DELETE, None), ("log.segment.bytes", DELETE, None)])], validate_only=False))
    wait_for(connection, (BROKER, "0", ["num.io.threads"]), "num.io.threads", "4")
    note("after broker deletes", describe(connection, [(BROKER, "0", ["num.io.threads", "log.segment.bytes"])]))
    note("broker replaced", replace(connection, [(BROKER, "0", [("log.segment.bytes", "3000000")])], validate_only=False))
    wait_for(connection, (BROKER, "0", ["log.segment.bytes"]), "log.segment.bytes", "3000000")
    note("after broker replaced", describe(connection, [(BROKER, "0", ["log.retention.ms", "log.segment.bytes", "custom.x"])]))
    for name in ("0", ""):
        for ops in [[("sasl.kerberos.min.time.before.relogin", SET, "58000")], [("sasl.enabled.mechanisms", SET, "PLAIN")], [("ssl.cipher.suites", SET, "x")],
                    [("ssl.endpoint.identification.algorithm", SET, "")], [("ssl.truststore.type", SET, "JKS")]]:
            note(f"broker '{name}' {ops}", change(connection, [(BROKER, name, ops)]))
    note("security of one broker", change(connection, [(BROKER, "0", [("sasl.kerberos.min.time.before.relogin", SET, "58000")])], validate_only=False))
    wait_for(connection, (BROKER, "0", ["sasl.kerberos.min.time.before.relogin"]), "sasl.kerberos.min.time.before.relogin", "58000")
    note("after security of one broker", describe(connection, [(BROKER, "0", ["sasl.kerberos.min.time.before.relogin"])]))
    return results
