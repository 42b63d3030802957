"""Noise_IKpsk2_25519_ChaChaPoly_SHA256 (Noise Protocol Framework, revision 34), both sides."""
import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NAME = b"Noise_IKpsk2_25519_ChaChaPoly_SHA256"
NO_PRE_SHARED_KEY = bytes(32)


def public_bytes(private):
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def private_key(raw):
    return X25519PrivateKey.from_private_bytes(raw)


def shared(private, public):
    return private.exchange(X25519PublicKey.from_public_bytes(public))


def derive(chaining_key, material, count):
    """HKDF as section 4.3 has it."""
    secret = hmac.digest(chaining_key, material, "sha256")
    out, last = [], b""
    for number in range(1, count + 1):
        last = hmac.digest(secret, last + bytes([number]), "sha256")
        out.append(last)
    return out


class Handshake:
    """The messages in their order; each call mixes what the pattern says."""

    def __init__(self, local, prologue, remote=None, pre_shared=NO_PRE_SHARED_KEY, ephemeral=None):
        """`remote` (the responder's static public key) is what the initiator knows and the responder is."""
        self.local, self.remote, self.pre_shared = local, remote, pre_shared
        self.ephemeral = ephemeral or X25519PrivateKey.generate()
        self.hash = self.chain = hashlib.sha256(NAME).digest()
        self.key, self.count = None, 0
        self.mix_hash(prologue)
        self.mix_hash(remote or public_bytes(local))  # the pre-message: <- s

    # ---- the symmetric state, section 5.2
    def mix_hash(self, data):
        self.hash = hashlib.sha256(self.hash + data).digest()

    def mix_key(self, material):
        self.chain, self.key = derive(self.chain, material, 2)
        self.count = 0

    def mix_pre_shared(self):
        self.chain, mixed, self.key = derive(self.chain, self.pre_shared, 3)
        self.mix_hash(mixed)
        self.count = 0

    def nonce(self):
        self.count += 1
        return struct.pack("<4xQ", self.count - 1)

    def seal(self, plain):
        sealed = ChaCha20Poly1305(self.key).encrypt(self.nonce(), plain, self.hash)
        self.mix_hash(sealed)
        return sealed

    def open(self, sealed):
        plain = ChaCha20Poly1305(self.key).decrypt(self.nonce(), sealed, self.hash)
        self.mix_hash(sealed)
        return plain

    def mix_ephemeral(self, public):
        self.mix_hash(public)
        self.mix_key(public)  # with a pre-shared key in the pattern, section 9.2

    # ---- the pattern: e, es, s, ss; e, ee, se, psk
    def write_first(self, payload):
        public = public_bytes(self.ephemeral)
        self.mix_ephemeral(public)
        self.mix_key(shared(self.ephemeral, self.remote))
        static = self.seal(public_bytes(self.local))
        self.mix_key(shared(self.local, self.remote))
        return public + static + self.seal(payload)

    def read_first(self, message):
        self.remote_ephemeral = message[:32]
        self.mix_ephemeral(self.remote_ephemeral)
        self.mix_key(shared(self.local, self.remote_ephemeral))
        self.remote = self.open(message[32:80])
        self.mix_key(shared(self.local, self.remote))
        return self.open(message[80:])

    def write_second(self, payload):
        public = public_bytes(self.ephemeral)
        self.mix_ephemeral(public)
        self.mix_key(shared(self.ephemeral, self.remote_ephemeral))
        self.mix_key(shared(self.ephemeral, self.remote))
        self.mix_pre_shared()
        return public + self.seal(payload)

    def read_second(self, message):
        self.mix_ephemeral(message[:32])
        self.mix_key(shared(self.ephemeral, message[:32]))
        self.mix_key(shared(self.local, message[:32]))
        self.mix_pre_shared()
        return self.open(message[32:])

    def split(self):
        """The initiator's key and the responder's, section 5.2."""
        return tuple(derive(self.chain, b"", 2))
