"""Hello, cookie and welcome: docs/wire.md, "Hello" and "Welcome"."""
import hashlib
import hmac
import os
import struct
import time

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from . import noise, records

VERSION = 1
PROLOGUE, REKEY = b"braid 2", b"braid 2 rekey"
NEW_SESSION, STILL_ALIVE, CHALLENGE = 0, 1, 2
AES, FRESH = 1, 2
MACS = 32


def mac(key, data):
    return hmac.digest(key, data, "sha256")[:16]


def mac1_key(concentrator):
    return hashlib.sha256(b"braid 2 mac1" + concentrator).digest()


def cookie_key(concentrator):
    return hashlib.sha256(b"braid 2 cookie" + concentrator).digest()


def seal_cookie(cookie, nonce, concentrator, mac1):
    return ChaCha20Poly1305(cookie_key(concentrator)).encrypt(nonce, cookie, mac1)


def with_macs(head, concentrator, cookie=None):
    """The datagram with mac1, and mac2 where there is a cookie."""
    signed = head + mac(mac1_key(concentrator), head)
    return signed + (mac(cookie, signed) if cookie else bytes(16))


class Hello:
    """One attempt; `datagram` is what is sent."""

    def __init__(self, identity, concentrator, index=0, instance=None, stamp=None, flags=AES | FRESH, version=None,
                 challenge=bytes(16), pre_shared=noise.NO_PRE_SHARED_KEY, cookie=None, payload=None, extra=b""):
        self.index, self.concentrator = index, concentrator
        self.noise = noise.Handshake(identity, PROLOGUE, concentrator, pre_shared)
        if payload is None:
            payload = bytes([VERSION if version is None else version, flags]) + index.to_bytes(3, "big")
            payload += instance or os.urandom(8)
            payload += struct.pack(">Q", time.time_ns() if stamp is None else stamp)
            payload += challenge
        self.head = records.header(records.HELLO) + self.noise.write_first(payload + extra)
        self.datagram = with_macs(self.head, concentrator, cookie)

    def with_cookie(self, cookie):
        self.datagram = with_macs(self.head, self.concentrator, cookie)
        return self.datagram

    def open_cookie(self, datagram):
        """What a cookie datagram that answers this hello holds."""
        mac1 = self.datagram[len(self.head):len(self.head) + 16]
        return ChaCha20Poly1305(cookie_key(self.concentrator)).decrypt(datagram[8:20], datagram[20:], mac1)

    def read_welcome(self, datagram):
        return Welcome(self.noise.read_second(datagram[8:-8]), datagram[-8:])


class Welcome:
    def __init__(self, payload, token):
        self.version, self.outcome, self.suite = payload[:3]
        self.index = int.from_bytes(payload[3:6], "big")
        self.flags, self.challenge, self.token = payload[6], payload[7:23], token
