"""Scripts that run inside `braid lab`, and what they use there."""
import os
import subprocess
import sys

from runner import OutOfBounds, Skip, check

CONCENTRATOR = "203.0.113.7"
ORIGIN = "198.51.100.80"
# The exit code of a script whose measurement was out of bounds.
OUT_OF_BOUNDS = 3


def in_lab(braid, script, *options, prefix=(), timeout=120, folder=None):
    """Runs one of our scripts in a lab's client namespace; its standard output.

    Skips where the system allows no namespaces; fails where the script does, and how."""
    # With a prefix the user is another one, who may not be allowed to run our interpreter.
    python = "/usr/bin/python3" if prefix and os.path.exists("/usr/bin/python3") else sys.executable
    program = [*prefix, braid, "lab", *options, "--", python, os.path.join(folder or os.path.dirname(script_path(script)), script)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=timeout)
    if "lets you make no network namespaces" in done.stderr or "/dev/net/tun" in done.stderr:
        raise Skip(done.stderr.strip().splitlines()[-1])
    lines = (done.stderr + done.stdout).strip().splitlines()
    if done.returncode == OUT_OF_BOUNDS:
        raise OutOfBounds(lines[-1])
    check(done.returncode == 0, lines[-1] if lines else f"exit code {done.returncode}")
    return done.stdout


def script_path(name):
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), name)


# Inside the lab ------------------------------------------------------------------------------------

def tell(*words):
    """One order to the lab; its answer."""
    return subprocess.run([os.environ["BRAID"], "lab-tell", *words], check=True, capture_output=True, text=True).stdout


def on_server(*program, **options):
    """Starts a program in the server's namespace."""
    return subprocess.Popen(["nsenter", f"--net={os.environ['BRAID_LAB_SERVER']}", *program], **options)
