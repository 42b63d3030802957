"""The other frames of a datagram: docs/wire.md, "Frames"."""
import struct

from . import segments

PADDING, PROBE, ANSWER, PATH_STATE, PATH_ECHO, REKEY, REKEY_ANSWER, CLOSE, SUBFLOW_RESET, ADDRESS, ADDRESS_ECHO, \
    JOIN_REQUEST = range(12)
OPEN, BACKUP, SILENT = 1, 2, 4


def probe(identifier, clock, answer=False):
    return struct.pack(">BHQ", ANSWER if answer else PROBE, identifier, clock)


def path_state(path, generation, incarnation=1, bits=OPEN, mode=0, echo=False):
    return struct.pack(">BBHBB", PATH_ECHO if echo else PATH_STATE, path, generation & 0xffff, incarnation & 0xff,
                       bits | mode << 4)


def rekey(epoch, message, answer=False):
    return bytes([REKEY_ANSWER if answer else REKEY, epoch & 0xff, len(message)]) + message


def close(reason=0):
    return bytes([CLOSE, reason])


def subflow_reset(number, reason=0):
    return struct.pack(">BHB", SUBFLOW_RESET, number & 0xffff, reason)


def address(identifier, generation, ip, port, bits=1, echo=False):
    six = len(ip) == 16
    return struct.pack(">BBHBH", ADDRESS_ECHO if echo else ADDRESS, identifier, generation & 0xffff, bits | (2 if six else 0), port) + ip


def join_request(token):
    return bytes([JOIN_REQUEST]) + token


def size(data):
    """The length of the frame at the beginning of `data`; None where it can't be read."""
    kind = data[0]
    if kind >= 0x40:
        return segments.reach(data)[0]
    if kind in (REKEY, REKEY_ANSWER):
        return 3 + data[2]
    if kind in (ADDRESS, ADDRESS_ECHO):
        return 7 + (16 if data[4] & 2 else 4)
    return {PADDING: 1, PROBE: 11, ANSWER: 11, PATH_STATE: 6, PATH_ECHO: 6, CLOSE: 2, SUBFLOW_RESET: 4, JOIN_REQUEST: 5}.get(kind)


# ---- datagrams of applications
FLOW_ACKNOWLEDGED, FLOW_CLOSED, FLOW_UNKNOWN, DATAGRAM_REPORT = range(0x48, 0x4c)


def with_length(kind, rest):
    return bytes([kind]) + (bytes([len(rest)]) if len(rest) < 0x80 else struct.pack(">H", len(rest) | 0x8000)) + rest


def datagram(flow, sequence, payload, opening=None, piece=None, ordered=False):
    """`opening`: an association's number and a target as bytes; `piece`: which one, and the last one's number."""
    kind = 0x40 | (opening is not None) | 2 * (piece is not None) | 4 * ordered
    rest = struct.pack(">HI", flow, (sequence & 0xffffff) << 8)[:5]
    if opening:
        rest += struct.pack(">H", opening[0]) + opening[1]
    if piece:
        rest += bytes([piece[0] << 4 | piece[1]])
    return with_length(kind, rest + payload)


def flow(kind, number):
    return with_length(kind, struct.pack(">H", number))


def datagram_report(newest, count, held=0):
    return with_length(DATAGRAM_REPORT, struct.pack(">IIH", (newest & 0xffffff) << 8, count & 0xffffffff, held)[:3]
                       + struct.pack(">IH", count & 0xffffffff, held))
