"""A user with a valid key whose datagram frames are hostile: docs/security.md, "Datagrams of associations". Nobody else
may notice, and of his own he keeps no more than his limits."""
import random
import socket
import struct
import sys
import time

from attack import MEBIBYTE, Attack
from hostile_peer import client, frames
from runner import check, seconds
from test_datagrams import SCRIPT, counter
from world import CONCENTRATOR, ORIGIN


def associations(session, count, first=1, limit=10.0):
    """Streams whose preface is an association's; those that were answered."""
    streams = [client.Stream(session, struct.pack(">BHB", 16, first + n, 0)) for n in range(count)]
    end = time.monotonic() + limit
    while not all(s.status is not None or s.ended for s in streams) and time.monotonic() < end:
        session.pump(0.2, lambda: all(s.status is not None or s.ended for s in streams))
        for s in streams:
            if not s.is_open and not s.ended:
                s.send(s.syn)
    return [s for s in streams if s.status == 0]


def burst(session, parts, size=1150):
    """Frames in as few datagrams as hold them, at a pace that the socket takes."""
    held, count = b"", 0
    for part in parts:
        if len(held) + len(part) > size:
            session.send(held)
            held, count = b"", count + 1
            if count % 32 == 0:
                session.pump(0.004)
        held += part
    session.send(held)


def test_frames_of_every_form(w):
    """Flows without end, of nobody's associations, numbers used again and of the other side, pieces that never become
    whole, gaps, words about flows that never were, reports of everything: all dropped, and honest datagrams pass."""
    a = Attack(w)
    w.start(w.net, [sys.executable, SCRIPT, "echo", "7000", ORIGIN], "echo")
    session = a.session()
    check(len(associations(session, 3)) == 3, "no associations")
    echo, chance = client.target(ORIGIN, 7000), random.Random(11)
    # Flows by the thousand, and all of them once more under each other's numbers.
    for shift in (0, 7):
        burst(session, (frames.datagram((n + shift) % 5000, 0, b"x", (1 + n % 3, client.target("10.81.3.%d" % (100 + n % 100), 1 + n)))
                        for n in range(5000)))
    # Associations that are not there, and flows that are the concentrator's to open.
    burst(session, (frames.datagram(n | (n & 1) << 15, n, b"x", (n % 70 + 4, echo)) for n in range(2000)))
    burst(session, (frames.datagram(0x8000 | n, n, b"x", (1, echo)) for n in range(2000)))
    # Pieces without the others, with all numbers, cut in other ways; gaps up to the farthest.
    burst(session, (frames.datagram(n % 300, n, b"p" * 200, (1, echo), (chance.randrange(16), 15)) for n in range(6000)))
    burst(session, (frames.datagram(n % 50, n // 50, b"p" * 10, (1, echo), (n % 3, 1 + n % 15)) for n in range(3000)))
    burst(session, (frames.datagram(n % 40, chance.choice([n * 2, n * 2, 0xffffff - n, n + 0x7ffffe, 0]), b"g" * 100, (2, echo), ordered=True)
                    for n in range(6000)))
    # Words and reports about what never was.
    burst(session, (frames.flow(frames.FLOW_ACKNOWLEDGED + n % 3, chance.randrange(1 << 16)) for n in range(20000)))
    burst(session, (frames.datagram_report(chance.randrange(1 << 24), chance.randrange(1 << 32), chance.randrange(1 << 16))
                    for n in range(3000)))
    # Cut anywhere, and of any content.
    whole = frames.datagram(1, 1, b"payload", (1, echo), (0, 1))
    for end in range(1, len(whole)):
        session.send(whole[:end])
    for _ in range(2000):
        wild = bytearray(whole + chance.randbytes(chance.randrange(8)))
        for _ in range(chance.randrange(1, 5)):
            wild[chance.randrange(len(wild))] = chance.randrange(256)
        session.send(bytes(wild))
    session.pump(0.5)
    check(session.closed is None, "the session was closed")
    flows = sum(s["flows"] for s in a.pair.status("concentrator")["sessions"])
    w.notes.append(f"{flows} flows are kept")
    check(flows <= 4096, f"{flows} flows")
    a.serves("after the frames")
    session.close()
    a.end(memory=100 * MEBIBYTE)


def test_flows_of_many_sessions(w):
    """Sixteen sessions with flows by the thousand: a user has 8,192 in all."""
    a = Attack(w)
    sessions = []
    for n in range(6):
        try:
            sessions.append(a.session())
        except client.NoAnswer:
            pass
    for session in sessions:
        associations(session, 1)
        burst(session, (frames.datagram(n, 0, b"x", (1, client.target("10.81.3.%d" % (100 + n % 100), 1 + n))) for n in range(4096)))
    status = a.pair.status("concentrator")
    flows = sum(s["flows"] for s in status["sessions"])
    w.notes.append(f"{len(sessions)} sessions, {flows} flows")
    check(6000 < flows <= 8192, f"{flows} flows")
    a.serves("beside the flows")
    for session in sessions:
        session.close()
    w.wait(lambda: all(s["flows"] == 0 for s in a.pair.status("concentrator")["sessions"]), "the flows to end", 5.0)
    a.end(memory=100 * MEBIBYTE)


@seconds(120)
def test_names_by_the_thousand(w):
    """Datagrams to names that nobody answers for, as long as may be: what waits for them is bounded."""
    a = Attack(w)
    session = a.session()
    check(len(associations(session, 30)) == 30, "no associations")
    before = a.pair.memory("concentrator")
    flow = 0
    for association in range(1, 31):
        def some():
            nonlocal flow
            for n in range(60):
                flow += 1
                name = client.target(f"n{association}-{n}.silent.test", 7)
                for sequence in range(6):
                    for piece in range(7):
                        yield frames.datagram(flow % 4000, sequence, bytes(1000), (association, name), (piece, 6))
        burst(session, some())
        session.pump(0.01)
    grown = (a.pair.memory("concentrator") - before) / MEBIBYTE
    w.notes.append(f"grown by {grown:.0f} MiB while names are asked for")
    check(grown < 30, f"grown by {grown:.0f} MiB")
    a.serves("beside the names")
    session.close()
    a.end(memory=100 * MEBIBYTE)


def test_other_sessions_flows(w):
    """Numbers of another user's associations and flows lead nowhere in a session of one's own."""
    a = Attack(w, attackers=2)
    w.start(w.net, [sys.executable, SCRIPT, "echo", "7000", ORIGIN], "echo")
    honest, other = a.session(0), a.session(1)
    check(len(associations(honest, 1, first=9)) == 1, "no association")
    honest.send(frames.datagram(5, 0, b"mine", (9, client.target(ORIGIN, 7000))))
    w.wait(lambda: counter(a.pair, "concentrator", "datagrams_sent_total") == 1, "the datagram to leave")
    burst(other, (frames.datagram(n % 10, n, b"theirs", (9, client.target(ORIGIN, 7000)) if n % 2 else None) for n in range(2000)))
    burst(other, (frames.flow(frames.FLOW_CLOSED, n) for n in range(100)))
    other.pump(0.5)
    check(counter(a.pair, "concentrator", "datagrams_sent_total") == 1, "something left for the other session")
    honest.send(frames.datagram(5, 1, b"mine still"))
    w.wait(lambda: counter(a.pair, "concentrator", "datagrams_sent_total") == 2, "the flow to go on")
    honest.close()
    other.close()
    a.end()


@seconds(90)
def test_mapped_ports_flooded(w):
    """A stranger floods hundreds of mapped ports of one user; the bystander's requests are as fast as before."""
    a = Attack(w)
    session = a.session()
    count = len(associations(session, 400))
    check(count == 400, f"{count} associations")
    ports = sorted({line.split()[3].split(":")[-1] for line in w.run(w.net, ["ss", "-Huanp"], text=True).stdout.splitlines()
                    if "braid" in line} - {"443"})
    flood = w.start(w.net, [sys.executable, "-c", f"""
import socket, time
ports = {ports!r}
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end = time.monotonic() + 5
while time.monotonic() < end:
    for port in ports:
        for _ in range(4): s.sendto(b"stranger" * 8, ({CONCENTRATOR!r}, int(port)))
"""], "flood")
    while flood.poll() is None:
        session.pump(0.2)
    filtered = counter(a.pair, "concentrator", 'datagrams_refused_total{reason="filtered"}')
    w.notes.append(f"{filtered} of a stranger's were dropped")
    check(filtered > 10_000, "nothing was filtered")
    check(counter(a.pair, "concentrator", "datagrams_received_total") == 0, "a stranger's went through")
    session.close()
    a.end()
