"""The mode that follows from use, on sockets: up for a transfer that lasts, back after it, and by a hint."""
import subprocess

from runner import check, seconds


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
