"""The proxy's DNS listener: names through the tunnel, from its cache, from the network's servers; and nothing outside."""
import contextlib
import json
import os
import signal
import subprocess
import sys
import time

from lab import ORIGIN as LAB_ORIGIN, in_lab
from runner import between, check, seconds
from test_datagrams import counter
from test_names import nameservers
from world import HERE, need, sh

SCRIPT = f"{HERE}/names.py"
SERVER = "10.81.3.55"
LISTEN = "names: { listen: [\"127.0.0.1:53\"] }\n"
LOCAL = "10.81.1.1"


def serve(w, mode="honest", address=SERVER, space=None, name="resolver"):
    if space is None:
        w.address(f"{address}/24")
    w.start(space or w.net, [sys.executable, SCRIPT, "serve", address, mode], name)
    w.wait(lambda: "ready" in w.text(name), "the resolver")


def asked(w, name="resolver"):
    return [line.split()[1:] for line in w.text(name).splitlines() if line.startswith("asked")]


def begin(w, *words):
    """names.py in the application's namespace."""
    process = subprocess.Popen(["ip", "netns", "exec", w.app, sys.executable, SCRIPT, *map(str, words)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    w.processes.append(process)
    return process


def said(process, limit=55):
    out, err = process.communicate(timeout=limit)
    check(process.returncode == 0, err.strip()[-400:])
    return json.loads(out.splitlines()[-1])


@contextlib.contextmanager
def watched(w, expected=lambda line: False):
    """Nothing but the tunnel leaves or comes meanwhile, or what is expected."""
    watcher = begin(w, "watch", 100)
    check(watcher.stdout.readline().strip() == "ready", "no watcher")
    yield
    time.sleep(0.2)
    watcher.send_signal(signal.SIGTERM)
    seen = said(watcher)
    check(seen["tunnel"] > 0, "nothing of the tunnel was seen")
    others = [line for line in seen["others"] if not expected(line)]
    check(not others, f"{len(others)} packets outside of the tunnel: {others[:5]}")


def dig(w, *words, server="127.0.0.1"):
    need("dig")
    done = w.run(w.app, ["dig", f"@{server}", "+tries=1", "+time=12", *words], text=True)
    check(done.returncode == 0, f"dig {words}: {done.stdout[-300:]}{done.stderr[-200:]}")
    return done.stdout


@seconds(90)
def test_dig_of_every_kind(w):
    """Types, EDNS, answers of 4,000 bytes by UDP and of 40,000 by TCP; not a packet outside of the tunnel."""
    serve(w)
    with nameservers(SERVER), watched(w):
        pair = w.pair(proxy=LISTEN)
        check("192.0.2.7" in dig(w, "+short", "www.example.test"), "no A")
        check("2001:db8::7" in dig(w, "+short", "www.example.test", "AAAA"), "no AAAA")
        check("mail.www.example.test" in dig(w, "+short", "www.example.test", "MX"), "no MX")
        for kind, text in (("HTTPS", "h2"), ("CAA", "ca.test"), ("SRV", "sip"), ("TXT", "hello"), ("TYPE4711", "ANSWER: 0")):
            check(text in dig(w, "www.example.test", kind), f"no {kind}")
        check("status: NXDOMAIN" in dig(w, "nowhere.test"), "a name that is not there")
        check("status: SERVFAIL" in dig(w, "servfail.test"), "a server's failure")
        check("flags: qr rd ra" in dig(w, "+noedns", "plain.test") and "OPT PSEUDOSECTION" not in dig(w, "+noedns", "plain.test"), "EDNS unasked")
        check("flags: do" in dig(w, "+dnssec", "signed.test"), "no DO")
        # 4,000 bytes in one datagram, to who says that it takes them; to others cut, and asked again over TCP by dig.
        out = dig(w, "+bufsize=4096", "+ignore", "text-18.test", "TXT")
        check("ANSWER: 18" in out and "(UDP)" in out, "not 4,000 bytes by UDP")
        check("ANSWER: 18" in dig(w, "+noedns", "text-18.test", "TXT"), "nothing by TCP where UDP is too short")
        check("tc" in dig(w, "+noedns", "+ignore", "text-18.test", "TXT").split(";; QUESTION")[0], "not said to be cut")
        check("ANSWER: 200" in dig(w, "text-200.test", "TXT"), "no 43,000 bytes by TCP")
        check("192.0.2.7" in dig(w, "+tcp", "+short", "tcp.test"), "nothing by TCP")
        check("status: NOTIMP" in dig(w, "version.bind", "TXT", "CH"), "of another class")
        pair.alive()
        check(counter(pair, "concentrator", "questions_over_tcp_total") >= 3, "no question over TCP")


@seconds(90)
def test_the_cache(w):
    """Answers are kept as long as they live, what is not there as long as the zone says; the same question is asked once."""
    serve(w)
    with nameservers(SERVER), watched(w):
        w.pair(proxy=LISTEN)
        for name in ("kept.test", "KEPT.test", "nowhere.test", "nowhere.test"):
            dig(w, name)
        names = [line[1] for line in asked(w)]
        check(names.count("kept.test") == 1 and names.count("nowhere.test") == 1, f"asked {names}")
        time.sleep(2)
        left = int(dig(w, "+noall", "+answer", "kept.test").split()[1])
        between(left, 30, 58, "seconds that are left of 60")
        for _ in range(2):
            dig(w, "short.test")
            time.sleep(1.2)
        check([line[1] for line in asked(w)].count("short.test") == 2, "kept for longer than it lives")


@seconds(120)
def test_one_round_trip(w):
    """A question takes a round trip of the best uplink (30 ms) and 3 ms, a cached one less than 1 ms."""
    in_the_lab(w, "round trip")


@seconds(120)
def test_an_uplink_falls_silent(w):
    """Twenty names a second go on while WiFi (30 ms) is silent, then cellular (100 ms): each is answered within 0.6 s."""
    in_the_lab(w, "silence")


def in_the_lab(w, what):
    os.environ["MEASURE"] = what
    with nameservers(LAB_ORIGIN):
        w.notes += in_lab(w.braid, "names_inside.py").splitlines()


@seconds(120)
def test_uplinks_are_lost(w):
    """The same where an interface is lost, and where its router is silent; nothing leaves beside the tunnel."""
    serve(w)
    with nameservers(SERVER), watched(w):
        pair = w.pair(proxy=LISTEN)
        time.sleep(1)
        for uplink in ("wifi", "cell"):
            for lose, restore in ((lambda: w.silence(uplink), lambda: w.silence(uplink, False)), (lambda: w.down(uplink), lambda: w.up(uplink))):
                client = begin(w, "steady", "127.0.0.1", 4)
                time.sleep(1.5)
                lose()
                seen = said(client)
                w.notes.append(f"longest {seen['longest'] * 1000:.0f} ms, usual {seen['usual'] * 1000:.1f} ms")
                check(seen["answered"] == seen["sent"] and seen["bad"] == 0, f"{seen}")
                between(seen["longest"], 0, 0.6, "seconds for the slowest")
                restore()
                pair.wait_for_paths(2)
                time.sleep(1)


@seconds(90)
def test_local_names_stay_local(w):
    """Those of `local` are asked of the network's server, over the uplink; no other one is."""
    serve(w)
    serve(w, address=LOCAL, space=w.mid, name="router")
    with nameservers(SERVER), watched(w, lambda line: "53" in line and line.endswith(".lan") or "in-addr.arpa" in line):
        w.pair(proxy=f"names: {{ listen: [\"127.0.0.1:53\"], local: [lan, 168.192.in-addr.arpa], servers: [{LOCAL}] }}\n")
        for name in ("printer.lan", "PRINTER.LAN", "www.test", "planlan", "lan.test", "localhost", "a.invalid"):
            dig(w, name)
        dig(w, "-x", "192.168.7.9")
    local = {line[1] for line in asked(w, "router")}
    check(local == {"printer.lan", "9.7.168.192.in-addr.arpa"}, f"asked at home: {local}")
    far = {line[1] for line in asked(w)}
    check(far == {"www.test", "planlan", "lan.test"}, f"asked through the tunnel: {far}")


@seconds(120)
def test_liars_and_silent_servers(w):
    """Answers of other numbers and questions are none; a silent server is passed over."""
    serve(w, "lying")
    with nameservers(SERVER):
        pair = w.pair(proxy=LISTEN)
        for i in range(20):
            check(dig(w, "+short", f"n{i}.test").split() == ["192.0.2.7"], "a lie was believed")
        between(counter(pair, "concentrator", "answers_refused_total"), 1, 20 * 10, "answers refused")
        pair.alive()
    for program in (pair.proxy, pair.concentrator):
        program.terminate()
        program.wait(10)
    serve(w, "silent", address="10.81.3.56", name="silent")
    with nameservers("10.81.3.56", "10.81.3.99", SERVER, options="options timeout:1 attempts:1"):
        w.pair(proxy=LISTEN)
        check(dig(w, "+short", "third.test").split() == ["192.0.2.7"], "the third server was not asked")
        check("SERVFAIL" in dig(w, "servfail.test"), "no failure")


@seconds(90)
def test_without_a_session(w):
    """A question waits for the session, for so long as a program does; then SERVFAIL. Nothing leaves beside."""
    serve(w)
    with nameservers(SERVER):
        pair = w.pair(proxy=LISTEN)
        with watched(w):
            check("192.0.2.7" in dig(w, "+short", "before.test"), "no answer before")
            pair.concentrator.send_signal(signal.SIGTERM)
            began = time.monotonic()
            pair.concentrator.wait(10)
            # Nothing but the association for names was there to wait for.
            between(time.monotonic() - began, 0, 3, "seconds for the concentrator's end")
            began = time.monotonic()
            check("SERVFAIL" in dig(w, "+time=15", "during.test"), "not a failure")
            between(time.monotonic() - began, 0, 12, "seconds for a failure")
            check("192.0.2.7" in dig(w, "+short", "before.test"), "the cache forgot")
            waiting = begin(w, "times", "127.0.0.1", "waits.test", 1)
            pair.start_concentrator()
            took = said(waiting)[0]
            w.notes.append(f"answered {took:.1f} s after a question that the concentrator's start found waiting")
            check("192.0.2.7" in dig(w, "+short", "after.test"), "no answer after")


@seconds(120)
def test_hostile_clients(w):
    """Garbage, circles, floods and thousands of connections: others are answered, and memory is bounded."""
    # Another client than the one that floods has limits of its own.
    serve(w)
    with nameservers(SERVER):
        pair = w.pair(proxy=LISTEN, limits="ulimit -n 4096")
        dig(w, "first.test")
        before = pair.memory("proxy")
        for _ in range(2):
            client = begin(w, "flood", "127.0.0.1")
            check(client.stdout.readline().strip() == "ready", "the flood did not end")
            check(dig(w, "-b", "127.0.0.2", "+short", "first.test").split() == ["192.0.2.7"], "a cached name")
            check(dig(w, "-b", "127.0.0.2", "+short", "+tcp", f"fresh{time.monotonic_ns()}.test").split() == ["192.0.2.7"], "a name over TCP")
            client.communicate(timeout=30)
        pair.alive()
        grown = (pair.memory("proxy") - before) / 1e6
        w.notes.append(f"{grown:.1f} MB more")
        check(grown < 60, f"{grown:.1f} MB more")
        check(counter(pair, "proxy", "names_connections") <= 256, "too many connections")
        w.wait(lambda: counter(pair, "proxy", "names_connections") == 0, "connections to end", 15)
        w.wait(lambda: counter(pair, "proxy", "names_under_way") == 0, "questions to end", 15)


@seconds(60)
def test_who_may_ask(w):
    """Strangers at a listener of every address get nothing; answers leave from the address that was asked; a user may be denied."""
    serve(w)
    with nameservers(SERVER):
        pair = w.pair(proxy="names: { listen: [\"0.0.0.0:53\"], clients: [127.0.0.0/8, 10.81.1.1] }\n")
        sh(f"ip -n {w.app} address add 10.81.1.77/24 dev wifi")
        for address in ("127.0.0.1", "127.0.0.9"):
            check("192.0.2.7" in dig(w, "+short", "www.test", server=address), f"no answer at {address}")
        for address in ("10.81.1.2", "10.81.1.77"):
            done = w.run(w.mid, ["dig", f"@{address}", "-b", "10.81.1.1", "+tries=1", "+time=5", "+short", "www.test"], text=True)
            check("192.0.2.7" in done.stdout, f"no answer from {address}: {done.stdout}")
        done = w.run(w.net, ["dig", "@10.81.1.2", "+tries=1", "+time=1", "www.test"], text=True)
        check(done.returncode == 9, "a stranger was answered")
        check(counter(pair, "proxy", "names_refused_total{reason=\"stranger\"}") >= 1, "not counted")
    file = pair.files[1]
    text = open(file).read().replace("name: alice,", "name: alice, names: false,")
    open(file, "w").write(text)
    pair.concentrator.kill()
    pair.concentrator.wait()
    pair.start_concentrator()
    w.wait(lambda: "REFUSED" in dig(w, f"n{time.monotonic_ns()}.test", "+time=15"), "the refusal", 40)
