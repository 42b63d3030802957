"""A user with a valid key whose segments and frames are hostile: docs/security.md, "Users". Nobody else may notice."""
import os
import random
import time

from attack import PORT, Attack, cpu
from hostile_peer import client, frames, handshake, network, noise, nonsense, options, segments
from hostile_peer.segments import ACK
from runner import between, check, seconds
from world import CONCENTRATOR, ORIGIN

HALF = 1 << 31
GET = b"GET /bytes/500000000 HTTP/1.1\r\nHost: x\r\n\r\n"
# SHA-256 of this key ends with fffffa5a: the data's numbers pass 2^32 in the first kilobytes.
LATE_KEY = bytes.fromhex("000000000003d9a2")


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


def test_acknowledgements_of_what_never_was(w):
    """SACK blocks around every edge of sequence space, in every order. Three of them once hung the concentrator."""
    a = Attack(w)
    session = a.session()
    for seed in range(4):
        chance = random.Random(seed)
        stream, = opened(session, scale=14)
        stream.acknowledges = False
        session.pump(0.05)
        first, last = stream.irs + 1, stream.expected
        marks = [first, last, last + 1400, first - 1, first + HALF, last + HALF, first + HALF - 1, last + HALF + 1400,
                 first - 4000, 0, 0xffffffff, first - HALF + 2800]
        for _ in range(40):
            blocks = [(chance.choice(marks) + chance.randrange(-3, 4) * chance.choice([1, 700, 1400]),
                       chance.choice(marks) + chance.randrange(-3, 4) * chance.choice([1, 700, 1400]))
                      for _ in range(chance.randrange(1, 5))]
            session.send(stream.acknowledgement(ack=chance.choice([first, last, last, first + 1400]) & 0xffffffff, blocks=blocks))
        stream.abort()
        stream, = opened(session, scale=14)
        # Stale blocks that begin behind what was sent and end in the other half: once what is sent has reached
        # them, they chain backwards around a block that is quite right.
        for reach in (1 << 16, 1 << 20, 1 << 28):
            stream.acknowledges = False
            session.pump(0.15)  # until all that is sent has come
            last = stream.expected
            session.send(stream.acknowledgement(blocks=[(last + 9, last + HALF + 8), (last + reach + 9, last + HALF + reach + 8)]))
            session.pump(0.05)
            session.send(stream.acknowledgement(ack=last, blocks=[(last, stream.expected)], data_ack=stream.data_start))
            stream.acknowledges = True
            session.pump(0.02)
        session.send(stream.acknowledgement())
        session.pump(0.02)
        stream.abort()
    a.serves("after the acknowledgements")
    session.close()
    a.end()


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


@seconds(100)
def test_small_segments_and_everything_acknowledged_selectively(w):
    """12.9 MB at MSS 64 once froze everybody for 89 s."""
    a = Attack(w)
    session = a.session()
    got = []
    for mss, every in ((64, 1), (64, 2), (536, 1)):
        got.append(selective(session, mss, 3_000_000, every, 2.5))
    w.notes.append(f"MB acknowledged: {', '.join(f'{n / 1e6:.1f}' for n in got)}")
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


def test_segments_and_frames_drawn_from_a_seed(w):
    """Living streams of every state get segments that no honest end sends, the session frames of every kind."""
    a = Attack(w)
    sent = 0
    for seed in range(3):
        chance = random.Random(seed)
        session = a.session()
        end = time.monotonic() + 1.2
        streams = []
        while time.monotonic() < end:
            session.pump(0.002)
            streams = [s for s in streams if s.ended is None and not s.finished][-12:]
            while len(streams) < 12:
                host, port, data = chance.choice([(ORIGIN, 80, GET), (ORIGIN, 7004, b"echo"), (ORIGIN, 7002, b""), (ORIGIN, 7005, b"x"),
                                                  ("10.81.3.99", 9, b"")])
                streams.append(session.stream(host, port, data, keeps=False, acknowledges=chance.random() < 0.8,
                                              scale=chance.randrange(20), mss=chance.choice([1, 536, 1400])))
            for _ in range(4):
                session.send(b"".join(nonsense.segment(chance, chance.choice(streams)) for _ in range(chance.randrange(1, 8)))[:1400])
                sent += 1
            if chance.random() < 0.3:
                session.send(nonsense.flood(chance, chance.randrange(nonsense.FLOODS)), path=chance.choice([0, 0, 0, chance.randrange(16)]))
            for old in [s for s in session.streams.values() if s not in streams]:
                session.streams.pop(old.number)
        a.serves(f"after seed {seed}")
    w.notes.append(f"{sent} datagrams of segments")
    a.end()


def test_numbers_at_their_ends(w):
    """Not an attack by itself: sequence and data sequence numbers that pass their ends, packet numbers that jump."""
    a = Attack(w)
    session = a.session()
    data = random.Random(4).randbytes(150_000)
    for iss in (0xffffffff, 0xfffffff0, 0xffff8000, 0x7fffffff, 0):
        stream, = opened(session, port=7004, data=data[:100], key=LATE_KEY, iss=iss)
        at = 100
        while at < len(data):
            stream.write(data[at:at + 12_000])
            at += 12_000
            session.pump(until=lambda: stream.received >= min(at, len(data)), limit=3)
        session.pump(until=lambda: stream.received >= len(data), limit=5)
        check(bytes(stream.data) == data, f"from {iss:x} on {stream.received} bytes came back, or others: {stream.ended}")
        stream.abort()
    # A jump of the packet number beyond the replay window, again and again, at every path.
    for number in range(300):
        session.sent[number % 16] += (1 << 22) if number % 3 else 8_192
        session.send(frames.probe(1, 1), path=number % 16)
    session.pump(0.1)
    a.serves("after the jumps")
    session.close()
    a.end()


def test_joins_and_aborts_by_the_thousand(w):
    """Subflows to one connection on every path, with and without the right HMAC; connections aborted at once, whose
    resets nobody ever answers."""
    a = Attack(w)
    session = a.session()
    streams = opened(session, 4, scale=14, keeps=False)
    before, number = cpu(a.concentrator), 1
    for n in range(100):
        out = []
        for _ in range(24):
            token = options.token(streams[number % 4].other_key) if number % 5 else os.urandom(4)
            out.append(segments.general(number, segments.SYN, number, extra=options.mss(1400) + options.join_syn(number & 255, token, os.urandom(4))))
            if number % 3 == 0:
                out.append(segments.general(number, ACK, number + 1, 1, 0xffff, options.join_ack(os.urandom(20))))
            number = number % 0xbf00 + 1
        session.send(*out, path=n % 16)
        session.pump(0.002)
    for _ in range(100):
        out = []
        for _ in range(12):
            stream = client.Stream(session, client.target(ORIGIN, 7004), sends=False)
            out += [stream.syn, segments.general(stream.number, segments.RST | ACK, stream.next, 0)]
            session.streams.pop(stream.number)
        for i in range(0, len(out), 8):
            session.send(*out[i:i + 8])
        session.pump(0.002)
    a.serves("after joins and aborts")
    spent = cpu(a.concentrator) - before
    w.notes.append(f"{spent:.2f} s of CPU for 2,400 joins and 1,200 aborts")
    between(spent, 0, 1.5, "CPU for 2,400 joins and 1,200 aborts in s")
    session.close()
    a.end()


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


def test_rekeys_by_the_thousand(w):
    """Fourteen in a datagram once cost 5.6 ms: 2,800 of them 1.1 s."""
    a = Attack(w)
    session = a.session()
    good, bad = rekeys(session, 1, 28, True), [rekeys(session, 1, 14, False) for _ in range(100)]
    before = cpu(a.concentrator)
    for group in bad:
        session.send(*group)
    for i in range(100):
        random.Random(i).shuffle(good)
        session.send(*good[:14])
        session.pump(0.005)
    a.serves("after the rekeys")
    spent = cpu(a.concentrator) - before
    w.notes.append(f"{spent:.2f} s of CPU for 2,800 rekeys")
    between(spent, 0, 0.5, "CPU for 2,800 rekeys in s")
    session.close()
    a.end()


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


def test_bytes_one_by_one(w):
    """Ranges of one byte at the subflow, and in the data; mappings of one byte for what has not come; both backwards."""
    a = Attack(w)
    session = a.session()

    def compact(stream, offset, dsn):
        return segments.compact(stream.number, stream.next - stream.iss + offset, b"x", stream.data_next + dsn,
                                ack=stream.expected - stream.irs, window=0x8000, data_ack=stream.data_expected)

    def mapping(stream, i):
        far = 50_000 + 2 * min(i, 4080)
        return stream.segment(ACK, options.dss(stream.data_expected, stream.data_next + far, stream.mapped + far, 1),
                              b"x", sequence=stream.next + 1)

    costs = {}
    for name, made in (("holes", lambda s, i: compact(s, 2 * i + 1, 2 * i + 1)),
                       ("holes backwards", lambda s, i: compact(s, 900_000 - 2 * i, 900_000 - 2 * i)),
                       ("anywhere", lambda s, i: compact(s, i * 7919 % 900_000 + 1, i * 104729 % 900_000 + 1)),
                       ("holes in the data", lambda s, i: compact(s, i, 2 * i + 1)),
                       ("backwards in the data", lambda s, i: compact(s, i, 900_000 - 2 * i)),
                       ("anywhere in the data", lambda s, i: compact(s, i, 1 + i * 7919 * 2 % 900_000)),
                       ("mappings", mapping)):
        streams = opened(session, 2, port=7004, data=b"hello")
        session.pump(0.05)
        before = cpu(a.concentrator)
        sent = pieces(session, streams, 250, made)
        session.pump(0.05)
        costs[name] = (cpu(a.concentrator) - before) / sent * 1e6
        for stream in streams:
            stream.abort()
    a.serves("after the bytes")
    w.notes.append(f"us of CPU for a segment: {', '.join(f'{name} {cost:.1f}' for name, cost in costs.items())}")
    for name, cost in costs.items():
        between(cost, 0, 4, f"us of CPU for a segment of one byte: {name}")
    session.close()
    a.end()


def test_states_and_modes_beside_many_streams(w):
    """Every path's state, its mode and its silence by the thousand, where each concerns 1,000 streams."""
    a = Attack(w)
    session = a.session()
    for _ in range(10):
        opened(session, 100, port=7004, data=b"hello")
    session.add_path(1, a.socket(), bits=frames.OPEN | frames.BACKUP)
    session.pump(0.2)
    before = cpu(a.concentrator)
    chance = random.Random(1)
    for n in range(150):
        session.send(*[session.state(chance.choice([0, 1, 1, chance.randrange(16)]), incarnation=chance.choice([1, 1, 1, i]),
                                     bits=chance.choice([1, 1, 3, 5, 0]), mode=i % 4) for i in range(225)], path=0)
        if n % 10 == 0:
            session.pump(0.002)
    a.serves("after the states")
    spent = cpu(a.concentrator) - before
    w.notes.append(f"{spent:.2f} s of CPU for 33,750 states")
    between(spent, 0, 2, "CPU for 150 datagrams of states in s")
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
