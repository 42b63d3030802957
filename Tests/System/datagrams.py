"""Datagrams through the proxy, on whichever side: prints one JSON object where it measures something.

    datagrams.py echo PORT ADDRESS...       sends everything back to where it came from; says whom it heard on stderr
    datagrams.py pysocks HOST PORT          PySocks against an echo server, 1 to 9,000 bytes
    datagrams.py call HOST PORT MS COUNT [BYTES]   a datagram every MS, echoed: which were missed, and the usual delay
    datagrams.py flood ADDRESS PORT SECONDS        a stranger's
"""
import json
import select
import socket
import struct
import sys
import time

PROXY = ("127.0.0.1", 1080)


class Association:
    """RFC 1928's UDP ASSOCIATE."""

    def __init__(self, proxy=PROXY, announce=("0.0.0.0", 0), family=socket.AF_INET):
        self.control = socket.create_connection(proxy, 20)
        self.control.sendall(b"\x05\x01\x00")
        assert self.control.recv(2) == b"\x05\x00"
        self.control.sendall(b"\x05\x03\x00\x01" + socket.inet_aton(announce[0]) + struct.pack(">H", announce[1]))
        reply = self.control.recv(64)
        self.code = reply[1] if len(reply) > 1 else None
        if self.code != 0:
            return
        if reply[3] == 1:
            self.relay = (socket.inet_ntoa(reply[4:8]), struct.unpack(">H", reply[8:10])[0])
        else:
            self.relay = (socket.inet_ntop(socket.AF_INET6, reply[4:20]), struct.unpack(">H", reply[20:22])[0])
        self.udp = socket.socket(socket.AF_INET6 if reply[3] == 4 else socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.udp.settimeout(5)

    def send(self, payload, host, port, fragment=0):
        self.udp.sendto(self.head(host, port, fragment) + payload, self.relay)

    @staticmethod
    def head(host, port, fragment=0):
        try:
            address = b"\x01" + socket.inet_aton(host)
        except OSError:
            try:
                address = b"\x04" + socket.inet_pton(socket.AF_INET6, host)
            except OSError:
                address = b"\x03" + bytes([len(host)]) + host.encode()
        return b"\x00\x00" + bytes([fragment]) + address + struct.pack(">H", port)

    def receive(self):
        """Payload, and whose it is."""
        data, _ = self.udp.recvfrom(65535)
        assert data[:3] == b"\x00\x00\x00", data[:3]
        if data[3] == 1:
            return data[10:], (socket.inet_ntoa(data[4:8]), struct.unpack(">H", data[8:10])[0])
        assert data[3] == 4, data[3]
        return data[22:], (socket.inet_ntop(socket.AF_INET6, data[4:20]), struct.unpack(">H", data[20:22])[0])

    def nothing(self, seconds=0.5):
        return not select.select([self.udp], [], [], seconds)[0]


def echo(port, addresses):
    sockets = []
    for address in addresses:
        s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        s.bind((address, port))
        sockets.append(s)
    print("ready", flush=True)
    heard = set()
    while True:
        for s in select.select(sockets, [], [])[0]:
            data, source = s.recvfrom(65535)
            if source[:2] not in heard:
                heard.add(source[:2])
                print("heard", *source[:2], flush=True)
            s.sendto(data, source)


def pysocks(host, port):
    import socks
    s = socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)
    s.set_proxy(socks.SOCKS5, *PROXY)
    s.settimeout(5)
    wrong = []
    sizes = [1, 2, 100, 512, 1_000, 1_199, 1_200, 1_201, 1_228, 1_400, 1_472, 1_500, 2_400, 4_000, 5_555, 8_999, 9_000]
    for size in sizes:
        payload = bytes((size * 31 + i * 7) & 255 for i in range(size))
        s.sendto(payload, (host, port))
        data, source = s.recvfrom(65535)
        if data != payload:
            wrong.append(size)
    s.close()
    return {"sizes": len(sizes), "wrong": wrong, "source": list(source)}


def call(host, port, gap, count, size=172):
    """Each datagram numbered and stamped; what came back, when, against the usual delay."""
    a = Association()
    assert a.code == 0, a.code
    a.udp.setblocking(False)
    began, sent, got, twice = time.monotonic(), 0, {}, 0
    while time.monotonic() - began < count * gap / 1000 + 1:
        due = began + sent * gap / 1000
        if sent < count and time.monotonic() >= due:
            a.send(struct.pack(">I", sent) + bytes(size - 4), host, port)
            sent += 1
            continue
        wait = max(0, due - time.monotonic()) if sent < count else 0.1
        if select.select([a.udp], [], [], min(wait, 0.1))[0]:
            data, _ = a.receive()
            number = struct.unpack(">I", data[:4])[0]
            twice += number in got
            got.setdefault(number, time.monotonic() - began - number * gap / 1000)
    delays = sorted(got.values())
    usual = delays[len(delays) // 2] if delays else 0
    missed = [n for n in range(count) if n not in got or got[n] > usual + 0.15]
    return {"sent": sent, "got": len(got), "twice": twice, "usual_ms": usual * 1000, "missed_s": len(missed) * gap / 1000,
            "missed": missed[:20], "closed": a.control.fileno() < 0}


def flood(address, port, seconds):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end, n = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for _ in range(100):
            try:
                s.sendto(b"\x00\x00\x00\x01\x01\x02\x03\x04\x00\x50" + bytes(60), (address, port))
            except ConnectionRefusedError:
                pass
            n += 1
    return {"sent": n}


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[0] == "echo":
        echo(int(words[1]), words[2:])
    elif words[0] == "pysocks":
        print(json.dumps(pysocks(words[1], int(words[2]))))
    elif words[0] == "call":
        print(json.dumps(call(words[1], *map(int, words[2:]))))
    elif words[0] == "flood":
        print(json.dumps(flood(words[1], int(words[2]), float(words[3]))))
