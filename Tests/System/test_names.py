"""The concentrator's name servers: in their order, whatever becomes of them."""
import contextlib
import os
import time

from runner import between, check
from test_dialogues import reply_code
from world import HERE, ORIGIN, RESOLVER, sh

SECOND = "10.81.3.54"
# Answers every question "no such name" at once, or SERVFAIL.
SCRIPT = """
import socket, sys
code = int(sys.argv[2])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 53))
print("ready", flush=True)
while True:
    q, who = s.recvfrom(600)
    print("asked", flush=True)
    s.sendto(q[:2] + bytes([0x81, 0x80 | code]) + q[4:6] + bytes(6) + q[12:], who)
"""


@contextlib.contextmanager
def nameservers(*servers, options="options timeout:2 attempts:2"):
    """/etc/resolv.conf of all namespaces, written in its place, since it is mounted."""
    with open("/run/resolv.conf") as file:
        before = file.read()
    try:
        with open("/run/resolv.conf", "w") as file:
            file.write("".join(f"nameserver {server}\n" for server in servers) + options + "\n")
        yield
    finally:
        with open("/run/resolv.conf", "w") as file:
            file.write(before)


def start_second(w, code):
    sh(f"ip -n {w.net} address add {SECOND}/24 dev eth0")
    w.start(w.net, ["python3", "-c", SCRIPT, SECOND, str(code)], "second")
    w.wait(lambda: "ready" in w.text("second"), "the second name server")


def test_a_dead_second_server_costs_nothing(w):
    with nameservers(RESOLVER, SECOND):
        w.pair(proxy="open: checked\n")
        for _ in range(6):
            began = time.monotonic()
            check(reply_code(w, "v4.test", 80) == 0, "not connected")
            between(time.monotonic() - began, 0, 1.5, "seconds for a dial")


def test_what_the_second_server_does_not_know(w):
    """An internal name, and the provider's server behind the company's."""
    start_second(w, 3)
    with nameservers(RESOLVER, SECOND):
        w.pair(proxy="open: checked\n")
        for _ in range(8):
            check(reply_code(w, "origin.test", 80) == 0, "the name was not found")
    check("asked" not in w.text("second"), "the second was asked though the first had answered")


def test_a_failing_first_server_is_passed_over_at_once(w):
    start_second(w, 2)
    with nameservers(SECOND, RESOLVER, options="options timeout:5"):
        w.pair(proxy="open: checked\n")
        for _ in range(4):
            began = time.monotonic()
            check(reply_code(w, "origin.test", 80) == 0, "not connected")
            between(time.monotonic() - began, 0, 2, "seconds for a dial")
    with nameservers(SECOND, options="options timeout:5"):
        began = time.monotonic()
        check(reply_code(w, "origin.test", 80) == 1, "not a general failure")
        between(time.monotonic() - began, 0, 2, "seconds for a failure")


def test_a_link_local_server(w):
    """The router's address as IPv6 announces it, with the interface; behind lines that name nobody."""
    script = """
import socket, sys
from world import ORIGIN
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("fe80::53", 53, 0, socket.if_nametoindex("eth0")))
print("ready", flush=True)
while True:
    q, who = s.recvfrom(600)
    at = q.index(0, 12) + 5
    found = socket.inet_aton(ORIGIN) if q[at - 3] == 1 else b""
    record = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4" + found if found else b""
    s.sendto(q[:2] + bytes([0x81, 0x80, 0, 1, 0, len(found) // 4, 0, 0, 0, 0]) + q[12:at] + record, who)
"""
    ask = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(4)
s.connect(("127.0.0.1", 53))
s.send(bytes([0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + b"\\x08question\\x04test\\0\\0\\1\\0\\1")
print(socket.inet_ntoa(s.recv(600)[-4:]))
"""
    sh(f"ip -n {w.net} address add fe80::53/64 dev eth0 nodad")
    w.start(w.net, ["python3", "-c", script], "router", env={**os.environ, "PYTHONPATH": HERE})
    w.wait(lambda: "ready" in w.text("router"), "the router's name server")
    with nameservers("ns.example.org", "192.0.2", "[fe80::53", "fe80::53%eth0"):
        w.pair(proxy="open: checked\nnames: { listen: [\"127.0.0.1:53\"] }\n")
        check(reply_code(w, "router.test", 80) == 0, "a name was not found")
        asked = w.run(w.app, ["python3", "-c", ask])
        check(asked.stdout.decode().split() == [ORIGIN], f"a question was not answered: {asked}")
