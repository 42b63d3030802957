"""A concentrator that means harm, against the real proxy: it may see and change what it carries, and refuse to carry
it, but neither end nor stop the proxy; docs/security.md, "The concentrator's operator"."""
import os
import random
import time

from attack import MEBIBYTE, PORT, cpu, identity
from hostile_peer import frames, nonsense
from hostile_peer.concentrator import Concentrator
from runner import between, check, seconds
from world import CONCENTRATOR


class Trap:
    """A real proxy whose concentrator is ours for a while, then an honest one with the same key."""

    def __init__(self, w):
        self.w, self.pair = w, w.pair(uplinks=("wifi", "cell"))
        check(w.curl("http://origin.test/where").returncode == 0, "an honest request before the attack")
        self.pair.concentrator.kill()
        self.pair.concentrator.wait()
        self.identity = identity(self.pair.concentrator_key)
        self.memory, self.cpu = self.pair.memory(), cpu(self.pair.proxy)

    def spring(self, behave, length, until=lambda fake: False, requests=6):
        """The proxy meets `behave` for `length` seconds while an application asks."""
        fake = Concentrator(self.w.net, (CONCENTRATOR, PORT), self.identity, behave)
        asks = f"while :; do curl -sS --max-time {length + 12} --socks5-hostname 127.0.0.1:1080 http://origin.test/where; sleep 0.05; done"
        applications = [self.w.start(self.w.app, ["bash", "-c", asks], "curl") for _ in range(requests)]
        first, end = time.monotonic() + 12, None  # the proxy has to notice that its session is gone
        while not until(fake):
            if fake.latest and end is None:
                end = time.monotonic() + length
            if time.monotonic() > (end or first):
                break
            time.sleep(0.05)
            check(self.pair.proxy.poll() is None, f"the proxy ended with {self.pair.proxy.returncode}")
        for application in applications:
            application.kill()
        fake.stop()
        check(not fake.errors, f"the hostile concentrator itself failed: {fake.errors[:1]}")
        return fake

    def end(self, limit=15.0):
        """With an honest concentrator all is well again."""
        self.pair.start_concentrator()
        began = time.monotonic()
        self.w.wait(lambda: self.w.curl("http://origin.test/where", limit=5).returncode == 0,
                    "an honest request after the attack", 40)
        between(time.monotonic() - began, 0, limit, "an honest request after the attack in s")
        grown = self.pair.memory() - self.memory
        self.w.notes.append(f"{cpu(self.pair.proxy) - self.cpu:.2f} s of CPU, {grown / MEBIBYTE:.0f} MiB")
        check(grown < 150 * MEBIBYTE, f"the proxy has grown by {grown / MEBIBYTE:.0f} MiB")
        self.pair.alive()
        end = time.monotonic() + 10
        while True:
            before = cpu(self.pair.proxy)
            time.sleep(0.4)
            if cpu(self.pair.proxy) - before < 0.1:
                break
            check(time.monotonic() < end, "10 s after the attack the proxy is still busy")


def test_welcomes_that_are_none(w):
    """Every outcome, version and cipher, cut and long; then the proxy takes a true one."""
    trap = Trap(w)
    chance = random.Random(5)

    def behave(session, what, value):
        if what == "hello":
            kind = session.owner.hellos % 8
            body = bytes([value[0], 0, 1]) + os.urandom(3) + b"\0"
            return [b"\0", bytes([9]) + body[1:], bytes([value[0], 1]) + body[2:], body[:2] + b"\7" + body[3:], body[:5],
                    body + os.urandom(300), bytes([value[0], 2]) + body[2:] + os.urandom(16), os.urandom(chance.randrange(1, 60))][kind]
        return None

    fake = trap.spring(behave, 8, lambda fake: fake.hellos >= 9)
    w.notes.append(f"{fake.hellos} hellos")
    check(fake.hellos >= 4, "the proxy did not try again")
    check(fake.hellos < 200, f"the proxy sent {fake.hellos} hellos in 8 s")
    trap.end()


@seconds(90)
def test_answers_and_frames_that_no_concentrator_sends(w):
    """Every stream is answered with another dial status and then with nonsense; between that come frames of every kind
    by the hundred in a datagram, and at last the end of the session."""
    trap = Trap(w)
    chance = random.Random(11)

    def behave(session, what, value):
        if what == "syn":
            status = bytes([chance.choice([0, 0, 0, 0, 1, 9, 255])])
            return value.syn_ack() + (value.data(status) if chance.random() < 0.9 else b"")
        if what == "segment":
            return b"".join(nonsense.segment(chance, value[0]) for _ in range(chance.randrange(1, 4)))[:1400]
        if what == "idle":
            streams = [s for s in session.streams.values() if s.irs is not None][-20:]
            session.send(b"".join(nonsense.segment(chance, s) for s in streams)[:1400])
            for _ in range(4):
                session.stage += 1
                session.send(nonsense.flood(chance, session.stage))
            if session.stage > 600:
                session.send(frames.close(chance.randrange(5)))
        return None

    fake = trap.spring(behave, 5, requests=8)
    w.notes.append(f"{fake.records} records, {fake.hellos} hellos of the proxy's")
    check(fake.records > 100, "the proxy was hardly spoken to")
    check(fake.hellos < 200, f"the proxy sent {fake.hellos} hellos in 5 s")
    trap.end()
