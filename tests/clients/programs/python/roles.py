"""What every client program of the matrix does: `produce BOOTSTRAP TOPIC CODEC COUNT` or `consume BOOTSTRAP TOPIC GROUP COUNT`.

Record i has the key str(i) and a value made from i; consume prints `COUNT SHA256`, the digest over `key TAB value NEWLINE` in the
order of the keys as numbers."""
import hashlib
import sys


def value_of(i):
    return (f"{i}-" + "abcdefghij" * (i % 40)).encode()


def digest(pairs):
    sha = hashlib.sha256()
    for key, value in sorted(pairs, key=lambda pair: int(pair[0])):
        sha.update(key + b"\t" + value + b"\n")
    return sha.hexdigest()


def expected(count):
    return digest([(str(i).encode(), value_of(i)) for i in range(count)])


def main(produce, consume):
    role, bootstrap, topic, extra, count = sys.argv[1:6]
    count = int(count)
    if role == "produce":
        produce(bootstrap, topic, extra, ((str(i).encode(), value_of(i)) for i in range(count)))
        return
    pairs = []
    source = consume(bootstrap, topic, extra, count)
    for key, value in source:
        pairs.append((bytes(key), bytes(value)))
        if len(pairs) >= count:
            break
    source.close()
    print(len(pairs), digest(pairs))
