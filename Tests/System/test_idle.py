"""What a connection costs that does nothing: ten thousand of them, each of which has carried a request."""
import os
import sys
import time

from runner import check, seconds
from test_dialogues import with_world

CONNECTIONS = 10_000
# A kB is 1,000 bytes.
MOST = 12_000

# Holds what comes and answers each first byte with another.
ORIGIN = """
import selectors, socket
chosen = selectors.DefaultSelector()
listener = socket.create_server(('10.81.3.10', 7010), backlog=1024)
chosen.register(listener, selectors.EVENT_READ)
print('ready', flush=True)
while True:
    for key, _ in chosen.select():
        if key.fileobj is listener:
            chosen.register(listener.accept()[0], selectors.EVENT_READ)
        elif key.fileobj.recv(100):
            key.fileobj.sendall(b'x' * 100)
        else:
            chosen.unregister(key.fileobj)
            key.fileobj.close()
"""

# Opens them a hundred at a time, 700 a second at most: a connection keeps its buffers for 5 s, and what many take at
# once the process keeps. A request and its answer on each.
CLIENT = """
import socket, sys, time
from world import socks5
held = []
for group in range(int(sys.argv[1]) // 100):
    new = [socks5('10.81.3.10', 7010)[0] for _ in range(100)]
    for s in new: s.sendall(b'x' * 100)
    for s in new: assert len(s.recv(100, socket.MSG_WAITALL)) == 100
    held += new
    time.sleep(0.14)
    print(len(held), flush=True)
time.sleep(600)
"""


@seconds(180)
def test_ten_thousand_idle_connections(w):
    """At most 12 kB of each program's memory for each of them, and no CPU."""
    pair = w.pair(limits="ulimit -n 20000")
    w.start(w.net, ["bash", "-c", "ulimit -n 20000; exec python3 -c \"$0\"", ORIGIN], "origin")
    w.wait(lambda: "ready" in w.text("origin"), "the origin")
    assert w.curl("http://origin.test/bytes/1000000").returncode == 0
    sides = ("proxy", "concentrator")
    before = {side: pair.memory(side) for side in sides}
    client = w.start(w.app, ["bash", "-c", "ulimit -n 20000; exec python3 -c \"$0\" $1", CLIENT, str(CONNECTIONS)],
                     "client", env=with_world())
    w.wait(lambda: str(CONNECTIONS) in w.text("client").split() or client.poll() is not None, "the connections", 150)
    check(client.poll() is None, w.text("client")[-300:])
    time.sleep(7)
    status = pair.status()
    check(status["connections"] >= CONNECTIONS, f"only {status['connections']} connections")
    cost = {side: (pair.memory(side) - before[side]) / CONNECTIONS for side in sides}
    w.notes.append(", ".join(f"{side} {n / 1000:.1f} kB each" for side, n in cost.items()))
    for side, n in cost.items():
        check(n < MOST, f"the {side} holds {n / 1000:.1f} kB for an idle connection")
    assert w.curl("http://origin.test/where").returncode == 0
    client.kill()
