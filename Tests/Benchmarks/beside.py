#!/usr/bin/env python3
"""How long one user's small request takes alone, and beside another user's downloads at full speed.

    Tests/Benchmarks/beside.py [--braid .build/release/braid] [--downloads 8] [--seconds 10] [--rounds 2]

Two proxies with a user each, one concentrator, everything on loopback. Two kinds of request of 100 bytes each, on a
connection of its own and on one that stays open, through the tunnel and directly to the origin without Braid. The
latter tell what the machine itself adds when its processors are taken: only figures of one run, and beside them, can
be compared.
"""
import argparse
import json
import multiprocessing
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from programs import CHUNK, cpu

SMALL, BULK, TUNNEL = 18090, 18091, 14453
SOCKS = {"alice": 11090, "bob": 11091}
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + bytes(100)


def small_origin():
    """One thread for all connections: beginning one for each took longer than everything that is measured."""
    ready = selectors.DefaultSelector()
    listener = socket.create_server(("127.0.0.1", SMALL), backlog=128)
    ready.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if key.fileobj is listener:
                connection = listener.accept()[0]
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ready.register(connection, selectors.EVENT_READ)
                continue
            try:
                if key.fileobj.recv(4096):
                    key.fileobj.sendall(ANSWER)
                    continue
            except OSError:
                pass
            ready.unregister(key.fileobj)
            key.fileobj.close()


def bulk_origin():
    listener = socket.create_server(("127.0.0.1", BULK), backlog=64)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            connection.recv(4096)
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                while True:
                    connection.sendall(CHUNK)
            except OSError:
                os._exit(0)
        connection.close()


def receive(connection, count):
    got = b""
    while len(got) < count:
        piece = connection.recv(65536)
        if not piece:
            raise OSError("the connection ended early")
        got += piece
    return got


def connect(user):
    if user is None:
        connection = socket.create_connection(("127.0.0.1", SMALL), 30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    connection = socket.create_connection(("127.0.0.1", SOCKS[user]), 30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(b"\x05\x01\x00")
    receive(connection, 2)
    connection.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + SMALL.to_bytes(2, "big"))
    receive(connection, 10)
    return connection


def request(connection):
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    receive(connection, len(ANSWER))


def measure(seconds):
    """Milliseconds of each kind of request, by turns."""
    out = {"new": [], "kept": [], "direct new": [], "direct kept": []}
    kept = {"kept": connect("bob"), "direct kept": connect(None)}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for kind in out:
            begin = time.monotonic()
            if kind in kept:
                request(kept[kind])
            else:
                with connect("bob" if kind == "new" else None) as connection:
                    request(connection)
            out[kind].append((time.monotonic() - begin) * 1e3)
            time.sleep(0.003)
    return out


def start(braid, folder):
    keys = {}
    for name in ("concentrator", *SOCKS):
        keys[name] = subprocess.run([braid, "keygen", f"{folder}/{name}.key"], check=True, capture_output=True,
                                    text=True).stdout.split()[-1]
    users = ", ".join(f'{{ name: {name}, public_key: "{keys[name]}" }}' for name in SOCKS)
    with open(f"{folder}/concentrator.yaml", "w") as file:
        file.write(f'listen: "127.0.0.1:{TUNNEL}"\nprivate_key_file: {folder}/concentrator.key\nusers: [ {users} ]\n'
                   f'egress: {{ deny: [] }}\ncontrol: {folder}/c.sock\n')
    for name, port in SOCKS.items():
        with open(f"{folder}/{name}.yaml", "w") as file:
            file.write(f'concentrator: {{ address: "127.0.0.1:{TUNNEL}", public_key: "{keys["concentrator"]}" }}\n'
                       f'private_key_file: {folder}/{name}.key\nlisten: ["mixed://127.0.0.1:{port}"]\n'
                       f'uplinks: [ {{ address: 127.0.0.1 }} ]\ncontrol: {folder}/{name}.sock\n')
    programs = {name: subprocess.Popen([braid, "concentrator" if name == "concentrator" else "proxy", "--config",
                                        f"{folder}/{name}.yaml", "--log-level", "error"])
                for name in ("concentrator", *SOCKS)}
    for port in SOCKS.values():
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
    time.sleep(1)
    return programs


def carried(braid, folder):
    """Bytes that the concentrator has sent to its users so far."""
    status = json.loads(subprocess.run([braid, "status", "--json", "--control", f"{folder}/c.sock"], check=True,
                                       capture_output=True).stdout)
    return sum(path["bytes_sent"] for session in status["sessions"] for path in session["paths"])


def show(name, alone, beside):
    row = []
    for values in (alone, beside):
        values = sorted(values)
        row += [statistics.median(values), values[int(len(values) * 0.99)]]
    print(f"  {name:<28} {row[0]:7.2f} {row[1]:7.2f}   {row[2]:7.2f} {row[3]:7.2f}   x{row[2] / row[0]:.1f}"
          f" x{row[3] / row[1]:.1f}   ({len(beside)} requests)")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--braid", default=".build/release/braid")
    parser.add_argument("--downloads", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    origins = [multiprocessing.Process(target=target) for target in (small_origin, bulk_origin)]
    for origin in origins:
        origin.start()
    with tempfile.TemporaryDirectory() as folder:
        programs = start(os.path.abspath(options.braid), folder)
        try:
            alone, beside = {}, {}
            for _ in range(options.rounds):
                for kind, values in measure(options.seconds).items():
                    alone.setdefault(kind, []).extend(values)
                for kind, values in loaded(options, programs, folder).items():
                    beside.setdefault(kind, []).extend(values)
            print(f"beside {options.downloads} downloads; milliseconds alone, beside, and their ratio")
            print(f"  {'':<28}     p50     p99       p50     p99")
            names = {"new": "a request of its own", "kept": "on an open connection",
                     "direct new": "without Braid, of its own", "direct kept": "without Braid, open"}
            for kind, name in names.items():
                show(name, alone[kind], beside[kind])
        finally:
            for program in programs.values():
                program.terminate()
            for program in programs.values():
                program.wait(40)
            for origin in origins:
                origin.kill()


def loaded(options, programs, folder):
    """The same while the other user downloads; prints how fast that was."""
    clients = [subprocess.Popen(["curl", "-sS", "-o", "/dev/null", "--socks5-hostname", f"127.0.0.1:{SOCKS['alice']}",
                                 f"http://127.0.0.1:{BULK}/"]) for _ in range(options.downloads)]
    time.sleep(2)
    braid = os.path.abspath(options.braid)
    before, begin, bytes_before = cpu(programs["concentrator"].pid), time.monotonic(), carried(braid, folder)
    values = measure(options.seconds)
    moved, taken = carried(braid, folder) - bytes_before, time.monotonic() - begin
    print(f"  downloads: {moved * 8e-9 / taken:.2f} Gbit/s, concentrator "
          f"{(cpu(programs['concentrator'].pid) - before) / (moved / 1e9):.2f} CPU s/GB")
    sys.stdout.flush()
    for client in clients:
        client.kill()
        client.wait()
    return values


if __name__ == "__main__":
    main()
