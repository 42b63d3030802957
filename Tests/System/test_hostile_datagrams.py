"""Hostile applications, users and strangers at the datagrams of associations: docs/security.md, "Datagrams of
associations". Whatever they send, both programs live on and the next association works."""
import sys

from runner import check, seconds
from test_datagrams import BEGIN, counter, echo, inside, start, result
from world import CONCENTRATOR, ORIGIN, ORIGIN6


def works(world, what):
    """A fresh association echoes."""
    inside(world, f"""
a = Association()
assert a.code == 0, "{what}: an association is refused with %s" % a.code
a.send(b"works", {ORIGIN!r}, 7000)
assert a.receive()[0] == b"works"
""")


def test_dialogues_of_every_form(world):
    """Requests cut short, dribbled, with every address type and command: a refusal or an association, never a hang."""
    echo(world)
    pair = world.pair()
    inside(world, f"""
import itertools, random, struct
def dialogue(*parts, wait=0.0, close=True):
    s = socket.create_connection(("127.0.0.1", 1080), 5)
    got = b""
    try:
        for part in parts:
            s.sendall(part)
            if wait: time.sleep(wait)
        s.settimeout(1)
        got = s.recv(64) + s.recv(64) if close is None else b""
    except OSError: pass
    if close is not False: s.close()
    return got
hello = b"\\x05\\x01\\x00"
associate = b"\\x05\\x03\\x00"
addresses = [b"\\x01" + bytes(4), b"\\x01\\xff\\xff\\xff\\xff", b"\\x04" + bytes(16), b"\\x03\\x00", b"\\x03\\xff" + b"a" * 255,
             b"\\x03\\x04a\\x00b\\x80", b"\\x00", b"\\x02" + bytes(4), b"\\xff" * 30]
for address, port in itertools.product(addresses, (b"\\x00\\x00", b"\\xff\\xff")):
    whole = associate + address + port
    dialogue(hello, whole)
    for end in range(1, min(len(whole), 12)): dialogue(hello + whole[:end])
for command in range(256): dialogue(hello + bytes([5, command, 0, 1]) + bytes(6))
whole = hello + associate + b"\\x01" + bytes(6)
dialogue(*[bytes([b]) for b in whole], wait=0.01)
r = random.Random(7)
for _ in range(300):
    wild = bytearray(whole + r.randbytes(r.randrange(8)))
    for _ in range(r.randrange(1, 4)): wild[r.randrange(len(wild))] = r.randrange(256)
    dialogue(bytes(wild))
# What follows the request on the stream is nobody's.
a = Association()
for _ in range(50): a.control.sendall(bytes(65536))
a.send(b"x", {ORIGIN!r}, 7000)
assert a.receive()[0] == b"x"
# The port that was announced is the only one.
mine = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); mine.bind(("127.0.0.1", 0))
a = Association(announce=("127.0.0.1", mine.getsockname()[1]))
a.send(b"other port", {ORIGIN!r}, 7000)
assert a.nothing(0.3)
mine.settimeout(5)
mine.sendto(a.head({ORIGIN!r}, 7000) + b"mine", a.relay)
assert mine.recv(100)[10:] == b"mine"
""", timeout=60)
    world.wait(lambda: counter(pair, "proxy", "associations") == 0, "the associations to end", 5.0)
    world.wait(lambda: counter(pair, "concentrator", "associations") == 0, "the associations to end", 5.0)
    works(world, "after the dialogues")
    pair.alive()


@seconds(120)
def test_datagrams_of_every_form(world):
    """Headers of all kinds and cut everywhere, sizes from none to what UDP carries, targets that are none: each is
    dropped or echoed whole."""
    echo(world)
    pair = world.pair()
    inside(world, f"""
import random
a = Association()
def say(data):
    try: a.udp.sendto(data, a.relay)
    except OSError as e: assert e.errno == 90, e
# Nothing at all is a datagram, too; and what an IPv6 address maps is the same IPv4 address.
for payload in (b"", b"1", bytes(9000)):
    a.send(payload, {ORIGIN!r}, 7000)
    assert a.receive() == (payload, ({ORIGIN!r}, 7000)), len(payload)
a.send(b"mapped", "::ffff:" + {ORIGIN!r}, 7000)
assert a.receive() == (b"mapped", ({ORIGIN!r}, 7000))
for size in (9001, 9002, 16384, 40000, 65000, 65497): a.send(bytes(size), {ORIGIN!r}, 7000)
whole = a.head({ORIGIN6!r}, 7000) + b"payload"
for end in range(len(whole) - 7): say(whole[:end])
for kind in range(256):
    if kind not in (1, 3, 4): say(b"\\0\\0\\0" + bytes([kind]) + bytes(30))
for first in (b"\\1\\0", b"\\0\\1", b"\\xff\\xff"): say(first + whole[2:])
for fragment in range(1, 256): say(b"\\0\\0" + bytes([fragment]) + whole[3:])
for name in (b"", b"\\0", b"a" * 255, b".", b"..", b"a..b", b"-", b"\\xff\\xfe", b"x" * 64 + b".test", b"127.0.0.1", b"[::1]", b"a b", b"*"):
    say(b"\\0\\0\\0\\3" + bytes([len(name)]) + name + b"\\x1b\\x58x")
for host in ("0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1", "::", "ff02::1", "fe80::1", "::ffff:0.0.0.0", "2002:7f00:1::"):
    for port in (0, 1, 65535): a.send(b"x", host, port)
r = random.Random(3)
for _ in range(3000):
    wild = bytearray(whole + r.randbytes(r.randrange(40)))
    for _ in range(r.randrange(1, 5)): wild[r.randrange(3, 24)] = r.randrange(256)
    say(bytes(wild))
    if _ % 200 == 0: time.sleep(0.02)
time.sleep(0.3)
a.udp.settimeout(0.3)
try:
    while True: a.receive()
except TimeoutError: pass
a.udp.settimeout(5)
a.send(b"still", {ORIGIN!r}, 7000)
assert a.receive()[0] == b"still"
""", timeout=60)
    pair.alive()


def test_neither_descriptors_nor_ports(world):
    """Where there is no descriptor, and where there is no port, UDP ASSOCIATE is refused, the log says why, and what
    stands goes on; once there is one again, so is the next association."""
    echo(world)
    pair = world.pair(limits="ulimit -n 130")
    inside(world, f"""
first = Association()
first.send(b"x", {ORIGIN!r}, 7000); first.receive()
held, codes = [], []
for _ in range(120):
    try: held.append(Association())
    except (AssertionError, OSError, IndexError): break
    codes.append(held[-1].code)
    if codes[-1] != 0: break
assert codes[-1] not in (None, 0), codes
first.send(b"y", {ORIGIN!r}, 7000); assert first.receive()[0] == b"y"
for a in held: a.control.close()
time.sleep(0.5)
assert Association().code == 0
""")
    check("no association" in world.text(pair.names[0]) + world.text(pair.names[1]), "no line in the logs")
    for program in (pair.proxy, pair.concentrator):
        program.terminate()
        program.wait(40)
    for space, side in ((world.app, 0), (world.net, 1)):
        pair = world.pair()
        world.run(space, ["sysctl", "-qw", "net.ipv4.ip_local_port_range=50000 50030"])
        inside(world, f"""
first = Association()
first.send(b"x", {ORIGIN!r}, 7000); first.receive()
held, codes = [], []
for _ in range(60):
    held.append(Association())
    codes.append(held[-1].code)
assert codes.count(1) > 10, codes
first.send(b"y", {ORIGIN!r}, 7000); assert first.receive()[0] == b"y"
for a in held: a.control.close()
time.sleep(0.5)
assert Association().code == 0
""" if side else f"""
import subprocess
first = Association()
first.send(b"x", {ORIGIN!r}, 7000); first.receive()
taken = []
for port in range(50000, 50031):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try: s.bind(("127.0.0.1", port)); taken.append(s)
    except OSError: pass
assert Association().code == 1
first.send(b"y", {ORIGIN!r}, 7000); assert first.receive()[0] == b"y"
for s in taken: s.close()
assert Association().code == 0
""")
        world.run(space, ["sysctl", "-qw", "net.ipv4.ip_local_port_range=32768 60999"])
        check(("no association", "association refused")[side] in world.text(pair.names[side]), "no line in the log")
        for program in (pair.proxy, pair.concentrator):
            program.terminate()
            program.wait(40)


@seconds(120)
def test_associations_by_the_thousand(world):
    """Opened, used and closed by four at a time: each works, and nothing of them is left."""
    echo(world)
    pair = world.pair()
    before = pair.memory("concentrator"), pair.memory("proxy")
    inside(world, f"""
import struct, threading
wrong = []
def run(k):
    for n in range(500):
        a = Association()
        if a.code != 0: wrong.append(("code", a.code)); continue
        a.send(struct.pack(">I", n), {ORIGIN!r}, 7000 + (n % 7 == 6))
        if n % 7 != 6 and a.receive()[0] != struct.pack(">I", n): wrong.append(n)
        if n % 2: a.control.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        a.control.close(); a.udp.close()
def guarded(k):
    try: run(k)
    except Exception as e: wrong.append(repr(e))
threads = [threading.Thread(target=guarded, args=(k,)) for k in range(4)]
for t in threads: t.start()
for t in threads: t.join()
assert not wrong, wrong[:5]
""", timeout=100)
    for side in ("proxy", "concentrator"):
        world.wait(lambda: counter(pair, side, "associations") == 0, f"the {side} to forget them", 2.0)
    grown = [pair.memory(side) - b for side, b in zip(("concentrator", "proxy"), before)]
    check(max(grown) < 60 << 20, f"memory grew by {grown}")
    pair.alive()
