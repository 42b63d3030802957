#!/usr/bin/env python3
"""Checks a capture of Multipath TCP (RFC 8684, version 1), such as `braid ... --pcap FILE` writes.

Written from the RFC alone and sharing no code with Braid, so that the two can disagree. It follows every
connection of the capture and asserts:

  * IP and TCP checksums, the form of every option, tokens, the HMACs of MP_JOIN and ADD_ADDR, the keys of
    MP_CAPABLE and MP_FASTCLOSE; an echo repeats what was announced, an address ID means one address;
  * every payload byte is mapped, a mapping never changes, and a byte sent again (retransmitted or reinjected on
    another subflow) is the same byte; every mapping has its checksum where they are agreed, and it is right;
  * a DATA_ACK never goes back (on one subflow, unless a peer is Linux; and on the whole connection in the direction in which the
    capturing host sends), nor beyond the data seen; no TCP acknowledgement goes beyond what was sent;
  * no data lies beyond the right edge of the window that the capture has shown, and the capturing host never
    takes back an edge that it has shown;
  * both directions end with a DATA_FIN behind the last byte, with no hole before it, that is acknowledged;
    or the connection is aborted by MP_FASTCLOSE.

Prints a summary as JSON; exits with 1 where something is wrong and with 2 where the file can't be read.
"""
import argparse
import bisect
import json
import mmap
import struct
import sys

from mptcp_packets import (ACK, ADD_ADDR, CAPABLE, DSS, FAIL, FASTCLOSE, FIN, JOIN, MASK32, MASK64, PRIO, REMOVE_ADDR, RST, SYN,
                           Ranges, dss, inet_name, key_hash, mac, ones_sum, packets, parse, u64, widen)


class Stream:
    """One direction of a connection. Numbers are offsets: 0 is the first byte, at IDSN + 1."""

    def __init__(self):
        self.key = self.origin = None
        self.content, self.seen = bytearray(), Ranges()
        self.reinjected = self.repeated = 0
        self.fin = None         # offset that the DATA_FIN takes
        self.acked = 0          # highest DATA_ACK for this direction
        self.edge = None        # right edge of the window offered for this direction
        self.regressions = []   # DATA_ACKs or edges (for this direction) that went back on the connection
        self.announced = set()  # what ADD_ADDR named: ID, address, port
        self.ids = {}           # address by ID, of subflows and ADD_ADDR
        self.unverified = []    # packet, mapping and checksum of what came in several pieces

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
        self.end = 0            # highest relative sequence number sent, with SYN and FIN


class Subflow:
    """`opener`: 0 where the connection's initiator opened it, 1 the listener. Halves are the opener's first."""

    def __init__(self, connection, address, join, opener):
        self.connection, self.address, self.join, self.opener = connection, address, join, opener
        self.halves = (Half(), Half())
        self.nonces = [None, None]
        self.spoke = [False, False]   # whether a packet behind the SYN had an MPTCP option


# --- the check --------------------------------------------------------------------------------------------

class Check:
    def __init__(self, side, linux):
        self.side, self.linux = side, linux
        self.connections, self.flows, self.tokens = [], {}, {}
        self.violations, self.count = [], dict.fromkeys((
            "packets", "plain", "strays", "joins", "hmacs", "addresses", "echoes", "removals", "priorities", "fails",
            "fastcloses", "checksums"), 0)
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
        side = 0 if p.source == flow.address else 1
        half, other = flow.halves[side], flow.halves[1 - side]
        if p.flags & SYN:
            if half.iss is None:
                half.iss, half.scale = p.seq, p.scale
            elif half.iss != p.seq:
                # An answer to an old SYN; the subflow that follows it would not match.
                return self.wrong(p, "a second initial sequence number on one subflow")
        if half.iss is None:
            return self.wrong(p, "data before the SYN/ACK") if len(p.payload) else None
        self.sequence(p, half, other)
        if flow.connection.fallback:
            self.count["plain"] += 1
        elif not self.falls_back(p, flow, side):
            self.options(p, flow, side)

    def sequence(self, p, half, other):
        """TCP's own numbers: nobody acknowledges what was not sent."""
        span = len(p.payload) + bool(p.flags & SYN) + bool(p.flags & FIN)
        half.end = max(half.end, widen((p.seq - half.iss) & MASK32, 4, half.end) + span)
        if p.flags & ACK and not p.flags & RST and other.iss is not None:
            acknowledged = widen((p.ack - other.iss) & MASK32, 4, other.end)
            if acknowledged > other.end:
                self.wrong(p, "TCP acknowledges %d, %d were sent" % (acknowledged, other.end))

    def falls_back(self, p, flow, side):
        """A first subflow whose handshake, or whose first data, comes without an MPTCP option (RFC 8684 section 3.7)."""
        if flow.join or p.options or p.flags & RST or p.flags & (SYN | ACK) == SYN:
            return False
        spoke = flow.spoke[side]
        flow.connection.fallback = bool(p.flags & SYN or not spoke and (side == 0 or p.payload))
        return flow.connection.fallback

    def open(self, p, pair):
        capable = next((o for s, o in p.options if s == 0), None)
        join = next((o for s, o in p.options if s == 1), None)
        connection, opener = None, 0
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
            else:
                connection, opener = found[0], 1 - found[1]
                self.count["joins"] += 1
        flow = Subflow(connection, p.source, join is not None, opener)
        if join is not None and len(join) == 12:
            flow.nonces[0] = join[8:12]
        if connection:
            connection.subflows.append(flow)
        self.flows[pair] = flow
        return flow

    def options(self, p, flow, side):
        connection, who = flow.connection, side ^ flow.opener
        mine, theirs = connection.streams[who], connection.streams[1 - who]
        flow.spoke[side] |= bool(p.options) and not p.flags & SYN
        mapping = ack = None
        for subtype, o in p.options:
            if subtype == CAPABLE:
                self.capable(p, connection, side, o)
                if len(o) >= 22:
                    checksum = struct.unpack_from("!H", o, 22)[0] if len(o) >= 24 else None
                    mapping = (False, (mine.origin or 0) & MASK64, 8, 1, struct.unpack_from("!H", o, 20)[0], checksum)
            elif subtype == JOIN:
                self.join(p, flow, side, o)
            elif subtype == DSS:
                if p.flags & SYN and self.linux:   # inside a Braid session data rides on the SYN, elsewhere never
                    self.wrong(p, "DSS on a SYN")
                fin, ack, m = dss(o)
                if m:
                    mapping = (fin,) + m
            elif subtype == ADD_ADDR:
                self.address(p, mine, theirs, o)
            elif subtype == REMOVE_ADDR:
                self.count["removals"] += 1
                for number in o[3:]:
                    mine.ids.pop(number, None)
            elif subtype == PRIO:
                self.count["priorities"] += 1
            elif subtype == FAIL:
                self.count["fails"] += 1
            elif subtype == FASTCLOSE:
                self.count["fastcloses"] += 1
                if theirs.key and o[4:12] != theirs.key:
                    self.wrong(p, "%s: MP_FASTCLOSE with a wrong key" % connection.name)
                else:
                    connection.aborted = True
        if len({subtype for subtype, _ in p.options}) < len(p.options):
            self.wrong(p, "%s: two MPTCP options of one kind" % connection.name)
        if mine.key is None or theirs.key is None:
            return
        self.map_and_payload(p, flow, side, mapping)
        self.acknowledge(p, flow, side, ack)

    def means(self, p, stream, number, address):
        if stream.ids.setdefault(number, address) != address:
            self.wrong(p, "address ID %d means %s, not %s" % (number, stream.ids[number], address))

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
        # The opener's key first, then its peer's.
        keys = [s.key for s in flow.connection.streams][::-1 if flow.opener else 1]
        if len(o) < 24:
            self.means(p, flow.connection.streams[side ^ flow.opener], o[3], p.source[0])
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
        if o[2] & 1:
            self.count["echoes"] += 1
            if o[3:] not in theirs.announced:
                self.wrong(p, "an echo of an address that was not announced")
            return
        self.count["addresses"] += 1
        body = o[3:-8]
        mine.announced.add(body)
        self.means(p, mine, body[0], inet_name(body[1:5] if len(body) < 17 else body[1:17]))
        if len(body) in (5, 17):
            body += b"\0\0"
        if mac(mine.key, theirs.key, body)[-8:] != o[-8:]:
            self.wrong(p, "wrong HMAC in ADD_ADDR")

    def map_and_payload(self, p, flow, side, mapping):
        connection, half = flow.connection, flow.halves[side]
        stream = connection.streams[side ^ flow.opener]
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
            if connection.checksums != (checksum is not None):
                self.wrong(p, "%s: a mapping %s a checksum" % (connection.name, "with" if checksum else "without"))
            elif checksum is not None:
                stream.unverified.append((p, ssn, length, offset, data, checksum))
                if data == 0 or data <= len(payload) and widen(ssn, 4, first) == first:
                    self.verify(stream.unverified.pop(), connection, stream, payload[:data])
        if payload:
            half.pending.append((p, first, payload))
        if half.pending and (payload or mapping) and not connection.fallback:
            half.pending = [left for item in half.pending for left in self.place(flow, side, *item)]

    def verify(self, item, connection, stream, payload):
        p, ssn, length, offset, data, checksum = item
        self.count["checksums"] += 1
        head = struct.pack("!QIHH", (stream.origin + offset) & MASK64, ssn, length, checksum)
        if ones_sum(head + payload) != 0xffff:
            self.wrong(p, "%s: wrong DSS checksum" % connection.name)

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
        half = flow.halves[side]
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
            self.deliver(p, flow, side, at, covering[2] + at - covering[0], payload[at - ssn:stop - ssn])
            at = stop

    def deliver(self, p, flow, side, ssn, offset, data):
        connection, half = flow.connection, flow.halves[side]
        stream = connection.streams[side ^ flow.opener]
        end = offset + len(data)
        if offset < 0:
            return self.wrong(p, "%s: data before its first byte" % connection.name)
        # The window: data that rides on the initiator's own SYN comes before any is known.
        if stream.edge is None:
            if not p.flags & SYN:
                self.wrong(p, "%s: data before any window" % connection.name)
        elif end > stream.edge:
            self.wrong(p, "%s: data of %s:%d up to %d beyond the window's edge %d"
                       % (connection.name, *p.source, end, stream.edge))
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
        stream = connection.streams[1 ^ side ^ flow.opener]
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
        if half.acked is not None and offset < half.acked and not self.linux:
            self.wrong(p, "%s: DATA_ACK of %s:%d went back on one subflow, %d to %d"
                       % (connection.name, *p.source, half.acked, offset))
        half.acked = max(half.acked or 0, offset)
        if offset < stream.acked:
            stream.regressions.append("packet %d: %s: DATA_ACK went back, %d to %d"
                                      % (p.number, connection.name, stream.acked, offset))
        stream.acked = max(stream.acked, offset)
        if p.flags & RST:
            return
        # A window is told in steps of its scale: less than one of them is no edge taken back.
        if stream.edge is not None and offset + window <= stream.edge - (1 << (half.scale or 0)) and not p.flags & SYN:
            stream.regressions.append("packet %d: %s: the window's edge went back, %d to %d"
                                      % (p.number, connection.name, stream.edge, offset + window))
        stream.edge = max(stream.edge or 0, offset + window)

    def finish(self, allow_unfinished):
        finished = unfinished = aborted = 0
        for c in self.connections:
            for stream in c.streams:
                for item in stream.unverified:
                    offset, data = item[3:5]
                    if stream.seen.reach(offset) >= offset + data and not c.fallback:
                        self.verify(item, c, stream, bytes(stream.content[offset:offset + data]))
            for flow in c.subflows:
                for half in flow.halves:
                    for p, ssn, payload in half.pending:
                        if not c.fallback:
                            self.wrong(p, "%s: %d bytes at subflow sequence %d are not mapped" % (c.name, len(payload), ssn))
            if c.aborted or c.fallback:
                aborted += c.aborted
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
                        help="a peer is Linux: its window probes carry other bytes below the DATA_ACK, and where an application "
                             "reads while segments come in, two processors send acknowledgements in the wrong order")
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
