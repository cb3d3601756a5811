#!/usr/bin/env python3
"""Holds the tree to src/LAYERS, and keeps threads, sleeps, clocks and files in `base` and `net`.

usage: check_layers.py [--root DIR]      prints file:line: what, ends with 1 if there is any

- A room may include the rooms on lines above its own in src/LAYERS, and itself; every folder of src with sources is a room.
- The dependencies of a room in src/CMakeLists.txt obey the same order.
- Outside of `base` and `net` nothing starts a thread, sleeps, reads a clock or opens a file: a simulation can then replace all
  of them. Tests may. ALLOWED holds the exceptions, each with its reason.
"""
import argparse
import os
import re
import sys

# Rooms that touch the system; `sim` stands in for it.
SYSTEM_ROOMS = {'base', 'net', 'sim', 'sim/cluster'}

# Folders and files below src that only tests, fuzz targets and benchmarks use: neither rule holds for them.
TEST_ONLY = ('protocol/testing/', 'server/echo_server.h', 'metadata/store/zookeeper_test_server.h')

# (path below src, pattern name): why.
ALLOWED = {
    ('app/broker.cc', 'thread'): 'the end of the process: the sockets drain while what is parked gets its answers',
}

PATTERNS = {
    'thread': r'\bstd::j?thread\s*\w*\s*[({]|\bstd::async\b|\bstart_thread\s*\(|\bpthread_create\b|\bfork\s*\(\s*\)',
    'sleep': r'\bsleep_(?:for|until)\b|(?<![\w.>:])(?:::)?(?:usleep|nanosleep|clock_nanosleep)\s*\(|(?<![\w.>:])::sleep\s*\(',
    'clock': r'\b(?:system_clock|steady_clock|high_resolution_clock)::now\b|(?<![\w.>:])(?:::|std::)?(?:clock_gettime|gettimeofday|time)\s*'
             r'\(\s*(?:nullptr|NULL|0|&|CLOCK)',
    'file': r'\bstd::[io]?fstream\b|\bstd::filesystem\b|(?<![\w.>:])(?:::|std::)(?:f?open|openat|creat|fopen)\s*\(|(?<![\w.>:])fopen\s*\(',
}
COMPILED = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)
# Comments and strings hold no code. A raw string is rare enough to be taken by the second form in pieces.
BLANK = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', re.S)


def read_layers(path):
    level = {}
    for line in open(path, encoding='utf-8'):
        words = line.split('#')[0].split()
        for word in words:
            level[word] = len(set(level.values())) if word is words[0] else level[words[0]]
    return level


def room_of(path, rooms):
    """The longest room that is a prefix of `path` (below src); None if there is none."""
    parts = path.split('/')
    for size in (2, 1):
        name = '/'.join(parts[:size])
        if len(parts) > size and name in rooms:
            return name
    return None


def may_include(level, room, other):
    return room == other or level[other] < level[room]


def blank(text):
    """The same lines without comments and strings (includes keep their names: they are read from the text)."""
    return BLANK.sub(lambda match: '\n' * match.group(0).count('\n') or ' ', text)


def line_of(text, at):
    return text.count('\n', 0, at) + 1


def check_file(path, relative, level, faults):
    text = open(path, encoding='utf-8', errors='replace').read()
    room = room_of(relative, level)
    if room is None:
        faults.append((path, 1, 'is in no room of src/LAYERS'))
        return
    test = relative.endswith(('_test.cc', '_test_util.h')) or relative.startswith(TEST_ONLY)
    for match in INCLUDE.finditer(text):
        other = room_of(match.group(1), level)
        if other is not None and not may_include(level, room, other) and not test:
            faults.append((path, line_of(text, match.start(1)), f'{room} may not include {match.group(1)}: src/LAYERS has {other} beside or below it'))
    if test or room in SYSTEM_ROOMS:
        return
    code = blank(text)
    for name, pattern in COMPILED.items():
        if (relative, name) in ALLOWED:
            continue
        for match in pattern.finditer(code):
            faults.append((path, line_of(code, match.start()), f'{name} outside of base and net: {match.group(0).strip()}'))


def check_dependencies(path, level, faults):
    text = open(path, encoding='utf-8').read()
    for match in re.finditer(r'^\s*room\(([^)]*)\)', text, re.M):
        words = match.group(1).split()
        room, keyword = words[0], ''
        if room not in level:
            faults.append((path, line_of(text, match.start(1)), f'{room} is not in src/LAYERS'))
            continue
        for word in words[1:]:
            if word in ('DEPS', 'LIBS', 'TEST_DEPS', 'TEST_LIBS'):
                keyword = word
            elif keyword == 'DEPS' and (word not in level or not may_include(level, room, word)):
                faults.append((path, line_of(text, match.start(1)), f'{room} may not depend on {word}'))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--root', default=os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
    root = os.path.relpath(parser.parse_args().root)
    source = os.path.normpath(os.path.join(root, 'src'))
    level = read_layers(os.path.join(source, 'LAYERS'))
    faults = []
    for folder, _, names in os.walk(source):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(('.h', '.cc', '.cpp', '.hpp')):
                check_file(path, os.path.relpath(path, source), level, faults)
            elif name == 'CMakeLists.txt':
                check_dependencies(path, level, faults)
    for path, line, what in sorted(faults):
        print(f'{path}:{line}: {what}')
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
