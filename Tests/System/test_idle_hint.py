"""systemd-logind's idle hint for mode auto: a login1 on a bus of its own, and buses that are none."""
import os
import subprocess
import time

from runner import Skip, check, seconds
from world import HERE, need

# Whose interpreter has Debian's D-Bus library.
PYTHON = "/usr/bin/python3"
MARKER = "/run/systemd/seats"
BUS = """<busconfig><type>system</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true"/><allow receive_type="method_call"/><allow receive_type="signal"/>
<allow receive_requested_reply="true"/></policy></busconfig>"""


class Logind:
    """What the programs that are started meanwhile take for the system's bus and its logind."""

    def __init__(self, w, path):
        self.path = path
        os.makedirs(MARKER, exist_ok=True)
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path={path}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        del os.environ["DBUS_SYSTEM_BUS_ADDRESS"]
        os.rmdir(MARKER)


def auto_pair(w):
    pair = w.pair(mode="auto", uplinks=("wifi", "cell,backup"), wait=False)
    pair.wait_for_paths(1)
    return pair


def reason(pair):
    return pair.status()["sessions"][0]["mode_reason"]


def seen(w, pair, text, limit=10):
    w.wait(lambda: reason(pair) == text, f"{text!r}, not {reason(pair)!r}", limit)


def page(w):
    return w.curl("-o", "/dev/null", "-w", "%{time_total}", "http://origin.test/bytes/1000")


@seconds(90)
def test_logind_says_whether_somebody_is_there(w):
    need("dbus-daemon")
    if subprocess.run([PYTHON, "-c", "import dbus, gi"], capture_output=True).returncode != 0:
        raise Skip("python3-dbus and python3-gi are not installed")
    with Logind(w, f"{w.folder}/bus"):
        with open(f"{w.folder}/bus.conf", "w") as file:
            file.write(BUS.format(path=f"{w.folder}/bus"))
        daemon = w.start(w.app, ["dbus-daemon", "--nofork", f"--config-file={w.folder}/bus.conf"], "dbus")
        w.wait(lambda: os.path.exists(f"{w.folder}/bus"), "the bus")
        login1 = subprocess.Popen([PYTHON, f"{HERE}/login1.py", "serve", f"unix:path={w.folder}/bus"], text=True,
                                  stdin=subprocess.PIPE, stdout=open(f"{w.folder}/login1.log", "w"))
        w.logs["login1"] = f"{w.folder}/login1.log"
        w.processes.append(login1)
        w.wait(lambda: "ready" in w.text("login1"), "login1")

        def says(word):
            login1.stdin.write(word + "\n")
            login1.stdin.flush()
        pair = auto_pair(w)
        w.wait(lambda: "asked IdleSinceHint" in w.text("login1"), "the question")
        check(reason(pair) == "nobody waits", f"nobody has a session: {reason(pair)}")
        says("idle")
        seen(w, pair, "nobody waits; idle, logind says")
        # Nothing but calls is waited for.
        w.limit(wifi=16, cell=16)
        client = w.start_client("download", 40_000_000)
        began = time.monotonic()
        w.wait(lambda: time.monotonic() > began + 7, "seven seconds")
        check(client.process.poll() is None and pair.status()["sessions"][0]["mode"] == "single", "a transfer while idle")
        says("in-use")
        w.wait(lambda: pair.status()["sessions"][0]["mode"] == "full", "full mode")
        check(reason(pair) == "a transfer that lasts; in use, logind says", reason(pair))
        client.result()

        def mode(*words):
            subprocess.run([w.braid, "mode", *words, "--control", pair.control[0]], check=True, capture_output=True)
        # Who says it by command knows better, until it is taken back.
        mode("auto", "--idle")
        seen(w, pair, "nobody waits; said to be idle")
        says("in-use")
        mode("auto")
        seen(w, pair, "nobody waits; in use, logind says")
        says("odd")
        seen(w, pair, "nobody waits")
        says("idle")
        seen(w, pair, "nobody waits; idle, logind says")
        mode("single")
        mode("auto")
        seen(w, pair, "nobody waits; idle, logind says")
        # The bus ends, and nothing is known any more; it is asked no more than twice a second meanwhile.
        for _ in range(200):
            says("idle")
        asked = w.text("login1").count("asked IdleHint")
        check(asked < 40, f"{asked} questions")
        daemon.kill()
        seen(w, pair, "nobody waits")
        check(page(w).returncode == 0, "a page")
        pair.alive()


@seconds(90)
def test_a_bus_that_is_none(w):
    for number, what in enumerate(("silent", "nonsense", "garbage", "shut", "flood")):
        path = f"{w.folder}/{what}"
        with Logind(w, path):
            w.start(w.app, [PYTHON, f"{HERE}/login1.py", "bus", path, what], what)
            w.wait(lambda: "ready" in w.text(what), "the bus")
            if number == 0:
                pair = auto_pair(w)
            else:
                pair.proxy.kill()
                pair.proxy.wait()
                pair.start_proxy()
                pair.wait_for_paths(1)
            w.wait(lambda: "came" in w.text(what), f"a connection to the bus that is {what}")
            began = time.monotonic()
            for _ in range(10):
                done = page(w)
                check(done.returncode == 0, f"{what}: {done.stderr}")
            fields = open(f"/proc/{pair.proxy.pid}/stat").read().rsplit(")")[1].split()
            ticks = int(fields[11]) + int(fields[12])
            w.notes.append(f"{what}: {ticks * 10} ms of processor, {pair.memory() >> 20} MiB")
            check(what == "flood" or ticks < 100, f"{what}: {ticks} ticks in {time.monotonic() - began:.1f} s")
            check(pair.memory() < 200 << 20, f"{what}: {pair.memory()} bytes")
            check(reason(pair) == "nobody waits" and w.text(what).count("came") == 1, f"{what}: {reason(pair)}")
            pair.alive()
