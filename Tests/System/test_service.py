"""The programs as services: restarts, what they may do and show, who may ask them, and what they tell their manager."""
import os
import shutil
import signal
import socket
import subprocess
import time
import unicodedata

from runner import Skip, between, check, seconds
from test_dialogues import reply_code
from world import CONCENTRATOR, need, sh


def ask(w, *arguments, user=None, **options):
    """braid with these arguments; the finished process."""
    command = [w.braid, *arguments]
    if user is not None:
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, **options)


def others_exist():
    """Whether this namespace knows other users than root, so that a process can become one."""
    mapped = [line.split() for line in open("/proc/self/uid_map")]
    if os.geteuid() != 0 or not any(int(first) <= 65534 < int(first) + int(count) for first, _, count in mapped):
        raise Skip("only root is mapped here")


def wait_for_pid(w, pair, pid):
    """Until braid status is answered by this process."""
    w.wait(lambda: (pair.status("concentrator") or {}).get("pid") == pid, f"an answer of process {pid}")


def started(process):
    """The program itself, below `ip netns exec`, which becomes it."""
    return process.pid


def test_a_restart_in_which_two_processes_overlap(w):
    pair = w.pair()
    old = pair.concentrator
    # The new one listens elsewhere, as another container would; the old one still drains.
    text = open(pair.files[1]).read().replace(f"{CONCENTRATOR}:443", f"{CONCENTRATOR}:444")
    other = f"{w.folder}/other.yaml"
    open(other, "w").write(text)
    new = w.start(w.net, [w.braid, "concentrator", "--config", other], "new")
    wait_for_pid(w, pair, started(new))
    old.terminate()
    old.wait(40)
    check(pair.status("concentrator") is not None, "the old process took the new one's control socket with it")
    check(pair.status("concentrator")["pid"] == started(new), "another process answers")
    new.terminate()
    new.wait(40)
    check(not os.path.exists(pair.control[1]), "the control socket was left behind")


def test_status_after_a_kill(w):
    pair = w.pair()
    pair.concentrator.kill()
    pair.concentrator.wait(5)
    check(os.path.exists(pair.control[1]), "a killed process leaves its socket")
    check(pair.status("concentrator") is None, "a dead process answers")
    pair.start_concentrator()
    wait_for_pid(w, pair, started(pair.concentrator))


def test_only_root_and_the_user_are_answered(w):
    others_exist()
    need("setpriv")
    pair = w.pair()
    os.chmod(w.folder, 0o755)
    os.chmod(pair.control[0], 0o666)
    check(ask(w, "status", "--control", pair.control[0]).returncode == 0, "root is not answered")
    other = ask(w, "status", "--control", pair.control[0], user=12345)
    check(other.returncode == 1 and "rtt" not in other.stdout, f"a stranger was answered: {other.stdout}")
    mode = ask(w, "mode", "single", "--control", pair.control[0], user=12345)
    check(mode.returncode == 1 and pair.status()["sessions"][0]["mode"] == "full", "a stranger changed the mode")


def test_only_processes_of_root_and_the_user_are_asked(w):
    """Another user's socket, whatever it says, is not believed; and what is said moves no cursor."""
    others_exist()
    need("setpriv")
    script = ("import contextlib, os, socket, sys\nos.umask(0)\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\n"
              "open(sys.argv[1] + '.asked', 'w').close()\n"
              "while True:\n c, _ = s.accept()\n q = c.recv(100)\n"
              " if q: open(sys.argv[1] + '.asked', 'a').write(q.decode())\n"
              " with contextlib.suppress(OSError): c.sendall(b'error: \\x1b[2Jgotcha\\xc2\\x9b\\n')\n c.close()\n")
    os.chmod(w.folder, 0o755)
    for name, owner, run_as, trusted in [("peer", 0, 4321, False), ("folder", 4321, 0, False), ("own", 0, 0, True)]:
        folder = f"{w.folder}/{name}"
        os.mkdir(folder, 0o777)
        os.chmod(folder, 0o777)
        os.chown(folder, owner, owner)
        w.start(w.net, ["setpriv", f"--reuid={run_as}", f"--regid={run_as}", "--clear-groups", "python3", "-c", script,
                        f"{folder}/it"], name)
        w.wait(lambda: os.path.exists(f"{folder}/it.asked"), "the script")
        for command in (["status"], ["status", "--json"], ["mode", "full"]):
            result = ask(w, *command, "--control", f"{folder}/it")
            check(result.returncode != 0, f"{name}: {result}")
            said = result.stdout + result.stderr
            check(all(c == "\n" or unicodedata.category(c)[0] != "C" for c in said), f"{name}: control characters: {said!r}")
            check(("gotcha" in said) == trusted, f"{name}: {said}")
        asked = open(f"{folder}/it.asked").read()
        check(bool(asked) == trusted, f"{name}: was asked {asked!r}")


def status_fields(process):
    """What the kernel says of a process."""
    return dict(line.split(":\t", 1) for line in open(f"/proc/{process.pid}/status").read().splitlines())


def test_no_core_and_no_rights_beyond_need(w):
    others_exist()
    pair = w.pair(proxy="user: nobody\n", concentrator="egress: { deny: [] }\nuser: nobody\n")
    for process, name in ((pair.proxy, "proxy"), (pair.concentrator, "concentrator")):
        fields = status_fields(process)
        nobody = fields["Uid"].split()
        check(len(set(nobody)) == 1 and nobody[0] != "0", f"{name} runs as {nobody}")
        for kind in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
            check(int(fields[kind], 16) == 0, f"{name} has {kind} {fields[kind]}")
        check(fields["NoNewPrivs"].strip() == "1" and fields["Groups"].strip() == "", f"{name}: {fields}")
        limits = open(f"/proc/{process.pid}/limits").read()
        core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        check(core.split()[4:6] == ["0", "0"], f"{name}: {core}")
        # PR_SET_DUMPABLE 0: what is the process's in /proc is root's.
        check(os.stat(f"/proc/{process.pid}/environ").st_uid == 0, f"{name} can be looked into")
    # The place of its control socket is root's: it looks after it every 10 s.
    asked = time.monotonic() + 11
    # Bound to interfaces that come later, without a right to it.
    w.down("wifi")
    w.wait(lambda: pair.usable() == 1, "one path")
    w.up("wifi")
    w.wait(lambda: pair.usable() == 2, "both paths", 20)
    check(w.curl("http://origin.test/where").returncode == 0, "no answer")
    time.sleep(max(0, asked - time.monotonic()))
    check(pair.status() is not None and pair.status("concentrator") is not None, "root is not answered any more")


def test_root_without_a_user_of_its_own_says_so(w):
    pair = w.pair()
    check("runs as root" in w.text("concentrator"), "nothing was said")
    check(int(status_fields(pair.concentrator)["Uid"].split()[0]) == 0, "it became somebody")
    wrong = ask(w, "check", "--config", pair.files[0])
    check(wrong.returncode == 0, wrong.stderr)
    open(pair.files[0], "a").write("user: nobody-of-this-name\n")
    wrong = ask(w, "check", "--config", pair.files[0])
    check(wrong.returncode == 2 and "useradd" in wrong.stderr, f"{wrong}")


def test_the_manager_is_told(w):
    """READY once, WATCHDOG twice in each interval for as long as the loop goes round, STOPPING at the end."""
    path = f"{w.folder}/notify"
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(path)
    manager.settimeout(15)
    pair = w.pair(wait=False)
    pair.proxy.kill()
    environment = {**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000000"}
    process = w.start(w.app, [w.braid, "proxy", "--config", pair.files[0]], "watched", env=environment)
    check(manager.recv(100) == b"READY=1", "not ready first")
    for _ in range(4):
        check(manager.recv(100) == b"WATCHDOG=1", "not fed")
    process.send_signal(signal.SIGSTOP)   # a loop that stands still
    time.sleep(0.2)
    manager.setblocking(False)
    try:
        while True:
            manager.recv(100)
    except BlockingIOError:
        pass
    manager.settimeout(1.5)
    try:
        check(False, f"fed by a loop that stands still: {manager.recv(100)}")
    except TimeoutError:
        pass
    process.send_signal(signal.SIGCONT)
    manager.settimeout(15)
    check(manager.recv(100) == b"WATCHDOG=1", "not fed again")
    process.terminate()
    said = manager.recv(100)
    while said == b"WATCHDOG=1":
        said = manager.recv(100)
    check(said == b"STOPPING=1", f"said {said}")


def test_applications_learn_that_a_key_is_wrong(w):
    """At the proxy's first warning, not after half a minute; and at once from then on, until a session opens."""
    pair = w.pair(wait=False, proxy="open: checked\nwithout_session: refuse\n")
    pair.proxy.kill()
    pair.proxy.wait(5)
    right = open(pair.files[0]).read()
    _, stranger = w.key("stranger")
    open(pair.files[0], "w").write(right.replace(pair.concentrator_public, stranger))
    pair.start_proxy()
    w.wait(lambda: "listening" in w.text("proxy"), "the proxy")
    began = time.monotonic()
    check(reply_code(w, "origin.test", 80) == 1, "the reply is general failure")
    check(time.monotonic() - began < 20, "the application hung")
    w.wait(lambda: "no answer from the concentrator" in w.text("proxy"), "the warning")
    for proxy, url in [("--proxy http://127.0.0.1:1080", "http://origin.test/where"),
                       ("--proxytunnel --proxy http://127.0.0.1:1080", "http://origin.test/where")]:
        began = time.monotonic()
        result = w.curl("-i", url, proxy=proxy)
        check(b" 504 " in result.stdout.split(b"\n")[0], f"{result}")
        check(proxy.startswith("--proxytunnel") or b"public key" in result.stdout, f"{result}")
        check(time.monotonic() - began < 4, "the application waited for what can't come")
    check(reply_code(w, "origin.test", 80) == 1, "the reply is general failure")


def test_without_an_uplink_nobody_waits(w):
    pair = w.pair(wait=False, uplinks=("none0",), proxy="without_session: refuse\n")
    w.wait(lambda: "listening" in w.text("proxy"), "the proxy")
    began = time.monotonic()
    check(reply_code(w, "origin.test", 80) == 3, "the reply is network unreachable")
    result = w.curl("-i", "http://origin.test/where", proxy="--proxy http://127.0.0.1:1080")
    check(b" 503 " in result.stdout.split(b"\n")[0] and b"no uplink" in result.stdout, f"{result}")
    check(time.monotonic() - began < 4, "the application waited for what can't come")
    pair.alive()


@seconds(120)
def test_a_session_without_an_uplink(w):
    """The session lives, and no uplink is there, or nothing comes by them: the reason is that, not the destination."""
    pair = w.pair(proxy="open: checked\nwithout_session: refuse\n")
    for what, cut, mend, code, socks, words in [
            ("down", w.down, w.up, b" 503 ", 3, b"no uplink"),
            ("silent", w.silence, lambda uplink: w.silence(uplink, False), b" 504 ", 1, b"does not answer")]:
        if what == "silent":
            sh(f"ip netns exec {w.mid} ip route add blackhole 10.81.3.0/25")
        else:
            for uplink in ("wifi", "cell"):
                cut(uplink)
        began = time.monotonic()
        result = w.curl("-i", "http://origin.test/where", proxy="--proxy http://127.0.0.1:1080")
        check(code in result.stdout.split(b"\n")[0] and words in result.stdout, f"{what}: {result}")
        between(time.monotonic() - began, 0, 20, f"{what}: the first who asks is told after s")
        began = time.monotonic()
        check(reply_code(w, "origin.test", 80) == socks, f"{what}: the reply")
        between(time.monotonic() - began, 0, 3, f"{what}: the next one is told after s")
        if what == "silent":
            sh(f"ip netns exec {w.mid} ip route del blackhole 10.81.3.0/25")
        else:
            for uplink in ("wifi", "cell"):
                mend(uplink)
        w.wait(lambda: w.curl("http://origin.test/where", limit=5).returncode == 0, f"{what}: a request afterwards", 15)


def test_requests_are_served_as_soon_as_the_concentrator_is_there(w):
    """What was refused for want of an answer is asked again, and is not refused for long."""
    pair = w.pair(wait=False)
    pair.concentrator.kill()
    pair.concentrator.wait(5)
    w.wait(lambda: "no answer from the concentrator" in w.text("proxy"), "the warning", 20)
    check(w.curl("http://origin.test/where", limit=5).returncode != 0, "served by nobody")
    pair.start_concentrator()
    w.wait(lambda: w.curl("http://origin.test/where", limit=5).returncode == 0, "an answer", 15)


def test_it_runs_where_there_is_no_swift(w):
    """A root with the program and Debian's libraries, and nothing else."""
    need("ldd", "readelf", "chroot", "unshare")
    root = f"{w.folder}/root"
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    libraries = []
    for line in sh(["ldd", w.braid], env=environment).splitlines():
        words = line.split()
        path = words[2] if "=>" in words else words[0]
        check("not found" not in line, line)
        check("swift" not in line.lower(), f"a library of Swift's: {line}")
        if path.startswith("/"):
            check(path.startswith(("/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/")), f"not Debian's: {line}")
            libraries.append(path)
    check("/swift" not in sh(["readelf", "-d", w.braid]), "the run path leads into the toolchain")
    for path in libraries:
        os.makedirs(root + os.path.dirname(path), exist_ok=True)
        shutil.copy(path, root + path)
    shutil.copy(w.braid, f"{root}/braid")

    def inside(*arguments):
        # Swift's arguments come from /proc.
        command = f"mount -t proc proc {root}/proc && exec chroot {root} /braid \"$@\""
        return subprocess.run(["unshare", "--mount", "bash", "-c", command, "bash", *arguments], capture_output=True, text=True,
                              env={"PATH": os.environ["PATH"]})

    os.mkdir(f"{root}/proc")
    version = inside("--version")
    check(version.returncode == 0 and version.stdout.startswith("braid "), f"{version}")
    # keygen makes the folder that is missing, and says what to do where more than that is.
    os.mkdir(f"{root}/etc")
    key = inside("keygen", "/etc/braid/proxy.key")
    check(key.returncode == 0 and len(key.stdout.strip()) == 44, f"{key}")
    check(os.stat(f"{root}/etc/braid").st_mode & 0o777 == 0o700, "the folder is open to others")
    far = inside("keygen", "/no/such/folder/proxy.key")
    check(far.returncode == 2 and "mkdir -p /no/such/folder" in far.stderr, f"{far}")
