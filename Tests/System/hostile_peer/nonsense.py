"""What no honest end says: segments of a living stream, and datagrams full of frames, drawn from a seed. `stream` is
either side's: it has number, iss, irs, next, expected, data_next, data_expected and mapped."""
import os
import struct

from . import frames, options, segments
from .segments import ACK, FIN, RST

HALF = 1 << 31


def near(chance, *marks):
    """A number about one of these, or half a sequence space from it."""
    return (chance.choice(marks) + chance.choice([0, 0, 0, 1, -1, HALF, HALF - 1]) + chance.randrange(-3, 4)
            * chance.choice([0, 1, 536, 1400, 1 << 16])) & 0xffffffff


def some_options(chance, stream, first, last):
    """Options as bytes: right ones with wrong numbers, and wrong ones."""
    block = lambda: (near(chance, first, last), near(chance, first, last))
    data = stream.data_next + chance.choice([0, 0, 1, -1, 700, 1 << 20, 1 << 31, 1 << 40])
    heard = (stream.data_expected or 0) + chance.choice([0, 0, 1, -1, 1400, 1 << 20, 1 << 31])
    wide = chance.random() < 0.5
    return chance.choice([
        lambda: options.sack([block() for _ in range(chance.randrange(1, 5))]),
        lambda: options.dss(heard, wide=wide),
        lambda: options.dss(chance.getrandbits(64), wide=True),
        lambda: options.dss(heard, data, stream.mapped + chance.choice([0, 0, 1, 1000, -5]), chance.choice([0, 1, 400, 65535]),
                            chance.random() < 0.2, wide),
        lambda: options.dss(None, data, 0, 1, True),
        lambda: b"".join(options.dss(None, data + 9 * i, stream.mapped + 9 * i, 1) for i in range(10)),
        lambda: options.failed(data & (1 << 64) - 1),
        lambda: options.add_address(chance.randrange(256), os.urandom(chance.choice([4, 16])), os.urandom(8)),
        lambda: options.remove_address(*range(chance.randrange(1, 9))),
        lambda: options.fast_close(os.urandom(8)),
        lambda: options.capable(os.urandom(8), os.urandom(8)),
        lambda: options.capable(os.urandom(8), stream.key),
        lambda: options.join_ack(os.urandom(20)),
        lambda: options.join_syn(chance.randrange(256), options.token(stream.key), os.urandom(4)),
        lambda: options.priority(chance.randrange(2)),
        lambda: options.reset_reason(chance.randrange(9)),
        lambda: options.mss(chance.choice([0, 1, 64, 65535])) + options.window_scale(chance.randrange(256)),
        lambda: bytes([8, 10]) + os.urandom(8),
        lambda: os.urandom(chance.randrange(60)),
        lambda: b"",
    ])()


def segment(chance, stream):
    """One frame."""
    first = (stream.irs or 0) + 1
    last = stream.expected or first
    data = lambda size: chance.randbytes(chance.choice([0, 0, 1, size]))
    flags = chance.choice([ACK] * 6 + [FIN | ACK, RST | ACK, RST, 0, 2, 18, 8 | ACK, 41, chance.getrandbits(8)])
    extra = b"".join(some_options(chance, stream, first, last) for _ in range(chance.randrange(3)))[:255]
    kind = chance.random()
    if kind < 0.55:
        return segments.general(stream.number, flags, near(chance, stream.next, stream.iss, stream.iss + 1),
                                near(chance, first, last), chance.choice([0, 1, 0x800, 0xffff]), extra, data(600),
                                urgent=chance.choice([None, None, None, 1]))
    if kind < 0.7:
        return segments.general(stream.number, ACK, stream.next, last, chance.choice([0, 1, 0xffff]), extra, data(600))
    if kind < 0.9:
        blocks = None if chance.random() < 0.4 else [
            (chance.choice([0, 5, 1400, 1 << 30]), chance.choice([9, 2800, 1 << 31, 1 << 34])) for _ in range(chance.randrange(6))]
        payload = data(300)
        return segments.compact(stream.number, near(chance, stream.next - stream.iss, 1), payload,
                                stream.data_next + chance.choice([0, 1, -1, 5000]) if payload or chance.random() < 0.1 else None,
                                chance.randrange(8), near(chance, last - first + 1, 1), chance.choice([None, 0, 1, 0x8000]),
                                chance.choice([None, stream.data_expected or 0, chance.getrandbits(32)]), blocks,
                                chance.random() < 0.2, data_ack_bits=chance.choice([None, None, None, 1, 0]))
    if kind < 0.93:
        return frames.subflow_reset(stream.number if chance.random() < 0.2 else chance.getrandbits(16))
    whole = bytearray(segments.general(stream.number, flags, stream.next, last, 0xffff, extra, data(40)))
    whole[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
    return bytes(whole)


FLOODS = 16


def flood(chance, kind):
    """A datagram's frames, all of one kind: 0 to FLOODS - 1."""
    number = chance.getrandbits(16)
    return [
        lambda: b"".join(frames.path_state(i % 20, number + i, i, chance.getrandbits(3), i % 4) for i in range(220)),
        lambda: b"".join(frames.path_state(i % 20, number + i, i, 1, 0, echo=True) for i in range(220)),
        lambda: b"".join(frames.address(i % 12, number + i, bytes([10, 81, chance.choice([1, 3, 9]), i]), 443 + i, i & 1)
                         for i in range(120)),
        lambda: b"".join(frames.address(i % 9, number + i, os.urandom(16), i, 3) for i in range(60)),
        lambda: b"".join(frames.address(i % 9, number + i, os.urandom(4), i, 1, echo=True) for i in range(110)),
        lambda: b"".join(frames.join_request(os.urandom(4)) for _ in range(270)),
        lambda: b"".join(frames.rekey(chance.choice([0, 1, 2, 255]), os.urandom(chance.choice([49, 97])), i & 1) for i in range(14)),
        lambda: b"".join(frames.probe(i, chance.getrandbits(64)) for i in range(120)),
        lambda: b"".join(frames.probe(i * chance.randrange(2), chance.getrandbits(64), True) for i in range(120)),
        lambda: b"".join(frames.subflow_reset(number + i) for i in range(340)),
        lambda: b"".join(segments.general(number + i, 2, 7, extra=options.capable()) for i in range(70)),
        lambda: b"".join(segments.general(number + i, ACK, 7, 9) for i in range(80)),
        lambda: b"".join(segments.general(number + i, 2, 7, extra=options.join_syn(i & 255, os.urandom(4), b"nons")) for i in range(50)),
        lambda: bytes(1380),
        lambda: chance.randbytes(chance.randrange(1, 1380)),
        lambda: b"".join(struct.pack(">BB", 0x40 + chance.randrange(64), 3) + b"abc" for _ in range(270))
                + bytes([0x0c + chance.randrange(0x34)]),
    ][kind % FLOODS]()
