"""Rules: what goes through the tunnel, directly from the application's host, or nowhere, and by which uplink."""
import subprocess
import time

from runner import between, check, seconds
from test_datagrams import counter, echo, inside
from test_dialogues import reply_code
from world import CONCENTRATOR, ORIGIN, need

TUNNELLED = f"seen {CONCENTRATOR}"
WAYS = ["--socks5 127.0.0.1:1080", "--socks4 127.0.0.1:1080", "--proxy http://127.0.0.1:1080",
        "--proxytunnel --proxy http://127.0.0.1:1080"]


def where(w, url, proxy=WAYS[0]):
    result = w.curl("-i" if proxy.startswith("--proxy") else "-sS", url, proxy=proxy)
    return result.stdout.decode() + result.stderr.decode()


def test_direct_by_an_uplink_beside_the_tunnel(w):
    need("curl")
    w.pair(proxy=f"rules:\n  - {{ to: {ORIGIN}, ports: 80, then: direct, uplink: cell }}\n"
                 "  - { to: 10.81.3.53, then: direct }\n")
    for proxy in WAYS:
        said = where(w, f"http://{ORIGIN}/where", proxy)
        check("seen 10.81.2.2" in said, f"{proxy}: {said}")
    check(TUNNELLED in where(w, "http://v4.test/where", "--socks5-hostname 127.0.0.1:1080"), "a name went directly")
    # The true errors, also of what has no route from here.
    check(reply_code(w, "10.81.3.53", 80) in (3, 4), "not unreachable")
    w.down("cell")
    said = where(w, f"http://{ORIGIN}/where", WAYS[2])
    check("502" in said.split("\n")[0] and "unreachable" in said, f"an uplink that is away: {said}")
    w.up("cell")
    w.wait(lambda: "seen 10.81.2.2" in where(w, f"http://{ORIGIN}/where"), "the uplink's return")


def test_a_large_download_directly(w):
    need("curl")
    from world import content_hash
    import hashlib
    w.pair(proxy="rules: { then: direct }\n")
    for proxy in WAYS:
        result = w.curl(f"http://{ORIGIN}/bytes/20000000", proxy=proxy)
        check(hashlib.sha256(result.stdout).hexdigest() == content_hash(20_000_000), f"{proxy}: wrong bytes")
    check(reply_code(w, ORIGIN, 9) == 5, "a closed port is reply 5")


def test_blocked_by_lists(w):
    need("curl")
    with open(f"{w.folder}/blocked.txt", "w") as file:
        file.write("# those that the house does not want\n.origin.test\n10.81.3.0/24   # the net\n")
        file.write("".join(f"host{i}.example{i % 97}.net\n" for i in range(100_000)))
    pair = w.pair(proxy="rules:\n  - { to: v4.test, then: tunnel }\n  - { to: { file: blocked.txt }, then: block }\n")
    for host in ("origin.test", ORIGIN, "host77.example77.net"):
        check(reply_code(w, host, 80) == 2, f"{host}: not reply 2")
    check(reply_code(w, "v4.test", 80) == 0, "the first rule that fits decides")
    said = where(w, "http://origin.test/where", WAYS[2])
    check(" 403 " in said.split("\n")[0] and "A rule of this proxy" in said, said)
    check(counter(pair, "proxy", "blocked_total") == 4, f"{pair.status()['counters']}")
    many = pair.memory()
    pair.proxy.kill()
    pair.proxy.wait(5)
    with open(f"{w.folder}/blocked.txt", "w") as file:
        file.write(".origin.test\n")
    pair.start_proxy()
    pair.wait_for_paths(2)
    w.notes.append(f"100,000 names: {(many - pair.memory()) / 1e6:.1f} MB")
    between(many - pair.memory(), -5e6, 50e6, "bytes for 100,000 names")


def test_braid_rule(w):
    pair = w.pair(proxy="rules:\n  - { to: .lan, ports: [80, 8000-8999], then: direct, uplink: wifi }\n"
                        "  - { to: 192.0.2.0/24, protocol: udp, then: block }\n"
                        "  - { user: root, to: .root.test, mode: single }\n")

    def ask(*words):
        living = subprocess.run([w.braid, "rule", *words, "--control", pair.control[0]], capture_output=True, text=True)
        of_file = subprocess.run([w.braid, "rule", *words, "--config", pair.files[0]], capture_output=True, text=True)
        check(living.returncode == 0 and living.stdout == of_file.stdout, f"{words}: {living} {of_file}")
        return living.stdout.split("\n")

    check(ask("nas.lan:8080")[1:3] == ["rule 1: to .lan, port 8000-8999", "direct: from this machine, by wifi"],
          f"{ask('nas.lan:8080')}")
    check(ask("192.0.2.7:53", "--udp")[2] == "block: dropped and counted", f"{ask('192.0.2.7:53', '--udp')}")
    check("no rule fits" in ask("other.test:443") and "tunnel: mode full, open auto" in ask("other.test:443"), "the default")
    check("say it with --user" in ask("a.root.test:22")[3], f"{ask('a.root.test:22')}")
    check("mode single" in ask("a.root.test:22", "--user", "root")[2], "by user")
    wrong = subprocess.run([w.braid, "rule", "nowhere", "--control", pair.control[0]], capture_output=True, text=True)
    check(wrong.returncode == 2 and "HOST:PORT" in wrong.stderr, f"{wrong}")


def test_by_local_user(w):
    need("curl", "setpriv")
    w.pair(proxy="rules:\n  - { user: nobody, then: block }\n")
    check(reply_code(w, "origin.test", 80) == 0, "root was blocked")
    result = w.run(w.app, ["setpriv", "--reuid", "nobody", "--clear-groups", "curl", "-sSi", "http://origin.test/where",
                           "--proxy", "http://127.0.0.1:1080"])
    check(b" 403 " in result.stdout.split(b"\n")[0], f"{result}")


def test_only_some_uplinks(w):
    """What a rule keeps to one uplink leaves nothing but the session's own words on the other, in every mode; answers to
    datagrams, too."""
    echo(w, 7007, addresses=(ORIGIN,))
    for mode in ("full", "single"):
        pair = w.pair(mode=mode, proxy=f"rules:\n  - {{ to: {ORIGIN}, uplinks: [cell] }}\n")
        w.limit(wifi=40, cell=40)
        before = {uplink: w.received(uplink) for uplink in ("wifi", "cell")}
        result = w.curl(f"http://{ORIGIN}/bytes/8000000")
        check(len(result.stdout) == 8_000_000, f"{result.stderr}")
        came = {uplink: w.received(uplink) - before[uplink] for uplink in before}
        w.notes.append(f"{mode}: {came}")
        check(came["cell"] > 8_000_000 and came["wifi"] < 400_000, f"{mode}: {came}")
        before = {uplink: w.received(uplink) for uplink in ("wifi", "cell")}
        inside(w, f"""
import time
a = Association()
assert a.code == 0, a.code
for i in range(300):
    a.send(bytes(1000), "{ORIGIN}", 7007)
    time.sleep(0.005)
while not a.nothing():
    a.receive()
""")
        came = {uplink: w.received(uplink) - before[uplink] for uplink in before}
        check(came["cell"] > 250_000 and came["wifi"] < 100_000, f"{mode}: datagrams: {came}")
        # Another connection uses what there is.
        before = {uplink: w.received(uplink) for uplink in ("wifi", "cell")}
        result = w.curl("http://origin.test/bytes/8000000")
        check(len(result.stdout) == 8_000_000, f"{result.stderr}")
        check(w.received("wifi") - before["wifi"] > 1_000_000, "the rule held for all")
        for process in (pair.proxy, pair.concentrator):
            process.kill()
            process.wait(5)


@seconds(120)
def test_without_a_session(w):
    """A dead concentrator is no dead house."""
    need("curl")
    for way in ("direct", "refuse", "wait"):
        pair = w.pair(wait=False, proxy=f"open: checked\nwithout_session: {way}\n")
        pair.concentrator.kill()
        pair.concentrator.wait(5)
        w.wait(lambda: "listening" in w.text(pair.names[0]), "the proxy")
        began = time.monotonic()
        if way == "direct":
            for proxy in WAYS:
                said = where(w, f"http://{ORIGIN}/where", proxy)
                check("seen 10.81.1.2" in said, f"{proxy}: {said}")
            between(time.monotonic() - began, 0, 20, "seconds for four requests")
        else:
            check(reply_code(w, ORIGIN, 80, timeout=50) == 1, "not a general failure")
            took = time.monotonic() - began
            check(took < 25 if way == "refuse" else took > 25, f"{way}: {took:.1f} s")
        pair.proxy.kill()
        pair.proxy.wait(5)


def test_the_concentrator_dies_under_a_session(w):
    need("curl")
    pair = w.pair(proxy="without_session: direct\n")
    check(TUNNELLED in where(w, f"http://{ORIGIN}/where"), "not tunnelled at first")
    pair.concentrator.kill()
    pair.concentrator.wait(5)
    w.wait(lambda: "seen 10.81.1.2" in where(w, f"http://{ORIGIN}/where"), "direct connections", 60)


def test_datagrams(w):
    echo(w, 7007, addresses=(ORIGIN,), name="echo-direct")
    echo(w, 7008, addresses=(ORIGIN,), name="echo-tunnel")
    pair = w.pair(proxy="rules:\n  - { protocol: udp, ports: 7007, then: direct, uplink: cell }\n"
                        "  - { protocol: udp, ports: 7009, then: block }\n"
                        "  - { protocol: udp, ports: 7010, udp: off }\n")
    inside(w, f"""
a = Association()
assert a.code == 0, a.code
a.udp.settimeout(0.5)
for port in (7007, 7008, 7007, 7008):
    for i in range(20):
        a.send(b"hello", "{ORIGIN}", port)
        try:
            payload, source = a.receive()
        except TimeoutError:
            continue
        if source[1] != port:
            continue
        assert payload == b"hello" and source == ("{ORIGIN}", port), (payload, source)
        break
    else:
        raise AssertionError(f"nothing from {{port}}")
while not a.nothing():
    a.receive()
for port in (7009, 7010):
    a.send(b"hello", "{ORIGIN}", port)
assert a.nothing()
""")
    check("heard 10.81.2.2" in w.text("echo-direct"), f"not directly by the uplink: {w.text('echo-direct')}")
    check(f"heard {CONCENTRATOR}" in w.text("echo-tunnel"), f"not by the tunnel: {w.text('echo-tunnel')}")
    check(counter(pair, "proxy", "datagrams_direct_total") >= 2, f"{pair.status()['counters']}")
    check(counter(pair, "proxy", 'datagrams_refused_total{reason="blocked"}') == 2, f"{pair.status()['counters']}")
