#!/usr/bin/env python3
"""Copies source files of the product with a change: a bug that the simulation must find, another way that bench/ measures.

usage: plant.py CHANGE ROOT SOURCE OUTPUT [--strict]   the changed copy of ROOT/SOURCE
       plant.py --sources CHANGE                       the paths that it changes, below the root, with ; between them
       plant.py --check ROOT CHANGE...                 ends with 1 and names each text that does not stand in its source just once

A change: comment lines (#), `file: <path>`, then the shipped text behind a line `--- shipped` and what replaces it behind
`--- planted`; more pairs may follow, and `--- file: <path>` goes on with another file. Where a shipped text does not stand in the source
exactly once the copy stays as it is, with a warning (the test of that bug then says that it was not found); --strict: that is an error.
"""
import pathlib
import sys


def read_change(path):
    """Source → its pairs of shipped and planted text."""
    pairs, source, part = {}, None, None
    for line in pathlib.Path(path).read_text().splitlines(keepends=True):
        word = line.strip()
        if word.startswith('--- file:') or (source is None and word.startswith('file:')):
            source, part = word.split(':', 1)[1].strip(), None
            pairs[source] = []
        elif word == '--- shipped':
            pairs[source].append(['', ''])
            part = 0
        elif word == '--- planted':
            part = 1
        elif part is not None:
            pairs[source][-1][part] += line
    return pairs


def changed(change, root, source):
    """The changed text, and what did not fit."""
    text, misfits = (pathlib.Path(root) / source).read_text(), []
    for shipped, planted in read_change(change)[source]:
        count = text.count(shipped)
        if count == 1:
            text = text.replace(shipped, planted)
        else:
            misfits.append(f'{change}: a text stands {count} times in {source}:\n{shipped}')
    return text, misfits


def main():
    if sys.argv[1] == '--sources':
        print(';'.join(read_change(sys.argv[2])), end='')
        return 0
    if sys.argv[1] == '--check':
        misfits = [misfit for change in sys.argv[3:] for source in read_change(change) for misfit in changed(change, sys.argv[2], source)[1]]
        print('\n'.join(misfits) or 'all apply', file=sys.stderr if misfits else sys.stdout)
        return 1 if misfits else 0
    change, root, source, output = sys.argv[1:5]
    text, misfits = changed(change, root, source)
    for misfit in misfits:
        print(misfit, file=sys.stderr)
    if misfits and '--strict' in sys.argv:
        return 1
    pathlib.Path(output).write_text(text)
    return 0


if __name__ == '__main__':
    sys.exit(main())
