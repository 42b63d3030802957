"""Another configuration for programs that run, while connections and calls live."""
import json
import os
import signal
import socket
import subprocess
import sys

from runner import check, seconds
from test_capture import capturing, download, fetch, only_tunnel, watch
from test_datagrams import echo
from world import HERE, ORIGIN, content_hash


def reload(pair, side="proxy"):
    """Over the control socket, without the program around it: what is answered."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(pair.control[0 if side == "proxy" else 1])
        s.sendall(b"reload\n")
        answer = b""
        while piece := s.recv(65536):
            answer += piece
    return answer.decode().strip()


class Files:
    """The two configurations, and others in their place."""

    def __init__(self, pair):
        self.pair = pair
        self.texts = [open(path).read() for path in pair.files]

    def set(self, side, *changes, more=""):
        index = 0 if side == "proxy" else 1
        text = self.texts[index]
        for old, new in changes:
            check(old in text, f"no {old!r} in {text}")
            text = text.replace(old, new)
        with open(self.pair.files[index], "w") as file:
            file.write(text + more)

    def reload(self, side, *changes, more=""):
        self.set(side, *changes, more=more)
        answer = reload(self.pair, side)
        check(not answer.startswith("error"), answer)
        return answer


@seconds(120)
def test_a_hundred_times_during_a_download_and_a_call(w):
    pair = w.pair(proxy="listen: mixed://127.0.0.1:1080\n")
    echo(w)
    w.limit(wifi=10, cell=10)
    files = Files(pair)
    _, guest = w.key("guest")
    transfer = w.start_client("download", 8_000_000)
    call = w.start(w.app, [sys.executable, f"{HERE}/datagrams.py", "call", ORIGIN, "7000", "20", "300"], "call")
    sizes = []
    w.wait(lambda: (pair.status() or {}).get("connections", 0) >= 2, "both to begin")
    for number in range(50):
        odd = number % 2
        files.reload("proxy", ("mode: full", f"mode: {('full', 'backup')[odd]}"),
                     ("interface: cell", f"interface: cell, role: {('regular', 'backup')[odd]}"),
                     ("listen: mixed://127.0.0.1:1080", ("listen: mixed://127.0.0.1:1080",
                      "listen: [mixed://127.0.0.1:1080?mode=backup, socks5://127.0.0.1:1081]")[odd]),
                     more=("", "rules: [{ to: .blocked.test, then: block }]\nnames: { listen: [127.0.0.1:5353] }\n")[odd])
        files.reload("concentrator", ("users: [", (f"users: [", f"users: [ {{ name: guest, public_key: \"{guest}\" }},")[odd]),
                     more=("", "limits: { sessions_per_user: 8, memory: 64 MiB }\nannounce: [\"10.81.3.2:443\"]\n")[odd])
        sizes.append((pair.memory("proxy"), pair.memory("concentrator")))
    result = transfer.result(100)
    check(result["sha256"] == content_hash(8_000_000), "other bytes")
    w.wait(lambda: call.poll() is not None, "the call", 30)
    heard = json.loads(w.text("call"))
    check(heard["sent"] == 300 and heard["got"] >= 299, f"the call missed datagrams: {heard}")
    # With nothing else under way: what a hundred more leave behind.
    files.reload("proxy"), files.reload("concentrator")
    for side in ("proxy", "concentrator"):
        for _ in range(20):
            files.reload(side)
        before = pair.memory(side)
        for number in range(100):
            more = "rules: [{ to: .blocked.test, then: block }]\n" if side == "proxy" and number % 2 else ""
            files.reload(side, more=more)
        grown = pair.memory(side) - before
        check(grown < 2 << 20, f"100 reloads of the {side} left {grown} bytes")
    status = pair.status("concentrator")
    check(len(status["sessions"]) == 1, "the session is another")
    check(w.text("proxy").count("session opened") == 1, "the session was lost")
    pair.alive()


def test_what_is_changed_and_what_is_refused(w):
    pair = w.pair(proxy="listen: mixed://127.0.0.1:1080\n", others=[("bob", w.key("bob")[1])])
    files = Files(pair)
    code = ("import sys; sys.path.insert(0, %r); from world import socks5; s, code = socks5('origin.test', 7004); "
            "print('open', flush=True); sys.stdin.readline(); s.sendall(b'x'); print(s.recv(1), flush=True)" % HERE)
    living = subprocess.Popen(["ip", "netns", "exec", w.app, sys.executable, "-c", code], text=True,
                                            stdin=-1, stdout=-1)
    w.processes.append(living)
    check(living.stdout.readline() == "open\n", "no connection")
    # Everything that is wrong is said, and nothing is changed.
    files.set("proxy", ("mode: full", "mode: fulll"), more="rulez: []\nopen: slow\n")
    answer = reload(pair)
    check(answer.startswith("error: ") and all(word in answer for word in ("fulll", "rulez", "slow")), answer)
    ended = subprocess.run([w.braid, "reload", "--control", pair.control[0]], capture_output=True, text=True)
    check(ended.returncode == 2 and len(ended.stderr.splitlines()) == 3, f"{ended}")
    # A file that nobody ends: nothing waits for it.
    os.rename(pair.files[0], pair.files[0] + ".kept")
    os.mkfifo(pair.files[0])
    silent = os.open(pair.files[0], os.O_RDWR)
    check("says nothing" in reload(pair), "a pipe was read")
    os.close(silent)
    check(reload(pair).startswith("error: "), "an empty pipe was taken")
    os.rename(pair.files[0] + ".kept", pair.files[0])
    # A port that somebody has: refused whole, the other new one is not opened.
    taken = w.start(w.app, [sys.executable, "-c", "import socket, time; s = socket.create_server(('127.0.0.1', 1099)); "
                            "print('ready', flush=True); time.sleep(100)"], "taken")
    w.wait(lambda: "ready" in w.text("taken"), "the other program")
    both = "listen: [socks5://127.0.0.1:1082, socks5://127.0.0.1:1099]"
    files.set("proxy", ("listen: mixed://127.0.0.1:1080", both), ("mode: full", "mode: single"))
    answer = reload(pair)
    check(answer.startswith("error: ") and "1099" in answer, answer)
    check(pair.status()["listen"] == ["mixed://127.0.0.1:1080"] and pair.status()["sessions"][0]["mode"] == "full", "changed")
    taken.kill()
    # One port for another; what came in by the old one lives on. SIGHUP does the same.
    files.set("proxy", ("listen: mixed://127.0.0.1:1080", "listen: mixed://127.0.0.1:1083"), more="pcap: none.pcap\n")
    pair.proxy.send_signal(signal.SIGHUP)
    w.wait(lambda: pair.status()["listen"] == ["mixed://127.0.0.1:1083"], "the other port")
    check("pcap: takes a restart" in w.text("proxy"), "what takes a restart was not said")
    check(not os.path.exists(f"{w.folder}/none.pcap"), "the trace was begun")
    check(w.curl("http://origin.test/where", proxy="--socks5-hostname 127.0.0.1:1080").returncode != 0, "the port is open")
    check(w.curl("http://origin.test/where", proxy="--socks5-hostname 127.0.0.1:1083").returncode == 0, "the port is shut")
    living.stdin.write("\n")
    living.stdin.flush()
    check(living.stdout.readline() == "b'x'\n", "the connection that came in before was lost")
    # All addresses in place of one, which can't both be listened on, and back.
    for listen in ("mixed://me:secret@0.0.0.0:1083", "mixed://127.0.0.1:1083"):
        files.reload("proxy", ("listen: mixed://127.0.0.1:1080", f"listen: {listen}"))
    # Another user changes nothing for alice; without her, her session ends at both ends at once.
    users = files.texts[1].split("users: ")[1].splitlines()[0]
    alice, bob = users.strip("[] ").split(" }, ")
    answer = files.reload("concentrator", (users, f"[ {alice} }} ]"))
    check(answer == "users: bob removed with its sessions", answer)
    check(w.text("proxy").count("session closed") == 0, "alice's session was closed")
    answer = files.reload("concentrator", (users, f"[ {bob} ]"))
    check("alice removed" in answer and "bob added" in answer, answer)
    check(pair.status("concentrator")["sessions"] == [], "her session lives")
    w.wait(lambda: "session closed" in w.text("proxy") and "removed" in w.text("proxy"), "the proxy to hear of it", 5)
    # Let in again, she is back.
    files.reload("concentrator")
    w.wait(lambda: w.curl("http://origin.test/where", proxy="--socks5-hostname 127.0.0.1:1083", limit=5).returncode == 0,
           "her to be served again", 45)


@seconds(120)
def test_a_capture_lets_nothing_out_meanwhile(w):
    pair = capturing(w)
    files = Files(pair)
    watcher = watch(w)
    finish = download(w, w.app, ORIGIN, 2_000_000, "program")
    for number in range(10):
        files.reload("proxy", ("mode: full", f"mode: {('single', 'full')[number % 2]}"),
                     more=("", "rules: [{ to: .blocked.test, then: block }]\n")[number % 2])
        fetch(w, w.lan, ORIGIN, 10_000)
    answer = files.reload("proxy", ("machine: true", "machine: false"))
    check("capture: takes a restart" in answer, answer)
    finish()
    only_tunnel(w, watcher)
    pair.alive()
