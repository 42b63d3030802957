"""Random transfers between Braid's engine and the kernel: sizes, addresses, lines, times and troubles from a seed.

    python3 Tests/Interop/sweep.py MPTCP-PEER [--from SEED] [--count N] [--seconds S] [--keep]

Every case is judged by the hashes of both streams, the kernel's counters and the independent reader of captures.
test_sweep.py runs the first few; this script as many as wanted, until N cases or S seconds. A case that fails prints
its seed and what was drawn: `--from SEED --count 1 --keep` runs it again and keeps its capture.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import time
import traceback

from links import Links, kernel_address, peer_address, runner, same_streams, seconds, sh  # noqa: F401

FASTEST = 90            # Mbit/s of all lines together
TIME_LIMIT = 40           # seconds for one transfer
# What the kernel may count besides what a case causes: nothing that says a segment of ours was wrong.
TROUBLE = {"RmSubflow", "EchoAdd", "EchoAddTx", "AddAddr", "AddAddrTx", "RmAddr", "RmAddrTx", "MPPrioTx", "MPPrioRx"}


class Case:
    """What is drawn from a seed. `words`: options of the peer; `events`: (seconds, what `ip mptcp` is told)."""

    def __init__(self, seed):
        chance = self.chance = random.Random(seed)
        self.seed, self.allowed = seed, set()
        self.links = chance.choice((1, 2, 2, 2, 3))
        self.we_connect = chance.random() < 0.5
        self.v6 = chance.random() < 0.3
        self.mine, self.theirs = chance.choice((("echo", "echo"), ("source", "sink"), ("sink", "source"), ("source", "source"),
                                                ("half-close", "source"), ("source", "half-close")))
        self.lines = [self.line() for _ in range(self.links)]
        self.size, self.kernel_size = self.length(), self.length()
        if self.mine == "echo":
            self.kernel_size = self.size
        self.words, self.endpoints, self.events = self.transport(), [], []
        self.checksums = chance.random() < 0.2
        self.ends = set()
        self.subflows()
        self.troubles()
        self.end()

    def line(self):
        c = self.chance
        return {"mbit": round(c.uniform(2, FASTEST / self.links), 1), "delay": round(c.choice((0, 1, 5, 20, 60)) * c.random(), 1),
                "queue": c.choice((30, 60, 100, 200)), "loss": c.choice((0, 0, 0, 0.001, 0.01, 0.02))}

    def length(self):
        """0 to 8 MB, as many short ones as long ones, but nothing that takes the slowest line for ever."""
        most = min(8e6, min(line["mbit"] for line in self.lines) * 125_000 * 4)
        return self.chance.choice((0, 1, 1379, 1380, 1381)) if self.chance.random() < 0.1 else int(most ** self.chance.uniform(0.4, 1))

    def transport(self):
        c = self.chance
        words = ["--mss", c.choice((536, 1000, 1360))]
        for odds, option in ((0.2, ["--checksum"]), (0.2, ["--timestamps"]), (0.1, ["--no-sack"]), (0.1, ["--no-scaling"]),
                             (0.2, ["--window", c.choice((20_000, 100_000, 1_000_000))]),
                             (0.2, ["--congestion", c.choice(("cubic", "newreno"))]), (0.1, ["--scheduler", "round-robin"]),
                             (0.1, ["--read-rate", c.choice((300_000, 2_000_000))]),
                             (0.1, ["--read-after", round(c.random(), 2)])):
            if c.random() < odds:
                words += option
        return words

    def at(self, seconds, what):
        self.words += ["--at", f"{seconds:.3f} {what}"]

    def subflows(self):
        """Further links are joined by whoever connected, to an address the listener announces or to its first."""
        c = self.chance
        for n in range(2, self.links + 1):
            backup, seconds = c.random() < 0.2, c.choice((0, 0.02, c.random()))
            if self.we_connect and c.random() < 0.7:
                self.at(seconds, f"join {n - 1}" + (" backup" if backup else ""))
            elif self.we_connect:
                self.endpoints.append(f"{kernel_address(n, self.v6)} dev v{n} id {n} signal" + (f" port {5100 + n}" if c.random() < 0.3 else ""))
                if "--follow" not in self.words:
                    self.words += ["--follow", n - 1]
            elif c.random() < 0.6:
                self.endpoints.append(f"{kernel_address(n, self.v6)} dev v{n} id {n} subflow" + (" backup" if backup else ""))
            else:
                address = peer_address(n, self.v6)
                port = f":{5200 + n}" if c.random() < 0.3 else ""
                self.at(seconds, f"announce {f'[{address}]' if port and self.v6 else address}{port} id={n - 1}")

    def troubles(self):
        c = self.chance
        for _ in range(c.choice((0, 0, 1, 1, 2))):
            path, seconds = c.randrange(self.links), c.uniform(0, 1.5)
            what = c.choice(("cut", "cut", "prio", "remove", "delete", "change", "down"))
            if what == "cut":
                self.at(seconds, f"cut {path}")
                self.at(seconds + c.uniform(0.05, 1.5), f"mend {path}")
            elif what == "prio":
                self.at(seconds, f"prio {path} backup")
                self.at(seconds + c.random(), f"prio {path} regular")
            elif what == "remove" and path:
                self.at(seconds, f"remove id={path}")
            elif what == "down" and path:
                self.at(seconds, f"down {path}")
                self.at(seconds, f"remove id={path}")
            elif what in ("delete", "change") and self.endpoints:
                number = c.choice(self.endpoints).split(" id ")[1].split()[0]
                self.events.append((seconds, f"endpoint delete id {number}" if what == "delete" else f"endpoint change id {number} backup"))

    def end(self):
        c = self.chance
        if c.random() < 0.08:
            self.at(c.uniform(0, 1), "fastclose")
            self.ends = {"localAbort"}
        elif c.random() < 0.08 and self.mine == "source" and self.size > 100_000:
            self.theirs, self.kernel_size, self.ends = "fastclose", self.size // 3, {"peerAborted"}

    def __str__(self):
        return json.dumps({"connect": self.we_connect, "v6": self.v6, "mine": self.mine, "theirs": self.theirs, "size": self.size,
                           "kernelSize": self.kernel_size, "lines": self.lines, "words": " ".join(map(str, self.words)),
                           "endpoints": self.endpoints, "events": self.events, "kernelChecksums": self.checksums})

    def run(self, w):
        if "--window" in self.words:   # Linux adds the window it saw last to a DATA_ACK, though a later one was smaller
            w.tolerated = [r"data of (10\.91|fd91).* beyond the window's edge"]
        w.sysctl(checksum_enabled=int(self.checksums))
        for n, line in enumerate(self.lines, 1):
            w.shape(n, line["mbit"], line["delay"], queue=line["queue"], loss=line["loss"])
        for words in self.endpoints:
            w.mptcp(f"endpoint add {words}")
        numbers = tuple(range(1, self.links + 1))
        where = (dict(links=0, v6=numbers) if self.v6 else dict(links=self.links))
        to = (kernel_address if self.we_connect else peer_address)(1, self.v6)
        peer, kernel = (w.connect if self.we_connect else w.serve)(
            self.mine, self.size, kernel=self.theirs, kernel_size=self.kernel_size, to=to, during=lambda: self.happen(w),
            peer_options=["--seed", self.seed, "--seconds", TIME_LIMIT, *self.words], **where)
        self.judge(w, peer, kernel)

    def happen(self, w):
        began = time.monotonic()
        for seconds, words in sorted(self.events):
            time.sleep(max(0, began + seconds - time.monotonic()))
            subprocess.run(["ip", "-n", w.kernel, "mptcp", *words.split()], capture_output=True)

    def judge(self, w, peer, kernel):
        if peer["error"] not in self.ends:
            same_streams(peer, kernel)
        assert not peer["plain"] and kernel.get("mptcp", 1) == 1, "fell back to plain TCP"
        counters = peer["counters"]
        ours = ("dssErrors", "hmacFailures", "checksumFailures", "failsSent", "failsReceived", "infiniteMappings", "fallbacks")
        bad = {name: counters[name] for name in ours if counters[name]}
        assert not bad and not peer["badPackets"], f"the peer counts {bad}, {peer['badPackets']} bad packets"
        free = {name: lambda n: True for name in TROUBLE}
        if self.ends:
            free |= {"MPFastcloseTx": lambda n: True, "MPFastcloseRx": lambda n: True}
        # A join after the kernel's DATA_FIN is refused, one after its end not known; an IPv6 address with a port does not fit beside timestamps.
        w.expect(MPJoinRejected=lambda n: True, MPJoinNoTokenFound=lambda n: True,
                 AddAddrTxDrop=range(0, 2 if "--timestamps" in self.words else 1), **free)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", metavar="MPTCP-PEER")
    parser.add_argument("--from", dest="first", type=int, default=1)
    parser.add_argument("--count", type=int, default=1 << 30)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--keep", action="store_true", help="keep the captures of cases that fail")
    arguments = parser.parse_args()
    if runner.INSIDE not in os.environ:
        runner.enter()
    sh("mount -t tmpfs none /run && mkdir -p /run/netns")
    end, failed, seed = time.monotonic() + arguments.seconds, [], arguments.first
    while time.monotonic() < end and seed < arguments.first + arguments.count:
        case, started, why = Case(seed), time.monotonic(), None
        links = Links(os.path.abspath(arguments.program), case.links)
        try:
            case.run(links)
        except Exception as error:
            why = str(error) if isinstance(error, AssertionError) else traceback.format_exc()
            failed.append(seed)
            print(f"FAIL {seed}: {why}\n     {case}{links.last_words()}", flush=True)
        links.close(keep=arguments.keep and why is not None)
        if why is None:
            print(f"ok   {seed} ({time.monotonic() - started:.1f} s)", flush=True)
        seed += 1
    print(f"sweep: {seed - arguments.first} cases, {len(failed)} failed{': ' if failed else ''}{failed or ''}")
    with open("/proc/net/sockstat") as file:
        print(next(line for line in file if line.startswith("TCP:")).strip())
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
