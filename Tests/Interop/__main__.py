"""Interop tests: Braid's engine over raw IP against the MPTCP of the Linux kernel.

    python3 Tests/Interop MPTCP-PEER [NAME...] [--list] [--keep]

MPTCP-PEER is the program under test (swift build --product mptcp-peer); NAMEs choose tests by a part of their name.
Everything lives inside namespaces that the kernel takes down when this ends. Needs root or user namespaces, and a
kernel with MPTCP.
"""
from links import Links, runner, sh


def memory():
    """Pages the kernel's TCP holds: its MPTCP must give back what it took."""
    with open("/proc/net/sockstat") as file:
        words = next(line for line in file if line.startswith("TCP:")).split()
    return int(words[words.index("mem") + 1])


def prepare():
    sh("mount -t tmpfs none /run && mkdir -p /run/netns")
    print(f"TCP memory: {memory()} pages before")


runner.main("interop", __doc__, lambda program: lambda test: Links(program, getattr(test, "links", 2)), prepare,
            lambda: print(f"TCP memory: {memory()} pages after"))
