#!/usr/bin/env python3
"""CPU seconds per gigabyte of the real programs on loopback, and their throughput, beside plain TCP's.

    Tests/Benchmarks/programs.py [--braid .build/release/braid] [--gigabytes 1] [--flows 1,8] [--rounds 3]

One origin sends zeros; curl takes them directly, then through the proxy and the concentrator. Every round
measures both, one right after the other, and what is printed is the median of the rounds with its spread: on
a shared machine only figures of one run can be compared.
"""
import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ORIGIN, SOCKS, TUNNEL = 18080, 11080, 14443
CHUNK = bytes(1 << 20)
TICKS = os.sysconf("SC_CLK_TCK")


def serve(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection):
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(65536)
    left = int(request.split()[1].strip(b"/"))
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % left)
    while left > 0:
        n = min(left, len(CHUNK))
        connection.sendall(memoryview(CHUNK)[:n])
        left -= n
    connection.close()


def cpu(pid):
    """User and system seconds of a process so far."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def download(total, flows, through):
    """Seconds that `flows` parallel downloads of `total` bytes together take."""
    each = total // flows
    arguments = ["curl", "-sS", "-o", "/dev/null", "--max-time", "600", "-w", "%{size_download}\n"]
    if through:
        arguments += ["--socks5-hostname", f"127.0.0.1:{SOCKS}"]
    begin = time.monotonic()
    running = [subprocess.Popen([*arguments, f"http://127.0.0.1:{ORIGIN}/{each}"], stdout=subprocess.PIPE, text=True)
               for _ in range(flows)]
    for process in running:
        size, _ = process.communicate()
        assert process.returncode == 0 and int(size) == each, "a download was not complete"
    return time.monotonic() - begin


def start(braid, folder):
    keys = {}
    for name in ("proxy", "concentrator"):
        keys[name] = subprocess.run([braid, "keygen", f"{folder}/{name}.key"], check=True, capture_output=True,
                                    text=True).stdout.split()[-1]
    with open(f"{folder}/concentrator.yaml", "w") as file:
        file.write(f'listen: "127.0.0.1:{TUNNEL}"\nprivate_key_file: {folder}/concentrator.key\n'
                   f'users: [ {{ name: bench, public_key: "{keys["proxy"]}" }} ]\negress: {{ deny: [] }}\n'
                   f'control: {folder}/c.sock\n')
    with open(f"{folder}/proxy.yaml", "w") as file:
        file.write(f'concentrator: {{ address: "127.0.0.1:{TUNNEL}", public_key: "{keys["concentrator"]}" }}\n'
                   f'private_key_file: {folder}/proxy.key\nlisten: ["mixed://127.0.0.1:{SOCKS}"]\n'
                   f'uplinks: [ {{ address: 127.0.0.1 }} ]\ncontrol: {folder}/p.sock\n')
    programs = [subprocess.Popen([braid, role, "--config", f"{folder}/{role}.yaml", "--log-level", "error"])
                for role in ("concentrator", "proxy")]
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", SOCKS), 1).close()
            break
        except OSError:
            time.sleep(0.1)
    time.sleep(1)
    return programs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--braid", default=".build/release/braid")
    parser.add_argument("--gigabytes", type=float, default=1)
    parser.add_argument("--flows", default="1,8")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", ORIGIN), backlog=64)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    total = int(options.gigabytes * 1e9)
    with tempfile.TemporaryDirectory() as folder:
        concentrator, proxy = start(os.path.abspath(options.braid), folder)
        try:
            download(20_000_000, 1, True)
            for flows in map(int, options.flows.split(",")):
                measure(total, flows, options, concentrator.pid, proxy.pid)
        finally:
            for program in (proxy, concentrator):
                program.terminate()
            for program in (proxy, concentrator):
                program.wait(40)


def measure(total, flows, options, concentrator, proxy):
    rows = []
    for _ in range(options.rounds):
        plain = download(total, flows, False)
        before = cpu(concentrator), cpu(proxy)
        through = download(total, flows, True)
        after = cpu(concentrator), cpu(proxy)
        gigabytes = total / 1e9
        rows.append((total * 8e-9 / through, plain / through, (after[1] - before[1]) / gigabytes,
                     (after[0] - before[0]) / gigabytes))
    names = ("Gbit/s through the tunnel", "share of plain TCP's rate", "proxy CPU s/GB", "concentrator CPU s/GB")
    print(f"{flows} flow{'s' if flows > 1 else ''}, {total / 1e9:g} GB, {options.rounds} rounds: median (least to most)")
    for name, column in zip(names, zip(*rows)):
        print(f"  {name:<28} {statistics.median(column):6.2f}  ({min(column):.2f} to {max(column):.2f})")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
