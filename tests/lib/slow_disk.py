"""A folder on a disk that takes its time: tools/slow_disk over another folder (needs root and /dev/fuse)."""
import os
import pathlib
import subprocess
import time

from broker import BIN, not_run

PROGRAM = BIN / "slow_disk"


def check_possible():
    if os.geteuid() != 0:
        not_run("mounting a file system needs root")
    if not os.path.exists("/dev/fuse"):
        not_run("there is no /dev/fuse")
    if not PROGRAM.exists():
        not_run("slow_disk was not built: libfuse3-dev is not installed")


class SlowDisk:
    """`mount` shows what lies in `backing`; close() takes it away. `stalls`: nothing changes on the disk while an fsync runs."""

    def __init__(self, mount, backing, delay_ms, stalls=True):
        self.mount, self.process = pathlib.Path(mount), None
        for folder in (self.mount, pathlib.Path(backing)):
            folder.mkdir(parents=True, exist_ok=True)
        if not PROGRAM.exists():
            raise SystemExit(f"{PROGRAM} is missing: install libfuse3-dev, build the target slow_disk")
        self.process = subprocess.Popen([PROGRAM, "--delay-ms", str(delay_ms), *(["--journal-stalls"] if stalls else []), str(backing), str(mount)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        while not os.path.ismount(self.mount):
            if self.process.poll() is not None:
                raise RuntimeError(f"slow_disk ended with {self.process.returncode}")
            time.sleep(0.005)

    def set_delay(self, delay_ms):
        """For the syncs that begin from now on."""
        self.process.stdin.write(f"{delay_ms}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if answer != "ok\n":
            raise RuntimeError(f"slow_disk: {answer}")

    @staticmethod
    def clear(mount):
        """What a run that was killed left mounted."""
        subprocess.run(["umount", "--lazy", str(mount)], stderr=subprocess.DEVNULL)

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.clear(self.mount)
