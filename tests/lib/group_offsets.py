"""Watches what groups have committed: a committed offset never goes back, and none that was there vanishes.

    with GroupOffsets(cluster, {"group": "topic"}) as offsets:
        ...
    offsets.check([reader])  # also that what a reader's commits were acknowledged for is there"""
import threading
import time

import messages

COORDINATOR_ERRORS = {14: "loading", 15: "not available", 16: "not coordinator"}


class GroupOffsets:
    def __init__(self, cluster, groups, every=0.3):
        self.cluster, self.groups, self.every = cluster, groups, every
        self.seen, self.back, self.asked = {}, [], 0  # (group, partition) → offset; what went back; answers taken
        self.partitions = {topic: sorted(cluster.partitions(topic)) for topic in groups.values()}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def ask(self, group):
        """partition → committed offset (-1: none), from the broker that coordinates the group; None while there is none."""
        topic = self.groups[group]
        for node in list(self.cluster):
            if not node.alive():
                continue
            try:
                connection = messages.Connection(node.port, node.host, timeout=3)
                try:
                    answer = connection.call("OffsetFetch", 5, timeout=3, group_id=group, topics=[{"name": topic, "partition_indexes": self.partitions[topic]}])
                finally:
                    connection.close()
            except (OSError, EOFError):
                continue
            if answer["error_code"] in COORDINATOR_ERRORS:
                continue
            assert answer["error_code"] == 0, f"OffsetFetch of {group} at {node}: error {answer['error_code']}"
            return {p["partition_index"]: p["committed_offset"] for p in answer["topics"][0]["partitions"]}
        return None

    def _watch(self):
        while not self.ended.wait(self.every):
            for group in self.groups:
                told = self.ask(group)
                self.asked += told is not None
                for partition, offset in (told or {}).items():
                    before = self.seen.get((group, partition), -1)
                    if offset < before:
                        self.back.append(f"{time.strftime('%H:%M:%S')} {group} partition {partition}: {before} -> {offset}")
                    self.seen[group, partition] = max(offset, before)

    def check(self, readers=(), watched=True):
        """After __exit__. Returns how many answers were compared. `watched`: whether it was entered at all, which makes no sense where a coordinator that is cut off may answer."""
        assert not self.back, f"committed offsets went back: {self.back[:5]}"
        assert not watched or self.asked > 0 and any(offset > 0 for offset in self.seen.values()), "no committed offset was seen"
        for group in self.groups:
            now = self.cluster.wait(lambda: self.ask(group), f"the offsets of {group}")
            for (its_group, partition), offset in self.seen.items():
                assert its_group != group or now[partition] >= offset, f"{group} partition {partition}: {offset} was committed, {now[partition]} is told"
            for reader in readers:
                for partition, offset in reader.committed.items() if reader.group == group else ():
                    assert now[partition] >= offset, f"{group} partition {partition}: the commit of {offset} was acknowledged, {now[partition]} is told"
        return self.asked
