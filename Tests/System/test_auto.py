"""The mode that follows from use, on sockets: up for a transfer that lasts, back after it, and by a hint."""
import contextlib
import subprocess
import sys

from browser import Browser
from runner import Skip, check, seconds
from test_clock import Screen
from world import HERE, ORIGIN


def mode(pair):
    session = pair.status()["sessions"][0]
    return session["mode"], session.get("mode_reason")


@seconds(60)
def test_the_mode_follows_from_use(w):
    w.limit(wifi=24, cell=12)
    pair = w.pair(mode="auto", uplinks=("wifi", "cell,backup"), wait=False)
    pair.wait_for_paths(1)
    check(mode(pair) == ("single", "nobody waits"), f"at rest: {mode(pair)}")
    check(w.curl("-o", "/dev/null", "http://origin.test/bytes/500000").returncode == 0, "a page")
    check(mode(pair)[0] == "single", f"after a page: {mode(pair)}")
    rested = w.sent("cell")
    check(rested < 2_000, f"{rested} bytes left by an uplink that nobody wanted")
    client = w.start_client("download", 36_000_000)
    w.wait(lambda: mode(pair) == ("full", "a transfer that lasts"), "full mode", 20)
    # Joined, and used.
    w.wait(lambda: w.received("cell") > 1_000_000, "bytes on the second uplink", 20)
    client.result()
    w.wait(lambda: mode(pair) == ("single", "nobody waits") and pair.usable() == 1, "single mode again", 20)

    def braid_mode(*words):
        return subprocess.run([w.braid, "mode", *words, "--control", pair.control[0]], capture_output=True, text=True)
    check("auto idle" in braid_mode("auto", "--idle").stdout, "the hint")
    check("auto in-use" in braid_mode("--in-use").stdout, "the hint alone leaves auto as it is")
    check(braid_mode().returncode != 0, "neither a mode nor a hint")
    check(braid_mode("full", "--idle").returncode != 0, "a hint for a fixed mode is refused")
    check(braid_mode("full").returncode == 0 and mode(pair) == ("full", None), f"a fixed mode: {mode(pair)}")
    refused = braid_mode("--idle")
    check(refused.returncode != 0 and "the mode is full" in refused.stderr, f"a hint alone for a fixed mode: {refused.stderr}")
    pair.alive()


@seconds(120)
def test_the_reason_is_shown(w):
    """By braid status, on the page and on the screen, for whatever somebody waits for; the same everywhere."""
    w.limit(wifi=8, cell=8)
    pair = w.pair(mode="auto", uplinks=("wifi", "cell,backup"), wait=False, proxy="status: 127.0.0.1:9090\n")
    pair.wait_for_paths(1)
    browser = None
    with contextlib.suppress(Skip):
        browser = Browser(w, w.app)
        browser.open("http://127.0.0.1:9090")
    screen = Screen(w, pair)

    def shows(reason):
        w.wait(lambda: mode(pair)[1] == reason, f"{reason}, not {mode(pair)}", 20)
        present = mode(pair)[0]
        said = subprocess.run([w.braid, "status", "--control", pair.control[0]], capture_output=True, text=True).stdout
        check(f"mode {present} (auto: {reason})" in said, said)
        if browser:
            browser.wait(f"document.getElementById('mode-detail').innerText === '{present} now: {reason}'", f"the page to say {reason}")
        w.wait(lambda: any(f"mode {present} (auto: {reason})" in drawn for drawn in screen.drawn()), f"the screen to say {reason}")
        return present
    check(shows("nobody waits") == "single", "at rest")
    typing = w.start_client("stream", 16, 16)
    check(shows("interactive traffic") == "backup", "while somebody types")
    typing.result()
    transfer = w.start_client("download", 16_000_000)
    check(shows("a transfer that lasts") == "full", "a transfer")
    transfer.result()
    call = w.start(w.app, [sys.executable, f"{HERE}/datagrams.py", "call", ORIGIN, "7000", "20", "500"], "call")
    check(shows("a call") in ("backup", "full"), "a call")
    w.wait(lambda: call.poll() is not None, "the call's end", 30)
    check(shows("nobody waits") == "single", "after it all")
    pair.alive()
