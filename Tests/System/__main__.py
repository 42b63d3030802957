"""System tests: the real programs in network namespaces of their own.

    python3 Tests/System BRAID [NAME...] [--list] [--keep]

BRAID is the program under test; NAMEs choose tests by a part of their name. Everything (namespaces, links,
processes) lives inside a process, mount and network namespace that the kernel takes down when this ends,
however it ends. Needs root, or user namespaces.
"""
import importlib
import os
import re
import signal
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
INSIDE = "BRAID_SYSTEM_TESTS_INSIDE"


def enter():
    """Starts this again inside namespaces of its own."""
    flags = ["--net", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc", "--propagation", "private"]
    if os.geteuid() != 0:
        flags = ["--user", "--map-root-user"] + flags
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", *flags, sys.executable, HERE, *sys.argv[1:]])


def tests(names):
    found = []
    for file in sorted(os.listdir(HERE)):
        if re.fullmatch(r"test_\w+\.py", file):
            module = importlib.import_module(file[:-3])
            for name, value in vars(module).items():
                if name.startswith("test_") and callable(value) and value.__module__ == module.__name__:
                    found.append((f"{file[5:-3]}.{name[5:]}", value))
    return [(name, value) for name, value in found if not names or any(part in name for part in names)]


class TookTooLong(Exception):
    pass


def ring(*_):
    raise TookTooLong


def run(name, test, braid, keep):
    """Runs one test in a fresh world. Returns passed, failed or skipped."""
    from world import Skip, World
    started = time.monotonic()
    signal.signal(signal.SIGALRM, ring)
    signal.alarm(getattr(test, "seconds", 60))
    world, outcome, why, notes = None, "passed", "", []
    try:
        world = World(braid)
        notes = world.notes
        test(world)
    except Skip as skip:
        outcome, why = "skipped", str(skip)
    except TookTooLong:
        outcome, why = "failed", f"took longer than {getattr(test, 'seconds', 60)} s\n{stack()}"
    except AssertionError as error:
        outcome, why = "failed", f"{error}\n{stack()}"
    except Exception:
        outcome, why = "failed", traceback.format_exc()
    finally:
        signal.alarm(0)
        if world:
            if outcome == "failed":
                why += world.last_words()
            world.close(keep=keep and outcome == "failed")
    word = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}[outcome]
    print(f"{word} system: {name} ({time.monotonic() - started:.1f} s){': ' + '; '.join(notes) if notes else ''}", flush=True)
    for line in why.rstrip().splitlines():
        print("     " + line, flush=True)
    return outcome


def stack():
    """The lines of the test that led to the exception being handled."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    return "\n".join(f"at {os.path.basename(f.filename)}:{f.lineno}: {f.line}" for f in frames[1:][-4:])


def main():
    arguments = [a for a in sys.argv[1:] if not a.startswith("--")]
    options = {a for a in sys.argv[1:] if a.startswith("--")}
    if not arguments or options - {"--list", "--keep"}:
        sys.exit(__doc__)
    sys.path.insert(0, HERE)
    chosen = tests(arguments[1:])
    if "--list" in options:
        print("\n".join(name for name, _ in chosen))
        return
    braid = os.path.abspath(arguments[0])
    if not os.access(braid, os.X_OK):
        sys.exit(f"{braid} is not a program")
    if INSIDE not in os.environ:
        enter()
    from world import prepare_machine
    prepare_machine()
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for name, test in chosen:
        counts[run(name, test, braid, "--keep" in options)] += 1
    print(f"system: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    sys.exit(counts["failed"] > 0 or not chosen)


main()
