"""The lab's links are what they are said to be, and nothing is left of it."""
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time

from lab import in_lab
from runner import Skip, check


def measure(braid, name, **options):
    os.environ["MEASURE"] = name
    return in_lab(braid, "emulator_inside.py", **options)


def test_delay(world):
    measure(world.braid, "delay")


def test_rate(world):
    measure(world.braid, "rate")


def test_queue_drops_its_tail(world):
    measure(world.braid, "queue")


def test_loss(world):
    measure(world.braid, "loss")


def test_silent_outage(world):
    measure(world.braid, "outage")


def test_interface_down_and_up(world):
    measure(world.braid, "link_down")


def test_sleeping_radio(world):
    measure(world.braid, "radio")


def test_downloads_and_upload(world):
    measure(world.braid, "downloads status")


def test_two_hundred_megabits(world):
    measure(world.braid, "fast")


def open_tun_to_everybody(folder):
    """Some machines give /dev/net/tun to root alone: then, in this mount namespace, everybody gets one like it."""
    device = os.stat("/dev/net/tun")
    if device.st_mode & 0o006 == 0o006:
        return
    node = os.path.join(folder, "tun")
    os.mknod(node, stat.S_IFCHR, device.st_rdev)
    os.chmod(node, 0o666)
    subprocess.run(["mount", "--bind", node, "/dev/net/tun"], check=True)


def test_ordinary_user(world):
    if os.geteuid() != 0:
        raise Skip("this user is an ordinary one already: every other test shows it")
    if not shutil.which("setpriv"):
        raise Skip("setpriv is not installed")
    # Where the tests lie only root may look, perhaps: the user gets copies.
    folder = tempfile.mkdtemp(prefix="braid-everybody-")
    try:
        os.chmod(folder, 0o755)
        here = os.path.dirname(os.path.abspath(__file__))
        for file in (world.braid, *(os.path.join(here, name) for name in ("emulator_inside.py", "lab.py", "runner.py"))):
            shutil.copy(file, folder)
        open_tun_to_everybody(folder)
        own = os.path.join(folder, "temporary")  # where root's is may be nobody else's
        os.mkdir(own)
        os.chown(own, 65534, 65534)
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", f"TMPDIR={own}"]
        measure(f"{folder}/{os.path.basename(world.braid)}", "outage link_down", prefix=nobody, folder=folder)
    finally:
        shutil.rmtree(folder)


def children_of(pid):
    return subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout.split()


def is_running(pid):
    """Neither gone nor waiting for somebody to ask how it ended."""
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends(braid, number, folder):
    """A lab with its files in `folder` ends by this signal and takes its program with it; its exit code."""
    lab = subprocess.Popen([braid, "lab", "--", "sleep", "60"], stderr=subprocess.PIPE, text=True, start_new_session=True,
                           env={**os.environ, "TMPDIR": folder})
    limit = time.monotonic() + 10
    while not (children := children_of(lab.pid)) and lab.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    if lab.poll() is not None:
        raise Skip(lab.stderr.read().strip())
    time.sleep(0.1)
    check(os.listdir(folder), "the lab keeps its files elsewhere: nothing can be said of what it leaves")
    lab.send_signal(number)
    code = lab.wait(timeout=10)
    time.sleep(0.2)
    check(not any(is_running(child) for child in children), "the program outlives its lab")
    return code


def test_a_terminated_lab_leaves_nothing(world):
    # A folder of its own: in the common one other tests' labs come and go.
    with tempfile.TemporaryDirectory(prefix="braid-lab-test-") as folder:
        code = ends(world.braid, signal.SIGTERM, folder)
        check(code == 128 + signal.SIGTERM, "the exit code is not that of the program")
        left = os.listdir(folder)
        check(not left, f"the lab leaves {left}")


def test_a_killed_lab_takes_its_programs_with_it(world):
    with tempfile.TemporaryDirectory(prefix="braid-lab-test-") as folder:
        check(ends(world.braid, signal.SIGKILL, folder) == -signal.SIGKILL, "the lab was not killed")
