"""Packets of a capture and what RFC 8684 says of their options: what `mptcp_check.py` reads with."""
import bisect
import hashlib
import hmac
import socket
import struct

FIN, SYN, RST, ACK = 1, 2, 4, 16
MASK32, MASK64 = (1 << 32) - 1, (1 << 64) - 1
CAPABLE, JOIN, DSS, ADD_ADDR, REMOVE_ADDR, PRIO, FAIL, FASTCLOSE, TCPRST = range(9)


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
            option = bytes(tcp[at:at + length])
            if fault(option, p.flags):
                p.faults.append(fault(option, p.flags))
            else:
                p.options.append((option[2] >> 4, option))
        at += length
    return p


def fault(o, flags):
    """What is wrong with the form of an MPTCP option (RFC 8684 section 3); None where nothing is."""
    subtype, low, length = o[2] >> 4, o[2] & 15, len(o)
    if subtype == DSS and length >= 4:
        bits = o[3]
        want = 4 + (bits & 1) * (8 if bits & 2 else 4) + (bits >> 2 & 1) * (14 if bits & 8 else 10)
        fits = length == want or (bits & 4 and length == want + 2)
    else:
        joins = {SYN: (12,), SYN | ACK: (16,)}.get(flags & (SYN | ACK), (24,))
        fits = length in {CAPABLE: (4,) if flags & (SYN | ACK) == SYN else (12,) if flags & SYN else (20, 22, 24),
                          JOIN: joins, ADD_ADDR: (8, 10, 20, 22) if low & 1 else (16, 18, 28, 30),
                          REMOVE_ADDR: range(4, 41), PRIO: (3,), FAIL: (12,), FASTCLOSE: (12,),
                          TCPRST: (4,)}.get(subtype, (length,))
    if not fits:
        return "an MPTCP option of subtype %d with %d octets" % (subtype, length)
    if flags & SYN and subtype > DSS or subtype == TCPRST and not flags & RST:
        return "an MPTCP option of subtype %d where it has no place" % subtype
    return None


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


def inet_name(octets):
    return socket.inet_ntop(socket.AF_INET if len(octets) == 4 else socket.AF_INET6, octets)


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
