#!/usr/bin/env python3
# timeout: 300
"""A partition whose only member of the ISR is dead waits for it, until unclean election is switched on for all brokers: then who is there leads at once."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from cluster import Cluster

with Cluster({1: "odradek", 2: "odradek", 3: "odradek"}) as cluster:
    cluster.create_topic("waits", assignment=[[1, 2]])
    cluster.create_topic("never", assignment=[[1, 2]], configs={"unclean.leader.election.enable": "false"})
    for topic in ("waits", "never"):
        cluster.wait_isr(topic)
    cluster[2].kill()
    for topic in ("waits", "never"):
        cluster.wait_isr(topic, [1])
    cluster[1].kill()
    cluster[2].start()
    for topic in ("waits", "never"):
        cluster.wait(lambda: cluster.partitions(topic).get(0, {}).get("leader") == -1, f"no leader of {topic}")
    cluster.kafka_tool("kafka.admin.ConfigCommand", "--alter", "--entity-type", "brokers", "--entity-default", "--add-config",
                       "unclean.leader.election.enable=true")
    cluster.wait_leader("waits", leader=2)
    assert cluster.leader("never") is None, "its own setting counts more"
