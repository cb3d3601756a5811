#!/usr/bin/env python3
# timeout: 300
"""The distance between network namespaces (tools/distance): the round trip is what was set and not less, nothing is lost or changed
that was not to be, a rate and one-way cuts hold, and hundreds of MB/s pass."""
import pathlib
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from broker import wait_until
from distance import HERE, Distance

# In the other namespace: sends back UDP packets; over TCP takes bytes until the end and answers with their number and CRC.
PEER = r"""
import socket, sys, threading, zlib
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind((sys.argv[1], 7))
tcp = socket.create_server((sys.argv[1], 7), backlog=16)
print("up", flush=True)
def echo():
    while True:
        data, who = udp.recvfrom(65536)
        udp.sendto(data, who)
def take(sock):
    count = crc = 0
    buffer = bytearray(1 << 20)
    check = None
    while size := sock.recv_into(buffer):
        check = buffer[0] if check is None else check
        count += size
        if check: crc = zlib.crc32(memoryview(buffer)[:size], crc)
    sock.sendall(b"%d %d" % (count, crc)); sock.close()
threading.Thread(target=echo, daemon=True).start()
while True:
    threading.Thread(target=take, args=(tcp.accept()[0],), daemon=True).start()
"""


def round_trips(address, count):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((address, 7))
        times = []
        for i in range(count):
            begin = time.monotonic()
            sock.send(b"%d" % i)
            assert sock.recv(100) == b"%d" % i
            times.append((time.monotonic() - begin) * 1000)
    return times


def answered(address, timeout=1):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        sock.connect((address, 7))
        sock.send(b"x")
        try:
            return sock.recv(10) == b"x"
        except OSError:
            return False


def send(address, pieces):
    """Bytes a second of one connection, from the first byte to the answer, and that answer."""
    with socket.create_connection((address, 7), 10) as sock:
        sock.settimeout(120)
        begin, count = time.monotonic(), 0
        for piece in pieces:
            sock.sendall(piece)
            count += len(piece)
        sock.shutdown(socket.SHUT_WR)
        answer = [int(number) for number in sock.recv(100).split()]
        return count / (time.monotonic() - begin), count, answer


with Distance(HERE, "far", "farther") as lab:
    far = lab.address("far")
    peer = subprocess.Popen([*lab.prefix("far"), sys.executable, "-c", PEER, far], stdout=subprocess.PIPE, text=True)
    try:
        assert peer.stdout.readline() == "up\n"
        for ms in (0, 10, 50, 200):
            lab.set(HERE, "far", round_trip_ms=ms)
            times = round_trips(far, 10)
            assert min(times) >= ms, f"set {ms} ms, measured {min(times):.2f}"
            print(f"round trip of {ms} ms: median {statistics.median(times):.2f}, least {min(times):.2f}", flush=True)
        lab.set_one_way(HERE, "far", delay_ms=30)
        lab.set_one_way("far", HERE, delay_ms=0)
        assert min(round_trips(far, 5)) >= 30
        lab.set(HERE, "far", round_trip_ms=20, jitter_ms=20)
        times = round_trips(far, 40)
        assert min(times) >= 20 and max(times) - min(times) > 5, times
        lab.set(HERE, "far", jitter_ms=0, round_trip_ms=0)

        # What is sent comes as it was, also where packets get lost on the way.
        noise = random.Random(1).randbytes(1 << 20)
        for loss in (0, 1):
            lab.set(HERE, "far", loss_percent=loss, round_trip_ms=4)
            rate, count, (taken, crc) = send(far, [b"\x01" + noise] * 20)
            assert (taken, crc) == (count, zlib.crc32((b"\x01" + noise) * 20)), "the bytes changed on the way"
            lost = sum(way["lost"] for way in lab.stats()[0].values())
            assert (lost > 0) == (loss > 0), f"{lost} packets lost at {loss} %"
            print(f"20 MB at {loss} % loss: {lost} packets lost, bytes equal", flush=True)
        lab.set(HERE, "far", loss_percent=0)

        lab.set(HERE, "far", round_trip_ms=10, rate_mb=20)
        rate, *_ = send(far, [b"\0" * (1 << 20)] * 30)
        assert rate < 21e6, f"{rate / 1e6:.1f} MB/s through a way of 20"
        print(f"rate of 20 MB/s: {rate / 1e6:.1f}", flush=True)
        lab.set(HERE, "far", rate_mb=0, round_trip_ms=0)

        lab.cut("far", HERE)
        assert not answered(far), "an answer over a way that was cut"
        lab.mend("far", HERE)
        wait_until(lambda: answered(far), what="the mended way")
        ask = f"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.connect(('{far}', 7)); s.send(b'x'); print(s.recv(9))"
        assert lab.run("farther", [sys.executable, "-c", ask]) == "b'x'\n"

        before = lab.overflows()
        for ms, connections in ((0, 1), (50, 4)):
            lab.set(HERE, "far", round_trip_ms=ms)
            rates = []
            threads = [threading.Thread(target=lambda: rates.append(send(far, [b"\0" * (1 << 20)] * 400)[0])) for _ in range(connections)]
            begin = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(rates) == connections
            print(f"{connections} connections at {ms} ms: {400 * connections * 1.048576 / (time.monotonic() - begin):.0f} MB/s", flush=True)
        ways, refused = lab.stats()
        assert refused == 0 and all(way["dropped"] == 0 for (a, b), way in ways.items() if "farther" in (a, b)), (ways, refused)
        assert lab.overflows() == before, f"{lab.overflows() - before} packets dropped by the devices"
    finally:
        peer.kill()
        peer.wait()
print("distance: round trips, jitter, loss, rate, cuts, throughput")
