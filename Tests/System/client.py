"""Transfers through the proxy, with the time of every arrival: prints one JSON object.

    client.py download BYTES [HOST [MS]]   over SOCKS5; the longest gap between two arrivals; MS: pause after each read
    client.py upload BYTES [HOST]          the hash the server saw, and the longest gap between two arrivals there
    client.py many COUNT BYTES             COUNT downloads at once
    client.py stream KBIT SECONDS          echo at a steady rate; the greatest delay
"""
import hashlib
import json
import selectors
import socket
import sys
import threading
import time

from world import content, socks5


def connected(host, port):
    s, code = socks5(host, port)
    if code != 0:
        sys.exit(f"SOCKS reply {code}")
    return s


def response(s):
    """Reads a response's head; the length of the body and what of it came along."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = s.recv(65536)
        if not piece:
            sys.exit(f"the connection ended in the head: {data[:80]}")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        sys.exit(f"not 200: {head[:80]}")
    return int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]), rest


def download(size, host="origin.test", pause=0):
    s = connected(host, 80)
    s.sendall(f"GET /bytes/{size} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    began = last = time.monotonic()
    length, rest = response(s)
    digest, count, gap, at = hashlib.sha256(rest), len(rest), 0, 0
    last = time.monotonic()
    while count < length:
        data = s.recv(1 << 18)
        now = time.monotonic()
        if not data:
            sys.exit(f"the connection ended after {count} of {length} bytes")
        if now - last > gap:
            gap, at = now - last, last - began
        last = now
        digest.update(data)
        count += len(data)
        if pause:
            time.sleep(pause / 1000)
    return {"bytes": count, "sha256": digest.hexdigest(), "gap": gap, "gap_at": at, "seconds": time.monotonic() - began}


def upload(size, host="origin.test"):
    s = connected(host, 80)
    s.sendall(f"PUT /upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n".encode())
    began = time.monotonic()
    for piece in content(size):
        s.sendall(piece)
    length, rest = response(s)
    while len(rest) < length:
        rest += s.recv(65536)
    seen, digest, gap = rest.decode().split()
    return {"bytes": int(seen), "sha256": digest, "gap": float(gap), "seconds": time.monotonic() - began}


def many(count, size):
    results, errors = [], []

    def one():
        try:
            results.append(download(size)["sha256"])
        except (SystemExit, OSError) as error:
            errors.append(str(error))
    began = time.monotonic()
    threads = [threading.Thread(target=one) for _ in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return {"hashes": sorted(set(results)), "done": len(results), "errors": sorted(set(errors)), "failed": len(errors),
            "seconds": time.monotonic() - began}


def stream(kilobits, length):
    """20 messages a second to the echo service; when each came back."""
    s = connected("origin.test", 7004)
    s.setblocking(False)
    size, began = int(kilobits * 1000 / 8 / 20), time.monotonic()
    sent, received, delays, out = 0, 0, [], b""
    selector = selectors.DefaultSelector()
    selector.register(s, selectors.EVENT_READ | selectors.EVENT_WRITE)
    total = int(length * 20)
    while received < total * size:
        now = time.monotonic() - began
        if sent < total and now >= sent / 20:
            out += bytes([sent % 251]) * size
            sent += 1
        for _ in selector.select(0.005):
            if out:
                try:
                    out = out[s.send(out):]
                except BlockingIOError:
                    pass
            try:
                data = s.recv(1 << 16)
                if not data:
                    sys.exit("the stream ended")
                for i in range(received // size, (received + len(data)) // size):
                    delays.append(time.monotonic() - began - i / 20)
                received += len(data)
            except BlockingIOError:
                pass
        time.sleep(0.002)
    return {"greatest": max(delays), "median": sorted(delays)[len(delays) // 2]}


commands = {"download": download, "upload": upload, "many": many, "stream": stream}
arguments = [int(a) if a.isdigit() else a for a in sys.argv[2:]]
print(json.dumps(commands[sys.argv[1]](*arguments)))
