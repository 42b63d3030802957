"""Finds, runs and counts the tests of a folder, in namespaces of their own; and what every test says them with."""
import importlib
import os
import re
import signal
import sys
import time
import traceback

INSIDE = "BRAID_TESTS_INSIDE"
# How often a test may miss a bound of time: what a shared machine does meanwhile for others only makes it slower.
TRIES = 3


class Skip(Exception):
    """This test can't run here, and why."""


class OutOfBounds(AssertionError):
    """A time or a rate was not as it should be. Tried again in a fresh world, and said with the outcome; whatever
    else fails fails at once."""


class TookTooLong(Exception):
    pass


def seconds(limit):
    """Gives a test more time than a minute."""
    def mark(test):
        test.seconds = limit
        return test
    return mark


def check(condition, sentence):
    if not condition:
        raise AssertionError(sentence)


def between(value, low, high, what):
    """A time or a rate: see OutOfBounds."""
    if not low <= value <= high:
        raise OutOfBounds(f"{what} is {value:.4g}, not {low:.4g} to {high:.4g}")


def enter():
    """Starts this again inside namespaces of its own."""
    flags = ["--net", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc", "--propagation", "private"]
    if os.geteuid() != 0:
        flags = ["--user", "--map-root-user"] + flags
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", *flags, sys.executable, *sys.argv])


def find(folder, names):
    """The tests of a folder's test_*.py whose names have one of `names` as a part, or are it where it is a whole
    name: (name, function)."""
    found = []
    for file in sorted(os.listdir(folder)):
        if re.fullmatch(r"test_\w+\.py", file):
            module = importlib.import_module(file[:-3])
            for name, value in vars(module).items():
                if name.startswith("test_") and callable(value) and value.__module__ == module.__name__:
                    found.append((f"{file[5:-3]}.{name[5:]}", value))
    whole = {name for name, _ in found} & set(names)
    parts = set(names) - whole
    return [(name, test) for name, test in found
            if not names or name in whole or any(part in name for part in parts)]


def stack():
    """The lines of the test that led to the exception being handled."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    return "\n".join(f"at {os.path.basename(f.filename)}:{f.lineno}: {f.line}" for f in frames[1:][-4:])


def ring(*_):
    raise TookTooLong


def attempt(test, world_for, keep):
    """Runs a test in a fresh world: (passed, failed, slow or skipped; why; what it noted)."""
    limit = getattr(test, "seconds", 60)
    signal.signal(signal.SIGALRM, ring)
    signal.alarm(limit)
    world, outcome, why, notes = None, "passed", "", []
    try:
        world = world_for(test)
        notes = world.notes
        test(world)
    except Skip as skip:
        outcome, why = "skipped", str(skip)
    except TookTooLong:
        outcome, why = "failed", f"took longer than {limit} s\n{stack()}"
    except OutOfBounds as error:
        outcome, why = "slow", f"{error}\n{stack()}"
    except AssertionError as error:
        outcome, why = "failed", f"{error}\n{stack()}"
    except Exception:
        outcome, why = "failed", traceback.format_exc()
    finally:
        signal.alarm(0)
        if world:
            if outcome in ("failed", "slow"):
                why += world.last_words()
            world.close(keep=keep and outcome == "failed")
    return outcome, why, notes


def run(part, name, test, world_for, keep):
    """Runs one test, again where only a bound of time was missed. Returns passed, failed or skipped."""
    started = time.monotonic()
    missed = []
    for _ in range(TRIES):
        outcome, why, notes = attempt(test, world_for, keep)
        if outcome != "slow":
            break
        missed.append(f"missed: {why.splitlines()[0]}")
    if outcome == "slow":
        outcome = "failed"
    word = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}[outcome]
    said = "; ".join([*missed, *notes])
    print(f"{word} {part}: {name} ({time.monotonic() - started:.1f} s){': ' + said if said else ''}", flush=True)
    for line in why.rstrip().splitlines():
        print("     " + line, flush=True)
    return outcome


def claim(folder, name):
    """Whether a test is this process's to run: of several that share the tests, nobody else has begun it."""
    if folder is None:
        return True
    try:
        os.mkdir(f"{folder}/{name}")
        return True
    except FileExistsError:
        return False


def main(part, doc, world_for, prepare, finish=lambda: None):
    """The program `python3 Tests/FOLDER PROGRAM [NAME...]`. `world_for(program)(test)` makes a test's world, which
    has `notes`, `last_words()` and `close(keep=)`; `prepare` runs once inside the namespaces, `finish` at the end."""
    arguments = [a for a in sys.argv[1:] if not a.startswith("--")]
    options = dict(a.partition("=")[::2] for a in sys.argv[1:] if a.startswith("--"))
    if not arguments or options.keys() - {"--list", "--keep", "--share"}:
        sys.exit(doc)
    chosen = find(os.path.abspath(sys.argv[0]), arguments[1:])
    if "--list" in options:
        print("\n".join(name for name, _ in chosen))
        return
    program = os.path.abspath(arguments[0])
    if not os.access(program, os.X_OK):
        sys.exit(f"{program} is not a program")
    if INSIDE not in os.environ:
        enter()
    prepare()
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for name, test in chosen:
        if not claim(options.get("--share"), name):
            continue
        counts[run(part, name, test, world_for(program), "--keep" in options)] += 1
    finish()
    print(f"{part}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    sys.exit(counts["failed"] > 0 or not chosen)
