"""The concentrator's name servers: in their order, whatever becomes of them."""
import contextlib
import time

from runner import between, check
from test_dialogues import reply_code
from world import RESOLVER, sh

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
