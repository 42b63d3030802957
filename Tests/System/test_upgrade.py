"""Another process takes a running one's place: nobody is refused, and what lives goes on to its end."""
import json
import os
import subprocess
import sys
import time

from runner import check, seconds
from world import HERE, content_hash

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


def knocking(w):
    process = subprocess.Popen(["ip", "netns", "exec", w.app, sys.executable, "-c", KNOCK], text=True, stdin=-1, stdout=-1)
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
    # The concentrator: sessions end and begin anew at once; who comes meanwhile waits a moment, and is served.
    before = pair.status("concentrator")["pid"]
    served = w.text("proxy").count("session opened")
    done = upgrade(w, pair, "concentrator")
    check(done.returncode == 0, f"{done}")
    w.wait(lambda: (pair.status("concentrator") or {}).get("pid", before) != before, "the new concentrator")
    w.wait(lambda: w.text("proxy").count("session opened") > served, "the proxy to have a session again", 5)
    check("(moved)" in w.text("proxy"), "the proxy was not told")
    time.sleep(0.5)
    out, _ = knocks.communicate("\n", timeout=30)
    count, refused = out.split(" ", 1)
    w.notes.append(f"{count} connections meanwhile")
    # One may have been under way in the concentrator that ended.
    check(int(count) > 20 and len(json.loads(refused.replace("'", '"'))) <= 2, f"{out}")
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
