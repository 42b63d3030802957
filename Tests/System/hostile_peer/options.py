"""TCP and MPTCP options as bytes: docs/wire.md, "Options". Nothing stops a caller from writing what can't be."""
import hashlib
import hmac
import struct


def mss(size):
    return struct.pack(">BBH", 2, 4, size)


def window_scale(shift):
    return bytes([3, 3, shift])


SACK_PERMITTED = bytes([4, 2])


def sack(blocks):
    return bytes([5, 2 + 8 * len(blocks)]) + b"".join(
        struct.pack(">II", a & 0xffffffff, b & 0xffffffff) for a, b in blocks)


def multipath(subtype, low, value=b""):
    return bytes([30, 3 + len(value), subtype << 4 | low]) + value


def capable(*keys, flags=1):
    return multipath(0, 1, bytes([flags]) + b"".join(keys))


def join_syn(address, token, nonce, backup=0):
    return multipath(1, backup, bytes([address]) + token + nonce)


def join_ack(code):
    return multipath(1, 0, b"\0" + code)


def dss(ack=None, dsn=None, ssn=0, length=0, fin=False, wide=False):
    """Numbers of 4 octets, or all of 8."""
    form, flags, value = (">Q" if wide else ">I"), 0x10 if fin else 0, b""
    mask = (1 << (64 if wide else 32)) - 1
    if ack is not None:
        flags |= 3 if wide else 1
        value += struct.pack(form, ack & mask)
    if dsn is not None:
        flags |= 12 if wide else 4
        value += struct.pack(form, dsn & mask) + struct.pack(">IH", ssn & 0xffffffff, length)
    return bytes([30, 4 + len(value), 0x20, flags]) + value


def add_address(identifier, address, code=b"", port=b"", echo=0):
    return multipath(3, echo, bytes([identifier]) + address + port + code)


def remove_address(*identifiers):
    return multipath(4, 0, bytes(identifiers))


def priority(backup):
    return multipath(5, backup)


def failed(dsn):
    return multipath(6, 0, b"\0" + struct.pack(">Q", dsn))


def fast_close(key):
    return multipath(7, 0, b"\0" + key)


def reset_reason(reason, transient=0):
    return multipath(8, transient, bytes([reason]))


def token(key):
    return hashlib.sha256(key).digest()[:4]


def initial_dsn(key):
    return int.from_bytes(hashlib.sha256(key).digest()[-8:], "big")


def code(key, other, message):
    return hmac.digest(key + other, message, "sha256")


def read(data):
    """What an honest client looks at: {name: value}."""
    found, at = {}, 0
    while at + 1 < len(data):
        kind = data[at]
        if kind <= 1:
            at += 1
            continue
        size = data[at + 1]
        if size < 2:
            break
        value = data[at + 2:at + size]
        if kind == 2:
            found["mss"] = int.from_bytes(value, "big")
        elif kind == 3:
            found["scale"] = value[0]
        elif kind == 5:
            found["sack"] = [struct.unpack_from(">II", value, i) for i in range(0, len(value), 8)]
        elif kind == 30 and value:
            subtype = value[0] >> 4
            if subtype == 0 and len(value) >= 10:
                found["key"] = value[2:10]
            elif subtype == 1:
                found["join"] = value[1:]
            elif subtype == 2:
                found.update(read_dss(value))
            elif subtype == 7:
                found["fast close"] = value[2:]
            elif subtype == 8:
                found["reason"] = value[1]
        at += size
    return found


def read_dss(value):
    flags, at, found = value[1], 2, {}
    if flags & 1:
        size = 8 if flags & 2 else 4
        found["data ack"] = int.from_bytes(value[at:at + size], "big")
        at += size
    if flags & 4:
        size = 8 if flags & 8 else 4
        found["dsn"] = int.from_bytes(value[at:at + size], "big")
        found["ssn"], found["length"] = struct.unpack_from(">IH", value, at + size)
        found["fin"] = bool(flags & 0x10)
    return found
