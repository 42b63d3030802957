"""Another process takes a running one's place: nobody is refused, and what lives goes on to its end."""
import json
import os
import pwd
import re
import signal
import subprocess
import sys
import time

from runner import OutOfBounds, check, seconds
from test_capture import capturing, download, fetch, only_tunnel, same, state, watch
from test_datagrams import echo
from world import HERE, ORIGIN, ORIGIN6, content_hash, sh

# Connections one after another without a pause, until a line comes: how many were served, and how many were not.
KNOCK = """
import socket, sys, threading, time
sys.path.insert(0, %r)
from world import socks5
served, refused, stop = 0, [], False
def wait():
    global stop
    sys.stdin.readline()
    stop = True
threading.Thread(target=wait, daemon=True).start()
while not stop:
    try:
        s, code = socks5("origin.test", 80, timeout=15)
        if code == 0:
            s.sendall(b"GET /where HTTP/1.1\\r\\nHost: origin.test\\r\\nConnection: close\\r\\n\\r\\n")
            if b" 200 " in s.recv(100):
                served += 1
            else:
                refused.append("no answer")
        else:
            refused.append(code)
        s.close()
    except OSError as error:
        refused.append(str(error))
print(served, refused, flush=True)
""" % HERE


# The same of a program that knows of no proxy.
CAPTURED_KNOCK = KNOCK.replace('socks5("origin.test", 80, timeout=15)', f'(socket.create_connection(("{ORIGIN}", 80), 15), 0)')

# A datagram every 20 ms to somebody who says from which port it came: how many were answered, and the ports.
CAPTURED_CALL = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 7020))
s.setblocking(False)
began, sent, heard, ports = time.monotonic(), 0, set(), set()
while time.monotonic() - began < int(sys.argv[2]) * 0.02 + 1:
    if sent < int(sys.argv[2]) and time.monotonic() >= began + sent * 0.02:
        s.send(b"%d" % sent)
        sent += 1
    try:
        number, port = s.recv(100).split()
        heard.add(int(number))
        ports.add(int(port))
    except BlockingIOError:
        time.sleep(0.002)
print(len(heard), len(ports), flush=True)
"""
ANSWERING = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("%s", 7020))
print("ready", flush=True)
while True:
    data, peer = s.recvfrom(100)
    s.sendto(data + b" %%d" %% peer[1], peer)
""" % ORIGIN


def knocking(w, script=KNOCK):
    process = subprocess.Popen(["ip", "netns", "exec", w.app, sys.executable, "-c", script], text=True, stdin=-1, stdout=-1)
    w.processes.append(process)
    return process


def upgrade(w, pair, side, *arguments):
    return subprocess.run([w.braid, "upgrade", "--control", pair.control[0 if side == "proxy" else 1], *arguments],
                          capture_output=True, text=True, timeout=90)


@seconds(120)
def test_nobody_is_refused(w):
    pair = w.pair(proxy="listen: mixed://127.0.0.1:1080\nnames: { listen: [127.0.0.1:5353] }\nstatus: 127.0.0.1:9090\n")
    w.limit(wifi=8, cell=8)
    knocks = knocking(w)
    transfer = w.start_client("download", 4_000_000)
    w.wait(lambda: (pair.status() or {}).get("connections", 0) >= 1, "the download")
    old = pair.status()["pid"]
    # The proxy: a download that lives goes on in the old process, to its end.
    done = upgrade(w, pair, "proxy", "--drain", "1m")
    check(done.returncode == 0 and "serves" in done.stdout, f"{done}")
    w.wait(lambda: (pair.status() or {}).get("pid", old) != old, "the new process")
    new = pair.status()["pid"]
    again = upgrade(w, pair, "proxy", "--drain", "1h")
    check(again.returncode == 0, f"a third one: {again}")
    w.wait(lambda: pair.status()["pid"] not in (old, new), "the third process")
    check(transfer.result(60)["sha256"] == content_hash(4_000_000), "other bytes")
    w.wait(lambda: pair.proxy.poll() is not None, "the first process to end", 30)
    check(pair.proxy.returncode == 0, f"it ended with {pair.proxy.returncode}")
    # The concentrator: the proxy has a session with the new one, and the old one ends; nobody is refused.
    served = w.text("proxy").count("session opened")
    follow(w, pair)
    w.wait(lambda: w.text("proxy").count("session opened") > served, "the proxy to have a session again", 5)
    w.wait(lambda: pair.concentrator.poll() == 0, "the old concentrator to end", 20)
    check("(moved)" in w.text("proxy"), "the proxy was not told")
    w.notes.append(f"{served_all(knocks)} connections meanwhile")
    pair.stop_all()


def served_all(knocks):
    """Ends it; how many connections there were, none of them refused."""
    out, _ = knocks.communicate("\n", timeout=30)
    count, refused = out.split(" ", 1)
    check(int(count) > 20 and refused.strip() == "[]", f"refused: {out}")
    return count


def follow(w, pair, *arguments):
    """The concentrator's process of now, and the one that follows it."""
    old = pair.status("concentrator")["pid"]
    done = upgrade(w, pair, "concentrator", *arguments)
    check(done.returncode == 0, f"{done}")
    w.wait(lambda: (pair.status("concentrator") or {}).get("pid", old) != old, "the new concentrator")
    return old, pair.status("concentrator")["pid"]


def is_there(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def sessions(pair, side="proxy"):
    return len((pair.status(side) or {"sessions": []})["sessions"])


@seconds(120)
def test_the_concentrators_sessions_go_on(w):
    """A download, an upload and a call over two upgrades of the concentrator: nothing is lost, and nobody is refused."""
    pair = w.pair(proxy="listen: mixed://127.0.0.1:1080\nnames: { listen: [127.0.0.1:5353] }\n")
    echo(w)
    w.limit(wifi=8, cell=8)
    knocks = knocking(w)
    download = w.start_client("download", 12_000_000)
    upload = w.start_client("upload", 10_000_000)
    call = w.start(w.app, [sys.executable, f"{HERE}/datagrams.py", "call", ORIGIN, "7000", "20", "300"], "call")
    w.wait(lambda: (pair.status() or {}).get("connections", 0) >= 3, "all to begin")
    time.sleep(1)
    first, second = follow(w, pair, "--drain", "2m")
    w.wait(lambda: sessions(pair) == 2, "the proxy to have two sessions", 5)
    check(sessions(pair, "concentrator") == 1, "the new process has not one session")
    check(pair.status("concentrator")["connections"] < 3, "the old one's connections are with the new one")
    _, third = follow(w, pair, "--drain", "2m")
    check(is_there(first), "the first ended before its connections")
    w.wait(lambda: call.poll() is not None, "the call", 40)
    heard = json.loads(w.text("call"))
    # Beside transfers that fill the line, a busy machine loses some.
    check(heard["sent"] == 300 and heard["got"] >= 270, f"the call: {heard}")
    check(download.result()["sha256"] == content_hash(12_000_000), "other bytes came down")
    check(upload.result()["sha256"] == content_hash(10_000_000), "other bytes came up")
    w.wait(lambda: not is_there(first) and not is_there(second), "the older ones to end", 20)
    check(pair.concentrator.poll() == 0 and is_there(third), f"the first ended with {pair.concentrator.poll()}")
    w.notes.append(f"{served_all(knocks)} connections meanwhile; of the call {heard['missed_s'] * 1000:.0f} ms late or lost")
    w.wait(lambda: sessions(pair) == 1, "one session to be left", 5)
    pair.stop_all()


@seconds(120)
def test_whoever_is_killed_in_an_upgrade_takes_only_his_own(w):
    pair = w.pair(proxy="listen: mixed://127.0.0.1:1080\n")
    w.limit(wifi=8, cell=8)

    def download(size=40_000_000):
        count = w.text("proxy").count("decided action=tunnel")
        client = w.start_client("download", size)
        w.wait(lambda: w.text("proxy").count("decided action=tunnel") > count, "a download")
        time.sleep(0.3)
        return client

    # The old one: what it had ends soon, all else goes on.
    lost = download()
    old, new = follow(w, pair, "--drain", "2m")
    w.wait(lambda: sessions(pair) == 2, "two sessions", 5)
    kept = download(24_000_000)
    os.kill(old, signal.SIGKILL)
    killed = time.monotonic()
    check(w.curl("http://origin.test/where", limit=5).returncode == 0, "nobody is served")
    w.wait(lambda: lost.process.poll() is not None, "the old one's download to end", 20)
    w.notes.append(f"ended {time.monotonic() - killed:.1f} s after its process was killed")
    # The new one: the old one serves again, and what it has goes on.
    w.wait(lambda: sessions(pair) == 1, "one session", 20)
    newest = follow(w, pair, "--drain", "2m")[1]
    w.wait(lambda: sessions(pair) == 2, "two sessions", 5)
    os.kill(newest, signal.SIGKILL)
    killed = time.monotonic()
    w.wait(lambda: w.curl("http://origin.test/where", limit=20).returncode == 0, "a page", 30)
    w.notes.append(f"the old one served again {time.monotonic() - killed:.1f} s after the new one was killed")
    check(kept.result()["sha256"] == content_hash(24_000_000), "other bytes")
    w.wait(lambda: (pair.status("concentrator") or {}).get("pid") == new, "its control socket to be back", 20)
    # It may be followed again. The time is up: both ends are told at once.
    cut = download()
    _, newest = follow(w, pair, "--drain", "2s")
    w.wait(lambda: cut.process.poll() is not None, "the end of the time", 20)
    w.wait(lambda: not is_there(new), "the old process to end", 10)
    check("(moved)" in w.text("proxy") and "within_s=2" in w.text("proxy"), "the proxy was not told")
    check(w.curl("http://origin.test/where", limit=5).returncode == 0, "nobody is served")
    check(is_there(newest), "the newest ended")
    pair.stop_all()


def test_one_that_does_not_start_changes_nothing(w):
    pair = w.pair(proxy="listen: mixed://127.0.0.1:1080\nstatus: 127.0.0.1:9090\n")
    right = open(pair.files[0]).read()
    with open(pair.files[0], "w") as file:
        file.write(right + "nonsense: 1\n")
    pid = pair.status()["pid"]
    done = upgrade(w, pair, "proxy")
    check(done.returncode == 2 and "Nothing has changed" in done.stderr, f"{done}")
    check(pair.status()["pid"] == pid and w.curl("http://origin.test/where").returncode == 0, "the old one does not serve")
    page = w.run(w.app, ["curl", "-sS", "http://127.0.0.1:9090/status"])
    check(page.returncode == 0, "its page is gone")
    with open(pair.files[0], "w") as file:
        file.write(right)
    check(upgrade(w, pair, "proxy", "--drain", "0s").returncode == 0, "it does not start though all is right")
    w.wait(lambda: (pair.status() or {}).get("pid", pid) != pid, "the new process")
    check(w.curl("http://origin.test/where").returncode == 0, "the new one does not serve")
    pair.stop_all()


@seconds(150)
def test_what_is_captured_goes_on(w):
    """Programs' and clients' downloads and a call over two upgrades; nobody new fails, nothing gets out, nothing stays."""
    pair = capturing(w, "machine: true, networks: [br-lan], on_exit: closed")
    watcher = watch(w)
    w.start(w.net, [sys.executable, "-c", ANSWERING], "answering")
    w.wait(lambda: "ready" in w.text("answering"), "the one who answers")
    w.limit(wifi=16, cell=8)
    right = open(pair.files[0]).read()
    # One that does not start leaves everything as it is.
    with open(pair.files[0], "w") as file:
        file.write(right + "nonsense: 1\n")
    check(upgrade(w, pair, "proxy").returncode == 2, "a wrong configuration is taken")
    fetch(w, w.lan, ORIGIN)
    with open(pair.files[0], "w") as file:
        file.write(right)
    knocks = knocking(w, CAPTURED_KNOCK)
    transfers = [download(w, w.app, ORIGIN, 6_000_000, "program"), download(w, w.app, f"[{ORIGIN6}]", 5_000_000, "program6"),
                 download(w, w.lan, ORIGIN, 5_000_000, "client")]
    call = w.start(w.app, [sys.executable, "-c", CAPTURED_CALL, ORIGIN, "300"], "call")
    time.sleep(1)
    first = pair.status()["pid"]
    for _ in range(2):
        old = pair.status()["pid"]
        done = upgrade(w, pair, "proxy", "--drain", "1m")
        check(done.returncode == 0, f"{done}")
        w.wait(lambda: (pair.status() or {}).get("pid", old) != old, "the new process")
        fetch(w, w.lan, ORIGIN6)
        check(is_there(first), "the first ended before its connections")
    for finish in transfers:
        finish()
    w.wait(lambda: call.poll() is not None, "the call", 20)
    answered, ports = map(int, w.text("call").split())
    check(answered >= 270 and ports == 1, f"of the call's 300 datagrams {answered} were answered, from {ports} ports")
    w.notes.append(f"{served_all(knocks)} connections meanwhile; {answered} of 300 datagrams")
    w.wait(lambda: not is_there(first), "the older ones to end", 30)
    for space in (w.app, w.lan):
        fetch(w, space, ORIGIN)
    only_tunnel(w, watcher)
    # With another word for its end: what is there is taken away with the last one.
    with open(pair.files[0], "w") as file:
        file.write(right.replace("on_exit: closed", "on_exit: open"))
    old = pair.status()["pid"]
    check(upgrade(w, pair, "proxy", "--drain", "0s").returncode == 0, "the last one")
    w.wait(lambda: (pair.status() or {}).get("pid", old) != old, "the last process")
    fetch(w, w.app, ORIGIN)
    last = pair.status()["pid"]
    os.kill(last, signal.SIGTERM)
    w.wait(lambda: not is_there(last), "its end", 20)
    same(w.before, state(w))


def children(process):
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[1] == str(process):
                    found.append(int(name))
        except FileNotFoundError:
            pass
    return found


def has_begun(process):
    """Whether it has become the program that it starts: until then whoever started it waits for it in the kernel."""
    try:
        with open(f"/proc/{process}/environ", "rb") as file:
            return b"BRAID_SUCCEEDS=" in file.read()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_one_that_is_told_to_end_is_not_followed(w):
    """SIGTERM while the new process starts: both are gone, though the new one does nothing for it."""
    pair = w.pair(proxy="listen: mixed://127.0.0.1:1080\n")
    old = pair.status()["pid"]
    asking = subprocess.Popen([w.braid, "upgrade", "--control", pair.control[0]], stdout=-1, stderr=-1, text=True)
    w.processes.append(asking)
    w.wait(lambda: any(map(has_begun, children(old))), "the new process")
    new = children(old)[0]
    os.kill(new, signal.SIGSTOP)
    os.kill(old, signal.SIGTERM)
    w.wait(lambda: not is_there(old), "the old one to end", 15)
    if is_there(new) and "another process follows" in w.text("proxy"):
        os.kill(new, signal.SIGKILL)
        raise OutOfBounds("the new process served before it was stopped")
    w.wait(lambda: not is_there(new), "the new one to end", 5)
    check(asking.wait(10) != 0, f"{asking.communicate()}")


def test_pcap_goes_on_in_another_file(w):
    pair = w.pair(proxy=f"pcap: {w.folder}/seen.pcap\n")
    check(w.curl("http://origin.test/bytes/300000", "-o", "/dev/null").returncode == 0, "no download")
    old = pair.status()["pid"]
    check(upgrade(w, pair, "proxy", "--drain", "0s").returncode == 0, "it is refused")
    w.wait(lambda: (pair.status() or {}).get("pid", old) != old, "the new process")
    check(w.curl("http://origin.test/bytes/300000", "-o", "/dev/null").returncode == 0, "no download")
    size = lambda name: os.path.getsize(f"{w.folder}/{name}") if os.path.exists(f"{w.folder}/{name}") else 0
    w.wait(lambda: size("seen.pcap") > 300_000 and size("seen.pcap.1") > 300_000, "both files", 5)
    heads = [open(f"{w.folder}/{name}", "rb").read(24) for name in ("seen.pcap", "seen.pcap.1")]
    check(heads[0] == heads[1], f"{heads}")
    pair.stop_all()


def test_one_of_roots_stays_where_root_finds_it(w):
    """Started as root, and another user's by itself: the process that follows has socket, history and usage in the same places."""
    pair = w.pair(proxy="user: nobody\nhistory: {}\n", wait=False)
    pair.proxy.kill()
    with open(pair.files[0]) as file:
        text = re.sub("control: .*\n", "", file.read())
    with open(pair.files[0], "w") as file:
        file.write(text.replace("interface: wifi", "interface: wifi, allowance: 1GB"))
    nobody = pwd.getpwnam("nobody")
    for path in (w.folder, pair.proxy_key, pair.files[0]):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    sh("mount -t tmpfs none /var/lib")
    os.chmod("/run", 0o755)   # as it is everywhere else
    try:
        pair.start_proxy()
        pair.control[0] = "/run/braid/proxy.sock"
        pair.wait_for_paths(2)
        old = pair.status()["pid"]
        done = upgrade(w, pair, "proxy", "--drain", "0s")
        check(done.returncode == 0, f"{done}")
        w.wait(lambda: (pair.status() or {}).get("pid", old) != old, "root to be answered by the new process")
        check(os.stat(pair.control[0]).st_uid == nobody.pw_uid, "it is root's still")
        for command in (["status"], ["events"], ["usage"], ["reload"]):
            asked = subprocess.run([w.braid, *command], capture_output=True, text=True, timeout=20)
            check(asked.returncode == 0, f"{asked}")
        w.wait(lambda: pair.usable() == 2, "both paths")
        told = subprocess.run([w.braid, "events"], capture_output=True, text=True, timeout=20).stdout
        check(told.count("started") == 2, f"earlier events are gone: {told}")
        check({"proxy.db", "proxy.usage"} <= set(os.listdir("/var/lib/braid")), f"{os.listdir('/var/lib/braid')}")
        # A turn that was long is the busy machine's.
        check(not re.search(" warn (?!loop:)", w.text("proxy")), f"not stored: {w.text('proxy')}")
        pair.stop_all()
    finally:
        sh("umount -l /var/lib")


ACTIVATED = """
import os, socket, sys
s = socket.create_server(("127.0.0.1", 1080))
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_sockets_of_the_service_manager(w):
    """As systemd hands them over: the program listens on what it got, and opens nothing of its own there."""
    pair = w.pair(proxy="listen: mixed://127.0.0.1:1080\n")
    pair.proxy.terminate()
    pair.proxy.wait(20)
    pair.proxy = w.start(w.app, [sys.executable, "-c", ACTIVATED, w.braid, "proxy", "--config", pair.files[0]], "activated")
    w.wait(lambda: w.curl("http://origin.test/where", limit=5).returncode == 0, "a page", 20)
    pair.alive()
