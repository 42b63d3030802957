"""Programs and clients of a network that know nothing of a proxy: nftables, TPROXY and held SYNs."""
import difflib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

from lab import in_lab
from runner import between, check, seconds
from world import CONCENTRATOR, HERE, ORIGIN, ORIGIN6, content_hash, need, sh

ECHO = """
import socket, threading
def serve(family, address):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((address, 7000))
    while True:
        data, peer = s.recvfrom(65536)
        s.sendto(data, peer)
threading.Thread(target=serve, args=(socket.AF_INET6, "ADDRESS6"), daemon=True).start()
print("ready", flush=True)
serve(socket.AF_INET, "ADDRESS")
""".replace("ADDRESS6", ORIGIN6).replace("ADDRESS", ORIGIN)

# One datagram to a connected socket, which takes an answer from that address alone.
ASK = """
import socket, sys, time
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect((sys.argv[1], 7000))
began = time.monotonic()
for i in range(int(sys.argv[2])):
    s.send(b"question %d" % i)
    assert s.recv(100) == b"question %d" % i
print("answered")
"""

# How a connection ends: its errno's name, or `open` and what comes then.
CONNECT = """
import errno, socket, sys, time
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM)
s.settimeout(20)
began = time.monotonic()
try:
    s.connect((sys.argv[1], int(sys.argv[2])))
    print("open", end=" ")
    try:
        print("data" if s.recv(1) else "end", end=" ")
    except OSError as error:
        print(errno.errorcode.get(error.errno, error), end=" ")
except OSError as error:
    print(errno.errorcode.get(error.errno, error), end=" ")
print(f"{time.monotonic() - began:.3f}")
"""


def with_networks(w):
    """IPv6 on the uplinks, a network behind the machine, a client in it, an echo service for datagrams."""
    need("nft", "dig", "ping")
    for uplink, number in (("wifi", 1), ("cell", 2)):
        sh(f"ip -n {w.app} address add fd00:81:{number}::2/64 dev {uplink} nodad")
        sh(f"ip -n {w.mid} address add fd00:81:{number}::1/64 dev {uplink} nodad")
        sh(f"ip -n {w.app} -6 route add default via fd00:81:{number}::1 dev {uplink} metric {number}00")
    w.lan = w.app.replace("app", "lan")
    w.spaces.append(w.lan)
    sh(f"ip netns add {w.lan} && ip -n {w.lan} link set lo up")
    sh(f"ip -n {w.app} link add br-lan type bridge && ip -n {w.app} link set br-lan up")
    w._link("lan0", w.app, "10.9.9.9/32", "eth0", w.lan, "192.168.7.2/24")
    sh(f"ip -n {w.app} address flush dev lan0 && ip -n {w.app} link set lan0 master br-lan up")
    sh(f"ip -n {w.app} address add 192.168.7.1/24 dev br-lan")
    sh(f"ip -n {w.app} address add fd00:7::1/64 dev br-lan nodad && ip -n {w.lan} address add fd00:7::2/64 dev eth0 nodad")
    sh(f"ip -n {w.lan} route add default via 192.168.7.1 && ip -n {w.lan} -6 route add default via fd00:7::1")
    sh(f"ip netns exec {w.app} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    # TPROXY and br_netfilter don't go together; where the module is there, it is on in a new namespace.
    w.run(w.app, ["sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0"])
    w.start(w.net, [sys.executable, "-c", ECHO], "echo")
    w.wait(lambda: "ready" in w.text("echo"), "the echo service")


def state(w):
    """What must be as it was."""
    return {command: w.run(w.app, command.split(), text=True).stdout for command in (
        "nft list ruleset", "ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all")}


def same(before, after):
    for command, text in before.items():
        changes = "\n".join(difflib.unified_diff(text.splitlines(), after[command].splitlines(), "before", "after", n=0))
        assert after[command] == text, f"{command} changed:\n{changes}"


def watch(w):
    """Watches both uplinks from their far ends."""
    w.start(w.mid, [sys.executable, f"{HERE}/uplink_watch.py", CONCENTRATOR, "443", "wifi", "cell"], "watch")
    watcher = w.processes[-1]
    w.wait(lambda: "ready" in w.text("watch"), "the watch")
    return watcher


def only_tunnel(w, watcher):
    """Nothing else than the tunnel was on the uplinks."""
    watcher.terminate()
    watcher.wait(10)
    lines = w.text("watch").splitlines()
    tunnel, other = int(lines[-1].split()[1]), int(lines[-1].split()[3])
    assert tunnel > 0 and other == 0, f"{tunnel} packets of the tunnel, {other} others: {lines[1:6]}"


def capturing(w, settings="machine: true, networks: [br-lan]", **options):
    with_networks(w)
    # Link-local addresses come a second after their links.
    w.wait(lambda: "tentative" not in sh(f"ip -n {w.app} -6 address"), "the addresses")
    w.before = state(w)
    return w.pair(proxy=f"capture: {{ {settings} }}\n" + options.pop("proxy", ""), **options)


def fetch(w, space, address, size=300_000):
    host = f"[{address}]" if ":" in address else address
    done = w.run(space, ["curl", "-sS", "--max-time", "20", f"http://{host}/bytes/{size}"], timeout=25)
    assert done.returncode == 0, f"{space} {address}: {done.stderr.decode()}"
    assert hashlib.sha256(done.stdout).hexdigest() == content_hash(size), "other bytes"


def ask(w, space, address, count=3):
    done = w.run(space, [sys.executable, "-c", ASK, address, str(count)], text=True, timeout=30)
    assert done.stdout.strip() == "answered", f"{space} {address}: {done.stderr[-300:]}"


def connect(w, space, address, port):
    done = w.run(space, [sys.executable, "-c", CONNECT, address, str(port)], text=True, timeout=30)
    words = done.stdout.split()
    assert words, done.stderr[-300:]
    return " ".join(words[:-1]), float(words[-1])


def test_programs_and_clients_without_any_setting(w):
    pair = capturing(w)
    watcher = watch(w)
    for space in (w.app, w.lan):
        for address in (ORIGIN, ORIGIN6):
            fetch(w, space, address)
            ask(w, space, address)
        # A name server that isn't there, and the one of a network the machine stands in: the proxy answers for both.
        for server, over in (("192.0.2.53", "+notcp"), ("192.0.2.53", "+tcp"), ("10.81.1.1", "+notcp")):
            done = w.run(space, ["dig", "+short", "+time=3", "+tries=1", over, f"@{server}", "v4.test"], text=True)
            assert done.stdout.split() == [ORIGIN], f"{space} {server} {over}: {done.stdout}"
    # Networks the machine stands in are left alone: the client reaches the machine itself, and the reverse.
    w.start(w.app, [sys.executable, "-m", "http.server", "8000", "--bind", "192.168.7.1"], "local")
    w.wait(lambda: w.run(w.lan, ["curl", "-sS", "http://192.168.7.1:8000/"]).returncode == 0, "the machine's own server")
    w.processes[-1].terminate()
    only_tunnel(w, watcher)
    pair.alive()
    pair.proxy.terminate()
    assert pair.proxy.wait(20) == 0
    same(w.before, state(w))


def test_a_failed_dial_looks_like_one(w):
    """Also where a rule asks for a name, by which nothing but the tunnel's mode depends."""
    capturing(w, proxy="rules:\n  - { to: .video.test, ports: [9, 80], mode: single }\n")
    for space in (w.app, w.lan):
        for address in (ORIGIN, ORIGIN6):
            how, _ = connect(w, space, address, 9)
            assert how == "ECONNREFUSED", f"{space}: a closed port of {address} is {how}"
        how, _ = connect(w, space, "10.81.3.99", 80)
        assert how == "EHOSTUNREACH", f"{space}: an address that nobody has is {how}"
        how, _ = connect(w, space, "2001:db8::1", 80)
        assert how == "ENETUNREACH", f"{space}: IPv6 without a route at the concentrator is {how}"
        how, _ = connect(w, space, CONCENTRATOR, 80)
        assert how == "ECONNREFUSED", f"{space}: the concentrator itself is {how}"
        # Once more with the mode of the name that its first bytes tell.
        for name, dials in (("www.video.test", 2), ("other.test", 1)):
            before = w.text("concentrator").count(f"connected address={ORIGIN}:80")
            done = w.run(space, ["curl", "-sS", "--max-time", "9", "-H", f"Host: {name}", f"http://{ORIGIN}/bytes/100000"])
            assert hashlib.sha256(done.stdout).hexdigest() == content_hash(100_000), f"{space} {name}: {done.stderr}"
            found = w.text("concentrator").count(f"connected address={ORIGIN}:80") - before
            assert found == dials, f"{space} {name}: dialled {found} times"


@seconds(90)
def test_a_silent_session_refuses(w):
    """A dial that waits for a session from which nothing comes is refused when the others are, not after the whole wait."""
    pair = capturing(w, proxy="without_session: refuse\n")
    fetch(w, w.lan, ORIGIN)
    sh(f"ip netns exec {w.mid} ip route add blackhole 10.81.3.0/25")
    for what, limit in (("first", 20), ("next", 3)):
        how, after = connect(w, w.lan, ORIGIN, 80)
        check(how == "EHOSTUNREACH", f"the {what} dial is {how}")
        between(after, 0, limit, f"the {what} dial is refused after s")
    sh(f"ip netns exec {w.mid} ip route del blackhole 10.81.3.0/25")
    again = ["curl", "-sS", "--max-time", "5", f"http://{ORIGIN}/where"]
    w.wait(lambda: w.run(w.lan, again).returncode == 0, "a dial afterwards", 20)
    pair.alive()


def test_everything_is_as_it_was(w):
    """After an orderly stop, and after a crash: at once under `open`, and all of it by `capture remove`."""
    pair = capturing(w)
    fetch(w, w.app, ORIGIN)
    shown = w.run(w.app, [w.braid, "capture", "show"], text=True).stdout
    assert "table inet braid" in shown and "ip -4 rule add fwmark" in shown, shown
    refused = w.run(w.app, [w.braid, "capture", "remove"], text=True)
    assert refused.returncode == 1 and "stop it" in refused.stderr, refused.stderr
    second = w.run(w.app, [w.braid, "proxy", "--config", pair.files[0], "--control", f"{w.folder}/second.sock",
                           "--listen", "mixed://127.0.0.1:1081"], text=True, timeout=20)
    assert second.returncode == 1 and "another process" in second.stderr, second.stderr
    fetch(w, w.lan, ORIGIN)
    pair.proxy.terminate()
    assert pair.proxy.wait(20) == 0
    same(w.before, state(w))
    pair.start_proxy()
    pair.wait_for_paths(2)
    fetch(w, w.app, ORIGIN)
    pair.proxy.kill()
    pair.proxy.wait()
    # Without a route of its own the machine reaches the server by itself: as if there were no Braid.
    sh(f"ip -n {w.app} route add {ORIGIN} via 10.81.1.1")
    fetch(w, w.app, ORIGIN)
    sh(f"ip -n {w.app} route del {ORIGIN}")
    assert w.run(w.app, [w.braid, "capture", "remove"]).returncode == 0
    same(w.before, state(w))
    assert w.run(w.app, [w.braid, "capture", "remove"]).returncode == 0, "harmless where there is nothing"
    same(w.before, state(w))
    # What a crash has left is no hindrance.
    for _ in range(2):
        pair.start_proxy()
        pair.wait_for_paths(2)
        pair.proxy.kill()
        pair.proxy.wait()
    pair.start_proxy()
    pair.wait_for_paths(2)
    fetch(w, w.lan, ORIGIN6)
    pair.proxy.terminate()
    assert pair.proxy.wait(20) == 0
    same(w.before, state(w))


def test_closed_lets_nothing_out(w):
    """A kill switch: not when the proxy is killed, and not when it is stopped; the next one takes over."""
    pair = capturing(w, "machine: true, networks: [br-lan], on_exit: closed")
    watcher = watch(w)
    fetch(w, w.app, ORIGIN)
    fetch(w, w.lan, ORIGIN6)
    for end in (signal.SIGKILL, signal.SIGTERM):
        pair.proxy.send_signal(end)
        pair.proxy.wait(20)
        for space in (w.app, w.lan):
            for address in (ORIGIN, ORIGIN6):
                done = w.run(space, ["curl", "-sS", "--max-time", "1", f"http://{'[' * (':' in address)}{address}{']' * (':' in address)}/"])
                assert done.returncode != 0
                w.run(space, ["ping", "-c", "1", "-W", "1", address])
        assert w.run(w.app, [sys.executable, "-c", ASK, ORIGIN, "1"]).returncode != 0
        pair.start_proxy()
        pair.wait_for_paths(2)
        fetch(w, w.app, ORIGIN6)
        fetch(w, w.lan, ORIGIN)
    pair.proxy.kill()
    pair.proxy.wait()
    only_tunnel(w, watcher)
    assert w.run(w.app, [w.braid, "capture", "remove"]).returncode == 0
    same(w.before, state(w))


SCAN = """
import random, socket, struct, sys
def checksum(data):
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff
source, target, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
for i in range(count):
    head = struct.pack(">HHIIBBHHH", 20000 + i % 40000, 1000 + i * 7919 % 60000, i, 0, 5 << 4, 2, 65535, 0, 0)
    pseudo = socket.inet_aton(source) + socket.inet_aton(target) + struct.pack(">BBH", 0, 6, len(head))
    head = head[:16] + struct.pack(">H", checksum(pseudo + head)) + head[18:]
    try:
        s.sendto(head, (target, 0))
    except OSError:
        pass
print("scanned")
"""

# New connections at a pace, each a question and its answer; prints how many were right, and the median of the time
# from connecting to the answer.
MANY = """
import selectors, socket, sys, time
address, rate, length = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
selector, living, done, wrong, times = selectors.DefaultSelector(), 0, 0, 0, []
began = time.monotonic()
opened = 0
while True:
    now = time.monotonic() - began
    while opened < rate * min(now, length):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex((address, 7004))
        selector.register(s, selectors.EVENT_WRITE, time.monotonic())
        opened, living = opened + 1, living + 1
    if now >= length and (not living or now > length + 20):
        break
    for key, events in selector.select(0.005):
        s = key.fileobj
        try:
            if events & selectors.EVENT_WRITE:
                s.send(b"question")
                selector.modify(s, selectors.EVENT_READ, key.data)
                continue
            right = s.recv(100) == b"question"
        except OSError:
            right = False
        done, wrong = done + right, wrong + (not right)
        times.append(time.monotonic() - key.data)
        selector.unregister(s)
        s.close()
        living -= 1
times.sort()
print(opened, done, wrong + living, f"{times[len(times) // 2] * 1000:.1f}")
"""


def counter(pair, name):
    return {c["name"]: c["value"] for c in pair.status()["counters"]}[name]


def download(w, space, address, size, name):
    """A transfer that goes on meanwhile; a function that waits for it and checks its bytes."""
    file = f"{w.folder}/{name}"
    process = w.start(space, ["curl", "-sS", "--max-time", "50", "-o", file, f"http://{address}/bytes/{size}"], f"curl-{name}")

    def finish():
        assert process.wait(55) == 0, w.text(f"curl-{name}")
        with open(file, "rb") as data:
            assert hashlib.sha256(data.read()).hexdigest() == content_hash(size), f"{name}: other bytes"
    return finish


@seconds(120)
def test_an_uplink_lost_in_the_middle(w):
    """Downloads of a program and of a client go on, though the program's own address goes with its uplink."""
    pair = capturing(w)
    watcher = watch(w)
    w.limit(wifi=16, cell=8)
    downloads = [download(w, w.app, ORIGIN, 8_000_000, "program"), download(w, w.app, f"[{ORIGIN6}]", 1_000_000, "program6"),
                 download(w, w.lan, ORIGIN, 2_000_000, "client")]
    time.sleep(1.5)
    # As a network manager does it: the addresses go, too.
    sh(f"ip -n {w.app} address flush dev wifi")
    w.down("wifi")
    for finish in downloads:
        finish()
    assert "kept for them" in w.text("proxy"), "no address was kept"
    fetch(w, w.app, ORIGIN)
    only_tunnel(w, watcher)
    w.wait(lambda: "lo:braid" not in sh(f"ip -n {w.app} address show dev lo"), "the address to be let go", 15)
    pair.alive()
    finish = download(w, w.app, ORIGIN, 3_000_000, "last")
    time.sleep(0.5)
    sh(f"ip -n {w.app} address flush dev cell")
    w.wait(lambda: "lo:braid" in sh(f"ip -n {w.app} address show dev lo"), "the address to be kept")
    pair.proxy.kill()
    pair.proxy.wait()
    assert w.run(w.app, [w.braid, "capture", "remove"]).returncode == 0
    assert "braid" not in sh(f"ip -n {w.app} address show dev lo")


def test_what_is_excluded_goes_by_itself(w):
    def seen(*command, space=None):
        done = w.run(space or w.app, [*command, "curl", "-sS", "--max-time", "10", f"http://{ORIGIN}/where"], text=True)
        return done.stdout.split()[-1] if done.returncode == 0 else done.stderr
    pair = capturing(w, "machine: true, networks: [br-lan], exclude_users: [nobody, 1234]")
    assert seen() == CONCENTRATOR and seen(space=w.lan) == CONCENTRATOR
    for user in ("65534", "1234"):
        assert seen("setpriv", "--reuid", user, "--clear-groups") == "10.81.1.2", "an excluded user is captured"
    count = counter(pair, "captured_connections_total")
    assert w.run(w.app, ["ping", "-c", "1", "-W", "5", ORIGIN]).returncode == 0, "ping does not go out as ever"
    # A program with a proxy setting is not carried twice, and one with a mark of its own chooses its way itself.
    assert w.curl(f"http://{ORIGIN}/where").stdout.split()[-1].decode() == CONCENTRATOR
    marked = ("import socket; s = socket.socket(); s.setsockopt(1, 36, 51820); s.settimeout(5); s.connect(('%s', 80));"
              "print(s.getsockname()[0])" % ORIGIN)
    assert w.run(w.app, [sys.executable, "-c", marked], text=True).stdout.strip() == "10.81.1.2"
    assert counter(pair, "captured_connections_total") == count, "something was carried twice"
    pair.proxy.terminate()
    assert pair.proxy.wait(20) == 0
    with open(pair.files[0]) as file:
        text = file.read()
    with open(pair.files[0], "w") as file:
        file.write(text.replace("exclude_users: [nobody, 1234]", f"exclude: [{ORIGIN}], include: [10.81.2.0/24], udp: false"))
    pair.start_proxy()
    pair.wait_for_paths(2)
    sh(f"ip -n {w.net} route add 192.168.7.0/24 via 10.81.3.1; ip -n {w.mid} route add 192.168.7.0/24 via 10.81.1.2")
    assert seen() == "10.81.1.2", "an excluded range is captured"
    assert seen(space=w.lan) == "192.168.7.2", "an excluded range is captured for clients"
    fetch(w, w.lan, ORIGIN6)
    ask(w, w.lan, ORIGIN)
    assert counter(pair, "captured_associations") == 0
    # Of the networks that this machine stands in, one is captured.
    for address, refused in (("10.81.1.1", 0), ("10.81.2.1", 1), ("10.81.2.2", 0)):
        before = counter(pair, "captured_refused_total")
        assert connect(w, w.app, address, 9)[0] == "ECONNREFUSED"
        assert counter(pair, "captured_refused_total") - before == refused, f"{address} is captured, or not"


OTHERS = """
table ip nat {
    chain DOCKER { iifname "docker0" return; }
    chain PREROUTING { type nat hook prerouting priority dstnat; policy accept; fib daddr type local jump DOCKER; }
    chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept; ip saddr 172.17.0.0/16 oifname != "docker0" masquerade; }
}
table ip filter {
    chain DOCKER-USER { return; }
    chain FORWARD { type filter hook forward priority filter; policy accept; jump DOCKER-USER; }
}
table inet firewalld {
    chain mangle_PREROUTING { type filter hook prerouting priority mangle + 10; policy accept; ct state established return; }
    chain filter_PREROUTING { type filter hook prerouting priority filter + 10; policy accept
        icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept; meta nfproto ipv6 fib saddr . mark . iif oif missing drop; }
    chain filter_INPUT { type filter hook input priority filter + 10; policy accept; ct state { established, related } accept
        iifname "lo" accept; ct state invalid drop; }
    chain filter_OUTPUT { type filter hook output priority filter + 10; policy accept; ct state { established, related } accept; }
}
"""


# Asks at one port and is called from another; then answers there.
CALLED = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
first, second = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
first.settimeout(8)
if sys.argv[1] == "serve":
    first.settimeout(None)
    first.bind((sys.argv[2], 7010))
    second.bind((sys.argv[2], 7011))
    print("ready", flush=True)
    while True:
        second.sendto(b"called", first.recvfrom(100)[1])
        data, peer = second.recvfrom(100)
        second.sendto(data + b" heard", peer)
first.sendto(b"call me", (sys.argv[2], 7010))
data, peer = first.recvfrom(100)
assert data == b"called" and peer[1] == 7011, (data, peer)
first.sendto(b"here", peer)
data, again = first.recvfrom(100)
assert data == b"here heard" and again == peer, (data, again)
print("answered")
"""


def test_a_peer_that_speaks_first(w):
    """Its flow begins, as connection tracking sees it, with the proxy's answer: what follows is captured nevertheless."""
    pair = capturing(w)
    for number, address in enumerate((ORIGIN, ORIGIN6)):
        w.start(w.net, [sys.executable, "-c", CALLED, "serve", address], f"caller{number}")
    watcher = watch(w)
    for space in (w.app, w.lan):
        for number, address in enumerate((ORIGIN, ORIGIN6)):
            w.wait(lambda: "ready" in w.text(f"caller{number}"), "the caller")
            done = w.run(space, [sys.executable, "-c", CALLED, "ask", address], text=True)
            assert done.stdout.strip() == "answered", f"{space} {address}: {done.stderr[-300:]}"
    only_tunnel(w, watcher)
    pair.proxy.terminate()
    assert pair.proxy.wait(20) == 0
    same(w.before, state(w))


# How a datagram to a connected socket ends.
DATAGRAM = """
import errno, socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.settimeout(1.5)
s.connect((sys.argv[1], 7000))
try:
    s.send(b"question")
    print(s.recv(100).decode())
except TimeoutError:
    print("silence")
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def datagram(w, space, address, *before):
    return w.run(space, [*before, sys.executable, "-c", DATAGRAM, address], text=True, timeout=20).stdout.strip()


# In front of the program: a packet filter that knows no TPROXY.
NO_TPROXY = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
int nft_run_cmd_from_buffer(void *context, const char *commands) {
    int (*real)(void *, const char *) = (int (*)(void *, const char *))dlsym(RTLD_NEXT, "nft_run_cmd_from_buffer");
    return strstr(commands, "tproxy") ? -1 : real(context, commands);
}
"""


def test_the_method_is_chosen(w):
    """Packets as they are where the kernel can, and by NAT where it can't."""
    need("clang")
    with open(f"{w.folder}/no_tproxy.c", "w") as file:
        file.write(NO_TPROXY)
    sh(["clang", "-shared", "-fPIC", "-o", f"{w.folder}/no_tproxy.so", f"{w.folder}/no_tproxy.c", "-ldl"])
    pair = capturing(w, "machine: true, method: auto")
    assert "method=tproxy" in w.text("proxy"), "no TPROXY though the kernel has it"
    ask(w, w.app, ORIGIN)
    pair.proxy.terminate()
    assert pair.proxy.wait(20) == 0
    os.environ["LD_PRELOAD"] = f"{w.folder}/no_tproxy.so"
    try:
        pair.start_proxy()
    finally:
        del os.environ["LD_PRELOAD"]
    pair.wait_for_paths(2)
    assert "this kernel has no TPROXY" in w.text("proxy") and "method=redirect" in w.text("proxy")
    fetch(w, w.app, ORIGIN)
    pair.proxy.terminate()
    assert pair.proxy.wait(20) == 0
    same(w.before, state(w))


def test_without_tproxy(w):
    """By NAT: TCP and names as ever, other datagrams are refused at once; nothing gets out, and nothing stays."""
    pair = capturing(w, "machine: true, networks: [br-lan], method: redirect",
                     proxy="rules:\n  - { user: nobody, then: block }\n")
    assert "by NAT" in w.text("proxy") and "redirect to" in w.run(w.app, [w.braid, "capture", "show"], text=True).stdout
    watcher = watch(w)
    for space in (w.app, w.lan):
        for address in (ORIGIN, ORIGIN6):
            fetch(w, space, address)
            assert connect(w, space, address, 9)[0] == "ECONNREFUSED", "a closed port"
            assert datagram(w, space, address) in ("EHOSTUNREACH", "EACCES", "EPERM", "ECONNREFUSED"), datagram(w, space, address)
        for over in ("+notcp", "+tcp"):
            done = w.run(space, ["dig", "+short", "+time=3", "+tries=1", over, "@192.0.2.53", "v4.test"], text=True)
            assert done.stdout.split() == [ORIGIN], f"{space} {over}: {done.stdout}"
    blocked = w.run(w.app, ["setpriv", "--reuid", "nobody", "--clear-groups", "curl", "-sS", "--max-time", "5", f"http://{ORIGIN}/"])
    assert blocked.returncode == 7, f"a rule for a user: {blocked}"
    # Its own ports are nobody's.
    ports = {line.split()[3].rsplit(":")[-1] for line in w.run(w.app, ["ss", "-Hltn"], text=True).stdout.splitlines()}
    for port in ports - {"1080"}:
        assert connect(w, w.lan, "192.168.7.1", port)[0] == "ECONNREFUSED", f"port {port} is open"
    w.limit(wifi=16, cell=8)
    finish = [download(w, w.lan, ORIGIN, 2_000_000, "client"), download(w, w.app, f"[{ORIGIN6}]", 2_000_000, "program")]
    time.sleep(1)
    sh(f"ip -n {w.app} address flush dev wifi")
    w.down("wifi")
    for each in finish:
        each()
    only_tunnel(w, watcher)
    pair.alive()
    pair.proxy.kill()
    pair.proxy.wait()
    assert w.run(w.app, [w.braid, "capture", "remove"]).returncode == 0
    assert "braid" not in "".join(state(w).values())


def test_datagrams_by_user(w):
    """A rule for a local user's captured datagrams; a client's of the same port is not taken for his. So of connections."""
    capturing(w, proxy="rules:\n  - { user: nobody, protocol: udp, then: block }\n  - { user: nobody, ports: 9, then: block }\n"
                       "  - { user: nobody, to: .blocked.test, then: block }\n")
    nobody = ["setpriv", "--reuid", "nobody", "--clear-groups"]
    # A name that nobody has asked for, and stands in the first bytes alone.
    for user, code in (([], 0), (nobody, 56)):
        done = w.run(w.app, [*user, "curl", "-sS", "--max-time", "9", "-H", "Host: www.blocked.test", f"http://{ORIGIN}/where"])
        assert done.returncode == code, f"{user}: {done}"
    for address in (ORIGIN, ORIGIN6):
        assert datagram(w, w.app, address) == "question", "root's are blocked"
        assert datagram(w, w.app, address, *nobody) == "silence", "nobody's are let through"
    # Bound to every address, by the user whose datagrams are blocked.
    holder = ("import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 7999));"
              "l = socket.create_server(('', 7998)); print('ready', flush=True); time.sleep(60)")
    w.start(w.app, [*nobody, sys.executable, "-c", holder], "holder")
    w.wait(lambda: "ready" in w.text("holder"), "the holder of the port")
    asker = DATAGRAM.replace("s.connect", "s.bind(('', 7999)); s.connect")
    done = w.run(w.lan, [sys.executable, "-c", asker, ORIGIN], text=True)
    assert done.stdout.strip() == "question", f"a client's datagrams are taken for a user's: {done}"
    connector = CONNECT.replace("began =", "s.bind(('', 7998)); began =")
    done = w.run(w.lan, [sys.executable, "-c", connector, ORIGIN, "9"], text=True)
    assert done.stdout.split()[0] == "ECONNREFUSED", f"a client's connection is taken for a user's: {done}"


def test_fast_but_for_a_rule(w):
    """A program is answered at once, where a rule does not want its dial checked; what has no IPv6 is known by then."""
    capturing(w, proxy="open: fast\nrules:\n  - { ports: 9, open: checked }\n  - { ports: 12, then: block }\n")
    for space in (w.app, w.lan):
        for port, how in ((9, "ECONNREFUSED"), (11, "open ECONNRESET"), (12, "EHOSTUNREACH")):
            said = connect(w, space, ORIGIN, port)[0]
            # Where the reset is faster than the program is woken, it sees nothing else.
            assert said == how or how == "open " + said, f"{space}: port {port} is {said}"
    connect(w, w.app, "2001:db8::1", 80)
    for space in (w.app, w.lan):
        said = connect(w, space, "2001:db8::1", 80)[0]
        assert said == "ENETUNREACH", f"{space}: IPv6 that the concentrator has not is {said}"


@seconds(90)
def test_the_first_byte(w):
    w.notes += in_lab(w.braid, "capture_inside.py").splitlines()


def test_beside_other_rules(w):
    """Docker's and firewalld's chains, a policy-routing VPN: all work on, and stay as they were."""
    with_networks(w)
    sh(f"ip netns exec {w.app} nft -f -", input=OTHERS)
    sh(f"ip -n {w.app} link add wg0 type veth peer name wg0far && ip -n {w.app} link set wg0far up && ip -n {w.app} address add 10.66.0.2/24 dev wg0 && ip -n {w.app} link set wg0 up")
    sh(f"ip -n {w.app} route add default dev wg0 table 51820")
    sh(f"ip -n {w.app} rule add not fwmark 51820 lookup 51820 && ip -n {w.app} rule add lookup main suppress_prefixlength 0")
    # As wg-quick and many distributions have it: the way back is looked up, by the mark.
    w.run(w.app, ["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.lo.rp_filter=1",
                  "net.ipv4.conf.br-lan.rp_filter=1", "net.ipv4.conf.all.src_valid_mark=1"])
    # What is Braid's first choice is taken already.
    sh(f"ip -n {w.app} route add blackhole 203.0.113.0/24 table 8684 && ip -n {w.app} rule add from 203.0.113.0/24 lookup main priority 90")
    w.wait(lambda: "tentative" not in sh(f"ip -n {w.app} -6 address"), "the addresses")
    w.before = state(w)
    pair = w.pair(proxy="capture: { machine: true, networks: [br-lan] }\n")
    watcher = watch(w)
    for space in (w.app, w.lan):
        for address in (ORIGIN, ORIGIN6):
            fetch(w, space, address)
            ask(w, space, address)
    # Whoever flushes everything away is taken for granted: the table is back.
    sh(f"ip netns exec {w.app} nft delete table inet firewalld")
    fetch(w, w.app, ORIGIN)
    sh(f"ip netns exec {w.app} nft -f -", input=OTHERS[OTHERS.index("table inet firewalld"):])
    only_tunnel(w, watcher)
    pair.proxy.kill()
    pair.proxy.wait()
    assert w.run(w.app, [w.braid, "capture", "remove"]).returncode == 0
    same(w.before, state(w))


def test_a_flushed_kill_switch_is_back(w):
    """Nothing is missing meanwhile: the capture's own table is nobody else's to take away."""
    pair = capturing(w, "machine: true, networks: [br-lan], on_exit: closed")
    sh(f"ip netns exec {w.app} nft flush ruleset")
    left = w.run(w.app, ["nft", "delete", "table", "inet", "braid"], text=True)
    assert left.returncode != 0 and "not permitted" in left.stderr, f"the table is anybody's: {left}"
    w.wait(lambda: "set again" in w.text("proxy"), "the table to be set again")
    fetch(w, w.app, ORIGIN)
    fetch(w, w.lan, ORIGIN)
    pair.alive()


@seconds(120)
def test_a_port_scan_is_bounded(w):
    pair = capturing(w)
    fetch(w, w.lan, ORIGIN)
    before = pair.memory()
    # Half of it where nobody answers, and half where every port is closed.
    for target in ("10.81.3.99", ORIGIN):
        done = w.run(w.lan, [sys.executable, "-c", SCAN, "192.168.7.2", target, "5000"], text=True)
        assert "scanned" in done.stdout, done.stderr
        fetch(w, w.app, ORIGIN, 10_000)
        assert counter(pair, "captured_held") <= 360
    w.wait(lambda: counter(pair, "captured_held") < 64, "what was held", 40)
    fetch(w, w.lan, ORIGIN, 10_000)
    grown = pair.memory() - before
    assert grown < 64 << 20, f"memory grew by {grown >> 20} MiB"
    w.notes.append(f"10,000 SYNs: memory grew by {grown >> 10} KiB")
    pair.alive()


@seconds(120)
def test_many_flows_a_second(w):
    capturing(w)
    for space in (w.app, w.lan):
        done = w.run(space, ["bash", "-c", "ulimit -n 20000; exec \"$@\"", "bash", sys.executable, "-c", MANY, ORIGIN, "200", "8"],
                     text=True, timeout=50)
        opened, right, wrong, median = done.stdout.split()
        assert int(opened) == int(right), f"{space}: of {opened} connections {wrong} failed"
        w.notes.append(f"{opened} connections at 200 a second, answered in {median} ms")
    # One port each, one question, as ntpdate does it; a source begins 200 a second at most (AssociationPace).
    one_shot = ("import socket, sys, time\nfor i in range(600):\n s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                " s.settimeout(5)\n s.sendto(b'%d' % i, (sys.argv[1], 7000))\n assert s.recvfrom(99) == (b'%d' % i, (sys.argv[1], 7000))\n"
                " s.close()\n time.sleep(0.006)\nprint('answered')")
    done = w.run(w.lan, [sys.executable, "-c", one_shot, ORIGIN], text=True, timeout=50)
    assert done.stdout.strip() == "answered", done.stderr[-300:]


def spent(process):
    """Nanoseconds of the processor (proc(5): schedstat)."""
    return int(open(f"/proc/{process.pid}/schedstat").read().split()[0])


@seconds(120)
def test_what_a_gigabyte_costs(w):
    """The proxy's time for captured bytes beside SOCKS's, by turns; the least of each, since what else runs only adds."""
    pair = capturing(w)
    began = time.monotonic()
    w.curl("-o", "/dev/null", f"http://{ORIGIN}/bytes/2000000")
    # Half a second each; a debug build takes long for little.
    size, took = min(100_000_000, int(1_000_000 / (time.monotonic() - began))), {"SOCKS": [], "captured": []}
    for _ in range(5):
        for how, command in (("SOCKS", ["--socks5", "127.0.0.1:1080"]), ("captured", [])):
            before = spent(pair.proxy)
            done = w.run(w.app, ["curl", "-sS", "-o", "/dev/null", *command, f"http://{ORIGIN}/bytes/{size}"])
            assert done.returncode == 0, done.stderr
            took[how].append((spent(pair.proxy) - before) / size)
    least = {how: min(each) for how, each in took.items()}
    ratio = least["captured"] / least["SOCKS"]
    w.notes.append(f"{least['SOCKS']:.2f} s of the processor for a gigabyte by SOCKS, {ratio:.2f} times that captured")
    between(ratio, 0, 1.1, "what a captured byte costs beside SOCKS's")


@seconds(90)
def test_iperf(w):
    need("iperf3")
    pair = capturing(w)
    watcher = watch(w)
    w.limit(wifi=40, cell=20)
    w.start(w.net, ["iperf3", "-s", "--forceflush", "-B", ORIGIN], "iperf")
    ready = 0
    for space, words in ((w.lan, []), (w.app, ["-R"]), (w.lan, ["-u", "-b", "5M"]), (w.app, ["-u", "-b", "5M", "-R"])):
        ready += 1
        w.wait(lambda: w.text("iperf").count("Server listening") >= ready, "iperf3")
        done = w.run(space, ["iperf3", "-J", "-c", ORIGIN, "-t", "4", *words], text=True, timeout=30)
        found = json.loads(done.stdout)
        assert done.returncode == 0 and "error" not in found, f"{words}: {found.get('error')}"
        if "-u" in words:
            lost = found["end"]["sum"]["lost_percent"]
            w.notes.append(f"iperf3 {' '.join(words)}: {lost:.2f} % lost")
            between(lost, 0, 5, "datagrams lost, in percent")
        else:
            rate = found["end"]["sum_received"]["bits_per_second"] / 1e6
            w.notes.append(f"iperf3 {' '.join(words)}: {rate:.1f} Mbit/s")
            between(rate, 30, 60, "Mbit/s over 40 and 20")
    only_tunnel(w, watcher)
    pair.alive()
