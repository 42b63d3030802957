"""Coverage of both uplinks comes and goes, on sockets as in the simulator."""
import json
import subprocess

from runner import Skip, check, seconds


@seconds(120)
def test_a_short_way(w):
    """Every byte of the download and the call is checked by the program that measures; the same way through the
    simulator says what the trace takes from each mode."""
    done = subprocess.run([w.braid, "commute", "--seconds", "12", "--seed", "4", "--mode", "full", "--mode", "single",
                           "--json", "-"],
                          capture_output=True, text=True, timeout=110)
    if "lets you make no network namespaces" in done.stderr or "/dev/net/tun" in done.stderr:
        raise Skip(done.stderr.strip().splitlines()[-1])
    check(done.returncode == 0, f"{done.stderr}{done.stdout}"[-1500:])
    ways = {(way["mode"], way["is_simulated"]): way for way in json.loads(done.stdout)}
    check(len(ways) == 4 and not any(way.get("failure") for way in ways.values()), done.stdout[-1500:])
    for (mode, is_simulated), way in ways.items():
        w.notes.append(f"{mode}{', simulated' if is_simulated else ''}: {way['megabits_per_second']:.1f} Mbit/s, "
                       f"longest {way['longest_seconds']:.2f} s, {way['cellular_megabytes']:.2f} MB over cellular")
        check(way["wifi_joules"] > 0 and way["cellular_joules"] > 0, f"{mode}: {way}")
        check(abs(way["money"] - way["cellular_megabytes"] * 5 / 1000) < 1e-6, f"{mode}: 5 a GB: {way}")
    full, single = ways["full", False], ways["single", False]
    # A busy machine makes gaps longer and rates lower; a loss of coverage that never came would do neither.
    for mode in ("full", "single"):
        here, there = ways[mode, False], ways[mode, True]
        check(here["longest_seconds"] > there["longest_seconds"] - 0.4, f"{mode}: coverage did not go: {here}, {there}")
        check(here["longest_seconds"] < there["longest_seconds"] + 2, f"{mode}: coverage did not return: {here}, {there}")
        for what, least, most in (("megabits_per_second", 0.5, 1.25), ("wifi_joules", 0.75, 1.25),
                                  ("cellular_joules", 0.6, 1.6), ("cellular_megabytes", 0.5, 2)):
            check(there[what] * least < here[what] < there[what] * most,
                  f"{mode}: {what} {here[what]}, simulated {there[what]}")
    check(full["cellular_megabytes"] > 2 * single["cellular_megabytes"], "full mode uses both, single one at a time")
    check(full["longest_seconds"] < single["longest_seconds"] - 0.5, "single mode waits for the other uplink, full does not")
