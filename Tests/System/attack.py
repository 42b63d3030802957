"""What every attack's test begins and ends with: users whose keys the attacker has, an honest bystander, and the
programs' health afterwards."""
import base64
import json
import os
import subprocess
import sys
import time

from hostile_peer import client, network, noise
from runner import between, check
from world import CONCENTRATOR, HERE

MEBIBYTE = 1 << 20
PORT = 443


def cpu(process):
    """Seconds of CPU a process has taken, all its threads together."""
    total = 0
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        try:
            total += int(open(f"/proc/{process.pid}/task/{thread}/schedstat").read().split()[0])
        except OSError:
            pass  # a thread that has just ended
    return total / 1e9


def identity(path):
    """The private key in a file of `braid keygen`."""
    return noise.private_key(base64.b64decode(open(path).read().split()[-1]))


class Attack:
    """A concentrator with `attackers` users beside the honest one, whose proxy serves a bystander over wifi; the
    attackers are on the other uplink."""

    def __init__(self, w, attackers=1, concentrator="egress: { deny: [] }\n", rate=2_000_000, bystander=True):
        self.w = w
        names = [f"mallory{n or ''}" for n in range(attackers)]
        keys = [w.key(name) for name in names]
        self.identities = [identity(path) for path, _ in keys]
        self.pair = w.pair(concentrator=concentrator, uplinks=("wifi",),
                           others=[(name, public) for name, (_, public) in zip(names, keys)])
        self.public = base64.b64decode(self.pair.concentrator_public)
        self.bystander = Bystander(w, rate) if bystander else None
        self.concentrator = self.pair.concentrator
        self.sockets = []
        self.memory_before, self.cpu_before = self.pair.memory("concentrator"), cpu(self.concentrator)

    def socket(self, device="cell"):
        s = network.udp(self.w.app, (CONCENTRATOR, PORT), device)
        self.sockets.append(s)
        return s

    def session(self, attacker=0, limit=10.0, device="cell", **hello):
        """A session of an attacker's, from a port of its own."""
        session = client.Session(self.socket(device), self.identities[attacker], self.public, **hello)
        session.open(limit)
        return session

    def spent(self):
        """CPU seconds of the concentrator since the attack began."""
        return cpu(self.concentrator) - self.cpu_before

    def grown(self):
        """Bytes of memory the concentrator has grown by."""
        return self.pair.memory("concentrator") - self.memory_before

    def serves(self, what, limit=5.0):
        """The concentrator does an honest request now."""
        began = time.monotonic()
        result = self.w.curl("http://origin.test/where", limit=25)
        check(result.returncode == 0, f"{what}: a request failed: {result.stderr.decode().strip()}")
        between(time.monotonic() - began, 0, limit, f"{what}: a request in s")

    def end(self, slowest=3.0, gap=3.0, memory=200 * MEBIBYTE):
        """Nobody was harmed, and everything rests again."""
        self.pair.alive()
        grown = self.grown()
        if self.bystander:
            self.bystander.unharmed(self.w, slowest, gap)
        check(self.pair.status("concentrator") is not None, "braid status gets no answer from the concentrator")
        check(grown < memory, f"the concentrator has grown by {grown / MEBIBYTE:.0f} MiB")
        self.rests()
        self.w.notes.append(f"{self.spent():.2f} s of CPU, {grown / MEBIBYTE:.0f} MiB")
        for s in self.sockets:
            s.close()

    def rests(self, limit=10.0):
        """Its CPU falls back to idle."""
        end = time.monotonic() + limit
        while True:
            before, began = cpu(self.concentrator), time.monotonic()
            time.sleep(0.3)
            share = (cpu(self.concentrator) - before) / (time.monotonic() - began)
            if share < 0.2:
                return
            check(time.monotonic() < end, f"{limit:.0f} s after the attack the concentrator still takes {share:.0%} CPU")


class Bystander:
    """bystander.py on the application's host."""

    def __init__(self, w, rate):
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", w.app, sys.executable, f"{HERE}/bystander.py", str(rate)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        w.processes.append(self.process)
        check(self.process.stdout.readline().strip() == "begun", "the bystander's download did not begin")

    def result(self, limit=45):
        try:
            out, err = self.process.communicate(input="", timeout=limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the bystander's transfers stand still for {limit} s")
        check(self.process.returncode == 0, f"the bystander failed: {err.strip().splitlines()[-1:]}")
        return json.loads(out.splitlines()[-1])

    def unharmed(self, w, slowest, gap):
        result = self.result()
        w.notes.append(f"bystander {result['requests']} requests, slowest {result['slowest'] * 1000:.0f} ms, gap "
                       f"{result['gap'] * 1000:.0f} ms")
        check(not result["failures"], f"the bystander: {'; '.join(result['failures'][:3])}")
        check(result["requests"] > 0 and result["bytes"] > 0, "the bystander did nothing")
        between(result["slowest"], 0, slowest, "the bystander's slowest request in s")
        between(result["gap"], 0, gap, "the bystander's longest gap in s")
