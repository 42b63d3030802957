"""Runs inside `braid lab`: a listener with ?scheduler=redundant sends every byte on two uplinks, both ways, and does
not notice that one of them falls silent."""
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import names_inside
from lab import ORIGIN, OUT_OF_BOUNDS, on_server, tell
from runner import OutOfBounds, between, check
from world import socks5

PORT, SIZE, PERIOD = 7004, 16_000, 0.05
ECHO = f"""
import socket
server = socket.create_server(({ORIGIN!r}, {PORT}))
print("ready", flush=True)
while True:
    s, _ = server.accept()
    while data := s.recv(65536):
        s.sendall(data)
"""


def counted():
    """Bytes that each uplink was handed, from the client and to it."""
    state = json.loads(tell("status"))
    return {name: [state[name][way]["bytes"] for way in ("up", "down")] for name in ("wifi", "cellular")}


def messages(port, length, happens=None):
    """Echoed messages of 16 kB, twenty a second: the delays of each, and what the uplinks carried. `happens` after half of
    them."""
    before = counted()
    s, code = socks5(ORIGIN, PORT, proxy=("127.0.0.1", port))
    check(code == 0, f"SOCKS reply {code}")
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    total, delays = int(length / PERIOD), []
    began = time.monotonic() + 0.2

    def send():
        for number in range(total):
            time.sleep(max(0, began + number * PERIOD - time.monotonic()))
            if number == total // 2 and happens:
                happens()
            s.sendall(struct.pack(">I", number) * (SIZE // 4))
    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    for number in range(total):
        data = b""
        while len(data) < SIZE:
            piece = s.recv(SIZE - len(data))
            check(piece, "the connection ended")
            data += piece
        delays.append(time.monotonic() - began - number * PERIOD)
        check(data == struct.pack(">I", number) * (SIZE // 4), f"message {number} has other bytes")
    sender.join()
    s.close()
    after = counted()
    return delays, {name: [b - a for a, b in zip(before[name], after[name])] for name in before}


def main():
    with tempfile.TemporaryDirectory() as folder:
        names_inside.start(folder, "mode: full\nlisten: [\"mixed://127.0.0.1:1080?scheduler=redundant\", mixed://127.0.0.1:1081]\n")
        echo = on_server(sys.executable, "-c", ECHO, stdout=subprocess.PIPE, text=True)
        names_inside.processes.append(echo)
        check(echo.stdout.readline() == "ready\n", "no echo")
        sent = int(4 / PERIOD) * SIZE
        for port, least, most in ((1080, 1.8, 3), (1081, 0.95, 1.6)):
            _, carried = messages(port, 4)
            for way, what in enumerate(("up", "down")):
                share = sum(carried[name][way] for name in carried) / sent
                print(f"port {port} {what}: {share:.2f} times what was sent, "
                      + ", ".join(f"{name} {carried[name][way] / sent:.2f}" for name in carried))
                check(least < share < most, f"port {port} {what}: the uplinks carried {share:.2f} times what was sent: {carried}")
        usual, _ = messages(1080, 2)
        lost, _ = messages(1080, 3, lambda: tell("wifi", "silent", "on"))
        tell("wifi", "silent", "off")
        print(f"greatest delay {max(usual) * 1000:.0f} ms before, {max(lost) * 1000:.0f} ms with the loss")
        # Cellular's longer way, and nothing of the time that it takes to find the silence.
        between(max(lost) - max(usual), -1, 0.12, "the loss adds to the greatest delay, s,")


try:
    main()
except OutOfBounds as error:
    print(error, file=sys.stderr)
    sys.exit(OUT_OF_BOUNDS)
except AssertionError as error:
    sys.exit(str(error))
finally:
    for process in names_inside.processes:
        process.kill()
