"""Strangers, with the concentrator's public key and without: docs/security.md, "Strangers"."""
import os
import random
import sys
import time

from attack import PORT, Attack
from hostile_peer import client, handshake, network, records
from runner import between, check, seconds
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


@seconds(90)
def test_ten_thousand_hellos_a_second(w):
    """Beside each kind of them a download of 50 Mbit/s goes on, and an honest user's new session opens. Compared with
    the same datagrams to a port where nobody reads: what the machine takes for making and carrying them is not
    the concentrator's."""
    a = Attack(w, rate=0)
    w.limit(wifi=50)
    sink = network.listening(w.net, (CONCENTRATOR, PORT + 1))
    time.sleep(1)
    for kind in ("garbage", "known", "authentic"):
        flood = Flood(a, kind, 1.2, port=PORT + 1)
        calm = received(w, 1)
        flood.result()
        flood = Flood(a, kind, 2)
        time.sleep(0.2)
        beside = received(w, 1)
        began = time.monotonic()
        session = a.session(limit=10)
        took = time.monotonic() - began
        sent, answered, rate = flood.result()
        w.notes.append(f"{kind} {rate}/s: {beside / calm:.0%} of {calm * 8e-6:.0f} Mbit/s, a session after {took * 1000:.0f} ms"
                       f" with {session.cookies} cookies")
        check(kind != "garbage" or answered == 0, f"garbage was answered by {answered} bytes")
        check(answered <= sent * 173, f"{sent} hellos were answered by {answered} bytes")
        between(beside / calm, 0.9, 2, f"the download beside {kind} hellos, as a part of what it was")
        between(took, 0, 1, f"an honest session beside {kind} hellos in s")
        session.close()
    sink.close()
    a.end()


def test_never_more_bytes_than_were_sent(w):
    """Every kind, every size; cut hellos with a right mac1, hellos of a key nobody knows."""
    a = Attack(w)
    stranger = client.noise_identity()
    whole = handshake.Hello(stranger, a.public).datagram
    for size in [*range(0, 260, 3), 1200, 1472]:
        for kind in range(16):
            data = bytes([kind << 4]) + os.urandom(size) if size else b""
            network.send(a.socket() if not a.sockets else a.sockets[0], data)
    check(exchanged(a.sockets[0], []) == 0, "a stranger without the public key was answered")
    for round_ in ("at rest", "beside a flood"):
        flood = Flood(a, "mixed", 1.5) if round_ != "at rest" else None
        for data in ([whole], [whole[:n] for n in range(0, len(whole), 7)],
                     [handshake.with_macs(records.header(records.HELLO) + bytes(n), a.public) for n in range(0, 200, 9)],
                     [whole + bytes(n) for n in (1, 16, 600)]):
            answered, sent = exchanged(a.sockets[0], data, 0.15), sum(map(len, data))
            check(answered <= sent, f"{round_}: {sent} bytes were answered by {answered}")
            check(flood or answered == 0, f"{round_}: an unknown key's hello was answered")
        if flood:
            flood.result()
    a.serves("after what was malformed")
    a.end()


def test_stamps_of_another_time(w):
    """A clock that was wrong, in either direction, does not lock a user out; nor does an old hello open anything."""
    a = Attack(w)
    now, year = time.time_ns(), 365 * 86400 * 10**9
    first = a.session()
    for stamp in (now + 10 * year, (1 << 64) - 1, now + 10**9 * 700):
        try:
            a.session(limit=0.3, stamp=stamp).close()
        except client.NoAnswer:
            pass
    began = time.monotonic()
    a.session(limit=12).close()
    between(time.monotonic() - began, 0, 10, "a session after one from the future in s")
    for stamp in (0, now - 10 * year):
        session = a.session(limit=5, stamp=stamp)
        check(session.challenges > 0, "an old stamp was taken without a challenge")
        session.close()
    sock = a.socket()
    check(exchanged(sock, [first.last_hello] * 50) <= 50 * len(first.last_hello), "replays were answered by more than they were")
    time.sleep(0.1)
    held = [s for s in a.pair.status("concentrator")["sessions"] if s["user"] == "mallory"]
    w.notes.append(f"{len(held)} sessions")
    check(len(held) <= 5, f"replays opened sessions: {len(held)}")
    a.end()
