"""An honest user beside an attack: a paced download and a small request after another, until stdin ends. Prints one
JSON object: requests, failures, the slowest request, the downloads' bytes, rate and longest gap, and a line when it
has begun.

    bystander.py [BYTES_A_SECOND]     0: no pace
"""
import hashlib
import json
import socket
import sys
import threading
import time

from world import content, socks5

RATE = int(sys.argv[1]) if len(sys.argv) > 1 else 4_000_000
SIZE = 2_000_000_000
over = threading.Event()
result = {"requests": 0, "slowest": 0.0, "failures": [], "bytes": 0, "gap": 0.0, "times": []}


def request():
    began = time.monotonic()
    try:
        s, code = socks5("origin.test", 80, timeout=30)
        with s:
            assert code == 0, f"SOCKS reply {code}"
            s.sendall(b"GET /where HTTP/1.0\r\n\r\n")
            text = b""
            while piece := s.recv(65536):
                text += piece
            assert b"seen " in text, f"answered {text[:60]}"
    except (OSError, AssertionError) as error:
        result["failures"].append(f"a request after {time.monotonic() - began:.1f} s: {error or type(error).__name__}")
    took = time.monotonic() - began
    result["requests"] += 1
    result["slowest"] = max(result["slowest"], took)
    result["times"].append(took)


def requests():
    while not over.is_set():
        request()
        over.wait(0.1)


def download():
    """Every byte is compared with what it must be."""
    expected, buffer = content(SIZE), b""
    try:
        s, code = socks5("origin.test", 80, timeout=30)
        assert code == 0, f"SOCKS reply {code}"
        s.sendall(f"GET /bytes/{SIZE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        data = b""
        while b"\r\n\r\n" not in data:
            piece = s.recv(65536)
            assert piece, "the download ended in its head"
            data += piece
        data = data.partition(b"\r\n\r\n")[2]
        print("begun", flush=True)
        began = last = time.monotonic()
        while not over.is_set():
            result["bytes"] += len(data)
            buffer += data
            while len(buffer) >= 1 << 16:
                assert buffer[:1 << 16] == next(expected), "the download has a wrong byte"
                buffer = buffer[1 << 16:]
            ahead = result["bytes"] / RATE - (time.monotonic() - began) if RATE else 0
            if ahead > 0:
                over.wait(min(ahead, 0.05))
            asked = time.monotonic()
            data = s.recv(1 << 18)
            result["gap"] = max(result["gap"], time.monotonic() - asked)
            assert data, f"the download ended after {result['bytes']} bytes"
        result["seconds"] = time.monotonic() - began
    except (OSError, AssertionError) as error:
        result["failures"].append(f"the download: {error or type(error).__name__}")


threads = [threading.Thread(target=work) for work in (download, requests)]
for thread in threads:
    thread.start()
sys.stdin.read()
over.set()
for thread in threads:
    thread.join()
result["rate"] = result["bytes"] / result.get("seconds", 1)
times = sorted(result.pop("times"))
result["median"] = times[len(times) // 2] if times else None
print(json.dumps(result))
