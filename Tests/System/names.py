"""Name servers, honest and not, and clients of DNS, for test_names.py.

    names.py serve ADDRESS [MODE]     a resolver on port 53 that says what it is asked
    names.py watch SECONDS            packets of this namespace's uplinks that are none of a session's
    names.py times SERVER NAME COUNT  seconds that each question took; a name with * is another one each time
    names.py steady SERVER SECONDS    one question every 50 ms: what became of each
    names.py flood SERVER             everything that a client should not do
"""
import json
import os
import random
import select
import signal
import socket
import struct
import sys
import threading
import time

TYPES = {1: "A", 28: "AAAA", 16: "TXT", 15: "MX", 65: "HTTPS", 257: "CAA", 6: "SOA", 12: "PTR", 33: "SRV"}


def encode(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.strip(".").split(".") if label) + b"\0"


def question(name, kind=1, number=None, size=None):
    number = random.randrange(1 << 16) if number is None else number
    option = b"" if size is None else b"\0" + struct.pack(">HHIH", 41, size, 0, 0)
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 1 if option else 0) + encode(name) + struct.pack(">HH", kind, 1) + option


# ---- servers ----
def parse(message):
    labels, at = [], 12
    while message[at]:
        labels.append(message[at + 1:at + 1 + message[at]].decode().lower())
        at += 1 + message[at]
    kind, = struct.unpack_from(">H", message, at + 1)
    size = 512
    if struct.unpack_from(">H", message, 10)[0]:
        size = max(512, struct.unpack_from(">H", message, at + 8)[0])
    return ".".join(labels), kind, message[12:at + 5], size


def record(kind, data, life=60, name=b"\xc0\x0c"):
    return name + struct.pack(">HHIH", kind, 1, life, len(data)) + data


def records(name, kind):
    """What there is of a name; None where there is no such name."""
    if name.startswith("nowhere"):
        return None
    if name.startswith("text-"):
        return [record(16, b"\xc7" + bytes([i & 255]) * 199) for i in range(int(name.split(".")[0][5:]))] if kind == 16 else []
    data = {1: bytes([192, 0, 2, 7]), 28: socket.inet_pton(socket.AF_INET6, "2001:db8::7"), 16: b"\x05hello",
            15: b"\0\x0a\x04mail\xc0\x0c", 65: b"\0\x01\0\0\x01\0\x03\x02h2", 257: b"\0\x05issueca.test",
            33: b"\0\0\0\0\x01\xbb\x03sip\0"}.get(kind)
    return [record(kind, data, life=1 if name.startswith("short") else 60)] if data else []


def answer(message, limit):
    name, kind, asked, size = parse(message)
    found = records(name, kind)
    code = 3 if found is None else 2 if name.startswith("servfail") else 0
    zone = b"" if found else record(6, b"\xc0\x0c\xc0\x0c" + struct.pack(">IIIII", 1, 1, 1, 1, 60))
    body = b"".join(found or []) or zone
    counts = (len(found or []), 0 if found else 1)
    if code == 2:
        body, counts = b"", (0, 0)
    out = message[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, *counts, 1) + asked + body + b"\0" + struct.pack(">HHIH", 41, 1232, 0, 0)
    if limit and len(out) > size:
        out = message[:2] + struct.pack(">HHHHH", 0x8380, 1, 0, 0, 0) + asked
    return name, kind, out


def lies(message, right):
    """Answers that are none: of other numbers and questions, cut short, with names in circles, and no messages at all."""
    name, kind, asked, _ = parse(message)
    wrong = bytes([192, 0, 2, 66])
    head = lambda number, flags=0x8180: number + struct.pack(">HHHHH", flags, 1, 1, 0, 0)
    other = bytes([message[0] ^ 1, message[1]])
    return [head(other) + asked + record(kind, wrong),
            head(message[:2]) + encode("evil.test") + asked[-4:] + record(kind, wrong),
            head(message[:2]) + asked + record(kind, wrong)[:-1],
            head(message[:2]) + asked + record(kind, wrong, name=b"\xc0" + bytes([12 + len(asked)])),
            head(message[:2], 0x0100) + asked + record(kind, wrong),
            message[:12], b"", os.urandom(300), b"\xff" * 4000, right]


def serve(address, mode="honest"):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((address, 53))
    tcp = socket.create_server((address, 53), backlog=256)

    def one(connection):
        try:
            with connection:
                connection.settimeout(10)
                length, = struct.unpack(">H", connection.recv(2, socket.MSG_WAITALL))
                name, kind, out = answer(connection.recv(length, socket.MSG_WAITALL), limit=False)
                print("asked tcp", name, TYPES.get(kind, kind), flush=True)
                connection.sendall(struct.pack(">H", len(out)) + out)
        except (OSError, struct.error):
            pass

    def streams():
        while True:
            threading.Thread(target=one, args=(tcp.accept()[0],), daemon=True).start()
    threading.Thread(target=streams, daemon=True).start()
    print("ready", flush=True)
    while True:
        message, who = udp.recvfrom(4096)
        name, kind, out = answer(message, limit=True)
        print("asked udp", name, TYPES.get(kind, kind), flush=True)
        if mode == "silent" or name.startswith("silent"):
            continue
        for datagram in lies(message, out) if mode == "lying" else [out]:
            udp.sendto(datagram, who)


# ---- packets ----
def watch(limit):
    """Everything on the interfaces but the loopback that is neither ARP, nor neighbour discovery, nor UDP port 443 (or an ICMP error about that)."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    others, tunnel = [], 0
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    print("ready", flush=True)
    end = time.monotonic() + limit
    while time.monotonic() < end and not ended.is_set():
        if not select.select([raw], [], [], 0.05)[0]:
            continue
        frame, about = raw.recvfrom(65535)
        if about[0] == "lo":
            continue
        kind, packet = struct.unpack_from(">H", frame, 12)[0], frame[14:]
        if kind == 0x0806:
            continue
        if kind == 0x0800:
            protocol, body = packet[9], packet[(packet[0] & 15) * 4:]
        elif kind == 0x86dd:
            protocol, body = packet[6], packet[40:]
            if protocol in (0, 58):
                continue
        else:
            others.append(f"{about[0]}: type {kind:x}")
            continue
        ports = struct.unpack_from(">HH", body) if protocol in (6, 17) and len(body) >= 4 else (0, 0)
        if protocol == 1 and len(body) > 36 and body[0] == 3:
            # An ICMP error: about whose packet?
            protocol, ports = body[8 + 9], struct.unpack_from(">HH", body, 8 + (body[8] & 15) * 4)
        if protocol == 17 and 443 in ports:
            tunnel += 1
        else:
            name = ""
            if 53 in ports and protocol == 17:
                name = parse(body[8:])[0]
            others.append(f"{about[0]}: protocol {protocol} ports {ports} {name}".strip())
    print(json.dumps({"tunnel": tunnel, "others": others}), flush=True)


# ---- clients ----
def ask(s, server, name, kind=1, size=None, wait=12):
    message = question(name, kind, size=size)
    s.settimeout(wait)
    began = time.monotonic()
    s.sendto(message, (server, 53))
    while True:
        got = s.recv(65535)
        if got[:2] == message[:2]:
            return time.monotonic() - began, got


def times(server, name, count):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    took = []
    for i in range(count):
        spent, got = ask(s, server, name.replace("*", f"n{random.randrange(1 << 30)}"))
        assert got[3] & 15 == 0, f"code {got[3] & 15}"
        took.append(spent)
        time.sleep(0.01)
    print(json.dumps(took))


def steady(server, seconds):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setblocking(False)
    sent, got, codes = {}, {}, {}
    # None that the cache knows.
    run = random.randrange(1 << 30)
    begin = time.monotonic()
    count, i = int(seconds / 0.05), 0
    while time.monotonic() < begin + seconds + 12 and (i < count or len(got) < count):
        if i < count and time.monotonic() >= begin + i * 0.05:
            s.sendto(question(f"n{i}.s{run}.test", number=i), (server, 53))
            sent[i] = time.monotonic()
            i += 1
        select.select([s], [], [], 0.005)
        try:
            message = s.recv(65535)
            number, = struct.unpack_from(">H", message)
            got.setdefault(number, time.monotonic() - sent[number])
            codes[number] = message[3] & 15
        except BlockingIOError:
            pass
    print(json.dumps({"sent": len(sent), "answered": len(got), "bad": sum(code != 0 for code in codes.values()),
                      "longest": max(got.values(), default=0), "usual": sorted(got.values())[len(got) // 2] if got else 0}))


def flood(server):
    """Garbage, answers, circles, floods of names, and thousands of connections that say nothing or little."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for i in range(20_000):
        good = question(f"x{i}.flood.test")
        bad = [os.urandom(random.randrange(60)), good[:random.randrange(len(good))], b"", b"\xff" * 1400,
               good[:12] + b"\xc0\x0c\0\1\0\1", good[:12] + b"\xc0\x0e\xc0\x0c\0\1\0\1", good[:12] + b"\x3f" + b"a" * 63 * 8 + b"\0\0\1\0\1",
               good[:2] + b"\x81\x80" + good[4:], good[:4] + b"\xff\xff" * 4 + good[12:], good][i % 10]
        try:
            s.sendto(bad, (server, 53))
        except OSError:
            pass
        if i % 200 == 0:
            time.sleep(0.005)
    held = []
    for i in range(2_000):
        c = socket.socket()
        c.settimeout(5)
        try:
            c.connect((server, 53))
            message = question(f"t{i}.flood.test")
            c.sendall([b"", b"\0", struct.pack(">H", 4000) + message[:9], struct.pack(">H", 65535), struct.pack(">H", len(message)) + message,
                       (struct.pack(">H", len(message)) + message) * 300][i % 6])
        except OSError:
            pass
        held.append(c)
    print("ready", flush=True)
    time.sleep(3)


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "serve":
        serve(*rest)
    elif command == "watch":
        watch(float(rest[0]))
    elif command == "times":
        times(rest[0], rest[1], int(rest[2]))
    elif command == "steady":
        steady(rest[0], float(rest[1]))
    elif command == "flood":
        flood(rest[0])
