#!/usr/bin/env python3
# timeout: 120
"""Asks the broker what scenarios.py asks and compares with what Apache Kafka 3.9.2 answered (kafka-3.9.2.txt).

test_config_answers.py --record PORT   prints the answers of a broker that runs with the settings of scenarios.py"""
import difflib
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
import scenarios  # noqa: E402
from lib.broker import Broker  # noqa: E402


def lines_of(port):
    return [line for name, lines in scenarios.run(port).items() for line in (f"== {name}", *(f"   {each}" for each in lines))]


def main():
    if sys.argv[1:2] == ["--record"]:
        print("\n".join(lines_of(int(sys.argv[2]))))
        return
    expected = (HERE / "kafka-3.9.2.txt").read_text().splitlines()
    with Broker(scenarios.PROPERTIES) as broker:
        got = lines_of(broker.port)
    difference = list(difflib.unified_diff(expected, got, "Apache Kafka 3.9.2", "Odradek", n=1, lineterm=""))
    print("\n".join(difference) or f"{len(got)} lines are equal")
    sys.exit(1 if difference else 0)


main()
