"""Datagram headers and records: docs/wire.md, "Datagrams"."""
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

HELLO, WELCOME, COOKIE, RECORD = 1, 2, 3, 4
AES_256_GCM, CHACHA20_POLY1305 = 1, 2
TAG = 16


def header(kind, session=0, epoch=0, path=0, number=0):
    return bytes([kind << 4 | epoch & 3, path]) + session.to_bytes(3, "big") + (number & 0xffffff).to_bytes(3, "big")


class Header:
    def __init__(self, datagram):
        self.kind, self.epoch, self.path = datagram[0] >> 4, datagram[0] & 3, datagram[1]
        self.session = int.from_bytes(datagram[2:5], "big")
        self.low = int.from_bytes(datagram[5:8], "big")


def cipher(suite, key):
    return (AESGCM if suite == AES_256_GCM else ChaCha20Poly1305)(key)


class Keys:
    """One epoch's keys; packet numbers are counted by who sends, for each path."""

    def __init__(self, suite, send, receive):
        self.suite = suite
        self.sealer, self.opener = cipher(suite, send), cipher(suite, receive)

    def seal(self, session, epoch, path, number, frames):
        head = header(RECORD, session, epoch, path, number)
        return head + self.sealer.encrypt(struct.pack(">IQ", path, number), frames, head)

    def open(self, datagram, path, expected):
        """The packet number and the frames; None where it does not open."""
        head, low = datagram[:8], int.from_bytes(datagram[5:8], "big")
        number = nearest(expected, low, 24)
        try:
            return number, self.opener.decrypt(struct.pack(">IQ", path, number), datagram[8:], head)
        except InvalidTag:
            return None


def nearest(expected, low, bits):
    """The number with these low bits that is nearest to the expected one."""
    span = 1 << bits
    number = expected & ~(span - 1) | low
    if number - expected > span >> 1 and number >= span:
        number -= span
    elif expected - number > span >> 1:
        number += span
    return number
