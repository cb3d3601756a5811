#!/usr/bin/env python3
# timeout: 300
"""Asks the broker what questions.py asks, in every version, and compares with what Apache Kafka 3.9.2 answered (kafka-3.9.2.txt).

test_answers.py --record PORT   prints the answers of a broker that runs with the settings of questions.py
test_answers.py SECTION         only the questions of that section"""
import difflib
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
import questions  # noqa: E402
from lib.broker import Broker  # noqa: E402


def main():
    if sys.argv[1:2] == ["--record"]:
        print("\n".join(questions.lines_of(int(sys.argv[2]))))
        return
    only = sys.argv[1] if sys.argv[1:] else ""
    expected = (HERE / "kafka-3.9.2.txt").read_text().splitlines()
    with Broker(questions.PROPERTIES) as broker:
        got = questions.lines_of(broker.port, only)
    if only:
        names = {line for line in got if line.startswith("== ")}
        kept, inside = [], False
        for line in expected:
            inside = line in names if line.startswith("== ") else inside
            if inside:
                kept.append(line)
        expected = kept
    difference = list(difflib.unified_diff(expected, got, "Apache Kafka 3.9.2", "Odradek", n=0, lineterm=""))
    print("\n".join(difference) or f"{len(got)} lines are equal")
    sys.exit(1 if difference else 0)


main()
