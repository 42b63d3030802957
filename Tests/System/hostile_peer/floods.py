"""Strangers' hellos by the thousand; prints how many were sent and how many bytes came back.

    python3 -m hostile_peer.floods KIND HOST PORT RATE SECONDS PUBLICKEY

KIND: `garbage` without the public key, `known` with a right mac1 over garbage, `authentic` with all that a key which
the concentrator does not know can write; `mixed` all of them and other sizes.
"""
import itertools
import os
import random
import socket
import sys
import time

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from . import handshake, records

SIZE = 141  # of a hello without its MACs


def garbage():
    while True:
        yield records.header(records.HELLO) + os.urandom(SIZE + handshake.MACS - 8)


def known(public):
    while True:
        yield handshake.with_macs(records.header(records.HELLO) + os.urandom(SIZE - 8), public)


def authentic(public):
    """A thousand times the same hundred: making one costs the flood more than anybody else."""
    made = [handshake.Hello(X25519PrivateKey.generate(), public).datagram for _ in range(100)]
    return itertools.cycle(made)


def mixed(public):
    kinds, chance = [garbage(), known(public), authentic(public)], random.Random(7)
    while True:
        data = next(chance.choice(kinds))
        yield data if chance.random() < 0.5 else data[:chance.randrange(len(data))] + os.urandom(chance.randrange(200))


def main():
    kind, host, port, rate, seconds, public = sys.argv[1:]
    public, rate = bytes.fromhex(public), float(rate)
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((host, int(port)))
    s.setblocking(False)
    source = {"garbage": lambda _: garbage(), "known": known, "authentic": authentic, "mixed": mixed}[kind](public)
    print("begun", flush=True)
    began, sent, answered = time.monotonic(), 0, 0
    while (passed := time.monotonic() - began) < float(seconds):
        # What a busy machine was late for is made up in at most 20 ms' worth at once.
        for _ in range(max(0, min(int(passed * rate) - sent, int(rate / 50)))):
            try:
                s.send(next(source))
            except OSError:
                pass
            sent += 1
        try:
            answered += len(s.recv(65536))
        except OSError:
            pass
        time.sleep(0.001)
    time.sleep(0.3)
    while True:
        try:
            answered += len(s.recv(65536))
        except OSError:
            break
    print(f"{sent} {answered} {sent / float(seconds):.0f}")


if __name__ == "__main__":
    main()
