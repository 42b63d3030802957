"""Strangers, with the concentrator's public key and without: docs/security.md, "Strangers"."""
import os
import random
import sys
import time

from attack import PORT, Attack
from hostile_peer import client, handshake, network, records
from runner import between, check
from world import CONCENTRATOR, HERE


class Flood:
    """hostile_peer.floods on the application's host."""

    def __init__(self, a, kind, length, rate=10_000, port=PORT):
        self.w, self.name = a.w, f"flood-{kind}-{len(a.w.logs)}"
        self.process = a.w.start(a.w.app, [sys.executable, "-m", "hostile_peer.floods", kind, CONCENTRATOR, str(port),
                                           str(rate), str(length), a.public.hex()], self.name, cwd=HERE)
        a.w.wait(lambda: "begun" in a.w.text(self.name), "the flood")

    def result(self):
        check(self.process.wait(20) == 0, "the flood failed")
        return [int(part) for part in self.w.text(self.name).split()[-3:]]


def received(w, length):
    """Bytes a second over wifi."""
    before, began = w.received("wifi"), time.monotonic()
    time.sleep(length)
    return (w.received("wifi") - before) / (time.monotonic() - began)


def exchanged(sock, datagrams, wait=0.3):
    """Bytes that came back for these."""
    for datagram in datagrams:
        network.send(sock, datagram)
    sock.settimeout(wait)
    got = 0
    while True:
        try:
            got += len(sock.recv(65536))
        except OSError:
            return got


def test_hellos_that_are_not_what_they_say(w):
    """A user's key, and hellos that are authentic but malformed: none opens a session, and the user isn't locked out."""
    a = Attack(w)
    chance, sock = random.Random(3), a.socket()
    good = handshake.Hello(a.identities[0], a.public).head
    hellos = [handshake.Hello(a.identities[0], a.public, payload=p).datagram for p in
              (b"", b"\x01", os.urandom(20), os.urandom(21), os.urandom(37), os.urandom(36), os.urandom(38),
               bytes(37), bytes(21), os.urandom(600))]
    hellos += [handshake.Hello(a.identities[0], a.public, version=v).datagram for v in (3, 0, 255)]
    hellos += [handshake.with_macs(records.header(records.HELLO) + bytes(32) + good[40:], a.public)]  # a weak key
    for _ in range(60):
        bent = bytearray(handshake.with_macs(good, a.public))
        bent[chance.randrange(len(bent))] ^= 1 << chance.randrange(8)
        hellos.append(bytes(bent))
    check(exchanged(sock, hellos) <= sum(map(len, hellos)), "they were answered by more than they were")
    held = [s for s in a.pair.status("concentrator")["sessions"] if s["user"] == "mallory"]
    check(not held, "a malformed hello opened a session")
    began = time.monotonic()
    a.session().close()
    between(time.monotonic() - began, 0, 3, "the user's honest session in s")
    a.end()


def test_old_hellos_after_a_restart(w):
    """The concentrator has forgotten all stamps: old hellos of a user open nothing, and the user's own new one does."""
    a = Attack(w, bystander=False)
    old = []
    for _ in range(5):
        session = a.session()
        old.append(session.last_hello)
    a.pair.concentrator.kill()
    a.pair.concentrator.wait()
    a.pair.start_concentrator()
    a.concentrator = a.pair.concentrator
    w.wait(lambda: a.pair.status("concentrator") is not None, "the new concentrator")
    sock = a.socket()
    answered, sent = exchanged(sock, old * 20), 20 * sum(map(len, old))
    check(answered <= sent, f"{sent} bytes of replays were answered by {answered}")
    held = [s for s in a.pair.status("concentrator")["sessions"] if s["user"] == "mallory"]
    check(not held, "a replay opened a session")
    began = time.monotonic()
    a.session()
    between(time.monotonic() - began, 0, 3, "the user's own session in s")
    a.serves("after the replays", 15)
