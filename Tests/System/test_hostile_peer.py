"""The hostile peer itself: that it speaks what docs/wire.md says, so that an attack which fails has failed at Braid."""
import os

from hostile_peer import frames, handshake, noise, segments
from runner import check
from world import HERE

TEXT = open(os.path.join(HERE, "..", "..", "docs", "wire.md"), encoding="utf-8").read()


def examples(block):
    """The lines of a fenced block: (head, bytes, meaning)."""
    for line in TEXT.split(f"```{block}\n")[1].split("```")[0].splitlines():
        head, data, meaning = (part.strip() for part in line.split("|"))
        out = b""
        for group in data.split():
            digits, _, times = group.partition("*")
            out += bytes.fromhex(digits) * int(times or 1)
        yield head, out, meaning


def test_reads_the_document(_):
    """One subflow's segments, the frames' lengths, and a handshake with itself."""
    readers = {">": segments.Reader(2000), "<": segments.Reader(1000)}
    count = 0
    for head, data, meaning in examples("sealed"):
        segment, taken = readers[head].read(data, count := count + 1)
        words = f"seq {segment.sequence}, " + (f"ack {segment.ack}, " if segment.flags & segments.ACK else "") + f"window {segment.window}"
        check(taken == len(data) and words in meaning, f"{data.hex()} was read as {words}, not as {meaning}")
        for name, word in (("data ack", "ack {:x}"), ("dsn", "DSN {:x}"), ("length", "length {}")):
            if name in segment.said:
                check(word.format(segment.said[name]) in meaning, f"{name} of {data.hex()}")
    check(count >= 12, "the document's subflow is gone")
    for head, data, meaning in examples("lengths"):
        size = frames.size(data)
        said = "no end" if size is None or size > len(data) else str(size)
        check(said == meaning, f"{head}: {data.hex()} reaches {said}, not {meaning}")
    public, cookie, nonce = bytes(range(32)), bytes(range(0x10, 0x20)), bytes(range(0x20, 0x2c))
    hello = handshake.with_macs(bytes(range(141)), public, cookie)
    sealed = handshake.seal_cookie(cookie, nonce, public, hello[141:157])
    for name, value in (("mac1", hello[141:157]), ("mac2", hello[157:]), ("sealed", sealed)):
        check(f"{name:7} {value.hex()}" in TEXT, f"the document has another {name} than {value.hex()}")
    concentrator, proxy = noise.private_key(bytes(range(32))), noise.private_key(bytes(range(1, 33)))
    hello = handshake.Hello(proxy, noise.public_bytes(concentrator))
    other = noise.Handshake(concentrator, handshake.PROLOGUE)
    other.read_first(hello.head[8:])
    check(other.remote == noise.public_bytes(proxy), "the responder reads another key")
    check(hello.noise.read_second(other.write_second(b"payload")) == b"payload", "the welcome does not open")
    check(hello.noise.split() == other.split(), "the two ends have other keys")
