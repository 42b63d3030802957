"""What somebody else does to the kernel's tables, and what a hostile program or client tries, lets nothing out beside the tunnel."""
import signal
import subprocess
import sys
import time

from runner import check, seconds
from test_capture import ask, capturing, counter, datagram, download, fetch, only_tunnel, watch, with_networks
from world import CONCENTRATOR, ORIGIN, ORIGIN6, RESOLVER, sh

CLOSED = "machine: true, networks: [br-lan], on_exit: closed"

# Packets as nobody's kernel would send them, to the machine's address in the network.
RAW = """
import socket, struct, sys
target, (here, dev) = bytes.fromhex(sys.argv[1].replace(":", "")), (None, "eth0")
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((dev, 0))
here = bytes.fromhex(open(f"/sys/class/net/{dev}/address").read().strip().replace(":", ""))
def sum16(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xffff)
    return ~total & 0xffff or 0xffff
def ip4(source, to, protocol, body):
    a, b = socket.inet_aton(source), socket.inet_aton(to)
    if protocol == 17:
        body = body[:6] + struct.pack(">H", sum16(a + b + struct.pack(">BBH", 0, 17, len(body)) + body)) + body[8:]
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0, a, b)
    wire.send(target + here + b"\\x08\\x00" + head[:10] + struct.pack(">H", sum16(head)) + head[12:] + body)
def ip6(source, to, protocol, body):
    a, b = (socket.inet_pton(socket.AF_INET6, address) for address in (source, to))
    at = 6 if protocol == 17 else 2
    body = body[:at] + struct.pack(">H", sum16(a + b + struct.pack(">II", len(body), protocol) + body)) + body[at + 2:]
    wire.send(target + here + b"\\x86\\xdd" + struct.pack(">IHBB", 6 << 28, len(body), protocol, 255) + a + b + body)
def udp(source, to, port, to_port, payload):
    (ip6 if ":" in to else ip4)(source, to, 17, struct.pack(">HHHH", port, to_port, 8 + len(payload), 0) + payload)
"""


def raw(w, body):
    """Runs `body` behind RAW on the client."""
    address = w.run(w.app, ["cat", "/sys/class/net/br-lan/address"], text=True).stdout.strip()
    done = w.run(w.lan, [sys.executable, "-c", f"{RAW}\n{body}", address], text=True)
    check(done.returncode == 0, done.stderr[-500:])


def route_back(w):
    """What gets out of the machine uncaptured would be answered."""
    sh(f"ip -n {w.mid} route add 192.168.7.0/24 via 10.81.1.2 && ip -n {w.mid} -6 route add fd00:7::/64 via fd00:81:1::2")


# Empties connection tracking, as conntrack -F does (linux/netfilter/nfnetlink_conntrack.h).
FORGET = """
import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.bind((0, 0))
s.send(struct.pack("=IHHIIBBH", 20, 1 << 8 | 2, 5, 1, 0, 0, 0, 0))
assert s.recv(1000)[16:20] == bytes(4)
"""

# Says a word, waits for a line, and says another one.
WORDS = """
import socket, sys
s = socket.create_connection((sys.argv[1], 7004), 5)
for word in (b"one", b"two"):
    s.sendall(word)
    assert s.recv(10) == word
    print("heard", flush=True)
    sys.stdin.readline()
"""


# A datagram, and no wait for its answer.
WORD = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b"out", (sys.argv[1], 7000))
"""


def everything(w):
    for space in (w.app, w.lan):
        for address in (ORIGIN, ORIGIN6):
            fetch(w, space, address, 1_000)
            ask(w, space, address, 1)


@seconds(90)
def test_somebody_changes_the_kernels_tables(w):
    """A rule or a route that is taken away, a loopback that goes down, a chain that is emptied, a VPN that comes first."""
    pair = capturing(w, CLOSED)
    route_back(w)
    watcher = watch(w)
    everything(w)
    for what, command in (
            ("rules", "ip -4 rule del priority 90 && ip -6 rule del priority 90"),
            ("routes", "ip -4 route flush table 8684 && ip -6 route flush table 8684"),
            ("loopback", "ip link set lo down && sleep 0.3 && ip link set lo up"),
            ("table", "nft flush table inet braid"),
            ("chain", "nft flush chain inet braid turn_machine"),
            ("VPN", "ip link add wg0 type dummy && ip link set wg0 up && ip route add default dev wg0 table 51820 && "
                    "ip rule add not fwmark 51820 lookup 51820 priority 50 && ip rule add lookup main suppress_prefixlength 0 priority 49")):
        # The table is gone until the proxy sets it again; the rest is no way out, whatever the proxy does.
        is_stopped = "nft" not in command
        if is_stopped:
            pair.proxy.send_signal(signal.SIGSTOP)
        w.run(w.app, ["sh", "-c", command])
        for space in (w.app, w.lan):
            for address in (ORIGIN, ORIGIN6):
                w.run(space, [sys.executable, "-c", WORD, address])
        if is_stopped:
            pair.proxy.send_signal(signal.SIGCONT)
        time.sleep(0.3)
        try:
            everything(w)
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}") from None
    only_tunnel(w, watcher)
    pair.alive()


@seconds(90)
def test_connection_tracking_is_emptied(w):
    """Downloads go on, and so do those who speak next; what is older than the capture still has its own way under `open`."""
    with_networks(w)
    older = subprocess.Popen(["ip", "netns", "exec", w.app, sys.executable, "-c", WORDS, ORIGIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    check(older.stdout.readline() == "heard\n", "no answer without Braid")
    pair = w.pair(proxy="capture: { machine: true, networks: [br-lan] }\n")
    route_back(w)
    w.limit(wifi=16, cell=8)
    talks = [subprocess.Popen(["ip", "netns", "exec", space, sys.executable, "-c", WORDS, ORIGIN],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for space in (w.lan, w.app)]
    for talk in talks:
        check(talk.stdout.readline() == "heard\n", "no answer")
    watcher = watch(w)
    downloads = [download(w, space, address, 2_000_000, name) for space, address, name in (
        (w.app, ORIGIN, "program"), (w.app, f"[{ORIGIN6}]", "program6"), (w.lan, ORIGIN, "client"), (w.lan, f"[{ORIGIN6}]", "client6"))]
    time.sleep(0.7)
    sh(f"ip netns exec {w.app} {sys.executable} -c '{FORGET}'")
    # Nor does the kernel remember by which way a connection's segments came last.
    sh(f"ip -n {w.app} route add blackhole 203.0.113.0/24 && ip -n {w.app} route del blackhole 203.0.113.0/24")
    said = [talk.communicate("\n\n", timeout=20)[0] for talk in talks]
    check(said == ["heard\n"] * 2, f"{said}")
    for finish in downloads:
        finish()
    only_tunnel(w, watcher)
    check(older.communicate("\n\n", timeout=20)[0] == "heard\n", "a connection that is older than the capture is cut")
    pair.alive()


@seconds(90)
def test_who_tries_to_get_out(w):
    """Sockets bound to an interface; clients in strangers' names; neighbour discovery and flows that nobody tracks."""
    # What once was the claim to capture: any program could have it, and keep the proxy from starting.
    holder = "import socket, time; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind('\\0braid-capture'); time.sleep(60)"
    w.start(w.app, ["setpriv", "--reuid", "nobody", "--clear-groups", sys.executable, "-c", holder], "holder")
    pair = capturing(w, CLOSED)
    route_back(w)
    watcher = watch(w)
    everything(w)
    began = time.monotonic()
    done = w.run(w.app, ["curl", "-sS", "--max-time", "9", "--interface", "if!wifi", f"http://{ORIGIN}/"])
    check(done.returncode == 7 and time.monotonic() - began < 5, f"a socket that is bound to an interface: {done}")
    # The kernel's own ICMPv6 error finds no bound socket.
    done = w.run(w.app, ["curl", "-sS", "--max-time", "1", "--interface", "if!wifi", f"http://[{ORIGIN6}]/"])
    check(done.returncode in (7, 28), f"a socket that is bound to an interface: {done}")
    bound = ("import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.setsockopt(socket.SOL_SOCKET, 25, b'wifi')\n"
             f"s.sendto(b'out', ('{ORIGIN}', 7000))")
    w.run(w.app, [sys.executable, "-c", bound])
    # Which the watch takes for what neighbours need.
    sh(f"ip netns exec {w.mid} nft -f -", input=(
        "table inet seen {\nchain in { type filter hook prerouting priority raw; "
        f"ip6 daddr {ORIGIN6} icmpv6 type >= 130 counter; }}\n}}\n"))
    # An answer to nobody would be one to the loopback.
    loopback = "import socket\ns = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\ns.bind(('::1', 5557))\nprint('ready', flush=True)\nprint(s.recv(9))"
    w.start(w.app, [sys.executable, "-u", "-c", loopback], "loopback")
    w.wait(lambda: "ready" in w.text("loopback"), "the loopback's own")
    raw(w, f"""
import time
udp("::", "{ORIGIN6}", 5557, 7000, b"in")
for stranger, own, machine in (("{ORIGIN}", "192.168.7.2", "192.168.7.1"), ("{ORIGIN6}", "fd00:7::2", "fd00:7::1")):
    # A stranger speaks to the client, or to the machine, and is answered.
    udp(stranger, own, 7000, 5555, b"hello")
    udp(stranger, machine, 7000, 5556, b"hello")
    time.sleep(0.2)
    udp(own, stranger, 5555, 7000, b"out")
    udp(machine, stranger, 5556, 7000, b"out")
ip4("192.168.7.2", "{ORIGIN}", 2, bytes(16))
for kind in (133, 134, 135, 136, 143):
    ip6("fd00:7::2", "{ORIGIN6}", 58, struct.pack(">BBHI", kind, 0, 0, 0) + bytes(24))
""")
    check(w.text("loopback") == "ready\n", f"the loopback was spoken to: {w.text('loopback')}")
    seen = sh(f"ip netns exec {w.mid} nft list table inet seen")
    check("packets 0 " in seen, f"neighbour discovery got out: {seen}")
    sh(f"ip netns exec {w.app} nft -f -", input=(
        "table inet raw {\nchain out { type filter hook output priority raw; th dport { 7000, 9 } notrack; }\n"
        "chain in { type filter hook prerouting priority raw; th dport { 7000, 9 } notrack; }\n}\n"))
    for space in (w.app, w.lan):
        for address in (ORIGIN, ORIGIN6):
            datagram(w, space, address)
    only_tunnel(w, watcher)
    pair.alive()
    check(counter(pair, "captured_bound_refused_total") >= 2, "not counted")


# Answers a datagram five times, the last half a second later.
LATE = """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("%s", 7021))
print("ready", flush=True)
while True:
    data, peer = s.recvfrom(100)
    for _ in range(5):
        time.sleep(0.1)
        s.sendto(data, peer)
""" % ORIGIN
# Hears the first answer and is gone.
HASTY = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b"x", ("%s", 7021))
s.settimeout(5)
print(s.recv(10), flush=True)
""" % ORIGIN


def test_who_is_gone_tells_nobody_outside(w):
    """An answer to a socket that is closed has the kernel say so to the one who sent it: under `open`, too, that stays here."""
    capturing(w, "machine: true, networks: [br-lan]")
    sh(f"ip netns exec {w.app} sysctl -qw net.ipv4.ip_forward=1")
    watcher = watch(w)
    w.start(w.net, [sys.executable, "-c", LATE], "late")
    w.wait(lambda: "ready" in w.text("late"), "the one who answers late")
    for space in (w.app, w.lan):
        for _ in range(3):
            done = w.run(space, [sys.executable, "-c", HASTY], text=True)
            check("b'x'" in done.stdout, f"{done}")
            time.sleep(0.6)
    only_tunnel(w, watcher)


@seconds(60)
def test_a_concentrator_by_its_name(w):
    """Found again behind a kill switch that a crash has left: its name alone is asked outside, of whom the machine asks."""
    with_networks(w)
    sh(f"ip -n {w.app} route del unreachable {RESOLVER}")
    pair = w.pair(wait=False, proxy=f"capture: {{ {CLOSED} }}\n")
    with open(pair.files[0]) as file:
        text = file.read()
    with open(pair.files[0], "w") as file:
        file.write(text.replace(f"\"{CONCENTRATOR}:443\"", "concentrator.test:443"))
    for _ in range(2):
        pair.proxy.kill()
        pair.proxy.wait()
        pair.start_proxy()
        pair.wait_for_paths(2)
    watcher = watch(w)
    done = w.run(w.app, ["dig", "+short", "+time=3", "+tries=1", f"@{RESOLVER}", "v4.test"], text=True)
    check(done.stdout.split() == [ORIGIN], f"{done}")
    done = w.run(w.lan, ["dig", "+short", "+time=3", "+tries=1", f"@{RESOLVER}", "concentrator.test"], text=True)
    check(done.stdout.split() == [CONCENTRATOR], f"{done}")
    only_tunnel(w, watcher)


# Says by which port each datagram came.
PORTS = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("{ORIGIN}", 7012))
print("ready", flush=True)
while True:
    peer = s.recvfrom(99)[1]
    s.sendto(str(peer[1]).encode(), peer)
"""


@seconds(60)
def test_a_flood_from_every_port(w):
    """In many names and by many ports: what somebody has answered stays, also where it rests."""
    pair = capturing(w)
    w.start(w.net, [sys.executable, "-c", PORTS], "ports")
    w.wait(lambda: "ready" in w.text("ports"), "the service")
    rests = ("import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.settimeout(5)\n"
             f"for line in sys.stdin:\n s.sendto(b'x', ('{ORIGIN}', 7012))\n print(s.recv(9).decode(), flush=True)")
    process = subprocess.Popen(["ip", "netns", "exec", w.app, sys.executable, "-c", rests], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdin.write("\n")
    process.stdin.flush()
    port = process.stdout.readline()
    raw(w, f"""
import time
for i in range(3000):
    udp(f"192.168.7.{{3 + i % 250}}", "{ORIGIN}", 1024 + i, 7999, b"flood")
    if i % 30 == 0:
        time.sleep(0.02)
""")
    check(counter(pair, "captured_associations") > 900, "no flood")
    check(process.communicate("\n")[0] == port, "an association that was answered made room for a flood")
    fetch(w, w.lan, ORIGIN, 1_000)
    pair.alive()
