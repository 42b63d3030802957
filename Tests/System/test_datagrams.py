"""SOCKS5 UDP ASSOCIATE from an application to a server, through both programs."""
import json
import os
import subprocess
import sys
import time

from attack import cpu
from runner import OutOfBounds, Skip, between, check, seconds
from world import CONCENTRATOR, HERE, ORIGIN, ORIGIN6, need

SCRIPT = f"{HERE}/datagrams.py"
# Where deploy/install-dependencies puts what Debian has not.
ENVIRONMENT = os.path.abspath(f"{HERE}/../../.build/python/bin/python3")
# An association on the application's host, for statements in Python that follow.
BEGIN = f"import sys, time, socket; sys.path.insert(0, {HERE!r})\nfrom datagrams import Association\n"


def echo(world, port=7000, addresses=(ORIGIN, ORIGIN6), name="echo"):
    world.start(world.net, [sys.executable, SCRIPT, "echo", str(port), *addresses], name)
    world.wait(lambda: "ready" in world.text(name), "the echo server")


def inside(world, statements, timeout=30):
    done = world.run(world.app, [sys.executable, "-c", BEGIN + statements], timeout=timeout, text=True)
    check(done.returncode == 0, (done.stderr.strip().splitlines() or ["?"])[-1])
    return done.stdout


def counter(pair, side, name):
    return next((c["value"] for c in pair.status(side)["counters"] if c["name"] == name), None)


def interpreter(module):
    """A Python that has the module: the one we run in, the system's, the tests' own; None where there is none."""
    for python in (sys.executable, "/usr/bin/python3", ENVIRONMENT):
        if os.path.exists(python) and subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0:
            return python
    return None


def start(world, *words, python=sys.executable):
    process = subprocess.Popen(["ip", "netns", "exec", world.app, python, SCRIPT, *map(str, words)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    world.processes.append(process)
    return process


def result(process, limit=50):
    out, err = process.communicate(timeout=limit)
    check(process.returncode == 0, err.strip()[-300:])
    return json.loads(out)


def test_pysocks_is_echoed(world):
    """Sizes from 1 to 9,000 bytes, by address and by name."""
    python = interpreter("socks")
    if not python:
        raise Skip("PySocks is not installed (python3-socks)")
    echo(world)
    world.pair()
    for host in (ORIGIN, "v4.test"):
        said = result(start(world, "pysocks", host, 7000, python=python))
        check(said["wrong"] == [], f"{host}: other bytes for {said['wrong']}")
        check(said["source"] == [ORIGIN, 7000], f"the source is {said['source']}")


def test_families_names_and_fragments(world):
    """IPv6 and names go there, fragments and what is no header do not, and the association goes on."""
    echo(world)
    pair = world.pair()
    inside(world, f"""
a = Association()
assert a.code == 0
for host, source in (({ORIGIN!r}, {ORIGIN!r}), ({ORIGIN6!r}, {ORIGIN6!r}), ("v6.test", {ORIGIN6!r}), ("origin.test", {ORIGIN!r})):
    a.send(host.encode(), host, 7000)
    assert a.receive() == (host.encode(), (source, 7000)), host
for fragment in (1, 0x81, 255):
    a.send(b"x", {ORIGIN!r}, 7000, fragment)
a.udp.sendto(b"\\x00\\x01\\x00", a.relay)
a.udp.sendto(b"", a.relay)
a.send(b"x", {ORIGIN!r}, 0)
a.send(b"x", "nowhere.test", 7000)
assert a.nothing(0.3)
a.send(b"still", {ORIGIN!r}, 7000)
assert a.receive()[0] == b"still"
""")
    check(counter(pair, "proxy", 'datagrams_refused_total{reason="fragment"}') == 3, "fragments are not counted")
    check(counter(pair, "proxy", 'datagrams_refused_total{reason="malformed"}') == 3, "malformed ones are not counted")


def test_an_association_ends_with_its_connection(world):
    """Reset in the middle of traffic: within a second nothing of it is left at either end."""
    echo(world)
    pair = world.pair()
    inside(world, f"""
import struct
many = [Association() for _ in range(20)]
for i, a in enumerate(many):
    a.send(bytes([i]), {ORIGIN!r}, 7000)
    assert a.receive()[0] == bytes([i])
for a in many:
    a.send(b"more", {ORIGIN!r}, 7000)
    a.control.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    a.control.close()
""")
    world.wait(lambda: counter(pair, "proxy", "associations") == 0, "the proxy to forget them", 1.0)
    world.wait(lambda: counter(pair, "concentrator", "associations") == 0, "the concentrator to forget them", 1.0)
    sockets = world.run(world.net, ["ss", "-Huanp"], text=True).stdout
    # The port has one for each process that may be there during an upgrade.
    left = {line.split()[3] for line in sockets.splitlines() if "braid" in line}
    check(len(left) == 1, f"sockets are left: {sockets}")
    inside(world, f"""
a = Association()
a.send(b"x", {ORIGIN!r}, 7000); a.receive()
time.sleep(3)
a.send(b"y", {ORIGIN!r}, 7000); a.receive()
""")


def test_only_whom_it_has_asked_may_answer(world):
    """The three filters, against a stranger and against another port of the same address."""
    for filtering, same_address, stranger in (("address", True, False), ("endpoint", False, False), ("none", True, True)):
        world.start(world.net, [sys.executable, SCRIPT, "echo", "7000", ORIGIN], f"echo-{filtering}")
        pair = world.pair(concentrator=f"egress: {{ deny: [] }}\nudp_filtering: {filtering}\n")
        world.wait(lambda: "ready" in world.text(f"echo-{filtering}"), "the echo server")
        heard = inside(world, f"""
a = Association()
a.send(b"x", {ORIGIN!r}, 7000); a.receive()
print("asked", flush=True)
import subprocess
""") and world.text(f"echo-{filtering}")
        check("heard" in heard, "nothing came")
        port = heard.split("heard")[-1].split()[1]
        # A fresh association, whose mapped port the echo server tells, is spoken to from elsewhere.
        process = subprocess.Popen(
            ["ip", "netns", "exec", world.app, sys.executable, "-c", BEGIN + f"""
a = Association()
a.send(b"x", {ORIGIN!r}, 7000); a.receive()
a.udp.settimeout(2)
print("ready", flush=True)
got = []
try:
    while True: got.append(a.receive()[0].decode())
except TimeoutError: pass
print(sorted(set(got)))
"""], stdout=subprocess.PIPE, text=True)
        world.processes.append(process)
        check(process.stdout.readline().strip() == "ready", "no association")
        port = world.text(f"echo-{filtering}").split("heard")[-1].split()[1]
        for source, word in ((ORIGIN, "same"), (CONCENTRATOR, "stranger")):
            world.run(world.net, [sys.executable, "-c",
                                  "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
                                  f"s.bind(({source!r}, 0)); s.sendto({word!r}.encode(), ({CONCENTRATOR!r}, {port}))"])
        got = process.communicate(timeout=10)[0].strip()
        expected = str([w for w, is_let_in in (("same", same_address), ("stranger", stranger)) if is_let_in])
        check(got == expected, f"{filtering}: {got}, not {expected}")
        for program in (pair.proxy, pair.concentrator):
            program.terminate()
            program.wait(10)
        for process in world.processes:
            if process.poll() is None and "echo" in str(process.args):
                process.kill()
                process.wait(5)


def test_policy_password_and_off(world):
    """The egress policy judges every destination, a password holds, and udp=off refuses."""
    echo(world)
    pair = world.pair(concentrator="egress: { deny: [private], allow: [\"198.18.0.0/15\"] }\n",
                      proxy="listen: [ \"mixed://127.0.0.1:1080\", \"socks5://a:b@127.0.0.1:1081\", \"mixed://127.0.0.1:1082?udp=off\" ]\n")
    inside(world, f"""
a = Association()
for host in ({ORIGIN!r}, "127.0.0.1", {CONCENTRATOR!r}, "255.255.255.255", "224.0.0.1"):
    a.send(b"x", host, 7000)
assert a.nothing(0.5)
assert Association(("127.0.0.1", 1082)).code == 7
try:
    Association(("127.0.0.1", 1081))
    raise SystemExit("no password was asked for")
except AssertionError: pass
""")
    check(counter(pair, "concentrator", 'datagrams_refused_total{reason="denied"}') == 5, "not all were denied")
    check("heard" not in world.text("echo"), "something went there")


def test_a_stranger_at_the_relay_port(world):
    """Only the application's address and port are listened to; a flood of others does not reach it."""
    echo(world)
    pair = world.pair()
    said = inside(world, f"""
import os
a = Association()
early = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
early.bind(("127.0.0.9", 0))
early.sendto(a.head({ORIGIN!r}, 7000) + b"stranger", a.relay)
a.send(b"x", {ORIGIN!r}, 7000)
assert a.receive()[0] == b"x"
other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
missed = 0
for i in range(200):
    for _ in range(100):
        try: other.sendto(a.head({ORIGIN!r}, 7000) + b"stranger", a.relay)
        except ConnectionRefusedError: pass
    a.send(str(i).encode(), {ORIGIN!r}, 7000)
    try:
        assert a.receive()[0] == str(i).encode()
    except TimeoutError: missed += 1
print(missed)
""", timeout=60)
    check(said.strip() == "0", f"{said.strip()} of 200 were missed")
    check(counter(pair, "concentrator", "datagrams_sent_total") == 201, "a stranger's went out")


@seconds(120)
def test_a_call_survives_wifi(world):
    """Voice in full mode: the interface is lost, then it is silent: next to nothing is missed."""
    echo(world)
    pair = world.pair()
    world.limit(wifi=8, cell=2)
    for lose, restore in (("down", "up"), ("silence", None)):
        call = start(world, "call", ORIGIN, 7000, 20, 300)
        time.sleep(3)
        getattr(world, lose)("wifi")
        said = result(call)
        check(said["twice"] == 0, f"{said['twice']} came twice")
        world.notes.append(f"{lose}: {said['missed_s']:.2f} s missed, usually {said['usual_ms']:.1f} ms")
        between(said["missed_s"], 0, 0.06, f"missed after {lose}, s")
        if restore:
            getattr(world, restore)("wifi")
            pair.wait_for_paths(2)
            time.sleep(1)


@seconds(120)
def test_calls_beside_a_flood(world):
    """200 associations at once with 50 datagrams a second each: none is lost; and 20,000 a second beside a call."""
    echo(world)
    pair = world.pair()
    before = cpu(pair.proxy), cpu(pair.concentrator)
    said = json.loads(inside(world, f"""
import json, select, struct
calls = [Association() for _ in range(200)]
assert all(a.code == 0 for a in calls)
got, sent = 0, 0
by = {{a.udp: a for a in calls}}
for a in calls: a.udp.setblocking(False)
poll = select.epoll()
files = {{a.udp.fileno(): a for a in calls}}
for f in files: poll.register(f, select.EPOLLIN)
def drain(wait):
    global got
    for f, _ in poll.poll(wait):
        try:
            while True: files[f].receive(); got += 1
        except BlockingIOError: pass
begin = time.monotonic()
for tick in range(100):
    for k, a in enumerate(calls):
        a.send(struct.pack(">I", tick) + bytes(168), {ORIGIN!r}, 7000); sent += 1
        if k % 20 == 0: drain(0)
    while time.monotonic() < begin + (tick + 1) * 0.02: drain(0.002)
end = time.monotonic() + 2
while got < sent and time.monotonic() < end: drain(0.05)
print(json.dumps({{"sent": sent, "got": got}}))
""", timeout=90))
    spent = [cpu(program) - b for program, b in zip((pair.proxy, pair.concentrator), before)]
    world.notes.append(f"200 associations: {said['got']} of {said['sent']}, {spent[0] * 1e6 / said['sent']:.0f} us of CPU at the proxy "
                       f"and {spent[1] * 1e6 / said['sent']:.0f} at the concentrator for one there and back")
    # 10,000 a second there and back, by programs that get no more of the machine than the others on it leave them: what
    # one loses in its own socket's buffer is no loss of ours. Tried again, where ours shows again.
    if said["got"] != said["sent"]:
        raise OutOfBounds(f"{said['sent'] - said['got']} of {said['sent']} were lost")
    pair.alive()


@seconds(240)
def test_quic_uses_both_links(world):
    """A QUIC download of 20 MB over 8 and 2 Mbit/s is faster than over 8 alone, and one goes on when WiFi dies."""
    python = interpreter("aioquic")
    need("openssl")
    folder = world.folder
    world.run(world.net, ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=quic",
                          "-keyout", f"{folder}/quic.key", "-out", f"{folder}/quic.pem"])
    world.start(world.net, [python, f"{HERE}/quic.py", "serve", ORIGIN, "4433", f"{folder}/quic.pem", f"{folder}/quic.key"], "quic")
    world.wait(lambda: "ready" in world.text("quic"), "the QUIC server")
    pair = world.pair()
    world.limit(wifi=8, cell=2)

    def fetch(size):
        process = subprocess.Popen(["ip", "netns", "exec", world.app, python, f"{HERE}/quic.py", "fetch", ORIGIN, "4433", str(size)],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        world.processes.append(process)
        return process
    both = result(fetch(20_000_000), 120)
    during = fetch(6_000_000)
    time.sleep(3)
    world.down("wifi")
    after = result(during, 120)
    world.up("wifi")
    pair.wait_for_paths(2)
    world.down("cell")
    alone = result(fetch(10_000_000), 120)
    for said, size in ((both, 20_000_000), (after, 6_000_000), (alone, 10_000_000)):
        check(said["bytes"] == size, f"{said['bytes']} of {size} bytes came")
    rates = [said["bytes"] * 8e-6 / said["seconds"] for said in (both, alone)]
    gain = rates[0] / rates[1]
    world.notes.append(f"QUIC: {rates[0]:.1f} Mbit/s over both, {rates[1]:.1f} over WiFi; gap {after['gap']:.2f} s when WiFi dies")
    between(gain, 1.15, 2, "the gain of the second link")


if not interpreter("aioquic"):
    del test_quic_uses_both_links   # deploy/install-dependencies said why


@seconds(150)
def test_a_call_in_backup_and_single(world):
    """Where nothing is copied: visible loss is missed for a moment, silent loss until silence makes a doubt."""
    echo(world)
    for mode, visible, silent in (("backup", 0.06, 0.20), ("single", 0.10, 0.30)):
        pair = world.pair(mode=mode, uplinks=("wifi", "cell,backup"))
        world.limit(wifi=8, cell=2)
        for lose, most in (("down", visible), ("silence", silent)):
            call = start(world, "call", ORIGIN, 7000, 20, 250)
            time.sleep(2.5)
            getattr(world, lose)("wifi")
            said = result(call)
            world.notes.append(f"{mode}, {lose}: {said['missed_s']:.2f} s")
            check(said["twice"] == 0, f"{said['twice']} came twice")
            between(said["missed_s"], 0, most, f"missed in mode {mode} after {lose}, s")
            if lose == "down":
                world.up("wifi")
                world.wait(lambda: any(p["uplink"] == "wifi" and p["health"] == "usable"
                                       for s in pair.status()["sessions"] for p in s["paths"]), "WiFi")
                time.sleep(1)
        world.silence("wifi", False)
        for program in (pair.proxy, pair.concentrator):
            program.terminate()
            program.wait(40)


@seconds(120)
def test_a_call_beside_a_flood(world):
    """20,000 datagrams a second in another association of the session, then a stranger's at the mapped ports."""
    echo(world)
    pair = world.pair()
    world.limit(wifi=8, cell=2)
    call = start(world, "call", ORIGIN, 7000, 20, 400)
    time.sleep(2)
    own = world.start(world.app, [sys.executable, "-c", BEGIN + f"""
a = Association()
head = a.head({ORIGIN!r}, 7001) + bytes(40)
end = time.monotonic() + 3
tick = time.monotonic()
while time.monotonic() < end:
    for _ in range(200): a.udp.sendto(head, a.relay)
    tick += 0.01
    time.sleep(max(0, tick - time.monotonic()))
"""], "flood")
    said = result(call)
    world.notes.append(f"beside a flood of the same user: {said['missed_s']:.2f} s missed, usually {said['usual_ms']:.1f} ms")
    own.wait(10)
    check(said["twice"] == 0, f"{said['twice']} came twice")
    # Two of 400 datagrams on a quiet machine; up to 0.16 s were seen beside compilers of a higher priority.
    between(said["missed_s"], 0, 0.25, "missed beside a flood of the same user, s")
    call = start(world, "call", ORIGIN, 7000, 20, 200)
    time.sleep(0.5)
    ports = {line.split()[3].split(":")[-1]
             for line in world.run(world.net, ["ss", "-Huanp"], text=True).stdout.splitlines() if "braid" in line} - {"443"}
    strangers = [world.start(world.net, [sys.executable, SCRIPT, "flood", CONCENTRATOR, port, "3"], f"stranger{port}") for port in ports]
    said = result(call)
    for stranger in strangers:
        stranger.wait(10)
    world.notes.append(f"beside a stranger's: {said['missed_s']:.2f} s")
    between(said["missed_s"], 0, 0.06, "missed beside a stranger's flood, s")
    check(counter(pair, "concentrator", 'datagrams_refused_total{reason="filtered"}') > 1000, "nothing was filtered")


@seconds(90)
def test_a_torrent_survives_wifi(world):
    """libtorrent exchanges a file over uTP, with nothing but datagrams through SOCKS5; WiFi is lost in the middle."""
    python = interpreter("libtorrent")
    if not python:
        raise Skip("libtorrent is not installed (python3-libtorrent)")
    shelf, into = f"{world.folder}/shelf", f"{world.folder}/into"
    os.mkdir(shelf)
    os.mkdir(into)
    world.start(world.net, [python, f"{HERE}/torrent.py", "seed", shelf, ORIGIN, "6881", "4000000"], "seed")
    world.wait(lambda: "ready" in world.text("seed"), "the seed")
    pair = world.pair()
    world.limit(wifi=8, cell=2)
    peer = world.start(world.app, [python, f"{HERE}/torrent.py", "fetch", shelf, into, ORIGIN, "6881"], "peer")

    def done():
        numbers = [int(line) for line in world.text("peer").splitlines() if line.isdigit()]
        return numbers[-1] if numbers else 0
    world.wait(lambda: done() > 1_000_000, "the first megabyte", 30)
    world.down("wifi")
    check(peer.wait(50) == 0, "the exchange did not end")
    said = json.loads(world.text("peer").splitlines()[-1])
    check(said["same"], "another file came")
    check(counter(pair, "concentrator", "datagrams_received_total") > 2_000, "it went another way")
    world.notes.append(f"a torrent of 4 MB over uTP, WiFi lost after the first: {said['seconds']:.1f} s")


@seconds(90)
def test_a_path_that_shrinks(world):
    """A link's MTU becomes 1,280 and nobody says so, during a call, a flow of full datagrams and a download: the size
    is found, next to nothing of the call is missed, and all go on."""
    echo(world)
    pair = world.pair(uplinks=("wifi",))
    world.limit(wifi=20)

    def size(side):
        return next(p["packet_size"] for s in pair.status(side)["sessions"] for p in s["paths"])
    world.wait(lambda: size("proxy") == 1500 and size("concentrator") == 1500, "1,500 bytes to be found")
    call = start(world, "call", ORIGIN, 7000, 20, 400)
    video = start(world, "call", ORIGIN, 7000, 10, 800, 1400)
    curl = subprocess.Popen(["ip", "netns", "exec", world.app, "curl", "-sS", "--max-time", "40", "-o", "/dev/null", "-w", "%{size_download}",
                             "--socks5-hostname", "127.0.0.1:1080", f"http://{ORIGIN}/bytes/8000000"], stdout=subprocess.PIPE, text=True)
    world.processes.append(curl)
    time.sleep(2)
    world.shrink("wifi", 1280)
    began = time.monotonic()
    world.wait(lambda: size("proxy") <= 1280 and size("concentrator") <= 1280, "the smaller size", 5.0)
    found = time.monotonic() - began
    said, full = result(call), result(video)
    world.notes.append(f"found after {found:.2f} s; {said['missed_s']:.2f} s of the call are missed, {full['missed_s']:.2f} s of the flow of full datagrams")
    check(curl.wait(45) == 0 and curl.stdout.read() == "8000000", "the download did not go on")
    check(said["twice"] == 0 and full["twice"] == 0, "some came twice")
    between(said["missed_s"], 0, 0.25, "missed of the call, s")
    between(full["missed_s"], 0.01, 1.0, "missed of the full datagrams, s")
    check(size("proxy") <= 1280, "a size that does not pass is used again")
