"""Runs inside `braid lab`: what a captured connection's first byte costs beside a round trip, with `open: fast`, by a rule
with `open: checked`, and of a server that speaks first."""
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from lab import ORIGIN, OUT_OF_BOUNDS, on_server
from names_inside import beside, least, processes, start
from runner import OutOfBounds, between, check

# Answers each line at 7100 and 7101; greets at 7022, as ssh does.
SERVER = f"""
import socket, threading
def serve(port):
    listener = socket.create_server(({ORIGIN!r}, port), backlog=64)
    while True:
        c = listener.accept()[0]
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if port == 7022:
            c.sendall(b"SSH-2.0-here\\r\\n")
        else:
            c.sendall(c.recv(100))
        threading.Timer(2, c.close).start()
for port in (7101, 7022):
    threading.Thread(target=serve, args=(port,), daemon=True).start()
print("ready", flush=True)
serve(7100)
"""


def first_bytes(port, count):
    took = []
    for _ in range(count):
        s = socket.socket()
        s.settimeout(5)
        began = time.monotonic()
        s.connect((ORIGIN, port))
        if port != 7022:
            s.sendall(b"question")
        check(len(s.recv(100)) > 0, "no answer")
        took.append(time.monotonic() - began)
        s.close()
        time.sleep(0.02)
    return took


def main(folder):
    server = on_server(sys.executable, "-c", SERVER, stdout=subprocess.PIPE)
    check(server.stdout.readline().strip() == b"ready", "no server")
    processes.append(server)
    start(folder, "open: fast\nrules: [ { ports: 7101, open: checked } ]\ncapture: { machine: true }\n")
    trips, fast, checked, greeted = [], [], [], []
    for _ in range(2):
        # With the tunnel's mark: it would be captured, too.
        trips += beside(30, mark=0x10000000)
        fast += first_bytes(7100, 30)
        checked += first_bytes(7101, 20)
        greeted += first_bytes(7022, 20)
    trip = least(trips)
    print("first byte, " + "; ".join(f"{name} {least(took) * 1e3:.2f} ms (median {statistics.median(took) * 1e3:.2f})" for name, took in (
        ("round trip", trips), ("fast", fast), ("checked by a rule", checked), ("greeting", greeted))))
    between(least(fast), trip - 0.001, trip + 0.003, "seconds to the first byte with open: fast")
    between(least(greeted), trip - 0.001, trip + 0.003, "seconds to a greeting with open: fast")
    between(least(checked), 1.8 * trip, 2 * trip + 0.006, "seconds to the first byte with open: checked")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        try:
            main(folder)
        except OutOfBounds as error:
            print(error)
            sys.exit(OUT_OF_BOUNDS)
        finally:
            for process in processes:
                process.kill()
