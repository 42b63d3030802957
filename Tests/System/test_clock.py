"""The wall clock of running programs is set by hours, days and months, forward and back: nothing ends, hangs, is counted
twice or lost, and what is written down has the time that the clock showed."""
import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
import time

from runner import check, seconds
from test_money import carried, used
from test_setup import braid, done
from world import CONCENTRATOR, HERE, content_hash, need, sh

HOUR, DAY = 3_600, 86_400
PAGE = "http://127.0.0.1:9090"


class Clocks:
    """Programs that are started within it have a wall clock of their own, by their first word."""
    words = ("proxy", "concentrator", "status")

    def __init__(self, w):
        need("clang")
        self.folder = f"{w.folder}/clocks"
        os.mkdir(self.folder)
        library = f"{w.folder}/clock.so"
        sh(["clang", "-O1", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, f"{HERE}/clock_offset.c"])
        self.environment = {"LD_PRELOAD": library, "CLOCKS": self.folder, "TZ": "UTC", "STATE_DIRECTORY": w.folder}
        self.offsets = {}
        self.set(0, *self.words)

    def set(self, offset, *words):
        for word in words:
            # In its place: a program has mapped it.
            with open(f"{self.folder}/{word}", "r+b" if word in self.offsets else "wb") as file:
                file.write(struct.pack("q", offset))
            self.offsets[word] = offset

    def now(self, word):
        return time.time() + self.offsets[word]

    def __enter__(self):
        self.saved = dict(os.environ)
        os.environ.update(self.environment)

    def __exit__(self, *_):
        os.environ.clear()
        os.environ.update(self.saved)


class Screen:
    """braid status --watch on a terminal."""

    def __init__(self, w, pair):
        self.main, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen([w.braid, "status", "--watch", "--control", pair.control[0]], stdin=other, stdout=other,
                                        stderr=other, env={**os.environ, "TERM": "xterm", "LANG": "C.UTF-8", "NO_COLOR": "1"})
        w.processes.append(self.process)
        os.close(other)
        os.set_blocking(self.main, False)

    def drawn(self):
        """Whole screens since the last call."""
        said = b""
        with contextlib.suppress(OSError):  # nothing more for now, or the end
            while True:
                said += os.read(self.main, 65536)
        return said.decode(errors="replace").split("\x1b[H")[1:]


def usage(w, *words):
    rows = json.loads(done(w, "usage", "--json", *words))
    days = {}
    for row in rows:
        days[row["period"]] = days.get(row["period"], 0) + row["sent_bytes"] + row["received_bytes"]
    return days


def events(w, pair):
    return [json.loads(line) for line in done(w, "events", "--json", "-n", "500", "--control", pair.control[0]).splitlines()]


def live_seconds(w):
    """What an open page is told within two and a half seconds."""
    result = w.run(w.app, ["curl", "-sN", "--max-time", "2.5", f"{PAGE}/events"])
    return [json.loads(data) for data in re.findall(r"event: second\ndata: (.*)\n", result.stdout.decode())]


def processor_time(process):
    fields = open(f"/proc/{process.pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def both_carried(w):
    return carried(w, "wifi") + carried(w, "cell")


@seconds(120)
def test_the_clock_is_set(w):
    clocks = Clocks(w)
    # Segmentation happens before the interface counts.
    for space in (w.app, w.mid):
        for uplink in ("wifi", "cell"):
            sh(f"ip -n {space} link set {uplink} gso_max_segs 1")
    w.limit(wifi=8, cell=4)
    users = f"{w.folder}/users.d"
    os.mkdir(users)
    with clocks:
        pair = w.pair(
            proxy=(f"status: {PAGE[7:]}\nhistory: {{ path: {w.folder}/past.db }}\nuplinks:\n"
                   "  - { interface: wifi }\n  - { interface: cell, allowance: 1GB }\n"), uplinks=(), wait=False,
            concentrator=f"egress: {{ deny: [] }}\nhistory: {{ path: {w.folder}/users.db }}\nusers_directory: {users}\n")
    pair.wait_for_paths(2)
    with clocks:
        screen = Screen(w, pair)
    done(w, "user", "invite", "guest", "--plain", "--valid", "1h", "--config", pair.files[1])
    size = 55_000_000
    client = w.start_client("download", size)
    both = ("proxy", "concentrator", "status")
    seen, before, known, month = {}, both_carried(w), used(pair), time.strftime("%Y-%m", time.gmtime())
    for number, (offset, words) in enumerate([
            (0, both), (5 * HOUR, ("proxy", "status")), (5 * HOUR, both), (-2 * HOUR, both), (-3 * DAY, ("proxy", "status")),
            (-3 * DAY, both), (100 * DAY, both), (0, both)]):
        clocks.set(offset, *words)
        at = clocks.now("proxy")
        screen.drawn()
        if number % 2:
            w.down("wifi")
            w.up("wifi")
        fetched = w.curl("-o", "/dev/null", "-w", "%{http_code}", "http://origin.test/bytes/1000", limit=10)
        check(fetched.stdout == b"200", f"a page at {offset}: {fetched}")
        shown = live_seconds(w)
        check(len(shown) >= 2, f"an open page was told of {len(shown)} seconds at {offset}")
        for second in shown:
            check(abs(second["now"] / 1000 - clocks.now("proxy")) < 3, f"the page's clock at {offset}: {second['now']}")
            check(all(row["since"] <= second["now"] for row in second["uplinks"]), f"an uplink's state of the future: {second}")
        screens = screen.drawn()
        # Drawn in the last seconds, perhaps before a minute was full.
        minutes = {time.strftime("%H:%M", time.gmtime(clocks.now("status") - seconds)) for seconds in range(6)}
        check(len(screens) >= 2 and any(minute in one for one in screens for minute in minutes),
              f"{len(screens)} screens at {offset}, none with {minutes}")
        # Day by day, but for what the loop counts once a second.
        moved = both_carried(w) - before
        before += moved
        day = time.strftime("%Y-%m-%d", time.gmtime(at))
        seen[day] = seen.get(day, 0) + moved
        # In another month, which 5 hours are on the evening of a month's last day, the allowance begins anew.
        now_used = used(pair)
        if day[:7] == month:
            check(now_used >= known, f"the allowance has {now_used} used, {known} before")
        known = max(known, now_used)
        if number % 2:
            lost = [e for e in events(w, pair) if e["sentence"].startswith("wifi is gone")][-1]
            when = lost["time"] / 1000 if isinstance(lost["time"], (int, float)) else lost["time"]
            check(abs(when - at) < 3, f"wifi went at {at} by the clock, written as {when}")
        pair.alive()
    check(client.result(90)["sha256"] == content_hash(size), "other bytes")
    for name in pair.names:
        check(w.text(name).count("session opened") == 1, f"{name} has another session")
    w.wait(lambda: abs(used(pair) - carried(w)) <= 100_000, f"the allowance to have what cell carried: {used(pair)} of {carried(w)}")
    counted = usage(w, "--control", pair.control[0])
    today = time.strftime("%Y-%m-%d", time.gmtime(at))
    seen[today] += both_carried(w) - before
    w.notes.append(f"by day: {counted}, the interfaces: {seen}")
    for day in seen.keys() | counted.keys():
        # At each of eight settings the loop's last second may be counted by the next clock: 12 Mbit/s, both ways.
        check(abs(seen.get(day, 0) - counted.get(day, 0)) < 4_000_000, f"{day}: {counted.get(day)} counted of {seen.get(day)}")
    check(abs(sum(counted.values()) - both_carried(w)) < 200_000, f"{sum(counted.values())} counted of {both_carried(w)}")
    # What a clock that was ahead has counted is none of today's.
    shown = sum(row.get("today", 0) for row in live_seconds(w)[-1]["uplinks"])
    check(abs(shown - usage(w, "--control", pair.control[0])[today]) < 100_000, f"{shown} today on the page, {counted[today]} counted")
    # Nothing spins.
    spent = [processor_time(p) for p in (pair.proxy, pair.concentrator)]
    time.sleep(1)
    for process, before in zip((pair.proxy, pair.concentrator), spent):
        check(processor_time(process) - before < 0.3, f"{processor_time(process) - before} s of a second at rest")
    # The next process has what this one wrote.
    pair.proxy.terminate()
    check(pair.proxy.wait(40) == 0, "the proxy's end")
    written = usage(w, "--file", f"{w.folder}/past.db")
    check(abs(sum(written.values()) - both_carried(w)) < 200_000 and set(written) == set(counted), f"{written} written of {counted}")
    with clocks:
        pair.start_proxy()
    pair.wait_for_paths(2)
    again = usage(w, "--control", pair.control[0])
    check(all(0 <= again[day] - written[day] < 100_000 for day in written), f"{again} of {written}")
    screen.process.terminate()
    w.wait(lambda: (screen.drawn(), screen.process.poll() is not None)[1], "the screen's end")


@seconds(60)
def test_invitations_end_by_the_clock(w):
    """Of the concentrator; whoever joins may have any."""
    clocks = Clocks(w)
    users = f"{w.folder}/users.d"
    os.mkdir(users)
    with clocks:
        pair = w.pair(concentrator=f"egress: {{ deny: [] }}\nuser: root\nusers_directory: {users}\n")

    def invite(name):
        return done(w, "user", "invite", name, "--plain", "--valid", "1h", "--address", CONCENTRATOR, "--config", pair.files[1]).strip()

    def join(link, name):
        return braid(w, "join", link, "--run-as", "root", "--folder", f"{w.folder}/{name}", space=w.app)
    one, two, three = invite("one"), invite("two"), invite("three")
    clocks.set(2 * HOUR, "concentrator")
    refused = join(one, "one")
    check(refused.returncode == 1 and "its time is over" in refused.stderr and not os.path.exists(f"{w.folder}/one"), f"{refused}")
    clocks.set(-2 * DAY, "concentrator")
    check(join(two, "two").returncode == 0, "an invitation with two days to go")
    # Right again: what was refused was not used up.
    clocks.set(0, "concentrator")
    check(join(three, "three").returncode == 0, "an invitation with an hour to go")
    check(join(one, "one").returncode == 0, "an invitation that was tried while the clock was wrong")
    pair.alive()
