"""The kernel's host and the peer's, joined by up to three links.

    kernel  v1 10.91.1.2 ── r1 10.91.1.1  router  t1 (TUN) ── mptcp-peer 10.92.1.2      fd91:1::2 … fd92:1::2
            v2 10.91.2.2 ── r2 10.91.2.1          t2 (TUN) ── mptcp-peer 10.92.2.2

Every address of the kernel's host reaches every address of the peer by its own link; the peer's replies take the
link of the kernel's address.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SYSTEM = os.path.join(HERE, "..", "System")
sys.path.append(SYSTEM)
import runner  # noqa: E402
from runner import OutOfBounds, Skip, between, check, seconds  # noqa: E402
from world import need, sh  # noqa: E402

PORT = 5000
# What an application of the kernel is told of a reset: whether it reads or writes first.
GONE = ("ConnectionResetError", "BrokenPipeError")
# Counters that must not move unless a test says so.
QUIET = """MPJoinNoTokenFound MPJoinSynAckHMacFailure MPJoinAckHMacFailure MPJoinRejected DSSNotMatching
    DSSCorruptionFallback DSSCorruptionReset InfiniteMapTx InfiniteMapRx DSSNoMatchTCP DataCsumErr AddAddrDrop
    EchoAddTxDrop AddAddrTxDrop RmAddrDrop RmAddrTxDrop MismatchPortSynRx MismatchPortAckRx MPCapableFallbackACK
    MPCapableFallbackSYNACK MPFallbackTokenInit MPFailTx MPFailRx MPFastcloseTx MPFastcloseRx MPCapableSYNTXDrop
    MPCapableDataFallback DssFallback FallbackFailed Blackhole MPPrioTx MPPrioRx RmAddr RmAddrTx AddAddr AddAddrTx
    EchoAdd EchoAddTx RmSubflow""".split()


def kernel_address(link, v6=False):
    return f"fd91:{link}::2" if v6 else f"10.91.{link}.2"


def peer_address(link, v6=False):
    return f"fd92:{link}::2" if v6 else f"10.92.{link}.2"


class Links:
    count = 0

    def __init__(self, program, links=2):
        Links.count += 1
        self.program, self.notes, self.processes, self.lines = program, [], [], {}
        self.kernel, self.router = f"kernel{Links.count}", f"router{Links.count}"
        self.spaces = [self.kernel, self.router]
        self.folder = tempfile.mkdtemp(prefix="braid-interop-")
        self.capture = ""   # of the peer that was started last
        self.peer_said = self.kernel_said = ""
        self.seed = 0
        self.tolerated = []   # patterns of what `mptcp_check` may find
        for space in self.spaces:
            sh(f"ip netns add {space} && ip -n {space} link set lo up")
            self.inside(space, "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 "
                               "net.ipv6.conf.all.accept_ra=0")
        self.inside(self.router, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        if not os.path.exists("/proc/sys/net/mptcp/enabled"):
            raise Skip("this kernel has no MPTCP")
        self.sysctl(enabled=1)
        self.mptcp("limits set subflows 4 add_addr_accepted 4")
        for link in range(1, links + 1):
            self._link(link)

    def _link(self, n):
        k, r = self.kernel, self.router
        sh(f"ip -n {k} link add v{n} type veth peer name r{n} netns {r}")
        sh(f"ip -n {k} address add 10.91.{n}.2/24 dev v{n} && ip -n {k} address add fd91:{n}::2/64 dev v{n} nodad")
        sh(f"ip -n {r} address add 10.91.{n}.1/24 dev r{n} && ip -n {r} address add fd91:{n}::1/64 dev r{n} nodad")
        sh(f"ip -n {k} link set v{n} gso_max_segs 1 && ip -n {r} link set r{n} gso_max_segs 1")
        sh(f"ip -n {k} link set v{n} up && ip -n {r} link set r{n} up")
        # Neighbours are known, so that no first packet waits for a discovery.
        for a, mine, b, other, host in ((k, f"v{n}", r, f"r{n}", 1), (r, f"r{n}", k, f"v{n}", 2)):
            there = json.loads(sh(f"ip -j -n {b} link show {other}"))[0]["address"]
            for address in (f"10.91.{n}.{host}", f"fd91:{n}::{host}"):
                sh(f"ip -n {a} neighbour replace {address} lladdr {there} dev {mine} nud permanent")
        sh(f"ip -n {r} tuntap add dev t{n} mode tun && ip -n {r} link set t{n} txqueuelen 5000 up")
        sh(f"ip -n {r} route add 10.92.{n}.0/24 dev t{n} && ip -n {r} -6 route add fd92:{n}::/64 dev t{n}")
        for family, prefix, source in (("-4", "10.9{}.{}.0/24", f"10.91.{n}"), ("-6", "fd9{}:{}::/64", f"fd91:{n}:")):
            dot = "." if family == "-4" else ":"
            sh(f"ip -n {k} {family} route add {prefix.format(2, n)} via {source}{dot}1 dev v{n}")
            sh(f"ip -n {k} {family} route add default via {source}{dot}1 dev v{n} table 10{n}")
            sh(f"ip -n {k} {family} rule add from {source}{dot}2 table 10{n}")

    def another(self, links):
        """Links of their own, with the same program."""
        return Links(self.program, links)

    def other_kernel(self, links=2):
        """A second kernel takes the peer's place: the lines between the two are carried by `mptcp-peer relay`."""
        other, words = f"{self.kernel}b", [self.program, "relay"]
        self.spaces.append(other)
        sh(f"ip netns add {other} && ip -n {other} link set lo up")
        self.inside(other, "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.mptcp.enabled=1")
        for n in range(1, links + 1):
            sh(f"ip -n {self.router} tuntap add dev u{n} mode tun")
            words.append(f"t{n}=u{n}")
        for line in self.lines.values():
            words += ["--line", line]
        process = subprocess.Popen(["ip", "netns", "exec", self.router, *words], stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        line = process.stderr.readline()
        assert line == "ready\n", f"relay: {line}{process.stderr.read()}"
        for n in range(1, links + 1):
            sh(f"ip -n {self.router} link set u{n} netns {other} && ip -n {other} address add 10.92.{n}.2/24 dev u{n}"
               f" && ip -n {other} link set u{n} txqueuelen 5000 gso_max_segs 1 up")
            sh(f"ip -n {other} route add 10.91.{n}.0/24 dev u{n} && ip -n {other} route add default dev u{n} table 10{n}"
               f" && ip -n {other} rule add from 10.92.{n}.2 table 10{n}")
            if n > 1:
                sh(f"ip -n {other} mptcp endpoint add 10.92.{n}.2 dev u{n} id {n} subflow")
        sh(f"ip -n {other} mptcp limits set subflows 4 add_addr_accepted 4")
        return other

    def inside(self, space, command):
        return sh(f"ip netns exec {space} {command}")

    def sysctl(self, **values):
        for name, value in values.items():
            self.inside(self.kernel, f"sysctl -qw net.mptcp.{name}={value}")

    def mptcp(self, words):
        """`ip mptcp` in the kernel's namespace."""
        return sh(f"ip -n {self.kernel} mptcp {words}")

    def shape(self, link, mbit, delay=0, queue=60, loss=0):
        """A rate (Mbit/s), a one-way delay and a queue (ms), in both directions; before the peer starts."""
        self.lines[link] = f"{link - 1} rate={mbit} delay={delay} queue={queue} loss={loss}"

    def fail(self, link):
        """Silence between one address of the kernel and everybody, both directions."""
        for way in ("from", "to"):
            sh(f"ip -n {self.router} rule add {way} {kernel_address(link)} blackhole priority 1")

    # ---- the two ends ----
    def start_peer(self, role, target, *options, links=2, v6=()):
        """`target`: what follows the role. The paths are the links in order, then IPv6 addresses of `v6`."""
        words = [self.program, role, str(target)]
        for n in range(1, links + 1):
            words += ["--path", f"t{n}={peer_address(n)}"]
        for n in v6:
            words += ["--path", f"t{n}={peer_address(n, True)}"]
        for line in self.lines.values():
            words += ["--line", line]
        self.seed += 1   # other ports and numbers each time: the kernel remembers the last ones
        self.capture = f"{self.folder}/peer{self.seed}.pcap"
        words += ["--seed", str(self.seed), "--seconds", "15", "--capture", self.capture, *map(str, options)]
        process = subprocess.Popen(["ip", "netns", "exec", self.router, *words], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        line = process.stderr.readline()
        assert line == "ready\n", f"mptcp-peer: {line}{process.stderr.read()}"
        return process

    def start_kernel(self, *words, space=None):
        process = subprocess.Popen(["ip", "netns", "exec", space or self.kernel, sys.executable, f"{HERE}/kernel.py",
                                    *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        line = process.stderr.readline()
        assert line == "ready\n", f"kernel.py: {line}{process.stderr.read()}"
        return process

    def end(self, process, timeout=10):
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.terminate()
            out, err = process.communicate(timeout=5)
            err += " (did not end by itself)"
        if not out.strip():
            raise AssertionError(f"no result, exit code {process.returncode}: {err.strip()[-600:]}")
        return json.loads(out.strip().splitlines()[-1])

    def serve(self, pattern="echo", size=100_000, *, kernel="echo", kernel_size=None, peer_options=(),
              kernel_options=(), during=None, v6=(), to=None, links=2, wrong=()):
        """The peer listens, the kernel connects. Both results. `wrong`: see `judge`."""
        peer = self.start_peer("server", PORT, "--pattern", pattern, "--size", size, *peer_options, v6=v6, links=links)
        target = to or peer_address(1)
        end = self.start_kernel("client", target, PORT, kernel, kernel_size or size, *kernel_options)
        return self._finish(peer, end, during, wrong)

    def connect(self, pattern="echo", size=100_000, *, kernel="echo", kernel_size=None, peer_options=(),
                kernel_options=(), during=None, v6=(), to=None, links=2, wrong=()):
        """The kernel listens, the peer connects. Both results. `wrong`: see `judge`."""
        address = to or kernel_address(1)
        end = self.start_kernel("server", "::" if ":" in address else "0.0.0.0", PORT, kernel, kernel_size or size,
                                *kernel_options)
        target = f"[{address}]:{PORT}" if ":" in address else f"{address}:{PORT}"
        peer = self.start_peer("client", target, "--pattern", pattern, "--size", size, *peer_options, v6=v6, links=links)
        return self._finish(peer, end, during, wrong)

    def _finish(self, peer, kernel, during, wrong):
        if during:
            during()
        mine = self.end(peer, 45)
        self.peer_said = json.dumps(mine)
        theirs = self.end(kernel)
        self.kernel_said = json.dumps(theirs)
        self.judged = self.judge(wrong, mine["error"])
        return mine, theirs

    def judge(self, wrong, error=None, checksums=True):
        """What `mptcp_check` says of the last capture. `wrong`: patterns of what it must find, since the test made
        it, and may find; None: it isn't asked, since a changed segment makes the rest unreadable."""
        if wrong is None:
            return None
        words = ["--linux", "--most", "1000"] + (["--allow-unfinished"] if error else [])
        words += [] if checksums else ["--ignore-checksums"]
        checked = subprocess.run([sys.executable, f"{SYSTEM}/mptcp_check.py", self.capture, *words],
                                 capture_output=True, text=True)
        assert checked.returncode in (0, 1), f"mptcp_check: {checked.stderr[-800:]}"
        result = json.loads(checked.stdout)
        found = result["first_violations"]
        strange = [v for v in found if not any(re.search(pattern, v) for pattern in [*wrong, *self.tolerated])]
        assert not strange, f"mptcp_check: {len(strange)} violations: " + "; ".join(strange[:6])
        missing = [pattern for pattern in wrong if not any(re.search(pattern, v) for v in found)]
        assert not missing, f"mptcp_check did not find {missing}"
        return result

    # ---- what the kernel counted ----
    def counters(self):
        text = self.inside(self.kernel, "env NSTAT_HISTORY=/dev/null nstat -az 'MPTcpExt*'")
        return {line.split()[0].removeprefix("MPTcpExt"): int(line.split()[1])
                for line in text.splitlines() if line.startswith("MPTcpExt")}

    def expect(self, **expected):
        """The kernel's counters: those named have that value (or lie in that range, or pass that test), the QUIET
        ones are 0."""
        found = self.counters()
        wrong = []
        for name in QUIET:
            expected.setdefault(name, 0)
        for name, value in expected.items():
            if name not in found:
                if value:
                    wrong.append(f"{name} does not exist")
                continue
            fits = (found[name] in value if isinstance(value, range)
                    else value(found[name]) if callable(value) else found[name] == value)
            if not fits:
                wrong.append(f"{name} is {found[name]}, not {value if not callable(value) else 'as it should'}")
        # The kernel joins and echoes from a worker, in its own time, and now and then not while the transfer lasts (an
        # announcement comes again meanwhile, and one is dropped; a priority is said of subflows that are there): that is
        # tried again in a fresh world, where a fault of ours shows again.
        late = ("MPJoin", "AddAddr", "EchoAdd", "PortAdd", "MPPrioTx")
        if wrong and all(sentence.startswith(late) for sentence in wrong):
            raise runner.OutOfBounds("; ".join(wrong))
        assert not wrong, "; ".join(wrong)
        return found

    def close(self, keep=False):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        for space in self.spaces:
            subprocess.run(["ip", "netns", "delete", space], capture_output=True)
        if keep:
            print(f"     kept: {self.folder}")
        else:
            subprocess.run(["rm", "-rf", self.folder])

    def last_words(self):
        moved = {}
        try:
            moved = {name: n for name, n in self.counters().items() if n}
        except AssertionError:
            pass
        return f"\npeer: {self.peer_said}\nkernel: {self.kernel_said}\ncounters: {moved}"


# ---- judgements ----
def same_streams(peer, kernel):
    """Both ended without an error, and what one sent the other received."""
    assert peer["error"] is None, f"the peer says: {peer['error']}"
    assert kernel["error"] is None, f"the kernel's application says: {kernel['error']}"
    for a, b, way in ((peer["sent"], kernel["received"], "peer to kernel"),
                      (kernel["sent"], peer["received"], "kernel to peer")):
        assert a == b, f"{way}: {a} became {b}"
    assert peer["readFinished"] and peer["writeFinished"], "the peer saw no end of both streams"


def wait_until(what, condition, timeout=10):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {timeout} s"
        time.sleep(0.02)
