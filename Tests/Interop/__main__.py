"""Interop tests: Braid's engine over raw IP against the MPTCP of the Linux kernel.

    python3 Tests/Interop MPTCP-PEER [NAME...] [--list] [--keep]

MPTCP-PEER is the program under test (swift build --product mptcp-peer); NAMEs choose tests by a part of their name.
Everything lives inside namespaces that the kernel takes down when this ends. Needs root or user namespaces, and a
kernel with MPTCP.
"""
import importlib
import os
import re
import signal
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
INSIDE = "BRAID_INTEROP_TESTS_INSIDE"


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


def memory():
    """Pages the kernel's TCP holds: its MPTCP must give back what it took."""
    with open("/proc/net/sockstat") as file:
        words = next(line for line in file if line.startswith("TCP:")).split()
    return int(words[words.index("mem") + 1])


def stack():
    frames = traceback.extract_tb(sys.exc_info()[2])
    return "\n".join(f"at {os.path.basename(f.filename)}:{f.lineno}: {f.line}" for f in frames[1:][-4:])


def run(name, test, program, keep):
    """Runs one test on fresh links. Returns passed, failed or skipped."""
    from links import Links, Skip
    started = time.monotonic()
    signal.signal(signal.SIGALRM, ring)
    signal.alarm(getattr(test, "seconds", 60))
    links, outcome, why = None, "passed", ""
    try:
        links = Links(program, getattr(test, "links", 2))
        test(links)
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
        if links:
            if outcome == "failed":
                why += links.last_words()
            links.close(keep=keep and outcome == "failed")
    notes = f": {'; '.join(links.notes)}" if links and links.notes else ""
    word = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}[outcome]
    print(f"{word} interop: {name} ({time.monotonic() - started:.1f} s){notes}", flush=True)
    for line in why.rstrip().splitlines():
        print("     " + line, flush=True)
    return outcome


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
    program = os.path.abspath(arguments[0])
    if not os.access(program, os.X_OK):
        sys.exit(f"{program} is not a program")
    if INSIDE not in os.environ:
        enter()
    from links import sh
    sh("mount -t tmpfs none /run && mkdir -p /run/netns")
    before = memory()
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for name, test in chosen:
        counts[run(name, test, program, "--keep" in options)] += 1
    print(f"TCP memory: {before} pages before, {memory()} after")
    print(f"interop: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    sys.exit(counts["failed"] > 0 or not chosen)


main()
