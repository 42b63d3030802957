"""One MPTCP connection of the Linux kernel, in the namespace this runs in. Prints one JSON object.

    kernel.py client ADDRESS PORT PATTERN SIZE | server ADDRESS PORT PATTERN SIZE   [KEY=VALUE...]

PATTERN: echo (client: writes SIZE bytes and reads them back; server: writes back), source (writes SIZE bytes and
ends), sink (only reads), half-close (reads to the end, then writes), idle (neither, until the peer ends it),
fastclose (reads SIZE bytes, then closes without lingering, which the kernel turns into MP_FASTCLOSE).
KEY=VALUE: after=S (before reading), rate=B (bytes a second read), seed=N, proto=tcp, wait=S (before closing),
buffer=B (receive buffer), from=ADDRESS, pause=S (between reading to the end and closing).
"""
import hashlib
import json
import random
import socket
import struct
import sys
import threading
import time

IPPROTO_MPTCP = 262
TCP_IS_MPTCP = 43
role, address, port, pattern, size = sys.argv[1:6]
port, size = int(port), int(size)
options = dict(word.split("=", 1) for word in sys.argv[6:])
result = {"error": None}
sent, received = hashlib.sha256(), hashlib.sha256()
counts = {"sent": 0, "received": 0}


def content():
    chance, left = random.Random(int(options.get("seed", 7))), size
    while left > 0:
        piece = chance.randbytes(min(left, 1 << 16))
        left -= len(piece)
        yield piece


def put(stream, piece):
    stream.sendall(piece)
    sent.update(piece)
    counts["sent"] += len(piece)


def produce(stream):
    for piece in content():
        put(stream, piece)
    stream.shutdown(socket.SHUT_WR)


def consume(stream, each=None, most=None):
    time.sleep(float(options.get("after", 0)))
    began, rate = time.monotonic(), float(options.get("rate", 0))
    while most is None or counts["received"] < most:
        piece = stream.recv(1 << 16 if not rate else 4096)
        if not piece:
            break
        received.update(piece)
        counts["received"] += len(piece)
        if each:
            each(piece)
        if rate:
            time.sleep(max(0, counts["received"] / rate - (time.monotonic() - began)))


def live(stream):
    if pattern == "echo" and role == "server":
        consume(stream, lambda piece: put(stream, piece))
        stream.shutdown(socket.SHUT_WR)
    elif pattern in ("echo", "source"):
        writer = threading.Thread(target=guarded, args=(produce, stream), daemon=True)
        writer.start()
        consume(stream)
        writer.join()
    elif pattern == "half-close":
        consume(stream)
        produce(stream)
    elif pattern == "fastclose":
        consume(stream, most=size)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        consume(stream)
        if pattern == "sink":
            stream.shutdown(socket.SHUT_WR)
    time.sleep(float(options.get("pause", 0)))


def guarded(what, *arguments):
    try:
        what(*arguments)
    except OSError as error:
        result["error"] = result["error"] or type(error).__name__


def main():
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.IPPROTO_TCP if options.get("proto") == "tcp" else IPPROTO_MPTCP
    stream = socket.socket(family, socket.SOCK_STREAM, kind)
    if "buffer" in options:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(options["buffer"]))
    began = time.monotonic()
    if role == "server":
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stream.bind((address, port))
        stream.listen(8)
        print("ready", file=sys.stderr, flush=True)
        listener, (stream, _) = stream, stream.accept()
    else:
        print("ready", file=sys.stderr, flush=True)
        if "from" in options:
            stream.bind((options["from"], 0))
        stream.connect((address, port))
    began = time.monotonic()
    guarded(live, stream)
    result["seconds"] = time.monotonic() - began
    try:
        result["mptcp"] = stream.getsockopt(socket.IPPROTO_TCP, TCP_IS_MPTCP) if kind == IPPROTO_MPTCP else 0
    except OSError:
        pass
    stream.close()


guarded(main)
for name, digest in (("sent", sent), ("received", received)):
    result[name] = {"bytes": counts[name], "sha256": digest.hexdigest()}
print(json.dumps(result))
