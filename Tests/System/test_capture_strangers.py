"""Strangers outside that speak in others' names, other programs' marks and interfaces: nothing gets out beside the tunnel,
and nothing gets in."""
import signal
import sys
import time

from runner import between, check, seconds
from test_capture import CONNECT, capturing, counter, download, fetch, only_tunnel, watch
from test_capture_leaks import CLOSED, FORGET, PORTS, WORD, everything, raw, route_back
from world import CONCENTRATOR, ORIGIN, ORIGIN6, sh

# Datagrams and SYNs as the server's own, from where its network is reached: spoof.py TO KIND FIRST_PORT LAST_PORT [SOURCE [SOURCE_PORT]]
SPOOF = """
import socket, struct, sys, time
to, kind, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
source = sys.argv[5] if len(sys.argv) > 5 else "ORIGIN"
port = int(sys.argv[6]) if len(sys.argv) > 6 else 7000
def sum16(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xffff)
    return ~total & 0xffff or 0xffff
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for number in range(first, last + 1):
    pseudo = socket.inet_aton(source) + socket.inet_aton(to)
    if kind == "udp":
        body = struct.pack(">HHHH", port, number, 8 + 7, 0) + b"spoofed"
        pseudo += struct.pack(">BBH", 0, 17, len(body))
        body = body[:6] + struct.pack(">H", sum16(pseudo + body)) + body[8:]
    else:
        body = struct.pack(">HHIIBBHHH", port, number, 1, 0, 5 << 4, 2, 9000, 0, 0)
        pseudo += struct.pack(">BBH", 0, 6, len(body))
        body = body[:16] + struct.pack(">H", sum16(pseudo + body)) + body[18:]
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, 17 if kind == "udp" else 6, 0,
                       socket.inet_aton(source), socket.inet_aton(to))
    s.sendto(head + body, (to, 0))
""".replace("ORIGIN", ORIGIN)

# Speaks from a port, which it holds beforehand where it is told so; says what it hears.
SPEAK = f"""
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(2)
s.bind(("", int(sys.argv[1])))
if len(sys.argv) > 2:
    print("ready", flush=True)
    sys.stdin.readline()
s.sendto(b"out", ("{ORIGIN}", 7000))
try:
    print(s.recv(100).decode(), flush=True)
    s.settimeout(0.5)
    print(s.recv(100).decode(), flush=True)
except TimeoutError:
    print("silence")
"""

NOBODY = "2001:db8:77::7"

# Answers a second late.
LATE = f"""
import socket, time
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("{ORIGIN6}", 7013))
print("ready", flush=True)
while True:
    data, peer = s.recvfrom(99)
    time.sleep(1)
    s.sendto(data, peer)
"""


def judged(w):
    """Counts what comes from the machine for others than the concentrator; what strangers are answered is not a leak."""
    sh(f"ip netns exec {w.mid} nft -f -", input=(
        "table inet judged {\n    chain in {\n        type filter hook prerouting priority raw\n"
        f"        iifname {{ wifi, cell }} ip daddr {ORIGIN} meta l4proto udp counter\n"
        f"        iifname {{ wifi, cell }} ip daddr {ORIGIN} tcp flags & (syn | rst) == syn counter\n"
        f"        iifname {{ wifi, cell }} ip6 daddr {NOBODY} counter\n    }}\n}}\n"))


def nothing_out(w, when):
    seen = sh(f"ip netns exec {w.mid} nft list table inet judged")
    check(seen.count("packets 0 ") == 3, f"{when}: something got out: {seen}")


def spoof(w, *words):
    done = w.run(w.mid, [sys.executable, "-c", SPOOF, *map(str, words)], text=True)
    check(done.returncode == 0, done.stderr[-300:])


def spoken_to_before(w, to, spaces):
    """Asks from ports that were spoken to in the server's name while nobody had them."""
    for address in to:
        spoof(w, address, "udp", 50000, 50020)
        spoof(w, address, "tcp", 50000, 50020, ORIGIN, 7004)
    for space in spaces:
        said = w.run(space, [sys.executable, "-c", SPEAK, "50001"], text=True).stdout.split()
        check(said == ["out", "silence"], f"{space}: {said}")
        connects = CONNECT.replace("s.settimeout(20)", "s.settimeout(1); s.bind(('', 50002))")
        w.run(space, [sys.executable, "-c", connects, ORIGIN, "7004"], text=True)
    nothing_out(w, "from ports that were spoken to before")


@seconds(90)
def test_who_speaks_first_in_anothers_name(w):
    """A network that sends to every port as if it were the server a program is about to ask: the question is captured still."""
    pair = capturing(w, CLOSED)
    route_back(w)
    everything(w)
    judged(w)
    # A port that a program holds before it speaks, of the machine and of a client.
    holders = [w.popen(space, [sys.executable, "-c", SPEAK, "50010", "held"]) for space in (w.app, w.lan)]
    for holder in holders:
        check(holder.stdout.readline() == "ready\n", "no holder")
    spoken_to_before(w, ("10.81.1.2", "192.168.7.2"), (w.app, w.lan))
    for holder, space in zip(holders, (w.app, w.lan)):
        said = holder.communicate("\n", timeout=20)[0].split()
        check("out" in said, f"{space}: {said}")
    nothing_out(w, "from a port that was held")
    # Nor is a captured flow spoken into.
    holders = [w.popen(space, [sys.executable, "-c", SPEAK, "50015"]) for space in (w.app, w.lan)]
    for holder, to in zip(holders, ("10.81.1.2", "192.168.7.2")):
        check(holder.stdout.readline() == "out\n", "no answer")
        spoof(w, to, "udp", 50015, 50015)
        said = holder.stdout.read()
        check(said == "silence\n", f"a captured flow was spoken into: {said}")
    pair.alive()
    # Under `open`, too, nobody is remembered for what no program waits for.
    pair.proxy.terminate()
    pair.proxy.wait(20)
    with open(pair.files[0]) as file:
        text = file.read()
    with open(pair.files[0], "w") as file:
        file.write(text.replace("on_exit: closed", "on_exit: open"))
    sh(f"ip netns exec {w.app} {sys.executable} -c '{FORGET}'")
    check(w.run(w.app, [w.braid, "capture", "remove"]).returncode == 0, "the kill switch stays")
    pair.start_proxy()
    pair.wait_for_paths(2)
    spoken_to_before(w, ("10.81.1.2",), (w.app,))
    pair.alive()


@seconds(90)
def test_in_the_name_of_neighbours(w):
    """A peer beyond the concentrator does not speak as a neighbour; what is sent from nobody's address is not answered beside the tunnel."""
    pair = capturing(w, concentrator="egress: { deny: [] }\nudp_filtering: none\n")
    for name, code in (("ports", PORTS), ("late", LATE)):
        w.start(w.net, [sys.executable, "-c", code], name)
        w.wait(lambda: "ready" in w.text(name), name)
    # Where nothing looks whether a source can be.
    w.run(w.net, ["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.eth0.rp_filter=0"])
    hears = (f"import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.settimeout(3)\ns.sendto(b'x', ('{ORIGIN}', 7012))\n"
             "print(s.recv(9).decode(), flush=True)\nfor _ in range(2):\n    source = s.recvfrom(99)[1][0]\n    print(source, flush=True)\n"
             "    if source == '198.51.100.7':\n        break")
    process = w.popen(w.lan, [sys.executable, "-c", hears])
    port = int(process.stdout.readline())
    for source in ("192.168.7.1", "198.51.100.7"):
        spoof(w, CONCENTRATOR, "udp", port, port, source, 53)
    check(process.stdout.read() == "198.51.100.7\n", "a stranger spoke as a neighbour, or nobody could")
    judged(w)
    # IPV6_FREEBIND, which takes no right.
    nobody = ("import socket\ns = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\ns.setsockopt(41, 78, 1)\n"
              f"s.bind(('{NOBODY}', 5558))\ns.sendto(b'out', ('{ORIGIN6}', 7013))")
    done = w.run(w.app, [sys.executable, "-c", nobody], text=True)
    check(done.returncode == 0, done.stderr[-300:])
    w.wait(lambda: counter(pair, "captured_associations") > 1, "the datagram")
    sh(f"ip netns exec {w.app} {sys.executable} -c '{FORGET}'")
    time.sleep(1.5)
    nothing_out(w, "an answer to nobody's address")
    pair.alive()


@seconds(90)
def test_others_marks_and_interfaces(w):
    """Marks that others write over, the packet filter emptied, a captured network's interface renamed: nothing gets out, and all goes on."""
    pair = capturing(w, CLOSED)
    route_back(w)
    watcher = watch(w)
    everything(w)
    # As wg-quick has it, and a script that marks whatever goes to a port.
    sh(f"ip netns exec {w.app} nft -f -", input=(
        "table inet marks {\n    chain in {\n        type filter hook prerouting priority mangle\n        meta mark set ct mark\n    }\n"
        "    chain out {\n        type route hook output priority mangle\n        th dport { 80, 7000 } meta mark set 0x7\n    }\n}\n"))
    everything(w)
    w.limit(wifi=16, cell=8)
    downloads = [download(w, w.app, ORIGIN, 1_500_000, "program"), download(w, w.lan, ORIGIN, 1_500_000, "client")]
    time.sleep(0.5)
    for what, command in (("emptied", "nft flush ruleset"), ("renamed", "ip link set br-lan down; ip link set br-lan name br-other; ip link set br-other up"),
                          ("a network's rule", "ip rule add iif br-other lookup main priority 40; ip -6 rule add iif br-other lookup main priority 40")):
        pair.proxy.send_signal(signal.SIGSTOP)
        w.run(w.app, ["sh", "-c", command])
        if what == "renamed":
            sh(f"ip -n {w.app} address replace fd00:7::1/64 dev br-other nodad")
        for space in (w.app, w.lan):
            for address in (ORIGIN, ORIGIN6):
                w.run(space, [sys.executable, "-c", WORD, address])
                w.run(space, ["curl", "-sS", "--max-time", "0.3", f"http://{'[' * (':' in address)}{address}{']' * (':' in address)}/"])
        pair.proxy.send_signal(signal.SIGCONT)
        w.wait(lambda: w.run(w.lan, ["ping", "-c", "1", "-W", "1", "192.168.7.1"]).returncode == 0, "the network")
        time.sleep(0.5)
        try:
            everything(w)
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}") from None
    for finish in downloads:
        finish()
    only_tunnel(w, watcher)
    pair.alive()


@seconds(90)
def test_a_scan_in_many_names(w):
    """SYNs in the names of a whole network, to where nobody answers: another's connection is dialled at once."""
    pair = capturing(w)
    sh(f"ip netns exec {w.net} nft -f -", input=(
        "table inet hole {\n    chain out {\n        type filter hook output priority filter\n        tcp dport 9999 drop\n    }\n}\n"))
    fetch(w, w.lan, ORIGIN, 1_000)
    raw(w, f"""
import time
for i in range(1600):
    body = struct.pack(">HHIIBBHHH", 1024 + i, 9999, i, 0, 5 << 4, 2, 9000, 0, 0)
    source = f"192.168.7.{{3 + i % 250}}"
    pseudo = socket.inet_aton(source) + socket.inet_aton("{ORIGIN}") + struct.pack(">BBH", 0, 6, len(body))
    ip4(source, "{ORIGIN}", 6, body[:16] + struct.pack(">H", sum16(pseudo + body)) + body[18:])
    if i % 20 == 0:
        time.sleep(0.02)
""")
    held = counter(pair, "captured_held")
    check(held > 300, f"{held} are held: no scan")
    began = time.monotonic()
    fetch(w, w.app, ORIGIN, 1_000)
    took = time.monotonic() - began
    w.notes.append(f"beside {held} held SYNs a connection took {took:.2f} s")
    between(took, 0, 5, "seconds for a connection")
    check(counter(pair, "captured_held_overflow_total") > 500, "nothing was dropped")
    pair.alive()
