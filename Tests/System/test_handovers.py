"""braid handovers: a short run gives a JSON document of the promised shape, with figures that can be."""
import json
import os
import subprocess
import tempfile

from runner import Skip, between, check, seconds


def handovers(world, *options, limit=100):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "report.json")
        done = subprocess.run([world.braid, "handovers", "--repetitions", "1", "--seeds", "3", "--json", path, *options],
                              capture_output=True, text=True, timeout=limit)
        if "lets you make no network namespaces" in done.stderr or "/dev/net/tun" in done.stderr:
            raise Skip(done.stderr.strip())
        check(done.returncode == 0, f"exit code {done.returncode}: {done.stdout[-600:]}{done.stderr[-600:]}")
        with open(path) as file:
            return json.load(file), done.stdout


def figure(world, scenario, name):
    """The measured and the simulated median of a figure that happened on both sides."""
    found = next((f for f in scenario["figures"] if f["name"] == name), None)
    check(found, f"{scenario['name']} has no {name}")
    check(len(found["measured_values"]) == 1 and len(found["simulated_values"]) == 3, f"{name}: {found}")
    for side in ("measured", "simulated"):
        check(found.get(side), f"{name} of {scenario['name']} never happened: {found}")
        check(found[side]["least"] <= found[side]["median"] <= found[side]["most"], f"{name}: {found[side]}")
    world.notes.append(f"{name} {found['measured']['median']:.0f}, simulated {found['simulated']['median']:.0f}")
    return found["measured"]["median"], found["simulated"]["median"]


@seconds(110)
def test_download_loses_wifi(world):
    report, table = handovers(world, "--application", "download", "--mode", "full", "--lost", "wifi")
    check([s["loss"] for s in report["scenarios"]] == ["visible", "silent"], "not the scenarios asked for")
    for scenario, most in zip(report["scenarios"], (600, 1000)):
        measured, simulated = figure(world, scenario, "longest_gap")
        between(measured, 30, most, "the longest gap in ms")
        between(simulated, 30, most, "the simulated gap in ms")
        figure(world, scenario, "time_to_return")
        check(scenario["failures"] == [] and scenario["name"] in table, f"{scenario}")


@seconds(110)
def test_single_mode_sleeps_and_hands_over(world):
    report, _ = handovers(world, "--application", "stream", "--mode", "single", "--lost", "wifi", "--loss", "visible")
    scenario, = report["scenarios"]
    measured, _ = figure(world, scenario, "delay_before")
    between(measured, 15, 60, "the stream's delay in ms")
    measured, _ = figure(world, scenario, "extra_delay")
    between(measured, 30, 1000, "the extra delay in ms")
    check(figure(world, scenario, "sleeping_packets")[0] == 0, "the sleeping uplink was woken")


@seconds(60)
def test_a_call_loses_wifi(world):
    report, _ = handovers(world, "--application", "udp-voice", "--mode", "backup", "--lost", "wifi", "--loss", "visible")
    scenario, = report["scenarios"]
    check(scenario["failures"] == [], f"{scenario}")
    for direction in ("down", "up"):
        between(figure(world, scenario, "call_delay_" + direction)[0], 15, 60, "the usual delay in ms")
        between(figure(world, scenario, "missed_" + direction)[0], 0, 600, "missed in ms")


@seconds(60)
def test_first_byte(world):
    report, _ = handovers(world, "--application", "first-byte", "--mode", "full")
    measured, _ = figure(world, report["scenarios"][0], "first_byte")
    between(measured, 30, 100, "the first byte in ms")


@seconds(20)
def test_what_can_not_be_asked(world):
    for options in (["--mode", "half"], ["--application", "signaling", "--loss", "silent"], ["--repetitions", "-1"]):
        done = subprocess.run([world.braid, "handovers", *options], capture_output=True, text=True, timeout=15)
        check(done.returncode == 2, f"{options}: exit code {done.returncode}")
    listed = subprocess.run([world.braid, "handovers", "--list"], capture_output=True, text=True, timeout=15)
    check(listed.returncode == 0 and "voice, backup mode, cellular lost, silent" in listed.stdout, listed.stdout)
