"""Many, slow and stopping: memory stays bounded, descriptors run out without harm, SIGTERM drains."""
import os
import signal
import time

from runner import between, seconds
from world import content_hash, need
from test_dialogues import with_world

MEBIBYTE = 1 << 20


@seconds(150)
def test_two_hundred_parallel_downloads(w):
    pair = w.pair()
    result = w.start_client("many", 200, 1_000_000).result(140)
    w.notes.append(f"{result['seconds']:.1f} s, {200 * 8 / result['seconds']:.0f} Mbit/s")
    assert result["failed"] == 0, f"{result['failed']} failed: {result['errors'][:3]}"
    assert result["hashes"] == [content_hash(1_000_000)]
    w.wait(lambda: pair.status()["connections"] == 0, "every connection to end", 15)
    pair.alive()


@seconds(200)
def test_a_gigabyte(w):
    need("curl")
    w.pair()
    size = 1_000_000_000
    began = time.monotonic()
    result = w.run(w.app, ["bash", "-c", f"curl -sS --max-time 180 --socks5-hostname 127.0.0.1:1080 "
                           f"http://origin.test/bytes/{size} | sha256sum"], timeout=190)
    w.notes.append(f"{size * 8e-9 / (time.monotonic() - began):.2f} Gbit/s")
    assert result.stdout.split()[0].decode() == content_hash(size), result.stderr.decode()


def stall(w, script, side):
    """Lets a transfer stand still for three seconds; how much memory that took."""
    pair = w.pair()
    assert w.curl("http://origin.test/bytes/1000000").returncode == 0
    before = {name: pair.memory(name) for name in ("proxy", "concentrator")}
    client = w.start(w.app, ["python3", "-c", script], "client", env=with_world())
    time.sleep(3)
    grown = {name: pair.memory(name) - before[name] for name in before}
    w.notes.append(", ".join(f"{name} {n / MEBIBYTE:.0f} MiB" for name, n in grown.items()))
    for name, n in grown.items():
        assert n < 120 * MEBIBYTE, f"the {name} grew by {n / MEBIBYTE:.0f} MiB"
    pair.alive()
    client.kill()
    assert w.curl("http://origin.test/where").returncode == 0


def test_a_slow_reader_stops_the_sender(w):
    """500 MB are offered to an application that reads nothing."""
    stall(w, """
from world import socks5
import time
s, _ = socks5('origin.test', 80)
s.sendall(b'GET /bytes/500000000 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
time.sleep(60)
""", "proxy")


def test_a_deaf_server_stops_the_application(w):
    stall(w, """
from world import socks5
s, _ = socks5('origin.test', 7003)
s.settimeout(60)
while True: s.sendall(b'x' * 100000)
""", "concentrator")


def test_a_slow_reader_gets_every_byte(w):
    w.pair()
    result = w.start_client("download", 6_000_000, "origin.test", 20).result()
    assert result["sha256"] == content_hash(6_000_000)


def test_descriptors_run_out(w):
    """With 64 descriptors and 150 callers: no spinning, and afterwards everything works. The status page and the
    control socket answer meanwhile, and the log is not filled."""
    pair = w.pair(limits="ulimit -n 64", proxy="status: 127.0.0.1:9090\n")
    script = """
import socket, time
held = []
for i in range(150):
    try: held.append(socket.create_connection(('127.0.0.1', 1080), 2))
    except OSError: pass
print(len(held), flush=True)
time.sleep(4)
"""
    client = w.start(w.app, ["python3", "-c", script], "callers")
    time.sleep(1.5)
    before = cpu(pair.proxy.pid)
    assert w.curl("http://127.0.0.1:9090/metrics", proxy="--noproxy *", limit=5).returncode == 0
    assert pair.status() is not None, "the control socket does not answer"
    time.sleep(2)
    between(os.path.getsize(w.logs["proxy"]), 0, 200_000, "bytes of log")
    used = cpu(pair.proxy.pid) - before
    w.notes.append(f"{used / 2 * 100:.0f} % CPU")
    between(used, 0, 0.6, "CPU time in 2 s in s")
    pair.alive()
    client.wait(15)
    w.wait(lambda: w.curl("http://origin.test/where", limit=3).returncode == 0, "a download afterwards", 15)


def test_one_application_takes_every_place(w):
    """300 places and an application that opens 1,500 connections to a server that says nothing: others get in."""
    w.pair(proxy="limits: { connections: 300 }\n", limits="ulimit -n 2000")
    w.start(w.app, ["python3", "-c", """
import time
from world import socks5
held = [socks5('10.81.3.10', 7003) for _ in range(1500)]
print('all', flush=True)
time.sleep(60)
"""], "greedy", env=with_world())
    w.wait(lambda: "all" in w.text("greedy"), "the greedy application", 40)
    for _ in range(5):
        result = w.curl("http://origin.test/where", limit=10)
        assert result.returncode == 0 and b"seen" in result.stdout, result.stderr.decode()


@seconds(120)
def test_one_application_takes_every_descriptor(w):
    """Its connections take two each: direct ones, then associations. There are no descriptors long before there are too
    many clients; others get in all the same, at once."""
    # Room for 160 clients; 208 descriptors are connections'.
    w.pair(proxy="rules: [{ to: [10.81.3.10/32], ports: 7003, then: direct }]\nlisten: mixed://127.0.0.1:1080\n",
           limits="ulimit -n 256")
    for kind in ("direct", "associations"):
        greedy = w.start(w.app, ["python3", "-c", """
import socket, sys, threading, time
from world import socks5
held = []
def take():
    while True:
        try:
            if sys.argv[1] == 'direct':
                s, code = socks5('10.81.3.10', 7003, timeout=3)
            else:
                s = socket.create_connection(('127.0.0.1', 1080), 3)
                s.sendall(bytes.fromhex('050100' + '05030001' + '000000000000'))
                assert s.recv(2)
            held.append(s)
        except (OSError, AssertionError): pass
        time.sleep(0.02)
for _ in range(10): threading.Thread(target=take, daemon=True).start()
time.sleep(4)
print('all', flush=True)
time.sleep(60)
""", kind], kind, env=with_world())
        w.wait(lambda: "all" in w.text(kind), f"the greedy application's {kind}", 40)
        began, served = time.monotonic(), 0
        for _ in range(8):
            served += w.curl("http://origin.test/where", limit=5).returncode == 0
        # One that has just come is in its dialogue, as the greedy one's are.
        assert served >= 6, f"only {served} of 8 were served beside {kind}"
        between(time.monotonic() - began, 0, 4, f"8 requests beside {kind} in s")
        greedy.kill()
        greedy.wait()


def cpu(pid):
    """Seconds of CPU a process has taken."""
    fields = open(f"/proc/{pid}/stat").read().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_idle_takes_no_cpu(w):
    pair = w.pair()
    assert w.curl("http://origin.test/bytes/1000000").returncode == 0
    time.sleep(1)
    before = [cpu(p.pid) for p in (pair.proxy, pair.concentrator)]
    time.sleep(4)
    used = [cpu(p.pid) - b for p, b in zip((pair.proxy, pair.concentrator), before)]
    w.notes.append(f"{used[0] / 4 * 100:.1f} % and {used[1] / 4 * 100:.1f} % CPU")
    between(max(used), 0, 0.2, "CPU time in 4 s in s")


def drains(w, side, kind):
    """A transfer that runs at SIGTERM still ends well, then the program ends with 0."""
    pair = w.pair()
    w.limit(wifi=20, cell=10)
    client = w.start_client(kind, 8_000_000)
    time.sleep(1)
    process = pair.proxy if side == "proxy" else pair.concentrator
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.poll() is None, "it ended with a transfer under way"
    if side == "proxy":
        assert w.curl("http://origin.test/where", limit=3).returncode != 0, "a stopping proxy took a new connection"
    assert client.result()["sha256"] == content_hash(8_000_000)
    began = time.monotonic()
    assert process.wait(20) == 0
    between(time.monotonic() - began, 0, 5, "how long it lingered after the last connection in s")


def test_sigterm_drains_the_proxy(w):
    drains(w, "proxy", "download")


def test_sigterm_drains_the_concentrator(w):
    drains(w, "concentrator", "upload")


def test_a_second_signal_ends_at_once(w):
    pair = w.pair()
    w.limit(wifi=4, cell=4)
    client = w.start_client("download", 20_000_000)
    time.sleep(1)
    for process in (pair.proxy, pair.concentrator):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(3) == 0
    client.process.kill()


def test_mode_changes_while_a_download_runs(w):
    import subprocess
    pair = w.pair(uplinks=("wifi", "cell,backup"))
    w.limit(wifi=20, cell=10)
    client = w.start_client("download", 10_000_000)
    for mode in ("backup", "single", "full"):
        time.sleep(0.5)
        result = subprocess.run([w.braid, "mode", mode, "--control", pair.control[0]], capture_output=True, text=True)
        assert result.returncode == 0 and mode in result.stdout, result.stderr
        assert all(s["mode"] == mode for s in pair.status()["sessions"])
    assert client.result()["sha256"] == content_hash(10_000_000)


def test_status_for_a_person_and_the_page(w):
    import subprocess
    pair = w.pair(proxy="status: 127.0.0.1:9090\n")
    assert w.curl("http://origin.test/bytes/2000000").returncode == 0
    text = subprocess.run([w.braid, "status", "--control", pair.control[0]], capture_output=True, text=True).stdout
    assert "wifi" in text and "cell" in text and "usable" in text and " ms" in text, text
    for path, part in (("/", b"<table"), ("/status", b"\"sessions\""), ("/metrics", b"braid_path_rtt_seconds{")):
        page = w.curl(f"http://127.0.0.1:9090{path}", proxy="--noproxy *")
        assert part in page.stdout, page
    concentrator = pair.status("concentrator")
    assert concentrator["sessions"][0]["user"] == "alice"
    assert sum(p["bytes_sent"] for s in concentrator["sessions"] for p in s["paths"]) > 2_000_000
