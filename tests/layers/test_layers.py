#!/usr/bin/env python3
# tools/check_layers.py: the tree passes, and in a tree with one breach of each kind each is found.
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BREACHES = {
    '#include "replication/partition.h"': "may not include",
    "auto t = std::thread([] {});": "thread",
    "std::thread t([] {});": "thread",
    'auto t = base::start_thread("x", [] {});': "thread",
    "std::this_thread::sleep_for(x);": "sleep",
    "usleep(3);": "sleep",
    "auto now = std::chrono::steady_clock::now();": "clock",
    "auto now = time(nullptr);": "clock",
    "int fd = ::open(path, 0);": "file",
    'std::ofstream out("x");': "file",
}
HARMLESS = ['#include "base/file.h"', "// std::thread", 'log::info("std::thread");', 'files.open("x");', "std::thread::id id;", "std::thread t;", "co_await sleep(3);", "clock.time(0);"]


def check(root):
    done = subprocess.run([sys.executable, ROOT / "tools/check_layers.py", "--root", root], stdout=subprocess.PIPE, text=True)
    return done.returncode, done.stdout


def main():
    failures = []
    code, output = check(ROOT)
    if code != 0:
        failures.append(output)
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "src")
        (source / "storage").mkdir(parents=True)
        shutil.copy(ROOT / "src/LAYERS", source)
        for line, what in BREACHES.items():
            (source / "storage/a.cc").write_text("\n" + line + "\n")
            code, output = check(folder)
            if code != 1 or "a.cc:2:" not in output or what not in output:
                failures.append(f"not found: {line}\n{output}")
        (source / "storage/a.cc").write_text("\n".join(HARMLESS) + "\n")
        code, output = check(folder)
        if code != 0:
            failures.append(f"harmless lines refused:\n{output}")
        (source / "CMakeLists.txt").write_text("room(model DEPS storage)\n")
        if check(folder)[0] != 1:
            failures.append("a dependency against the order is not found")
    print("\n".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
