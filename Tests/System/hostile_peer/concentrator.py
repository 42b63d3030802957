"""A concentrator of the fewest parts, in a thread of its own, whose behaviour a test chooses: what a real proxy must
live through."""
import collections
import os
import select
import struct
import threading
import time

from cryptography.exceptions import InvalidTag

from . import frames, handshake, network, noise, options, records, segments
from .segments import ACK, SYN


class Concentrator:
    """`behave(session, what, value)` is called for every hello ("hello", payload), session ("session", None), SYN
    ("syn", Stream), further segment ("segment", (Stream, Segment)), datagram's end ("turn", None), and while nothing
    comes ("idle", None); what it returns is sent. A hello's may be the welcome's payload, or b"" for none."""

    def __init__(self, namespace, address, identity, behave, pre_shared=noise.NO_PRE_SHARED_KEY):
        self.identity, self.behave, self.pre_shared = identity, behave, pre_shared
        self.socket = network.listening(namespace, address)
        self.sessions, self.hellos, self.records, self.errors, self.latest = {}, 0, 0, [], None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()

    def stop(self):
        self.stopping.set()
        self.thread.join(10)
        self.socket.close()

    def loop(self):
        while not self.stopping.is_set():
            try:
                if not select.select([self.socket], [], [], 0.01)[0]:
                    if self.latest:
                        self.latest.say("idle")
                    continue
                datagram, source = self.socket.recvfrom(65536)
                if datagram[:1] and datagram[0] >> 4 == records.HELLO:
                    self.hello(datagram, source)
                elif len(datagram) >= 24 and datagram[0] >> 4 == records.RECORD:
                    self.record(datagram, source)
            except (OSError, InvalidTag):
                continue
            except Exception as error:  # a test asks for it
                self.errors.append(repr(error))

    def hello(self, datagram, source):
        self.hellos += 1
        state = noise.Handshake(self.identity, handshake.PROLOGUE, pre_shared=self.pre_shared)
        payload = state.read_first(datagram[8:-handshake.MACS])
        session = Session(self, int.from_bytes(payload[2:5], "big"), source)
        answer = self.behave(session, "hello", payload)
        if answer is None:
            answer = bytes([handshake.VERSION, handshake.NEW_SESSION, records.AES_256_GCM]) \
                + session.local.to_bytes(3, "big") + b"\0"
        if answer:
            second = state.write_second(answer)
            theirs, mine = state.split()
            session.keys = records.Keys(records.AES_256_GCM, mine, theirs)
            self.sessions[session.local] = session
            self.socket.sendto(records.header(records.WELCOME, session.remote) + second + bytes([0x80]) + os.urandom(7), source)

    def record(self, datagram, source):
        head = records.Header(datagram)
        session = self.sessions.get(head.session)
        if session is None:
            return
        opened = session.keys.open(datagram, head.path, session.heard[head.path] + 1)
        if opened is None:
            return
        self.records += 1
        number, plain = opened
        session.heard[head.path] = max(session.heard[head.path], number)
        session.addresses[head.path] = source
        session.read(plain, number, head.path)


class Session:
    def __init__(self, owner, remote, source):
        self.owner, self.remote, self.local = owner, remote, int.from_bytes(os.urandom(3), "big")
        self.sent, self.heard = collections.Counter(), collections.Counter()
        self.addresses, self.streams, self.began, self.stage = {0: source}, {}, False, 0
        self.since = time.monotonic()

    def send(self, *parts, path=0):
        self.sent[path] += 1
        try:
            self.owner.socket.sendto(self.keys.seal(self.remote, 0, path, self.sent[path], b"".join(parts)),
                                     self.addresses.get(path, self.addresses[0]))
        except OSError:
            pass

    def say(self, what, value=None, path=0):
        out = self.owner.behave(self, what, value)
        if out:
            self.send(out, path=path)

    def read(self, plain, number, path):
        if not self.began:
            self.began, self.owner.latest = True, self
            self.say("session", path=path)
        reply, at = b"", 0
        while at < len(plain):
            kind = plain[at]
            taken = frames.size(plain[at:])
            if not taken or at + taken > len(plain):
                break
            if kind & 0x80:
                self.read_segment(plain[at:at + taken], number, path)
            frame = plain[at:at + taken]
            at += taken
            if kind == frames.PROBE:
                reply += bytes([frames.ANSWER]) + frame[1:]
            elif kind == frames.PATH_STATE:
                reply += bytes([frames.PATH_ECHO]) + frame[1:]
        if reply:
            self.send(reply, path=path)
        self.say("turn", path=path)

    def read_segment(self, frame, record, path):
        number, = struct.unpack_from(">H", frame, 1)
        stream = self.streams.get(number)
        if stream is None:
            stream = self.streams[number] = Stream(self, number, path)
        try:
            segment, taken = stream.reader.read(frame, record)
        except (segments.Unreadable, struct.error, IndexError):
            return None
        if segment.flags & SYN:
            stream.irs = segment.sequence
            stream.expected = segment.sequence + 1 + len(segment.payload) & 0xffffffff
            stream.data_expected = segment.said.get("dsn", 0) + len(segment.payload) & 0xffffffff
            self.say("syn", stream, path)
        elif stream.irs is not None:
            if segment.sequence == stream.expected:
                stream.expected = stream.expected + len(segment.payload) & 0xffffffff
                stream.data_expected = stream.data_expected + len(segment.payload) & 0xffffffff
            self.say("segment", (stream, segment), path)
        return taken


class Stream:
    """The listener's end."""

    def __init__(self, session, number, path):
        self.session, self.number, self.path = session, number, path
        self.key, self.iss = os.urandom(8), int.from_bytes(os.urandom(4), "big")
        self.reader = segments.Reader(self.iss)
        self.irs = self.expected = self.data_expected = None
        self.next, self.mapped = self.iss + 1 & 0xffffffff, 1
        self.data_next = options.initial_dsn(self.key) + 1 & (1 << 64) - 1

    def syn_ack(self, extra=b""):
        return segments.general(self.number, SYN | ACK, self.iss, self.expected, 0xffff, options.mss(1400)
                                + options.SACK_PERMITTED + options.window_scale(9) + options.capable(self.key)
                                + options.dss(self.data_expected) + extra)

    def data(self, payload, ahead=0, flags=ACK, fin=False, moves=True):
        """The next bytes, or what is `ahead` of them."""
        out = segments.general(self.number, flags, self.next + ahead, self.expected, 0xffff, options.dss(
            self.data_expected, self.data_next + ahead & 0xffffffff, self.mapped + ahead, len(payload) + fin, fin), payload)
        if moves and not ahead:
            self.next = self.next + len(payload) & 0xffffffff
            self.data_next = self.data_next + len(payload) & (1 << 64) - 1
            self.mapped += len(payload)
        return out

    def bare(self, ack=None, blocks=(), extra=b"", flags=ACK, window=0xffff):
        return segments.general(self.number, flags, self.next, self.expected if ack is None else ack, window,
                                (options.sack(blocks) if blocks else b"") + extra)
