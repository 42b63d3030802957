"""Runs inside `braid lab`: what a question for a name costs beside a round trip, and while WiFi is silent. The name
server of /etc/resolv.conf is the origin's address (test_listener.py writes it)."""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from lab import CONCENTRATOR, ORIGIN, OUT_OF_BOUNDS, on_server, script_path, tell
from runner import OutOfBounds, between, check

NAMES = script_path("names.py")
BRAID = os.environ["BRAID"]
ECHO = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(({ORIGIN!r}, 7000))
print("ready", flush=True)
while True:
    s.sendto(*s.recvfrom(2000))
"""


# To be ended at the end, or the lab's output would stay open.
processes = []


def client(*words):
    return subprocess.Popen([sys.executable, NAMES, *map(str, words)], stdout=subprocess.PIPE, text=True)


def said(process):
    return json.loads(process.communicate(timeout=60)[0].splitlines()[-1])


def beside(count, mark=0):
    """Round trips of WiFi itself; `mark`: so that they are not captured."""
    import socket
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"wlan0")
    if mark:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    s.settimeout(3)
    took = []
    for _ in range(count):
        began = time.monotonic()
        s.sendto(b"x" * 60, (ORIGIN, 7000))
        s.recv(100)
        took.append(time.monotonic() - began)
        time.sleep(0.01)
    return took


def start(folder, proxy="names: { listen: [\"127.0.0.1:53\"] }\n"):
    """The two programs, and what they ask; ends when the session has two paths. `proxy`: more of its configuration."""
    keys = [subprocess.run([BRAID, "keygen", f"{folder}/{name}"], check=True, capture_output=True, text=True).stdout.strip() for name in "cp"]
    with open(f"{folder}/c.yaml", "w") as file:
        file.write(f"listen: \"{CONCENTRATOR}:443\"\nprivate_key_file: c\nusers: [ {{ name: alice, public_key: \"{keys[1]}\" }} ]\n"
                   f"control: {folder}/c.sock\negress: {{ deny: [] }}\n")
    with open(f"{folder}/p.yaml", "w") as file:
        file.write(f"concentrator: {{ address: \"{CONCENTRATOR}:443\", public_key: \"{keys[0]}\" }}\nprivate_key_file: p\n"
                   f"control: {folder}/p.sock\nuplinks: [ {{ interface: wlan0 }}, {{ interface: wwan0 }} ]\n{proxy}")
    log = open(f"{folder}/log", "w")
    servers = [on_server(sys.executable, NAMES, "serve", ORIGIN, stdout=subprocess.PIPE), on_server(sys.executable, "-c", ECHO, stdout=subprocess.PIPE)]
    for server in servers:
        check(server.stdout.readline().strip() == b"ready", "a server did not start")
    # What it is asked is not read here.
    import threading
    threading.Thread(target=lambda: servers[0].stdout.read(), daemon=True).start()
    processes.extend(servers)
    processes.append(on_server(BRAID, "concentrator", "--config", f"{folder}/c.yaml", stdout=log, stderr=log))
    time.sleep(0.5)
    processes.append(subprocess.Popen([BRAID, "proxy", "--config", f"{folder}/p.yaml"], stdout=log, stderr=log))
    for _ in range(200):
        out = subprocess.run([BRAID, "status", "--json", "--control", f"{folder}/p.sock"], capture_output=True, text=True)
        if out.returncode == 0 and sum(p["health"] == "usable" for s in json.loads(out.stdout)["sessions"] for p in s["paths"]) == 2:
            return
        time.sleep(0.05)
    check(False, "no session: " + open(f"{folder}/log").read()[-400:])


def least(took):
    """The best tenth: what is added by other work of the machine is not the tunnel's."""
    return sorted(took)[len(took) // 10]


def round_trip():
    trips, names = [], []
    for _ in range(4):
        trips += beside(50)
        names += said(client("times", "127.0.0.1", "*.fresh.test", 50))
    said(client("times", "127.0.0.1", "same.test", 1))
    kept = said(client("times", "127.0.0.1", "same.test", 300))
    trip, fresh, cached = least(trips), least(names), least(kept)
    print(f"round trip {trip * 1e3:.2f} ms, a name {fresh * 1e3:.2f} ms, cached {cached * 1e3:.3f} ms; "
          f"medians {statistics.median(trips) * 1e3:.2f}, {statistics.median(names) * 1e3:.2f}, {statistics.median(kept) * 1e3:.3f} ms")
    between(fresh, trip - 0.003, trip + 0.003, "seconds for a name")
    between(cached, 0, 0.001, "seconds for a cached name")


def silence():
    for uplink in ("wifi", "cellular"):
        steady = client("steady", "127.0.0.1", 5)
        time.sleep(2)
        tell(uplink, "silent", "on")
        seen = said(steady)
        tell(uplink, "silent", "off")
        print(f"{uplink} silent: the longest of {seen['sent']} names {seen['longest'] * 1e3:.0f} ms, the usual one {seen['usual'] * 1e3:.1f} ms")
        check(seen["answered"] == seen["sent"] and seen["bad"] == 0, f"{uplink}: {seen}")
        between(seen["longest"], 0, 0.6, "seconds for the slowest")
        time.sleep(2)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        try:
            start(folder)
            round_trip() if os.environ["MEASURE"] == "round trip" else silence()
        except OutOfBounds as error:
            print(error)
            sys.exit(OUT_OF_BOUNDS)
        finally:
            for process in processes:
                process.kill()
