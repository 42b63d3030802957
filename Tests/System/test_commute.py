"""Coverage of both uplinks comes and goes, on sockets as in the simulator."""
import json
import subprocess

from runner import Skip, check, seconds


@seconds(120)
def test_a_short_way(w):
    """Every byte of the download and the call is checked by the program that measures."""
    done = subprocess.run([w.braid, "commute", "--seconds", "12", "--seed", "4", "--mode", "full", "--mode", "single",
                           "--no-simulation", "--json", "-"],
                          capture_output=True, text=True, timeout=110)
    if "lets you make no network namespaces" in done.stderr or "/dev/net/tun" in done.stderr:
        raise Skip(done.stderr.strip().splitlines()[-1])
    check(done.returncode == 0, f"{done.stderr}{done.stdout}"[-1500:])
    ways = {way["mode"]: way for way in json.loads(done.stdout)}
    check(len(ways) == 2 and not any(way.get("failure") for way in ways.values()), done.stdout[-1500:])
    for mode, way in ways.items():
        w.notes.append(f"{mode}: {way['megabits_per_second']:.1f} Mbit/s, "
                       f"longest {way['longest_seconds']:.2f} s, {way['cellular_megabytes']:.1f} MB over cellular")
        check(way["wifi_joules"] > 0 and way["cellular_joules"] > 0 and way["money"] > 0, f"{mode}: {way}")
    full, single = ways["full"], ways["single"]
    check(full["megabits_per_second"] > 0.5 and single["megabits_per_second"] > 0.5, "hardly a byte arrived")
    check(full["cellular_megabytes"] > single["cellular_megabytes"], "full mode uses both, single one at a time")
