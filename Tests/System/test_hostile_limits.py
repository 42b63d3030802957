"""A user with a valid key who takes all there is: docs/security.md, "Users". Each has limits of their own."""
import itertools
import os

from attack import MEBIBYTE, Attack
from hostile_peer import client, options, segments
from runner import check
from test_hostile_user import GET, opened
from world import CONCENTRATOR, ORIGIN

LITTLE_MEMORY = "egress: { deny: [] }\nlimits: { memory: 128 MiB }\n"


def test_half_open_streams(w):
    """100,000 SYNs of 15 bytes, 93 in a datagram, without the rest: others' connections open meanwhile."""
    a = Attack(w)
    for n in range(2):
        session = a.session()
        syns = (segments.general(number, segments.SYN, 1, extra=options.capable()) for number in range(1, 1 << 16))
        for number, group in enumerate(iter(lambda: list(itertools.islice(syns, 93)), [])):
            session.send(*group)
            if number % 16 == 0:
                session.pump(0.002)
        a.serves(f"beside the half-open streams of session {n}")
    check(a.grown() < 150 * MEBIBYTE, f"they cost {a.grown() / MEBIBYTE:.0f} MiB")
    a.end()


def test_streams_that_never_say_where(w):
    """Opened as they should be, but the target does not come: a user's own limit is all they take."""
    a = Attack(w)
    session = a.session()
    for _ in range(6):
        for stream in [session.stream_without_target() for _ in range(500)]:
            pass
        session.pump(0.05)
    w.notes.append(f"{sum(s.is_open for s in session.streams.values())} of 3,000 opened")
    a.serves("beside the empty streams")
    check(a.grown() < 150 * MEBIBYTE, f"they cost {a.grown() / MEBIBYTE:.0f} MiB")
    session.close()
    a.end()


def test_sessions_without_end(w):
    """A session after another, each of an instance of its own, each kept."""
    a = Attack(w)
    sessions = []
    for _ in range(60):
        try:
            sessions.append(a.session(limit=1))
        except client.NoAnswer:
            pass
    held = [s for s in a.pair.status("concentrator")["sessions"] if s["user"] == "mallory"]
    w.notes.append(f"{len(sessions)} opened, {len(held)} kept")
    check(len(sessions) >= 10, f"only {len(sessions)} sessions were opened")
    check(len(held) <= 16, f"one user has {len(held)} sessions")
    a.end()


def test_names_whose_server_is_silent(w):
    """Look-ups that never end must not keep others' names from being found."""
    a = Attack(w)
    session = a.session()
    for n in range(60):
        syns = [client.Stream(session, client.target(f"{n}-{i}.silent.test", 80), sends=False).syn for i in range(16)]
        session.send(*syns)
    for _ in range(4):
        session.pump(0.3)
        a.serves("beside the silent names", 2)
    session.close()
    a.end()


def test_dials_by_the_thousand(w):
    """Targets that refuse, that nobody has, that no name can be, and one number opened again and again: the log stays
    small, and dials of others are made."""
    a = Attack(w)
    session = a.session()
    bad = [client.target(ORIGIN, 9), client.target("127.0.0.1", 80), client.target("10.81.3.99", 80), client.target("x" * 255, 1),
           client.target("a..b", 80), client.target("2130706433", 80), client.target("nowhere.example.", 80), b"\x03\x00\x00\x50",
           b"\x03\x03a\x00b\x00\x50", b"\x05\x01", b"\x04" + bytes(18), b"\x01" + bytes(6), client.target("localhost", 0), b"\x03"]
    log = os.path.getsize(w.logs[a.pair.names[1]])
    for number in range(300):
        syns = [client.Stream(session, bad[(number + i) % len(bad)], sends=False, acknowledges=False,
                              number=0xc000 if i % 4 == 0 else None).syn for i in range(8)]
        for i in range(0, 8, 4):
            session.send(*syns[i:i + 4])
        session.streams.clear()
        if number % 20 == 0:
            session.pump(0.005)
    a.serves("beside the dials", 3)
    written = os.path.getsize(w.logs[a.pair.names[1]]) - log
    w.notes.append(f"{written / 1000:.0f} kB of log for 2,400 dials")
    session.close()
    a.end()


def test_downloads_that_stand_still(w):
    """Full windows that nobody takes: 600 connections, and none is ever acknowledged again."""
    a = Attack(w)
    session = a.session()
    for _ in range(12):
        for stream in [session.stream(ORIGIN, 80, GET, scale=14, keeps=False) for _ in range(50)]:
            pass
        session.pump(0.1)
        for stream in session.streams.values():
            stream.acknowledges = not stream.status
    session.pump(2)
    w.notes.append(f"{sum(s.status is not None for s in session.streams.values())} stand still")
    check(a.grown() < 400 * MEBIBYTE, f"they cost {a.grown() / MEBIBYTE:.0f} MiB")
    a.serves("beside what stands still")
    session.close()
    a.end(memory=400 * MEBIBYTE)


def test_single_bytes_on_every_page(w):
    """A receive window is memory only where something came: one byte on each 4 KiB of 400 windows is little to send,
    and 400 MiB to hold. Half of what the concentrator may have is the most a user gets."""
    a = Attack(w, concentrator=LITTLE_MEMORY)
    session = a.session()
    streams = []
    for _ in range(4):
        streams += opened(session, 100, port=7004, data=b"hello")
    for number, stream in enumerate(streams):
        pages = [segments.compact(stream.number, stream.next - stream.iss + at, b"x", stream.data_next + at,
                                  ack=stream.expected - stream.irs, window=0x8000, data_ack=stream.data_expected)
                 for at in range(4095, 1 << 20, 4096)]
        for i in range(0, len(pages), 60):
            session.send(*pages[i:i + 60])
        if number % 8 == 0:
            session.pump(0.001)
    session.pump(0.3)
    check(a.grown() < 200 * MEBIBYTE, f"they cost {a.grown() / MEBIBYTE:.0f} MiB")
    a.serves("beside the single bytes")
    session.close()
    a.end()


def test_the_concentrators_own_services(w):
    """By the default policy no address of the concentrator's own machine is dialled, whatever it is, nor port 25."""
    w.address("203.0.114.9/32")  # a public one, of the same machine
    a = Attack(w, concentrator=f"egress: {{ deny: [private], allow: [{ORIGIN}/32] }}\n")
    session = a.session()
    streams = [session.stream(host, port) for host in
               ("127.0.0.1", "127.1.2.3", CONCENTRATOR, "203.0.114.9", "0.0.0.0", "::1", "::ffff:127.0.0.1",
                "localhost", "loopback.test", "169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::1", f"::ffff:{CONCENTRATOR}")
               for port in (9091, 53, 80)] + [session.stream(host, 25) for host in ("198.51.101.7", ORIGIN)]
    session.pump(until=lambda: all(s.status is not None for s in streams), limit=8)
    for stream in streams:
        name = client.RESETS.get(stream.status, stream.status)
        check(name == "denied", f"a dial of the concentrator's own machine ended as {name}")
    session.close()
    a.end()
