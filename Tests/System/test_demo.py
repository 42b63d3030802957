"""braid demo does what it says, ends with the right exit code, and leaves nothing behind."""
import os
import signal
import subprocess
import tempfile
import time

from runner import Skip, check, seconds


def demo(world, *options, limit=100):
    done = subprocess.run([world.braid, "demo", *options], capture_output=True, text=True, timeout=limit)
    if "lets you make no network namespaces" in done.stderr or "/dev/net/tun" in done.stderr:
        raise Skip(done.stderr.strip())
    check(done.returncode == 0, f"exit code {done.returncode}: {done.stdout[-600:]}{done.stderr}")
    check("every one right" in done.stdout, "the bytes are not called right")
    world.notes += [line.strip() for line in done.stdout.splitlines() if "longest gap" in line or "handover" in line]
    return done.stdout


@seconds(110)
def test_interface_lost(world):
    out = demo(world, "--megabytes", "3", "--at", "1")
    check("WiFi's interface went down" in out and "without WiFi" in out, "the loss is not told")


@seconds(110)
def test_silent_loss(world):
    check("WiFi went silent" in demo(world, "--megabytes", "3", "--at", "1", "--lose", "silent"), "the loss is not told")


@seconds(110)
def test_backup_mode(world):
    demo(world, "--megabytes", "2", "--at", "1", "--mode", "backup")


@seconds(110)
def test_nothing_lost(world):
    check("without WiFi" not in demo(world, "--megabytes", "2", "--lose", "none"), "a loss is told where none was")


@seconds(60)
def test_interrupted(world):
    # A folder of its own: in the common one other tests' labs come and go.
    with tempfile.TemporaryDirectory(prefix="braid-demo-test-") as folder:
        running = subprocess.Popen([world.braid, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env={**os.environ, "TMPDIR": folder})
        time.sleep(4)
        if running.poll() is not None:
            raise Skip(running.stderr.read().strip())
        check(os.listdir(folder), "the demo keeps its files elsewhere: nothing can be said of what it leaves")
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=10)
        check(running.returncode == 130, f"exit code {running.returncode}, not 130")
        left = os.listdir(folder)
        check(not left, f"the demo leaves {left}")
