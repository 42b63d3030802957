"""A user with a valid key who means harm: docs/security.md, "Users". Nobody else may notice."""
import itertools
import os
import random
import time

from attack import MEBIBYTE, PORT, Attack, cpu
from hostile_peer import client, frames, handshake, network, noise, nonsense, options, segments
from hostile_peer.segments import ACK
from runner import between, check, seconds
from world import CONCENTRATOR, ORIGIN

HALF = 1 << 31
GET = b"GET /bytes/500000000 HTTP/1.1\r\nHost: x\r\n\r\n"


def opened(session, count=1, host=ORIGIN, port=80, data=GET, limit=10.0, **settings):
    """Streams whose SYN/ACK and first data have come; what follows is not acknowledged by itself any more."""
    streams = [session.stream(host, port, data, **settings) for _ in range(count)]
    end = time.monotonic() + limit
    while not all(s.status is not None for s in streams):
        session.pump(0.5, lambda: all(s.status is not None for s in streams))
        check(time.monotonic() < end, f"of {count} honest streams {sum(s.is_open for s in streams)} were opened")
        for s in streams:
            if not s.is_open:
                s.send(s.syn)
    return streams


# ---- acknowledgements -----------------------------------------------------------------
def selective(session, mss, size, every, limit):
    """Reads `size` bytes and acknowledges them only selectively: all of them (`every` 1), or leaving out every so
    manieth; then says nothing, until the sender has given up on all that was said so."""
    stream, = opened(session, mss=mss, scale=14, keeps=False)
    stream.acknowledges, stream.log = False, []
    base, end, got = stream.expected, time.monotonic() + limit, 0
    while got < size and time.monotonic() < end:
        session.pump(0.005)
        news, stream.log = stream.log, []
        got += sum(count for _, count in news)
        if every == 1 and stream.expected != base:
            session.send(stream.acknowledgement(ack=base, blocks=[(base, stream.expected)]))
        elif every > 1:
            blocks = [(at, at + count) for at, count in news if (at - base & 0xffffffff) // max(count, 1) % every]
            acks = [stream.acknowledgement(ack=base, blocks=blocks[i:i + 4])
                    for i in range(0, len(blocks), 4)]
            for i in range(0, len(acks), 12):
                session.send(*acks[i:i + 12])
    session.pump(1.2)
    session.send(stream.acknowledgement())
    stream.abort()
    return got


# ---- frames by the hundred ---------------------------------------------------------------
def rekeys(session, epoch, count, authentic):
    """Rekey frames: true ones, each with another ephemeral key, or with messages that do not open."""
    found = []
    for _ in range(count):
        if authentic:
            first = noise.Handshake(session.identity, handshake.REKEY, session.concentrator)
            found.append(frames.rekey(epoch, first.write_first(bytes([epoch]))))
        else:
            found.append(frames.rekey(epoch, os.urandom(97)))
    return found


def pieces(session, streams, count, made):
    """`count` datagrams of as many one-byte segments as go in, for the streams by turns; `made(stream, i)` makes one."""
    done = [0] * len(streams)
    for n in range(count):
        which = n % len(streams)
        stream, room, out = streams[which], 1380, []
        while True:
            piece = made(stream, done[which])
            room -= len(piece)
            if room < 0:
                break
            out.append(piece)
            done[which] += 1
        session.send(*out)
        if n % 8 == 0:
            session.pump(0.001)
    return sum(done)


# ---- numbers -----------------------------------------------------------------------------
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


def test_paths_that_come_and_go(w):
    """A path's state is its proxy's to say, 200 times in a datagram: the log does not grow with it."""
    a = Attack(w)
    session = a.session()
    log = len(w.text(a.pair.names[1]))
    for _ in range(20):
        session.send(*[session.state(i % 4, incarnation=1 + i // 4, bits=[1, 5, 0, 3][i // 4 % 4]) for i in range(200)])
        session.pump(0.01)
    a.serves("beside the states")
    lines = [line for line in w.text(a.pair.names[1])[log:].splitlines() if " info " in line]
    w.notes.append(f"{len(lines)} lines")
    check(len(lines) < 200, f"4,000 states wrote {len(lines)} lines into the log")
    session.close()
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


def test_windows_of_a_byte(w):
    """A receiver that opens its window by a byte at a time, shrinks it, and asks with every datagram."""
    a = Attack(w)
    session = a.session()
    streams = opened(session, 30, scale=0, window=2000, keeps=False)
    before = cpu(a.concentrator)
    for number in range(150):
        session.send(*[s.acknowledgement(window=(number * 7 + i) % 3) for i, s in enumerate(streams)])
        session.pump(0.004)
    spent = cpu(a.concentrator) - before
    w.notes.append(f"{spent:.2f} s of CPU for 4,500 acknowledgements")
    between(spent, 0, 1, "CPU for 4,500 windows of a byte in s")
    session.close()
    a.end()


def test_a_path_from_a_thousand_ports(w):
    """Every datagram comes from another port: none is sent more than three times what came from it."""
    a = Attack(w)
    session = a.session()
    stream, = opened(session, scale=14, keeps=False)
    session.pump(0.1)
    sent = got = 0
    for number in range(150):
        other = network.udp(w.app, (CONCENTRATOR, PORT), "cell")
        for path in (0, 1 + number % 15):
            datagram = session.seal(session.state(path) + stream.acknowledgement(), path)
            network.send(other, datagram)
            sent += len(datagram)
        session.pump(0.002)
        other.setblocking(False)
        try:
            while True:
                got += len(other.recv(65536))
        except OSError:
            pass
        other.close()
    w.notes.append(f"{sent} bytes sent, {got} answered")
    check(got <= 3 * sent, f"{sent} bytes from unproved ports were answered by {got}")
    session.close()
    a.end()


# ---- where it leads -----------------------------------------------------------------------
