"""A user with a valid key who gives somebody else's address for his own: docs/security.md, "Users". Nobody there gets more
than three times what was sent in his name."""
import sys

from attack import Attack
from hostile_peer import client, frames
from runner import check
from test_hostile_flows import associations
from test_hostile_user import opened
from world import ORIGIN

FLOODER = f"""
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(({ORIGIN!r}, 7009))
print("ready", flush=True)
_, source = s.recvfrom(2048)
end = time.monotonic() + 10
while time.monotonic() < end:
    s.sendto(bytes(1200), source)
    time.sleep(0.001)
"""


class Spoofed:
    """A path's socket that hears at its own address and speaks from another one, whose owner answers nothing."""

    def __init__(self, own, victim):
        self.own, self.victim, self.sent, self.got = own, victim, 0, 0
        victim.setblocking(False)

    def fileno(self):
        return self.own.fileno()

    def recv(self, *arguments):
        return self.own.recv(*arguments)

    def send(self, datagram):
        self.sent += len(datagram)
        return self.victim.send(datagram)

    def count(self):
        """What came to the victim, never more than three times what was sent in his name."""
        try:
            while True:
                self.got += len(self.victim.recv(65536))
        except OSError:
            pass
        check(self.got <= 3 * self.sent, f"{self.got} bytes came to the victim, in whose name {self.sent} were sent")


def test_a_path_that_moves_to_a_victim(w):
    """A download and a server's datagrams are under way when the path's datagrams begin to come from somebody else, and
    then the path is closed and opened again from there."""
    a = Attack(w)
    w.start(w.net, [sys.executable, "-c", FLOODER], "flooder")
    w.wait(lambda: "ready" in w.text("flooder"), "the server that floods")
    session = a.session()
    session.add_path(1, a.socket())
    check(len(associations(session, 1)) == 1, "no association")
    stream, = opened(session, scale=14, keeps=False)
    session.send(frames.datagram(1, 0, b"go", (1, client.target(ORIGIN, 7009))))
    session.pump(0.3)
    before = session.bytes_in
    spoofed = session.paths[0] = Spoofed(session.paths[0], a.socket())
    for _ in range(200):
        session.pump(0.005)
        spoofed.count()
    check(session.bytes_in - before > 100_000, "neither download nor datagrams were under way")
    w.notes.append(f"moved: {spoofed.sent} bytes sent, {spoofed.got} came, {session.bytes_in - before} went on to the user")
    for incarnation in (2, 3, 4):
        session.send(session.state(0, incarnation - 1, bits=0), path=1)
        session.send(session.state(0, incarnation), stream.acknowledgement(), path=0)
        for _ in range(60):
            session.send(session.state(1, bits=frames.OPEN | frames.SILENT), stream.acknowledgement(), path=0)
            session.pump(0.005)
            spoofed.count()
    w.notes.append(f"opened again: {spoofed.sent} bytes sent, {spoofed.got} came")
    check(spoofed.got > 0, "nothing was sent to the victim: the test shows nothing")
    a.serves("beside the victim")
    session.close()
    a.end()
