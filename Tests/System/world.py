"""A small Internet for one test: an application's host with two uplinks, a router between, a server's host.

    app --wifi-- mid --- net          wifi 10.81.1.0/24, cell 10.81.2.0/24, net 10.81.3.0/24
        --cell--
"""
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

from runner import OutOfBounds, Skip

HERE = os.path.dirname(os.path.abspath(__file__))
CONCENTRATOR = "10.81.3.2"
ORIGIN = "10.81.3.10"
ORIGIN6 = "fd00:81:3::10"
RESOLVER = "10.81.3.53"


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            raise Skip(f"{program} is not installed")


def sh(command, **options):
    """Runs a command; its output. Fails with what it said."""
    result = subprocess.run(command, shell=isinstance(command, str), capture_output=True, text=True, **options)
    assert result.returncode == 0, f"{command}: {(result.stderr or result.stdout).strip()}"
    return result.stdout


def prepare_machine():
    """Once, inside the namespaces that __main__ made: names lead to the test's own resolver."""
    os.makedirs("/run/netns", exist_ok=True)
    sh("mount -t tmpfs none /run && mkdir -p /run/netns")
    with open("/run/resolv.conf", "w") as file:
        file.write(f"nameserver {RESOLVER}\noptions timeout:1 attempts:2\n")
    with open("/run/hosts", "w") as file:
        file.write("127.0.0.1 localhost\n::1 localhost\n")
    sh("mount --bind /run/resolv.conf /etc/resolv.conf && mount --bind /run/hosts /etc/hosts")


# ---- deterministic content -----------------------------------------------------------
BLOCK = random.Random(8684).randbytes(1 << 16)


def content(size):
    """`size` bytes in pieces; every 64 KiB block differs from every other by its number."""
    number = 0
    while size > 0:
        block = struct.pack(">Q", number) + BLOCK[8:]
        yield block[:size]
        size -= len(block)
        number += 1


def content_hash(size):
    digest = hashlib.sha256()
    for piece in content(size):
        digest.update(piece)
    return digest.hexdigest()


class World:
    count = 0

    def __init__(self, braid):
        World.count += 1
        self.braid = braid
        self.notes = []
        self.folder = tempfile.mkdtemp(prefix="braid-system-")
        self.processes = []
        self.logs = {}
        self.app, self.mid, self.net = (f"{name}{World.count}" for name in ("app", "mid", "net"))
        self.spaces = [self.app, self.mid, self.net]
        self._build()
        self.start_servers()

    # ---- links ----
    def _build(self):
        for space in self.spaces:
            sh(f"ip netns add {space} && ip -n {space} link set lo up")
        self._link("wifi", self.app, "10.81.1.2/24", "wifi", self.mid, "10.81.1.1/24")
        self._link("cell", self.app, "10.81.2.2/24", "cell", self.mid, "10.81.2.1/24")
        self._link("net", self.mid, "10.81.3.1/24", "eth0", self.net, f"{CONCENTRATOR}/24")
        for address in (f"{ORIGIN}/24", f"{RESOLVER}/24", f"{ORIGIN6}/64 nodad"):
            sh(f"ip -n {self.net} address add {address} dev eth0")
        sh(f"ip -n {self.net} route add default via 10.81.3.1")
        sh(f"ip netns exec {self.mid} sysctl -qw net.ipv4.ip_forward=1")
        self.route("wifi")
        self.route("cell")
        # Names are the concentrator's to resolve.
        sh(f"ip -n {self.app} route add unreachable {RESOLVER}")

    def _link(self, near, near_space, near_address, far, far_space, far_address):
        sh(f"ip -n {near_space} link add {near} type veth peer name {far} netns {far_space}")
        sh(f"ip -n {near_space} address add {near_address} dev {near} && ip -n {near_space} link set {near} up")
        sh(f"ip -n {far_space} address add {far_address} dev {far} && ip -n {far_space} link set {far} up")

    def address(self, address):
        """One more address of the server's host."""
        sh(f"ip -n {self.net} address add {address} dev eth0")

    def route(self, uplink):
        """The default route that a DHCP client would set; it goes when the link goes."""
        number, metric = (1, 100) if uplink == "wifi" else (2, 200)
        sh(f"ip -n {self.app} route replace default via 10.81.{number}.1 dev {uplink} metric {metric}")

    def down(self, uplink):
        """The interface is lost, and everybody on the machine is told."""
        sh(f"ip -n {self.app} link set {uplink} down")

    def up(self, uplink):
        sh(f"ip -n {self.app} link set {uplink} up")
        self.route(uplink)

    def silence(self, uplink, silent=True):
        """The router swallows everything of this uplink; nobody is told."""
        sh(f"ip netns exec {self.mid} nft -f -", input=(
            "table inet silence {\nchain forward {\ntype filter hook forward priority 0;\n}\n}\n"
            "flush chain inet silence forward\n"
            + (f"add rule inet silence forward iifname {uplink} drop\n"
               f"add rule inet silence forward oifname {uplink} drop\n" if silent else "")))

    def shrink(self, uplink, size):
        """The router's side of an uplink takes no longer packets any more, either way, and says nothing of it."""
        sh(f"ip netns exec {self.mid} nft -f -", input=(
            "table inet shrink {\nchain output {\ntype filter hook output priority 0;\n"
            "icmp type destination-unreachable drop\nicmpv6 type packet-too-big drop\n}\n}\n"))
        # A run of datagrams would be taken for one that may pass: each goes by itself from now on.
        sh(f"ip -n {self.app} link set {uplink} gso_max_segs 1 && ip -n {self.mid} link set {uplink} mtu {size}")

    def masquerade(self):
        """The router becomes a NAT on its way to the server."""
        need("nft")
        sh(f"ip netns exec {self.mid} nft -f -", input=(
            "table ip nat {\nchain postrouting {\ntype nat hook postrouting priority 100;\n"
            "oifname net masquerade\n}\n}\n"))

    def limit(self, **rates):
        """Rates of uplinks in Mbit/s, both directions: limit(wifi=50, cell=20)."""
        for uplink, rate in rates.items():
            for space in (self.app, self.mid):
                queue = max(int(rate * 125_000 * 0.06), 60_000)  # 60 ms
                sh(f"tc -n {space} qdisc replace dev {uplink} root tbf rate {rate}mbit burst 64kb limit {queue}")

    def sent(self, uplink):
        """Bytes that left the application's host through an uplink so far."""
        return self._statistic(uplink, "tx_bytes")

    def received(self, uplink):
        return self._statistic(uplink, "rx_bytes")

    def _statistic(self, uplink, name):
        rows = json.loads(sh(f"ip -n {self.app} -j -s link show {uplink}"))
        kind, what = name.split("_")
        return rows[0]["stats64"][kind][what]

    # ---- processes ----
    def start(self, space, command, name, limits="", **options):
        """Starts a program in a namespace; its output goes to a log that a failure shows."""
        path = f"{self.folder}/{name}.log"
        self.logs[name] = path
        if limits:
            command = ["bash", "-c", f"{limits}; exec \"$@\"", "bash", *command]
        process = subprocess.Popen(["ip", "netns", "exec", space, *command], stdin=subprocess.DEVNULL,
                                   stdout=open(path, "a"), stderr=subprocess.STDOUT, **options)
        self.processes.append(process)
        return process

    def popen(self, space, command):
        """Starts a program in a namespace that is spoken with."""
        process = subprocess.Popen(["ip", "netns", "exec", space, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        return process

    def run(self, space, command, timeout=60, **options):
        """Runs a program in a namespace to its end."""
        options.setdefault("capture_output", True)
        return subprocess.run(["ip", "netns", "exec", space, *command], timeout=timeout, **options)

    def start_servers(self):
        self.start(self.net, [sys.executable, f"{HERE}/servers.py"], "servers")
        self.wait(lambda: "ready" in open(self.logs["servers"]).read(), "the test's own servers")

    def wait(self, condition, what, limit=10.0):
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if condition():
                return
            time.sleep(0.02)
        # Less than the usual limit is a bound of time.
        raise (OutOfBounds if limit < 10 else AssertionError)(f"waited {limit} s for {what}")

    def text(self, name):
        return open(self.logs[name], errors="replace").read()

    def last_words(self):
        out = ""
        for name, path in self.logs.items():
            lines = open(path, errors="replace").read().splitlines()[-25:]
            if lines and name != "servers":
                out += f"\n--- {name}\n" + "\n".join(lines)
        return out

    def close(self, keep=False):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        for space in self.spaces:
            subprocess.run(["ip", "netns", "delete", space], capture_output=True)
        if keep:
            self.notes.append(f"kept {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    # ---- braid ----
    def key(self, name):
        """A new key file; its path and its public key."""
        path = f"{self.folder}/{name}.key"
        return path, sh([self.braid, "keygen", path]).strip()

    def pair(self, proxy="", concentrator="egress: { deny: [] }\n", listen=f"{CONCENTRATOR}:443", mode="full",
             uplinks=("wifi", "cell"), proxy_flags=(), concentrator_flags=(), wait=True, limits="", others=()):
        """`others`: further users, as (name, public key)."""
        return Pair(self, proxy, concentrator, listen, mode, uplinks, proxy_flags, concentrator_flags, wait, limits, others)

    def curl(self, *arguments, proxy="--socks5-hostname 127.0.0.1:1080", limit=60):
        """curl on the application's host, through the proxy."""
        command = ["curl", "-sS", "--max-time", str(limit), *proxy.split(), *arguments]
        return self.run(self.app, command, timeout=limit + 5)

    def start_client(self, *arguments):
        """client.py on the application's host; a `Client` to wait for."""
        return Client(self, arguments)


class Client:
    """A transfer that goes on while the test does something to the links."""

    def __init__(self, world, arguments):
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", world.app, sys.executable, f"{HERE}/client.py", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        world.processes.append(self.process)

    def result(self, limit=55):
        try:
            out, err = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"the transfer did not end in {limit} s: {err.strip()}")
        assert self.process.returncode == 0, f"the transfer failed: {err.strip().splitlines()[-1:]}"
        return json.loads(out)


class Pair:
    """A concentrator and a proxy that know each other."""

    def __init__(self, world, proxy, concentrator, listen, mode, uplinks, proxy_flags, concentrator_flags, wait, limits, others):
        self.world = world
        number = sum(1 for name in world.logs if name.startswith("proxy"))
        self.names = [f"proxy{number or ''}", f"concentrator{number or ''}"]
        self.proxy_key, self.proxy_public = world.key(self.names[0])
        self.concentrator_key, self.concentrator_public = world.key(self.names[1])
        folder = world.folder
        self.control = [f"{folder}/{name}.sock" for name in self.names]
        self.files = [f"{folder}/{name}.yaml" for name in self.names]
        users = ", ".join(f"{{ name: {name}, public_key: \"{key}\" }}"
                          for name, key in [("alice", self.proxy_public), *others])
        with open(self.files[1], "w") as file:
            file.write(f"listen: \"{listen}\"\nprivate_key_file: {self.concentrator_key}\n"
                       f"users: [ {users} ]\n"
                       f"control: {self.control[1]}\nlog_level: debug\n{concentrator}")
        with open(self.files[0], "w") as file:
            address = listen.replace("0.0.0.0", CONCENTRATOR)
            file.write(f"concentrator: {{ address: \"{address}\", public_key: \"{self.concentrator_public}\" }}\n"
                       f"private_key_file: {self.proxy_key}\nmode: {mode}\n"
                       f"control: {self.control[0]}\nlog_level: debug\n")
            if uplinks:
                file.write("uplinks:\n")
                for uplink in uplinks:
                    name, _, role = uplink.partition(",")
                    file.write(f"  - {{ interface: {name}{', role: ' + role if role else ''} }}\n")
            file.write(proxy)
        self.concentrator_flags, self.proxy_flags, self.limits = concentrator_flags, proxy_flags, limits
        self.start_concentrator()
        self.start_proxy()
        if wait:
            self.wait_for_paths(len(uplinks) if mode != "single" else 1)

    def start_concentrator(self):
        self.concentrator = self.world.start(
            self.world.net, [self.world.braid, "concentrator", "--config", self.files[1], *self.concentrator_flags],
            self.names[1], self.limits)
        self.world.wait(lambda: os.path.exists(self.control[1]) or self.concentrator.poll() is not None, "the concentrator")

    def start_proxy(self):
        self.proxy = self.world.start(
            self.world.app, [self.world.braid, "proxy", "--config", self.files[0], *self.proxy_flags],
            self.names[0], self.limits)

    def wait_for_paths(self, count):
        """Until the session stands with that many usable paths."""
        def ready():
            if self.proxy.poll() is not None or self.concentrator.poll() is not None:
                raise AssertionError("a program ended at its start")
            return self.usable() >= count
        self.world.wait(ready, f"{count} usable paths")

    def status(self, side="proxy"):
        """What braid status --json says; None where it can't ask."""
        control = self.control[0 if side == "proxy" else 1]
        result = subprocess.run([self.world.braid, "status", "--json", "--control", control], capture_output=True, text=True)
        return json.loads(result.stdout) if result.returncode == 0 else None

    def usable(self, side="proxy"):
        status = self.status(side)
        return sum(path["health"] == "usable" for s in status["sessions"] for path in s["paths"]) if status else 0

    def alive(self):
        """Both programs run on, and say what they should."""
        assert self.proxy.poll() is None, f"the proxy ended with {self.proxy.returncode}"
        assert self.concentrator.poll() is None, f"the concentrator ended with {self.concentrator.returncode}"

    def stop_all(self):
        """Ends also the processes that followed those this one started."""
        for side in ("proxy", "concentrator"):
            status = self.status(side)
            if status:
                os.kill(status["pid"], signal.SIGKILL)

    def memory(self, side="proxy"):
        """Resident bytes."""
        process = self.proxy if side == "proxy" else self.concentrator
        fields = open(f"/proc/{process.pid}/status").read()
        return int(fields.split("VmRSS:")[1].split()[0]) * 1024


def socks5(host, port, proxy=("127.0.0.1", 1080), timeout=20):
    """Opens a connection through SOCKS5; the socket and the reply code."""
    s = socket.create_connection(proxy, timeout)
    s.sendall(b"\x05\x01\x00")
    assert s.recv(2) == b"\x05\x00"
    name = host.encode()
    s.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + struct.pack(">H", port))
    reply = s.recv(10)
    return s, reply[1] if len(reply) > 1 else None
