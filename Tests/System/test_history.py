"""What the programs remember: events and usage in a file that outlives them, their metrics in a real Prometheus, what
a broken disk does (nothing), and the screen of braid status --watch."""
import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import sqlite3
import struct
import subprocess
import termios
import time

from runner import between, check, seconds
from world import HERE, content_hash, need, sh

GRAFANA = f"{HERE}/../../deploy/grafana"


def braid(w, *arguments):
    result = subprocess.run([w.braid, *arguments], capture_output=True, text=True, timeout=30)
    check(result.returncode == 0, f"braid {' '.join(arguments)}: {result.stderr}")
    return result.stdout


def sentences(w, *arguments):
    return [json.loads(line)["sentence"] for line in braid(w, "events", "--json", *arguments).splitlines()]


def count_packets(w):
    """The kernel's own count of what goes to and from the concentrator, by uplink."""
    sh(f"ip netns exec {w.app} nft -f -", input="table inet count {\n" + "".join(
        f"chain {hook} {{\ntype filter hook {hook} priority 0;\n" + "".join(
            f"{way} {uplink} udp {port} 443 counter comment \"{uplink}\"\n" for uplink in ("wifi", "cell")) + "}\n"
        for hook, way, port in (("output", "oifname", "dport"), ("input", "iifname", "sport"))) + "}\n")


def counted(w):
    """Bytes by uplink and direction."""
    found = {}
    for item in json.loads(sh(f"ip netns exec {w.app} nft -j list table inet count"))["nftables"]:
        if "rule" in item:
            rule = item["rule"]
            count = next(e["counter"]["bytes"] for e in rule["expr"] if "counter" in e)
            found[rule["comment"], "sent" if rule["chain"] == "output" else "received"] = count
    return found


def full(w, pair):
    """What does not find room is not taken for whole; who reads no more is no failure."""
    for command in (["status", "--json"], ["usage", "--json"], ["events"]):
        asked = [w.braid, *command, "--control", pair.control[0]]
        with open("/dev/full", "w") as disk:
            failed = subprocess.run(asked, stdout=disk, stderr=subprocess.PIPE, text=True, timeout=30)
        check(failed.returncode == 1 and "No space left" in failed.stderr, f"{failed}")
        closed = subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        closed.stdout.close()
        check(closed.wait(30) == 0, f"{command}: {closed.stderr.read()}")


def watch(w, pair):
    """The screen stays within 80 columns, shows both uplinks, and leaves the terminal as it was."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(other)
    screen = subprocess.Popen([w.braid, "status", "--watch", "--control", pair.control[0]], stdin=other, stdout=other,
                              stderr=other, env={**os.environ, "TERM": "xterm", "LANG": "C.UTF-8", "NO_COLOR": "1"})
    w.processes.append(screen)
    os.set_blocking(main, False)
    said = b""

    def shown(what):
        nonlocal said
        with contextlib.suppress(BlockingIOError):
            said += os.read(main, 65536)
        return what in said
    w.wait(lambda: shown(b"\x1b[?1049h") and shown(b"wifi") and shown(b"cell") and said.count(b"\x1b[H") >= 2, "two screens")
    for line in re.split(r"\r\n|\x1b\[H", said.decode()):
        text = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]|\r", "", line)
        check(len(text) <= 80, f"{len(text)} columns: {text}")
    check(termios.tcgetattr(other)[3] != before[3], "the terminal echoes into the screen")
    screen.terminate()
    check(screen.wait(10) == 128 + signal.SIGTERM, "ended otherwise")
    w.wait(lambda: shown(b"\x1b[?1049l"), "the screen to be left")
    check(termios.tcgetattr(other) == before, "the terminal is not as it was")
    # Behind another program it is stopped, as any, and ends when it is told to: `timeout` is one such.
    behind = ["setsid", "--ctty", "--wait", "sh", "-c", 'timeout --kill-after 5 1 "$0" "$@"; exit $?', w.braid, "status", "--watch",
              "--control", pair.control[0]]
    check(subprocess.run(behind, stdin=other, stdout=other, stderr=other, timeout=30, env={**os.environ, "TERM": "xterm"}).returncode
          == 124, "timeout had to kill the screen")
    check(termios.tcgetattr(other) == before, "the terminal is not as it was behind another program")
    os.close(main)
    os.close(other)


@seconds(90)
def test_the_past_outlives_the_process(w):
    """Bytes by uplink are the kernel's own, over a lost uplink and restarts; events say what happened."""
    need("nft")
    # A run of datagrams would be one packet to the kernel's counters.
    for space, device in ((w.app, "wifi"), (w.app, "cell"), (w.net, "eth0")):
        sh(f"ip -n {space} link set dev {device} gso_max_segs 1")
    count_packets(w)
    file = f"{w.folder}/past.db"
    pair = w.pair(proxy=f"history: {{ path: {file} }}\n", concentrator=f"egress: {{ deny: [] }}\nhistory: {{ path: {w.folder}/users.db }}\n")
    w.limit(wifi=40, cell=40)
    client = w.start_client("download", 6_000_000)
    time.sleep(0.5)
    w.down("wifi")
    check(client.result()["sha256"] == content_hash(6_000_000), "wrong bytes")
    w.up("wifi")
    pair.wait_for_paths(2)
    said = sentences(w, "--control", pair.control[0])
    check(any(re.fullmatch("wifi is gone.*", s) for s in said), f"{said}")
    check(any(re.fullmatch(r"wifi carries again, after .*", s) for s in said), f"{said}")
    table = braid(w, "usage", "--month", "--control", pair.control[0])
    check("wifi" in table and "cell" in table, table)
    check("alice" in braid(w, "usage", "--control", pair.control[1]), "the concentrator does not know its user's")
    pair.proxy.terminate()
    check(pair.proxy.wait(10) == 0, "the proxy did not end in order")
    # What the kernel counts is what the proxy has counted, to the datagram. What came after its socket was closed
    # is nobody's: the concentrator's answer to its farewell.
    rows = json.loads(braid(w, "usage", "--json", "--file", file))
    kernel = counted(w)
    for uplink in ("wifi", "cell"):
        mine = [row for row in rows if row["uplink"] == uplink]
        # A run of datagrams that is sent as one message has one header there yet.
        headers = sum(row["sent_bytes"] for row in mine) - kernel[uplink, "sent"]
        check(headers % 28 == 0 and 0 <= headers <= kernel[uplink, "sent"] / 10, f"{uplink}: {headers} {mine} {kernel}")
        received = sum(row["received_bytes"] for row in mine)
        # What waited in the socket of an uplink that went was never read.
        unread = 1_000_000 if uplink == "wifi" else 20_000
        check(0 <= kernel[uplink, "received"] - received <= unread, f"{uplink}: {mine} {kernel}")
    # Killed while it writes: what was there a second before is there still.
    pair.start_proxy()
    pair.wait_for_paths(2)
    client = w.start_client("download", 3_000_000)
    client.result()
    time.sleep(1.5)
    pair.proxy.send_signal(signal.SIGKILL)
    pair.proxy.wait(5)
    rows = json.loads(braid(w, "usage", "--json", "--file", file))
    check(sum(row["received_bytes"] for row in rows) > 9_000_000, f"lost in the crash: {rows}")
    check(sentences(w, "--file", file).count("connected to the concentrator") == 2, "events were lost")
    pair.start_proxy()
    pair.wait_for_paths(2)
    after = json.loads(braid(w, "usage", "--json", "--control", pair.control[0]))
    check(sum(row["received_bytes"] for row in after) >= sum(row["received_bytes"] for row in rows), f"{after}")
    # What happened before the restarts is told still, by the process and its screen.
    check("connected to the concentrator" in sentences(w, "--control", pair.control[0])[:12], "events are forgotten")
    watch(w, pair)
    full(w, pair)
    # Nobody's business but its owner's.
    check(os.stat(file).st_mode & 0o077 == 0, "others may read it")
    follow = subprocess.Popen([w.braid, "events", "--follow", "-n", "0", "--control", pair.control[0]],
                              stdout=subprocess.PIPE, text=True)
    w.processes.append(follow)
    time.sleep(0.5)
    braid(w, "mode", "single", "--control", pair.control[0])
    check("the mode is single now" in follow.stdout.readline(), "the change was not told")


@seconds(60)
def test_a_second_is_lost_at_most(w):
    """What the file has at any moment, as one finds it who kills the program just then: never older than a second."""
    path = f"{w.folder}/past.db"
    pair = w.pair(proxy=f"history: {{ path: {path} }}\n")
    w.limit(wifi=8, cell=4)

    def moved():
        """IP packets' bytes by the interfaces' own count."""
        links = [json.loads(sh(f"ip -n {w.app} -j -s link show {uplink}"))[0]["stats64"] for uplink in ("wifi", "cell")]
        return sum(link[way]["bytes"] - 14 * link[way]["packets"] for link in links for way in ("rx", "tx"))
    transfer = w.start_client("download", 14_000_000)
    w.wait(lambda: os.path.exists(path), "the file")
    base = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    written = lambda: base.execute("SELECT total(sent + received) FROM usage").fetchone()[0]
    w.wait(lambda: written() > 1_000_000, "the first megabyte")
    known, oldest, turn = [], 0, 0
    # What a busy machine makes of two commands and 10 ms of sleep; in between nothing is known.
    longest = 0
    began = time.monotonic()
    while time.monotonic() - began < 6:
        # Events at any distance from the seconds: they are written, too.
        if time.monotonic() - began > turn * 0.37:
            turn += 1
            braid(w, "uplink", "cell", ("backup", "regular")[turn % 2], "--control", pair.control[0])
        now = time.monotonic()
        longest = max(longest, now - (known[-1][0] if known else began))
        known.append((now, moved()))
        has = written()
        oldest = max(oldest, now - next(at for at, bytes in reversed([(began, 0)] + known) if bytes <= has + 20_000))
        time.sleep(0.01)
    w.notes.append(f"{oldest:.2f} s old at most, looked at every {longest:.2f} s at least")
    transfer.process.kill()
    between(oldest, 0.3, 1.1 + longest, "what is lost by a kill")


def test_a_broken_disk_is_one_warning(w):
    """A file system that is full, and one that can't be written: a download does not notice."""
    folder = f"{w.folder}/disk"
    os.mkdir(folder)
    sh(f"mount -t tmpfs -o size=64k none {folder}")
    try:
        sh(f"dd if=/dev/zero of={folder}/full bs=1k count=64 2>/dev/null || true")
        pair = w.pair(proxy=f"history: {{ path: {folder}/past.db }}\n",
                      concentrator="egress: { deny: [] }\nhistory: { path: /proc/past.db }\n")
        check(w.start_client("download", 2_000_000).result()["sha256"] == content_hash(2_000_000), "wrong bytes")
        time.sleep(1.5)
        pair.alive()
        for name in pair.names:
            warnings = [line for line in w.text(name).splitlines() if "history" in line]
            check(len(warnings) == 1 and "warn" in warnings[0], f"{name}: {warnings}")
        check("wifi" in braid(w, "usage", "--control", pair.control[0]), "nothing is counted any more")
    finally:
        sh(f"umount -l {folder}")


@seconds(90)
def test_a_real_prometheus_reads_the_metrics(w):
    """promtool has nothing to say of them, a Prometheus scrapes both programs, and the dashboard's queries find data."""
    need("promtool", "prometheus")
    sh(["promtool", "check", "rules", f"{GRAFANA}/rules.yaml"])
    pair = w.pair(proxy="status: 0.0.0.0:9090\n", concentrator="egress: { deny: [] }\nstatus: 0.0.0.0:9091\n")
    check(w.start_client("download", 1_000_000).result()["sha256"] == content_hash(1_000_000), "wrong bytes")
    for space, port in ((w.app, 9090), (w.net, 9091)):
        text = w.run(space, ["curl", "-sS", f"http://127.0.0.1:{port}/metrics"], text=True).stdout
        said = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        check(said.returncode == 0 and not said.stdout + said.stderr, f"promtool: {said.stdout}{said.stderr}")
    with open(f"{w.folder}/prometheus.yaml", "w") as file:
        file.write(f"global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{os.path.abspath(GRAFANA)}/rules.yaml]\n"
                   "scrape_configs:\n  - job_name: braid\n    static_configs: [ { targets: ['127.0.0.1:9090', '10.81.3.2:9091'] } ]\n")
    w.start(w.app, ["prometheus", f"--config.file={w.folder}/prometheus.yaml", f"--storage.tsdb.path={w.folder}/tsdb",
                    "--web.listen-address=127.0.0.1:9099"], "prometheus")

    def query(expression):
        reply = w.run(w.app, ["curl", "-sS", "-G", "http://127.0.0.1:9099/api/v1/query", "--data-urlencode",
                              f"query={expression}"], text=True).stdout
        reply = json.loads(reply) if reply.startswith("{") else {"status": "none"}
        check(reply["status"] in ("success", "none"), f"{expression}: {reply}")
        return reply["data"]["result"] if reply["status"] == "success" else []
    w.wait(lambda: len([r for r in query("up") if r["value"][1] == "1"]) == 2, "two scrapes that succeed", 30)
    w.wait(lambda: query("count_over_time(braid_up_seconds[1m])") and
           all(int(r["value"][1]) > 3 for r in query("count_over_time(braid_up_seconds[1m])")), "some scrapes", 30)
    dashboard = json.load(open(f"{GRAFANA}/braid.json"))
    # What there is no data of yet: nothing was lost, nobody was turned away.
    quiet = re.compile("handover_pause|events_total.*> 0")
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace('"$instance"', '".*"').replace("$__rate_interval", "1m")
            found = query(expression)
            check(found or quiet.search(expression), f"{panel['title']}: {expression} finds nothing")
    groups = json.loads(w.run(w.app, ["curl", "-sS", "http://127.0.0.1:9099/api/v1/rules"], text=True).stdout)
    rules = [rule for group in groups["data"]["groups"] for rule in group["rules"]]
    check(len(rules) >= 9 and all(rule["health"] != "err" for rule in rules), f"{rules}")
    check(not [r for r in rules if r["state"] == "firing" and r["labels"]["severity"] == "critical"], f"{rules}")
