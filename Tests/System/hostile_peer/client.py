"""An honest proxy of the fewest parts: a session, streams that are opened, read and acknowledged. The attacks begin
from it."""
import collections
import os
import random
import select
import socket
import struct
import time

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from . import frames, handshake, network, options, records, segments
from .segments import ACK, FIN, RST, SYN

RESETS = {1: "generalFailure", 2: "denied", 3: "networkUnreachable", 4: "hostUnreachable", 5: "connectionRefused",
          6: "timedOut", 7: "nameNotFound", 8: "tooManyConnections"}


def noise_identity():
    """A key that nobody knows."""
    return X25519PrivateKey.generate()


class NoAnswer(Exception):
    """The concentrator did not answer a hello."""


def target(host, port):
    """The preface: SOCKS5's address form."""
    parts = host.split(".")
    if ":" in host:
        return b"\x04" + socket.inet_pton(socket.AF_INET6, host) + struct.pack(">H", port)
    if len(parts) == 4 and all(p.isdigit() for p in parts):
        return b"\x01" + bytes(map(int, parts)) + struct.pack(">H", port)
    name = host.encode()
    return b"\x03" + bytes([len(name)]) + name + struct.pack(">H", port)


class Session:
    def __init__(self, sock, identity, concentrator, **hello):
        """`sock` is path 0, connected to the concentrator; `hello` goes into handshake.Hello."""
        self.paths, self.identity, self.concentrator, self.hello = {0: sock}, identity, concentrator, hello
        self.instance = hello.pop("instance", None) or os.urandom(8)
        self.sent, self.heard = collections.Counter(), collections.Counter()
        self.generations = collections.Counter()
        self.streams, self.resets, self.closed, self.bytes_in = {}, [], None, 0
        self.answers_probes, self.last_number, self.epoch = True, 0xc000 + random.randrange(0x1000), 0
        self.welcomes = self.cookies = self.challenges = 0
        self.unreadable = 0

    # ---- the handshake
    def open(self, limit=5.0):
        """Hello until welcome; True, or NoAnswer after `limit` seconds."""
        end, wait, cookie, challenge, attempts = time.monotonic() + limit, 0.25, None, bytes(16), []
        while time.monotonic() < end:
            attempt = handshake.Hello(self.identity, self.concentrator, random.randrange(1 << 24), self.instance,
                                      challenge=challenge, cookie=cookie, **self.hello)
            attempts = attempts[-3:] + [attempt]
            network.send(self.paths[0], attempt.datagram)
            until = time.monotonic() + wait
            wait = min(wait * 1.5, 1)
            while (left := until - time.monotonic()) > 0:
                if not select.select([self.paths[0]], [], [], left)[0]:
                    break
                try:
                    answer = self.paths[0].recv(65536)
                except OSError:
                    continue
                kind = answer[0] >> 4
                if kind == records.COOKIE:
                    try:
                        cookie = attempt.open_cookie(answer)
                        self.cookies += 1
                        network.send(self.paths[0], attempt.with_cookie(cookie))
                    except InvalidTag:
                        pass
                elif kind == records.WELCOME and (result := self.read_welcome(attempts, answer)):
                    if result is True:
                        return True
                    challenge, wait = result, 0.25
                    break
        raise NoAnswer

    def read_welcome(self, attempts, answer):
        """True where the session stands; a challenge where one is to be answered; None where nothing came of it."""
        for attempt in attempts:
            if attempt.index != records.Header(answer).session:
                continue
            try:
                welcome = attempt.read_welcome(answer)
            except InvalidTag:
                continue
            self.welcomes += 1
            if welcome.outcome == handshake.CHALLENGE:
                self.challenges += 1
                return welcome.challenge
            if welcome.outcome != handshake.NEW_SESSION:
                continue
            mine, theirs = attempt.noise.split()
            self.keys = records.Keys(welcome.suite, mine, theirs)
            self.remote, self.local, self.token = welcome.index, attempt.index, welcome.token
            self.last_hello, self.last_attempt = attempt.datagram, attempt
            # The proof that we receive here, and the path's state.
            self.send(bytes([frames.ANSWER, 0, 0]) + welcome.token if welcome.token[0] & 0x80 else b"", self.state(0))
            return True
        return None

    # ---- datagrams
    def seal(self, data, path=0):
        self.sent[path] += 1
        return self.keys.seal(self.remote, self.epoch, path, self.sent[path], data)

    def send(self, *parts, path=0):
        sock = self.paths.get(path) or self.paths[0]
        network.send(sock, self.seal(b"".join(parts), path))

    def state(self, path, incarnation=1, bits=frames.OPEN, mode=0):
        self.generations[path] += 1
        return frames.path_state(path, self.generations[path], incarnation, bits, mode)

    def add_path(self, path, sock, bits=frames.OPEN):
        self.paths[path] = sock
        self.send(self.state(path, bits=bits), path=path)

    def pump(self, duration=0.0, until=lambda: False, limit=None):
        """Takes what comes for `duration` seconds, or until `until()`, at most `limit` seconds; what `until` said."""
        end = time.monotonic() + (limit if limit is not None else duration)
        socks = {sock: path for path, sock in self.paths.items()}
        while True:
            done = until()
            left = end - time.monotonic()
            if done or left < 0:
                return done
            readable = select.select(list(socks), [], [], min(left, 0.25))[0]
            for sock in readable:
                for _ in range(64):
                    try:
                        datagram = sock.recv(65536, 0x40)
                    except OSError:
                        break
                    self.receive(datagram, socks[sock])
            for stream in list(self.streams.values()):
                stream.answer()

    def receive(self, datagram, through=0):
        self.bytes_in += len(datagram)
        if len(datagram) < 24 or datagram[0] >> 4 != records.RECORD:
            return
        head = records.Header(datagram)
        if head.session != self.local:
            return
        opened = self.keys.open(datagram, head.path, self.heard[head.path] + 1)
        if opened is None:
            return
        number, plain = opened
        self.heard[head.path] = max(self.heard[head.path], number)
        self.read(plain, number, head.path)

    def read(self, plain, number, path):
        reply, at = b"", 0
        while at < len(plain):
            kind = plain[at]
            taken = frames.size(plain[at:])
            if not taken or at + taken > len(plain):
                return
            if kind & 0x80:
                self.read_segment(plain[at:at + taken], number)
            frame = plain[at:at + taken]
            at += taken
            if kind == frames.PROBE and self.answers_probes:
                reply += bytes([frames.ANSWER]) + frame[1:]
            elif kind == frames.ADDRESS:
                reply += bytes([frames.ADDRESS_ECHO]) + frame[1:]
            elif kind == frames.CLOSE:
                self.closed = frame[1]
            elif kind == frames.SUBFLOW_RESET:
                reset, = struct.unpack_from(">H", frame, 1)
                self.resets.append(reset)
                if reset in self.streams:
                    self.streams[reset].ended = "subflow reset"
        if reply:
            self.send(reply, path=path)

    def read_segment(self, frame, record):
        number, = struct.unpack_from(">H", frame, 1)
        stream = self.streams.get(number)
        if stream is None:
            return None
        try:
            segment, taken = stream.reader.read(frame, record)
        except (segments.Unreadable, struct.error, IndexError):
            self.unreadable += 1
            return None
        stream.receive(segment)
        return taken

    def close(self):
        if self.closed is None:
            self.send(frames.close())

    # ---- streams
    def stream(self, host, port, data=b"", **options_):
        return Stream(self, target(host, port) + data, **options_)

    def stream_without_target(self):
        return Stream(self, b"")

    def next_number(self):
        self.last_number = 0xc000 if self.last_number >= 0xffff else self.last_number + 1
        return self.last_number


class Stream:
    """One connection of one subflow. `acknowledges`: whether it answers by itself."""

    def __init__(self, session, first, number=None, mss=1400, window=0xffff, scale=9, path=0, sends=True,
                 acknowledges=True, keeps=True, key=None, iss=None):
        self.session, self.path, self.scale = session, path, scale
        self.acknowledges, self.keeps = acknowledges, keeps
        self.number = number if number is not None else session.next_number()
        self.key, self.other_key = key or os.urandom(8), None
        self.iss, self.irs = random.getrandbits(32) if iss is None else iss, None
        self.dsn = options.initial_dsn(self.key) + 1 & (1 << 64) - 1
        self.reader = segments.Reader(self.iss)
        self.next = self.iss + 1 & 0xffffffff
        self.data_next, self.mapped = self.dsn, 1
        self.expected = self.data_expected = None
        self.early, self.received, self.data, self.status = {}, 0, bytearray(), None
        self.ended, self.finished, self.owes, self.window = None, False, False, window
        self.acknowledged, self.segments_in, self.log = 0, 0, None
        session.streams[self.number] = self
        self.syn = segments.general(
            self.number, SYN, self.iss, window=window, payload=first,
            extra=options.mss(mss) + options.SACK_PERMITTED + options.window_scale(scale) + options.capable()
            + (options.dss(dsn=self.dsn, ssn=1, length=len(first)) if first else b""))
        self.advance(len(first))
        if sends:
            self.send(self.syn)

    def advance(self, count):
        self.next = self.next + count & 0xffffffff
        self.data_next = self.data_next + count & (1 << 64) - 1
        self.mapped += count

    def send(self, *parts):
        self.session.send(*parts, path=self.path)

    @property
    def is_open(self):
        return self.other_key is not None

    # ---- segments out
    def write(self, data, size=1200):
        for at in range(0, len(data), size):
            piece = data[at:at + size]
            self.send(self.segment(ACK, options.dss(self.data_expected, self.data_next, self.mapped, len(piece), wide=True), piece))
            self.advance(len(piece))

    def segment(self, flags=ACK, extra=b"", payload=b"", sequence=None, ack=None, window=None):
        return segments.general(self.number, flags, self.next if sequence is None else sequence,
                                self.expected if ack is None else ack, self.window if window is None else window,
                                extra, payload)

    def acknowledgement(self, ack=None, data_ack=None, blocks=(), window=None):
        """A bare ACK: the subflow's, the data's, and SACK blocks as absolute numbers."""
        extra = options.dss(self.data_expected if data_ack is None else data_ack, wide=True)
        return self.segment(ACK, (options.sack(blocks) if blocks else b"") + extra, ack=ack, window=window)

    def abort(self):
        self.send(self.segment(RST | ACK, options.fast_close(self.other_key or bytes(8))))
        self.session.streams.pop(self.number, None)

    # ---- segments in
    def receive(self, segment):
        self.segments_in += 1
        said = segment.said
        if segment.flags & RST:
            self.ended = "reset"
            return
        if segment.flags & SYN:
            if "key" not in said:
                self.ended = "no MPTCP"
                return
            if self.other_key is None:
                self.other_key, self.irs = said["key"], segment.sequence
                self.expected = segment.sequence + 1 & 0xffffffff
                self.data_expected = self.data_start = options.initial_dsn(self.other_key) + 1 & (1 << 64) - 1
            if self.acknowledges:
                self.send(self.segment(ACK, options.capable(self.key, self.other_key) + options.dss(self.data_expected, wide=True)))
        if self.other_key is None:
            return
        if "data ack" in said:
            self.acknowledged = max(self.acknowledged, said["data ack"])
        if segment.payload or segment.flags & FIN or said.get("fin"):
            if self.log is not None:
                self.log.append((segment.sequence, len(segment.payload)))
            self.take(segment)
            self.owes = True

    def take(self, segment):
        offset = segment.sequence - self.expected & 0xffffffff
        if offset >= 1 << 31:
            return
        self.early[segment.sequence] = segment
        while (found := self.early.pop(self.expected, None)) is not None:
            self.expected = self.expected + len(found.payload) + bool(found.flags & FIN) & 0xffffffff
            if "dsn" in found.said:
                dsn = segments.widen(found.said["dsn"], self.data_expected) if found.said["dsn"] < 1 << 32 else found.said["dsn"]
                fin = bool(found.said["fin"])
                skip = self.data_expected - dsn & (1 << 64) - 1
                if skip <= len(found.payload):
                    self.keep(found.payload[skip:])
                    self.data_expected = self.data_expected + len(found.payload) - skip + fin & (1 << 64) - 1
                    self.finished = self.finished or fin

    def keep(self, payload):
        if payload and self.status is None:
            self.status, payload = payload[0], payload[1:]
        self.received += len(payload)
        if self.keeps:
            self.data += payload

    def answer(self):
        """What an honest end says to what came since."""
        if self.owes and self.acknowledges and self.expected is not None:
            self.owes = False
            blocks = sorted((s, s + len(g.payload) & 0xffffffff) for s, g in list(self.early.items())[:3] if g.payload)
            self.send(self.acknowledgement(blocks=blocks))
