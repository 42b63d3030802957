#!/usr/bin/env python3
"""The energy of the simulator's radios once more, from the trace of packets alone.

    Tests/energy.py SIMULATE [SEED...]

`simulate energy` prints each packet at the phone and what its model makes of them. This works the energy out in another
way: it lays down, from the packets, the times at which each radio was in each state, and multiplies. The profiles are
read from their files. More than 1 % apart fails.
"""
import os
import subprocess
import sys

PROFILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../Sources/Simulator/Energy/Profiles")
PHONES = [("wifi-n950", "3g-n950"), ("wifi-huang", "3g-huang"), ("wifi-huang", "lte-huang"),
          ("wifi-balasubramanian", "3g-balasubramanian")]
RUNS = [["wifi"], ["cellular"], ["both"], ["both", "spaced"], ["cellular", "spaced"], ["wifi", "spaced"],
        ["both", "spaced", "backup"], ["both", "spaced", "backup", "warm"], ["both", "spaced", "single"]]


def profiles():
    found = {}
    for name in os.listdir(PROFILES):
        p = {"levels": [], "promotion": (0.0, 0.0), "idle": 0.0, "up": 0.0, "down": 0.0}
        for line in open(os.path.join(PROFILES, name)):
            words = line.split("#")[0].split()
            if not words:
                continue
            if words[0] == "name":
                p["name"] = words[1]
            elif words[0] == "level":
                back = (float(words[5]), float(words[6])) if len(words) > 4 else (0.0, 0.0)
                p["levels"].append((float(words[2]), float(words[3]), back))
            elif words[0] == "promotion":
                p["promotion"] = float(words[1]), float(words[2])
            else:
                p[words[0]] = float(words[1])
        found[p["name"]] = p
    return found


def timeline(p, packets, end):
    """Pieces (from, to, mW), in ms, that cover all time from zero to `end`."""
    ends, at = [], 0.0
    for _, length, _ in p["levels"]:
        at += length
        ends.append(at)
    pieces = []
    awake = None        # the last packet, or the end of a promotion; None: never woken
    reached = 0.0       # all before it is laid down

    def rest(until):
        """What the radio does by itself until then."""
        nonlocal reached
        if awake is not None:
            start = awake
            for power, length, _ in p["levels"]:
                low, high = max(reached, start), min(until, start + length)
                if high > low:
                    pieces.append((low, high, power))
                    reached = high
                start += length
        if until > reached:
            pieces.append((reached, until, p["idle"]))
            reached = until

    for at, is_up in packets:
        if at < reached or (awake is not None and at <= awake):
            continue    # while it wakes
        if awake is None or at >= awake + ends[-1]:
            way, since = p["promotion"], 0.0 if awake is None else awake + ends[-1]
        else:
            level = next(i for i, e in enumerate(ends) if at < awake + e)
            way, since = p["levels"][level][2], awake + (ends[level - 1] if level else 0.0)
        power, length = way
        if is_up and length > 0:
            rest(at)
            pieces.append((at, at + length, power))
            awake = reached = at + length
        else:
            begun = max(at - length, since)
            rest(begun)
            if at > begun:
                pieces.append((begun, at, power))
            awake = reached = at
    rest(max(end, reached))
    return pieces


def energy(p, packets, start, end):
    """Joules from `start` to `end`, ms; packets are (ms, is_up, bytes)."""
    seen = [(at, up, n) for at, up, n in packets if at <= end]
    joules = sum((min(b, end) - max(a, start)) / 1e3 * w / 1e3
                 for a, b, w in timeline(p, [(at, up) for at, up, _ in seen], end) if min(b, end) > max(a, start))
    return joules + sum(8 * n * p["up" if up else "down"] * 1e-9 for at, up, n in seen if at >= start)


def compare(simulate, known, phone, run, seed):
    words = [simulate, "energy", *phone, *run, "--seed", str(seed)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    if done.returncode:
        return f"ends with {done.returncode}: {done.stdout[-200:]}{done.stderr[-200:]}"
    packets, said, span = [[], []], {}, None
    for line in done.stdout.splitlines():
        kind, *rest = line.split()
        if kind == "packet":
            packets[int(rest[1])].append((int(rest[0]) / 1e6, rest[2] == "up", int(rest[3])))
        elif kind == "span":
            span = int(rest[0]) / 1e6, int(rest[1]) / 1e6
        elif kind == "energy":
            said[int(rest[0])] = rest[1], float(rest[2])
    for radio, (name, joules) in said.items():
        ours = energy(known[name], packets[radio], *span)
        if abs(ours - joules) > 0.01 * max(joules, 1e-3):
            return f"{name}: {joules:.4f} J there, {ours:.4f} J here"
    return None if len(said) == 2 else "no energies"


def main():
    simulate, seeds = sys.argv[1], [int(s) for s in sys.argv[2:]] or [1, 2, 3, 4, 5, 6]
    known, passed, failed = profiles(), 0, 0
    for seed in seeds:
        for phone in PHONES:
            for run in RUNS:
                wrong = compare(simulate, known, phone, run, seed)
                passed, failed = passed + (not wrong), failed + bool(wrong)
                if wrong:
                    print(f"energy {' '.join([*phone, *run])} --seed {seed}: {wrong}")
    print(f"{passed} passed, {failed} failed (energy)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
