"""Sealed segments: docs/wire.md, "A sealed segment". The writers write whatever they are told to."""
import struct

from . import options
from .records import nearest

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32


def frame(first, number, rest, last):
    """`last`: nothing follows in the datagram, so no length is said."""
    length = b"" if last else long_length(len(rest))
    return struct.pack(">BH", first | (0 if last else 0x20), number & 0xffff) + length + rest


def long_length(count):
    return bytes([count]) if count < 0x80 else struct.pack(">H", count | 0x8000)


def reach(data):
    """Where a frame with a length ends, and where its contents begin; a segment's number stands before the length."""
    at = 3 if data[0] & 0x80 else 1
    if data[0] & 0xa0 == 0x80:
        return len(data), at
    if data[at] & 0x80:
        return at + 2 + (int.from_bytes(data[at:at + 2], "big") & 0x7fff), at + 2
    return at + 1 + data[at], at + 1


def general(number, flags, sequence, ack=None, window=0xffff, extra=b"", payload=b"", last=False, urgent=None):
    head = struct.pack(">BBI", flags, len(extra), sequence & 0xffffffff)
    if flags & ACK:
        head += struct.pack(">I", (ack or 0) & 0xffffffff)
    head += struct.pack(">H", window)
    if urgent is not None:
        head += struct.pack(">H", urgent)
    return frame(0xc0 | (urgent is not None), number, head + extra + payload, last)


def varint(value):
    out, value = b"", value & (1 << 40) - 1
    while True:
        out += bytes([value & 0x7f | (0x80 if value > 0x7f else 0)])
        value >>= 7
        if not value:
            return out


def compact_sack(ack, blocks):
    """Blocks relative like the acknowledgement."""
    out, last = bytes([len(blocks)]), ack
    for start, end in blocks:
        distance = start - last
        out += varint((distance << 1) ^ (distance >> 63) if distance >= 0 else (-distance << 1) - 1)
        out += varint(end - start)
        last = end
    return out


def compact(number, sequence, payload=b"", dsn=None, era=0, ack=None, window=None, data_ack=None, blocks=None,
            push=False, last=False, data_ack_bits=None):
    """Numbers are relative to the initial ones, but DSN and DATA_ACK."""
    short = era and ack is None and window is None and data_ack is None and blocks is None and not push
    head = struct.pack(">I", sequence & 0xffffffff)
    if dsn is not None:
        head += struct.pack(">I", dsn & 0xffffffff)
    if not short:
        bits = data_ack_bits
        if bits is None:
            bits = 3 if blocks is not None else 2 if data_ack is not None else 0
        head += bytes([era << 5 | (16 if push else 0) | (8 if ack is not None else 0) | (4 if window is not None else 0) | bits])
        if ack is not None:
            head += struct.pack(">I", ack & 0xffffffff)
        if window is not None:
            head += struct.pack(">H", window)
        if bits >= 2:
            head += struct.pack(">I", (data_ack or 0) & 0xffffffff)
        if bits == 3:
            head += compact_sack(ack or 0, blocks)
    return frame(0x80 | (8 if dsn is not None else 0) | (era if short else 0), number, head + payload, last)


class Segment:
    """What was read: absolute numbers of the subflow; `said` are the options."""

    def __init__(self, number, flags, sequence, ack, window, said, payload):
        self.number, self.flags, self.sequence, self.ack, self.window = number, flags, sequence, ack, window
        self.said, self.payload = said, payload


class Unreadable(Exception):
    pass


class Era:
    def __init__(self, number, ack, window, data_ack, end, record):
        self.number, self.ack, self.window, self.data_ack, self.end, self.record = number, ack, window, data_ack, end, record


class Reader:
    """One subflow's receiving context. `own` and `other` are the initial sequence numbers."""

    def __init__(self, own, other=None):
        self.own, self.other = own, other
        self.eras = {}

    def read(self, frame, record):
        """The segment at the beginning of `frame` and how long it is."""
        first = frame[0]
        end, at = reach(frame)
        if end > len(frame):
            raise Unreadable("a length beyond the datagram")
        number, = struct.unpack_from(">H", frame, 1)
        frame = frame[:end]
        if first & 0x40:
            segment, at = self.read_general(frame, at, first & 1, number)
        else:
            segment, at = self.read_compact(frame, at, first, number, record)
        segment.payload = frame[at:]
        return segment, end

    def read_general(self, frame, at, has_urgent, number):
        flags, size, sequence = struct.unpack_from(">BBI", frame, at)
        at += 6
        ack = None
        if flags & ACK:
            ack, = struct.unpack_from(">I", frame, at)
            at += 4
        window, = struct.unpack_from(">H", frame, at)
        at += 4 if has_urgent else 2
        said = options.read(frame[at:at + size])
        if flags & SYN:
            self.other = sequence
        return Segment(number, flags, sequence, ack, window, said, b""), at + size

    def read_compact(self, frame, at, first, number, record):
        if self.other is None:
            raise Unreadable("a compact segment before the SYN")
        sequence, = struct.unpack_from(">I", frame, at)
        at += 4
        dsn = None
        if first & 8:
            dsn, = struct.unpack_from(">I", frame, at)
            at += 4
        if first & 7:
            era, control = first & 7, 1  # all is the era's
        else:
            era, control = frame[at] >> 5, frame[at] & 0x1f
            at += 1
        held = self.eras.get(era & 1) if era else None
        if era == 7 or era and (held is None or held.number != era or record < held.record):
            raise Unreadable(f"era {era} is not here")
        ack, window, data_ack = (held.ack, held.window, held.data_ack) if held else (None, None, None)
        says = not era
        if control & 8:
            ack, = struct.unpack_from(">I", frame, at)
            at, says = at + 4, True
        if control & 4:
            window, = struct.unpack_from(">H", frame, at)
            at, says = at + 2, True
        bits = control & 3
        if bits == 0:
            says, data_ack = says or data_ack is not None, None
        elif bits >= 2:
            data_ack, = struct.unpack_from(">I", frame, at)
            at, says = at + 4, True
        said = {}
        if bits == 3:
            said["sack"], at = self.read_sack(frame, at, ack or 0)
        length = len(frame) - at
        if length and says:
            self.propose(Era(era % 6 + 1, ack, window, data_ack, sequence + length, record))
        if data_ack is not None:
            said["data ack"] = data_ack
        if dsn is not None:
            said.update({"dsn": dsn, "ssn": sequence, "length": length, "fin": False})
        absolute = None if ack is None else ack + self.own & 0xffffffff
        flags = ACK | (PSH if control & 16 else 0)
        return Segment(number, flags, sequence + self.other & 0xffffffff, absolute, window, said, b""), at

    def propose(self, era):
        held = self.eras.get(era.number & 1)
        if held and held.number == era.number and held.end >= era.end:
            return
        self.eras[era.number & 1] = era

    @staticmethod
    def read_sack(frame, at, ack):
        count, at, blocks, last = frame[at], at + 1, [], ack
        for _ in range(count):
            numbers = []
            for _ in range(2):
                value, shift = 0, 0
                while True:
                    byte = frame[at]
                    at += 1
                    value |= (byte & 0x7f) << shift
                    shift += 7
                    if not byte & 0x80:
                        break
                numbers.append(value)
            distance = -(numbers[0] + 1 >> 1) if numbers[0] & 1 else numbers[0] >> 1
            blocks.append((last + distance, last + distance + numbers[1]))
            last = last + distance + numbers[1]
        return blocks, at


def widen(low, expected):
    """A 32-bit data sequence number widened to the nearest 64-bit one."""
    return nearest(expected, low, 32)
