#!/usr/bin/env python3
# timeout: 300
"""A source partition loses records by an unclean election and grows past what the mirror has copied: the mirror stops it and says so."""
import time

from copies import *
from broker import Broker
from cluster import Cluster


def produce(address, text, count):
    tool("produce", "lossy", "-b", address, data=b"".join(b"%s %d\n" % (text, i) for i in range(count)))


with Cluster({1: "odradek", 2: "odradek", 3: "odradek"}) as source, Broker() as target:
    there = source[3].address
    source.create_topic("lossy", assignment=[[1, 2]], configs={"unclean.leader.election.enable": "true"})
    source.create_topic("whole", assignment=[[3]])
    source.wait_isr("lossy")
    produce(there, b"both have it", 100)
    wait_until(lambda: source.high_watermark("lossy") == 100, 60, "the records")
    source[2].kill()
    source.wait_isr("lossy", [1])
    produce(there, b"only broker 1 has it", 50)
    final = mirror_until_caught_up(there, target.address, topics="lossy,whole")
    assert final["records"] == 150 and final["stopped"] == 0, final
    # A clean change of the leader is none: what broker 1 has is all there, in another epoch.
    source[1].stop()
    source[1].start()
    source.wait_leader("lossy", leader=1)
    produce(there, b"of the next epoch", 5)
    final = mirror_until_caught_up(there, target.address, topics="lossy,whole")
    assert final["records"] == 5 and final["stopped"] == 0, final

    source[1].kill()
    source[2].start()
    source.wait_leader("lossy", leader=2)
    produce(there, b"another record", 200)
    with Mirror(there, target.address, topics="lossy,whole") as mirror:
        wait_until(lambda: mirror.progress.get("stopped", 0) == 1, 120, "the partition is stopped")
        trouble = "\n".join(mirror.progress["troubles"])
        assert "lossy-0: the source's log was cut: leader epoch" in trouble and "ends at 100 in it, copied was up to 155" in trouble, mirror.progress
        status, page = mirror.page("/metrics")
        assert "odradek_mirror_source_cuts_total 1" in page and 'odradek_mirror_partition_state{topic="lossy",partition="0"} 2' in page, page
        assert mirror.page("/health/ready")[0] == 503
        tool("produce", "whole", "-b", there, data=b"goes on\n")
        wait_until(lambda: mirror.progress.get("records", 0) == 1, 60, "the other partition goes on")
        mirror.stop()
    values = [record[2] for record in records(target.address, ["lossy"])["lossy", 0]]
    assert len(values) == 155 and not any(value.startswith("another") for value in values), "nothing of another log came behind"
    print("the cut was noticed")
