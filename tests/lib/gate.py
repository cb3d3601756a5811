"""Holds, delays, fails and records every fsync of a broker: tools/gate/fsync_gate.c, preloaded."""
import collections
import os
import pathlib
import sys
import tempfile

from broker import BIN, not_run, wait_until

Call = collections.namedtuple("Call", "step thread call ms path")  # step: enter or leave; ms of the monotonic clock, as text


class Gate:
    """`with Broker(env=gate.env()) as broker, gate:` opens the gate before the broker is stopped."""

    def __init__(self, program="odradek-server"):
        self.library = BIN / "libfsync_gate.so"
        if not self.library.exists():
            raise SystemExit(f"{self.library} is missing: build the target fsync_gate")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="odradek-gate-"))
        self.program = program

    def env(self):
        return {"LD_PRELOAD": str(self.library), "FSYNC_GATE": str(self.directory), "FSYNC_GATE_PROGRAM": self.program}

    def check_in_place(self):
        """The filter that finds what goes past the gate works, or the test cannot run here."""
        if not (self.directory / "guarded").exists():
            not_run("seccomp filters are not allowed here")

    def _put(self, name, text):
        temporary = self.directory / (name + ".new")
        temporary.write_text(text)
        temporary.rename(self.directory / name)

    def hold(self, *prefixes):
        self._put("hold", "".join(f"{prefix}\n" for prefix in prefixes))

    def release(self):
        (self.directory / "hold").unlink(missing_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.release()

    def delay(self, ms, *prefixes):
        self._put("delay", "".join(f"{ms} {prefix}\n" for prefix in prefixes))

    def fail(self, error, *prefixes):
        self._put("fail", "".join(f"{error} {prefix}\n" for prefix in prefixes))

    def jump(self, seconds):
        """The broker's clock of the day shows so much too many. To be called before the broker starts (with 0) to make it possible."""
        data = int(seconds * 1e9).to_bytes(8, sys.byteorder, signed=True)
        path = self.directory / "clock"
        if not path.exists():
            path.write_bytes(data)
        with open(path, "r+b") as clock:
            os.pwrite(clock.fileno(), data, 0)

    def calls(self):
        record = self.directory / "record"
        text = record.read_text() if record.exists() else ""
        return [Call(*line.split(" ", 4)) for line in text[:text.rfind("\n") + 1].splitlines()]

    def held(self):
        """Calls that have not come back yet."""
        calls = self.calls()
        return sum(1 if call.step == "enter" else -1 for call in calls)

    def wait_held(self, at_least=1):
        wait_until(lambda: self.held() >= at_least, what="a held fsync")

    def bypasses(self):
        bypass = self.directory / "bypass"
        return bypass.read_text().splitlines() if bypass.exists() else []
