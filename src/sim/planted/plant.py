#!/usr/bin/env python3
"""Copies a source file of the product with one bug in it.

usage: plant.py BUG_FILE SOURCE_ROOT OUTPUT      prints nothing; --source BUG_FILE prints the path of the source below the root

A bug file: comment lines (#), `file: <path>`, then the shipped text behind a line `--- shipped` and what replaces it behind
`--- planted`. If the shipped text does not stand in the source exactly once, the copy stays as it is, with a warning: the test of
that bug then says that it was not found.
"""
import pathlib
import sys


def read_bug(path):
    head, _, rest = pathlib.Path(path).read_text().partition('--- shipped\n')
    shipped, _, planted = rest.partition('--- planted\n')
    source = [line.split(':', 1)[1].strip() for line in head.splitlines() if line.startswith('file:')][0]
    return source, shipped, planted


def main():
    if sys.argv[1] == '--source':
        print(read_bug(sys.argv[2])[0], end='')
        return 0
    bug, root, output = sys.argv[1:]
    source, shipped, planted = read_bug(bug)
    text = (pathlib.Path(root) / source).read_text()
    if text.count(shipped) == 1:
        text = text.replace(shipped, planted)
    else:
        print(f'{bug}: its text stands {text.count(shipped)} times in {source}', file=sys.stderr)
    pathlib.Path(output).write_text(text)
    return 0


sys.exit(main())
