#!/usr/bin/env python3
# timeout: 300
"""kcat produces and consumes real lines in every codec, alone and in a group, equal to the byte."""
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import Broker, need, run

need("kcat")
lines = [f"line {i} " + "x" * (i % 300) for i in range(20000)]
text = "\n".join(lines) + "\n"

with Broker({"num.partitions": "1"}) as broker:
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        topic = f"kcat-{codec}"
        subprocess.run(["kcat", "-b", broker.address, "-P", "-t", topic, "-z", codec, "-X", "topic.metadata.refresh.fast.interval.ms=50"],
                       input=text, text=True, check=True, timeout=60)
        read = run(["kcat", "-b", broker.address, "-C", "-t", topic, "-e", "-q", "-X", "check.crcs=true"])
        assert read == text, f"{codec}: {len(read)} bytes read, {len(text)} written"
    read = run(["kcat", "-b", broker.address, "-X", "auto.offset.reset=earliest", "-G", "kcat-group", "-e", "-q", "kcat-none"])
    assert read == text, f"group: {len(read)} bytes read"
    broker.stop()
    broker.start()
    read = run(["kcat", "-b", broker.address, "-C", "-t", "kcat-lz4", "-e", "-q", "-X", "check.crcs=true"])
    assert read == text, "after a restart"
    listed = run(["kcat", "-b", broker.address, "-L"])
    assert "kcat-zstd" in listed, listed
print("kcat: 5 codecs, group, restart")
