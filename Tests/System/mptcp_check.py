#!/usr/bin/env python3
"""Checks a capture of Multipath TCP (RFC 8684, version 1), such as `braid ... --pcap FILE` writes.

Written from the RFC alone and sharing no code with Braid, so that the two can disagree. It follows every
connection of the capture and asserts:

  * IP and TCP checksums, tokens, the HMACs of MP_JOIN and ADD_ADDR, the keys of MP_CAPABLE and MP_FASTCLOSE;
  * every payload byte is mapped, a mapping never changes, and a byte sent again (retransmitted or reinjected on
    another subflow) is the same byte;
  * a DATA_ACK never goes back (on one subflow; and on the whole connection in the direction in which the
    capturing host sends), nor beyond the data seen;
  * no data lies beyond the right edge of the window that the capture has shown;
  * both directions end with a DATA_FIN behind the last byte, with no hole before it, that is acknowledged;
    or the connection is aborted by MP_FASTCLOSE.

Prints a summary as JSON; exits with 1 where something is wrong and with 2 where the file can't be read.
"""
import argparse
import bisect
import hashlib
import hmac
import json
import mmap
import socket
import struct
import sys

FIN, SYN, RST, ACK = 1, 2, 4, 16
MASK32, MASK64 = (1 << 32) - 1, (1 << 64) - 1


# --- the file ---------------------------------------------------------------------------------------------

def packets(data):
    """Yields (number, seconds, IP packet) of a pcap file."""
    if len(data) < 24:
        raise ValueError("too short for a pcap file")
    magic = bytes(data[:4])
    forms = {b"\xa1\xb2\xc3\xd4": (">", 1e6), b"\xd4\xc3\xb2\xa1": ("<", 1e6),
             b"\xa1\xb2\x3c\x4d": (">", 1e9), b"\x4d\x3c\xb2\xa1": ("<", 1e9)}
    if magic not in forms:
        raise ValueError("not a pcap file")
    order, ticks = forms[magic]
    link = struct.unpack(order + "I", data[20:24])[0] & 0xffff
    skip = {101: 0, 228: 0, 229: 0, 12: 0, 1: 14, 113: 16, 276: 20}.get(link)
    if skip is None:
        raise ValueError("link type %d is not handled" % link)
    at, number = 24, 0
    while at + 16 <= len(data):
        seconds, fraction, length, original = struct.unpack_from(order + "IIII", data, at)
        at += 16
        if at + length > len(data):
            raise ValueError("the last record is cut short")
        number += 1
        if length == original:
            yield number, seconds + fraction / ticks, data[at + skip:at + length]
        at += length


def ones_sum(data):
    if len(data) & 1:
        data = bytes(data) + b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total > 0xffff:
        total = (total & 0xffff) + (total >> 16)
    return total


class Packet:
    __slots__ = ("number", "time", "source", "target", "seq", "ack", "flags", "window", "options", "payload", "faults",
                 "scale")


def parse(number, time, ip, thorough):
    """An IP packet with TCP in it; None for others."""
    if len(ip) < 40:
        return None
    if ip[0] >> 4 == 4:
        head, total = (ip[0] & 15) * 4, struct.unpack_from("!H", ip, 2)[0]
        if ip[9] != 6 or total > len(ip):
            return None
        family, addresses, tcp = socket.AF_INET, ip[12:20], ip[head:total]
        ip_fault = thorough and ones_sum(ip[:head]) != 0xffff
    elif ip[0] >> 4 == 6:
        if ip[6] != 6:
            return None
        family, addresses, tcp = socket.AF_INET6, ip[8:40], ip[40:40 + struct.unpack_from("!H", ip, 4)[0]]
        ip_fault = False
    else:
        return None
    if len(tcp) < 20:
        return None
    p = Packet()
    p.number, p.time, p.faults, p.scale = number, time, [], None
    if ip_fault:
        p.faults.append("wrong IP checksum")
    # The pseudo-header: addresses, length, protocol.
    if thorough and ones_sum(bytes(addresses) + struct.pack("!II", len(tcp), 6) + bytes(tcp)) != 0xffff:
        p.faults.append("wrong TCP checksum")
    half = len(addresses) // 2
    sport, dport, p.seq, p.ack, offset, p.flags, p.window = struct.unpack_from("!HHIIBBH", tcp)
    p.source = (socket.inet_ntop(family, addresses[:half]), sport)
    p.target = (socket.inet_ntop(family, addresses[half:]), dport)
    offset = (offset >> 4) * 4
    if offset < 20 or offset > len(tcp):
        return None
    p.payload = tcp[offset:]
    p.options = []
    at = 20
    while at < offset:
        kind = tcp[at]
        if kind == 0:
            break
        if kind == 1:
            at += 1
            continue
        length = tcp[at + 1] if at + 1 < offset else 0
        if length < 2 or at + length > offset:
            p.faults.append("malformed TCP options")
            break
        if kind == 3 and length == 3:
            p.scale = min(tcp[at + 2], 14)
        elif kind == 30 and length >= 3:
            p.options.append((tcp[at + 2] >> 4, bytes(tcp[at:at + length])))
        at += length
    return p


def u64(b, at):
    return struct.unpack_from("!Q", b, at)[0]


def dss(o):
    """DATA_FIN, (DATA_ACK, octets) or None, (DSN, octets, SSN, length, checksum) or None."""
    bits, at, ack, mapping = o[3], 4, None, None
    if bits & 1:
        n = 8 if bits & 2 else 4
        ack = (int.from_bytes(o[at:at + n], "big"), n)
        at += n
    if bits & 4:
        n = 8 if bits & 8 else 4
        ssn, length = struct.unpack_from("!IH", o, at + n)
        checksum = struct.unpack_from("!H", o, at + n + 6)[0] if len(o) >= at + n + 8 else None
        mapping = (int.from_bytes(o[at:at + n], "big"), n, ssn, length, checksum)
        at += n + 6
    return bool(bits & 0x10), ack, mapping


# --- what the RFC defines ---------------------------------------------------------------------------------

def key_hash(key):
    return hashlib.sha256(key).digest()


def mac(first, second, message):
    return hmac.new(first + second, message, hashlib.sha256).digest()


def widen(low, octets, near):
    """The 64-bit number next to `near` with these low 32 bits."""
    if octets == 8:
        return low
    return near + ((low - near + (1 << 31)) & MASK32) - (1 << 31)


class Ranges:
    """Half-open ranges of integers, merged."""

    def __init__(self):
        self.starts, self.ends = [], []

    def add(self, a, b):
        if a >= b:
            return
        i = bisect.bisect_left(self.ends, a)
        j = bisect.bisect_right(self.starts, b)
        if i < j:
            a, b = min(a, self.starts[i]), max(b, self.ends[j - 1])
        self.starts[i:j], self.ends[i:j] = [a], [b]

    def common(self, a, b):
        """The parts of a..b that are in here."""
        i, out = bisect.bisect_right(self.ends, a), []
        while i < len(self.starts) and self.starts[i] < b:
            out.append((max(a, self.starts[i]), min(b, self.ends[i])))
            i += 1
        return out

    def reach(self, a):
        """How far from `a` on there is no hole."""
        i = bisect.bisect_right(self.starts, a) - 1
        return self.ends[i] if i >= 0 and self.ends[i] >= a else a


class Stream:
    """One direction of a connection. Numbers are offsets: 0 is the first byte, at IDSN + 1."""

    def __init__(self):
        self.key = self.origin = None
        self.content, self.seen = bytearray(), Ranges()
        self.reinjected = self.repeated = 0
        self.fin = None         # offset that the DATA_FIN takes
        self.acked = 0          # highest DATA_ACK for this direction
        self.edge = None        # right edge of the window offered for this direction
        self.regressions = []   # DATA_ACKs (for this direction) that went back on the connection

    def set_key(self, key):
        self.key = key
        self.origin = (u64(key_hash(key), 24) + 1) & MASK64

    def offset(self, number, octets, near):
        if octets == 4:
            return widen((number - self.origin) & MASK32, 4, near)
        return ((number - self.origin + (1 << 63)) & MASK64) - (1 << 63)


class Connection:
    def __init__(self, number):
        self.number = number
        self.streams = (Stream(), Stream())   # data of the initiator, of the listener
        self.subflows = []
        self.aborted = self.fallback = False
        self.checksums = False

    @property
    def name(self):
        return "connection %d" % self.number


class Half:
    """One direction of a subflow."""

    def __init__(self):
        self.iss, self.scale, self.highest = None, None, 0
        self.mappings = []      # sorted (SSN, length, offset in the stream)
        self.seen = Ranges()    # payload by SSN
        self.pending = []       # payload without a mapping yet
        self.acked = None       # highest DATA_ACK sent in this direction of this subflow


class Subflow:
    def __init__(self, connection, initiator, join):
        self.connection, self.initiator, self.join = connection, initiator, join
        self.halves = (Half(), Half())
        self.nonces = [None, None]


# --- the check --------------------------------------------------------------------------------------------

class Check:
    def __init__(self, side, linux):
        self.side, self.linux = side, linux
        self.connections, self.flows, self.tokens = [], {}, {}
        self.violations, self.count = [], {"packets": 0, "plain": 0, "strays": 0, "joins": 0, "hmacs": 0, "addresses": 0}
        self.first_syns, self.keys = {}, {}

    def wrong(self, p, what):
        self.violations.append("packet %d: %s" % (p.number, what) if p else what)

    # First pass: the initiator's key comes in the third packet, but data may come before it.
    def learn(self, p):
        pair = frozenset((p.source, p.target))
        if p.flags & SYN and not p.flags & ACK:
            known = self.first_syns.get(pair)
            if known is None or known[-1][1] != p.seq:
                self.first_syns.setdefault(pair, []).append((p.number, p.seq))
            return
        for subtype, o in p.options:
            if subtype == 0 and len(o) >= 12 and pair in self.first_syns:
                which = (pair, self.first_syns[pair][-1], 1 if p.flags & SYN else 0)
                self.keys.setdefault(which, o[4:12])

    def take(self, p):
        self.count["packets"] += 1
        for fault in p.faults:
            self.wrong(p, fault)
        pair = frozenset((p.source, p.target))
        flow = self.flows.get(pair)
        if p.flags & SYN and not p.flags & ACK and (flow is None or flow.halves[0].iss != p.seq):
            flow = self.open(p, pair)
        if flow is None:
            self.count["strays"] += 1
            if len(p.payload):
                self.wrong(p, "data on a subflow without a SYN")
            return
        if flow.connection is None:
            self.count["plain"] += 1
            return
        side = 0 if p.source == flow.initiator else 1
        half = flow.halves[side]
        if p.flags & SYN:
            if half.iss is None:
                half.iss, half.scale = p.seq, p.scale
            elif half.iss != p.seq:
                # An answer to an old SYN; the subflow that follows it would not match.
                return self.wrong(p, "a second initial sequence number on one subflow")
        if half.iss is None:
            return self.wrong(p, "data before the SYN/ACK") if len(p.payload) else None
        self.options(p, flow, side)

    def open(self, p, pair):
        capable = next((o for s, o in p.options if s == 0), None)
        join = next((o for s, o in p.options if s == 1), None)
        connection = None
        if capable is not None:
            if capable[2] & 15 != 1 or not capable[3] & 1:
                self.wrong(p, "MP_CAPABLE without version 1 or HMAC-SHA256")
            connection = Connection(len(self.connections) + 1)
            connection.checksums = bool(capable[3] & 0x80)
            self.connections.append(connection)
            for side in (0, 1):
                key = self.keys.get((pair, (p.number, p.seq), side))
                if key:
                    connection.streams[side].set_key(key)
                    self.tokens[key_hash(key)[:4]] = (connection, side)
        elif join is not None and len(join) == 12:
            found = self.tokens.get(join[4:8])
            if found is None:
                self.wrong(p, "MP_JOIN with an unknown token %s" % join[4:8].hex())
            elif found[1] != 1:
                self.wrong(p, "MP_JOIN by the listener")
            else:
                connection = found[0]
                self.count["joins"] += 1
        flow = Subflow(connection, p.source, join is not None)
        if join is not None and len(join) == 12:
            flow.nonces[0] = join[8:12]
        if connection:
            connection.subflows.append(flow)
        self.flows[pair] = flow
        return flow

    def options(self, p, flow, side):
        connection = flow.connection
        mine, theirs = connection.streams[side], connection.streams[1 - side]
        mapping = ack = None
        for subtype, o in p.options:
            if subtype == 0:
                self.capable(p, connection, side, o)
                if len(o) >= 22:
                    checksum = struct.unpack_from("!H", o, 22)[0] if len(o) >= 24 else None
                    mapping = (False, (mine.origin or 0) & MASK64, 8, 1, struct.unpack_from("!H", o, 20)[0], checksum)
            elif subtype == 1:
                self.join(p, flow, side, o)
            elif subtype == 2:
                fin, ack, m = dss(o)
                if m:
                    mapping = (fin,) + m
            elif subtype == 3 and not o[2] & 1:
                self.address(p, mine, theirs, o)
            elif subtype == 7:
                if theirs.key and o[4:12] != theirs.key:
                    self.wrong(p, "%s: MP_FASTCLOSE with a wrong key" % connection.name)
                else:
                    connection.aborted = True
        if mine.key is None or theirs.key is None:
            return
        self.map_and_payload(p, flow, side, mapping)
        self.acknowledge(p, flow, side, ack)

    def capable(self, p, connection, side, o):
        stream = connection.streams[side]
        if len(o) == 12 and stream.key == o[4:12]:
            connection.checksums |= bool(o[3] & 0x80)
        elif len(o) == 12:
            self.wrong(p, "%s: another key in the second packet" % connection.name)
        elif len(o) >= 20:
            if side != 0:
                self.wrong(p, "%s: both keys from the listener" % connection.name)
            elif stream.key != o[4:12] or connection.streams[1].key != o[12:20]:
                self.wrong(p, "%s: the third packet's keys are not the handshake's" % connection.name)

    def join(self, p, flow, side, o):
        if not flow.join:
            return self.wrong(p, "MP_JOIN on a subflow that began otherwise")
        keys = [s.key for s in flow.connection.streams]
        if len(o) == 16 and side == 1:
            flow.nonces[1] = o[12:16]
        if None in keys or None in flow.nonces or len(o) == 12:
            return None
        self.count["hmacs"] += 1
        if len(o) == 16 and mac(keys[1], keys[0], flow.nonces[1] + flow.nonces[0])[:8] != o[4:12]:
            self.wrong(p, "%s: wrong HMAC in a SYN/ACK" % flow.connection.name)
        elif len(o) == 24 and mac(keys[0], keys[1], flow.nonces[0] + flow.nonces[1])[:20] != o[4:24]:
            self.wrong(p, "%s: wrong HMAC in the third packet of a join" % flow.connection.name)
        return None

    def address(self, p, mine, theirs, o):
        if mine.key is None or theirs.key is None:
            return
        self.count["addresses"] += 1
        body = o[3:-8]
        if len(body) in (5, 17):
            body += b"\0\0"
        if mac(mine.key, theirs.key, body)[-8:] != o[-8:]:
            self.wrong(p, "wrong HMAC in ADD_ADDR")

    def map_and_payload(self, p, flow, side, mapping):
        connection, half = flow.connection, flow.halves[side]
        stream = connection.streams[side]
        # Relative to the initial sequence number; the first byte behind a SYN has 1. Unwrapped.
        first = widen((p.seq - half.iss + (1 if p.flags & SYN else 0)) & MASK32, 4, half.highest)
        payload = bytes(p.payload)
        half.highest = max(half.highest, first + len(payload))
        if mapping:
            fin, number, octets, ssn, length, checksum = mapping
            offset = stream.offset(number, octets, stream.seen.ends[-1] if stream.seen.ends else 0)
            if length == 0:
                connection.fallback = True
                return
            data = length - (1 if fin else 0)
            if fin:
                if stream.fin not in (None, offset + data):
                    self.wrong(p, "%s: a second DATA_FIN elsewhere" % connection.name)
                stream.fin = offset + data
            if data:
                self.add_mapping(p, connection, half, widen(ssn, 4, first), data, offset)
            if connection.checksums and checksum is not None and data == len(payload):
                head = struct.pack("!QIHH", (stream.origin + offset) & MASK64, ssn, length, checksum)
                if ones_sum(head + payload) != 0xffff:
                    self.wrong(p, "%s: wrong DSS checksum" % connection.name)
        if payload:
            half.pending.append((p, first, payload))
        if half.pending and (payload or mapping) and not connection.fallback:
            half.pending = [left for item in half.pending for left in self.place(flow, side, *item)]

    def add_mapping(self, p, connection, half, ssn, length, offset):
        i = bisect.bisect_left(half.mappings, (ssn, 0, 0))
        for other in half.mappings[max(i - 1, 0):i + 2]:
            if other == (ssn, length, offset):
                return
            low, high = max(ssn, other[0]), min(ssn + length, other[0] + other[1])
            if low < high and other[2] - other[0] != offset - ssn:
                self.wrong(p, "%s: subflow bytes %d to %d mapped anew, to %d instead of %d"
                           % (connection.name, low, high, offset + low - ssn, other[2] + low - other[0]))
                return
        bisect.insort(half.mappings, (ssn, length, offset))

    def place(self, flow, side, p, ssn, payload):
        """Puts the mapped part of a payload into the stream; yields what has no mapping."""
        half, connection = flow.halves[side], flow.connection
        end = ssn + len(payload)
        at = ssn
        while at < end:
            # Mappings may overlap (a retransmission cut differently), then they agree: any that covers will do.
            i = bisect.bisect_right(half.mappings, (at, MASK64, 0)) - 1
            while i >= 0 and half.mappings[i][0] + half.mappings[i][1] <= at and i > 0 and \
                    half.mappings[i][0] > at - 70_000:
                i -= 1
            covering = half.mappings[i] if i >= 0 else None
            if covering is None or not covering[0] <= at < covering[0] + covering[1]:
                j = bisect.bisect_right(half.mappings, (at, MASK64, 0))
                stop = min(end, half.mappings[j][0]) if j < len(half.mappings) else end
                yield p, at, payload[at - ssn:stop - ssn]
                at = stop
                continue
            stop = min(end, covering[0] + covering[1])
            self.deliver(p, connection, half, side, at, covering[2] + at - covering[0], payload[at - ssn:stop - ssn])
            at = stop

    def deliver(self, p, connection, half, side, ssn, offset, data):
        stream = connection.streams[side]
        end = offset + len(data)
        if offset < 0:
            return self.wrong(p, "%s: data before its first byte" % connection.name)
        # The window: data that rides on the initiator's own SYN comes before any is known.
        if stream.edge is None:
            if not p.flags & SYN:
                self.wrong(p, "%s: data before any window" % connection.name)
        elif end > stream.edge:
            self.wrong(p, "%s: data up to %d beyond the window's edge %d" % (connection.name, end, stream.edge))
        if stream.fin is not None and end > stream.fin:
            self.wrong(p, "%s: data behind the DATA_FIN" % connection.name)
        if len(stream.content) < end:
            stream.content.extend(bytes(end - len(stream.content)))
        again = 0
        for a, b in stream.seen.common(offset, end):
            again += b - a
            old = stream.content[a:b]
            skip = min(max(stream.acked - a, 0), b - a) if self.linux else 0
            if old[skip:] != data[a - offset + skip:b - offset]:
                self.wrong(p, "%s: bytes %d to %d differ from those sent before" % (connection.name, a, b))
            data = data[:a - offset] + bytes(old) + data[b - offset:]   # what was first sent stays
        repeated = sum(b - a for a, b in half.seen.common(ssn, ssn + len(data)))
        stream.repeated += repeated
        stream.reinjected += max(0, again - repeated)
        half.seen.add(ssn, ssn + len(data))
        stream.content[offset:end] = data
        stream.seen.add(offset, end)
        return None

    def acknowledge(self, p, flow, side, ack):
        """What a packet of `side` says about the data of the other side."""
        connection, half = flow.connection, flow.halves[side]
        stream = connection.streams[1 - side]
        # RFC 7323 section 2.2: both SYNs must have the option, and a SYN's own window is not scaled.
        is_scaled = not p.flags & SYN and None not in (half.scale, flow.halves[1 - side].scale)
        window = p.window << (half.scale if is_scaled else 0)
        if ack is None:
            # Before any DATA_ACK a window counts from the first byte.
            if p.flags & SYN and not flow.join:
                stream.edge = max(stream.edge or 0, window)
            return
        offset = stream.offset(ack[0], ack[1], stream.acked)
        reach = stream.seen.reach(0)
        finished = stream.fin is not None and reach >= stream.fin
        if offset > reach + (1 if finished else 0):
            self.wrong(p, "%s: DATA_ACK %d beyond the data seen, %d" % (connection.name, offset, reach))
        if half.acked is not None and offset < half.acked:
            self.wrong(p, "%s: DATA_ACK went back on one subflow, %d to %d" % (connection.name, half.acked, offset))
        half.acked = max(half.acked or 0, offset)
        if offset < stream.acked:
            stream.regressions.append("packet %d: %s: DATA_ACK went back, %d to %d"
                                      % (p.number, connection.name, stream.acked, offset))
        stream.acked = max(stream.acked, offset)
        if not p.flags & RST:
            stream.edge = max(stream.edge or 0, offset + window)

    def finish(self, allow_unfinished):
        finished = unfinished = aborted = 0
        for c in self.connections:
            for flow in c.subflows:
                for half in flow.halves:
                    for p, ssn, payload in half.pending:
                        if not c.fallback:
                            self.wrong(p, "%s: %d bytes at subflow sequence %d are not mapped" % (c.name, len(payload), ssn))
            if c.aborted:
                aborted += 1
                continue
            missing = [self.unfinished(s, ("initiator", "listener")[i]) for i, s in enumerate(c.streams)]
            missing = [m for m in missing if m]
            if not missing:
                finished += 1
                continue
            unfinished += 1
            if not allow_unfinished:
                self.wrong(None, "%s: %s" % (c.name, "; ".join(missing)))
        self.monotonic()
        return finished, unfinished, aborted

    @staticmethod
    def unfinished(stream, who):
        if stream.key is None:
            return "the %s's key is not in the capture" % who
        if stream.fin is None:
            return "no DATA_FIN of the %s" % who
        if stream.seen.reach(0) < stream.fin:
            return "a hole at %d of the %s's %d bytes" % (stream.seen.reach(0), who, stream.fin)
        if stream.acked <= stream.fin:
            return "the %s's DATA_FIN is not acknowledged" % who
        return None

    def monotonic(self):
        """The DATA_ACKs that the capturing host itself sends never go back; those that come to it over several
        paths may overtake one another. Which host that is follows from the capture, unless it is told."""
        by = {"initiator": [r for c in self.connections for r in c.streams[1].regressions],
              "listener": [r for c in self.connections for r in c.streams[0].regressions]}
        side = self.side or min(by, key=lambda who: len(by[who]))
        self.violations += by[side]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("capture")
    parser.add_argument("--allow-unfinished", action="store_true", help="connections may be cut off by the capture's end")
    parser.add_argument("--side", choices=("initiator", "listener"), help="which end captured (found out if left out)")
    parser.add_argument("--ignore-checksums", action="store_true", help="of IP and TCP, for hosts that offload them")
    parser.add_argument("--linux", action="store_true",
                        help="a peer is Linux, whose window probes carry other bytes below the DATA_ACK")
    parser.add_argument("--most", type=int, default=50, help="violations to print (default 50)")
    arguments = parser.parse_args()
    check = Check(arguments.side, arguments.linux)
    try:
        with open(arguments.capture, "rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        for learning in (True, False):
            for number, time, ip in packets(data):
                p = parse(number, time, ip, thorough=not (learning or arguments.ignore_checksums))
                if p is not None:
                    (check.learn if learning else check.take)(p)
    except (OSError, ValueError) as error:
        print("mptcp_check: %s: %s" % (arguments.capture, error), file=sys.stderr)
        return 2
    finished, unfinished, aborted = check.finish(arguments.allow_unfinished)
    streams = [c.streams for c in check.connections]
    total = lambda i, what: sum(what(s[i]) for s in streams)
    length = lambda s: sum(b - a for a, b in zip(s.seen.starts, s.seen.ends))
    print(json.dumps({
        **check.count,
        "connections": len(check.connections), "finished": finished, "unfinished": unfinished, "aborted": aborted,
        "fallback": sum(c.fallback for c in check.connections),
        "subflows": sum(len(c.subflows) for c in check.connections),
        "bytes": {"initiator": total(0, length), "listener": total(1, length)},
        "retransmitted": {"initiator": total(0, lambda s: s.repeated), "listener": total(1, lambda s: s.repeated)},
        "reinjected": {"initiator": total(0, lambda s: s.reinjected), "listener": total(1, lambda s: s.reinjected)},
        "violations": len(check.violations), "first_violations": check.violations[:arguments.most],
    }, indent=2))
    return 1 if check.violations else 0


if __name__ == "__main__":
    sys.exit(main())
