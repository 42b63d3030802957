"""Garbage and replays: nothing crashes, nothing is answered to a stranger."""
import os
import random
import socket
import struct

from runner import seconds
from world import CONCENTRATOR, content_hash

SEND_GARBAGE = """
import random, socket, sys, time
seed, host, port, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
chance = random.Random(seed)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((host, port))
s.setblocking(False)
answers = 0
for i in range(count):
    size = chance.choice([0, 1, 3, 7, 8, 9, 24, 40, 96, 148, 200, 1200, 1472, 9000])
    data = bytearray(chance.randbytes(size))
    if data and i % 3: data[0] = i % 256   # every kind of datagram
    try: s.send(data)
    except OSError: pass
    if i % 50 == 0: time.sleep(0.005)
    try: answers += len(s.recv(65536)) > 0
    except OSError: pass
time.sleep(0.5)
while True:
    try: answers += len(s.recv(65536)) > 0
    except OSError: break
print(answers)
"""


def test_a_stranger_hears_nothing_on_udp(w):
    pair = w.pair()
    result = w.run(w.app, ["python3", "-c", SEND_GARBAGE, "1", CONCENTRATOR, "443", "3000"])
    assert result.stdout.strip() == b"0", f"{result.stdout} answers: {result.stderr}"
    pair.alive()
    assert w.curl("http://origin.test/where").returncode == 0


def test_garbage_at_the_proxys_port(w):
    pair = w.pair()
    result = w.run(w.app, ["python3", "-c", """
import random, socket
chance = random.Random(2)
starts = [b'', b'\\x05', b'\\x05\\x01\\x00', b'\\x05\\xff', b'\\x04\\x01', b'GET ', b'CONNECT ', b'CONNECT x:1 HTTP/1.1\\r\\n\\r\\n', b'\\x16\\x03\\x01',
          b'\\x05\\x01\\x00\\x05\\x01\\x00\\x03\\xff', b'\\x05\\x01\\x00\\x05\\x03\\x00\\x01', b'POST http://x/ HTTP/1.1\\r\\nContent-Length: 99999999999999999999\\r\\n\\r\\n']
for i in range(400):
    s = socket.create_connection(('127.0.0.1', 1080), 5)
    try:
        s.sendall(chance.choice(starts) + chance.randbytes(chance.choice([0, 1, 10, 300, 70000])))
        if i % 2: s.shutdown(socket.SHUT_WR)
        s.settimeout(0.02)
        s.recv(1000)
    except OSError: pass
    s.close()
"""], timeout=50)
    assert result.returncode == 0, result.stderr.decode()
    pair.alive()
    assert w.curl("http://origin.test/where").returncode == 0


CAPTURE = """
import socket, struct, sys, time
# Captures the UDP payloads that leave for the concentrator, until told to stop. The header in front of each
# frame (PACKET_VNET_HDR) tells the size of the datagrams that the kernel still carries in one piece.
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.setsockopt(263, 15, 1)
s.bind((sys.argv[1], 3))
out = open(sys.argv[2], 'wb', buffering=0)
print('ready', flush=True)
while True:
    data = s.recv(1 << 17)
    piece, ip = struct.unpack_from('H', data, 4)[0], data[24:]
    if ip[0] >> 4 != 4 or ip[9] != 17: continue
    udp = ip[(ip[0] & 15) * 4:]
    if struct.unpack('>H', udp[2:4])[0] != 443: continue
    payload = udp[8:struct.unpack('>H', udp[4:6])[0]]
    for at in range(0, len(payload), piece or len(payload)):
        part = payload[at:at + (piece or len(payload))]
        out.write(struct.pack('>H', len(part)) + part)
"""

REPLAY = """
import socket, struct, sys, time
data, at, sent, answers, hellos = open(sys.argv[1], 'rb').read(), 0, 0, 0, 0
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[2], 443))
s.setblocking(False)
while at + 2 <= len(data):
    n = struct.unpack_from('>H', data, at)[0]
    try: s.send(data[at + 2:at + 2 + n]); sent += 1; hellos += data[at + 2] == 0x10
    except OSError: pass
    at += 2 + n
    if sent % 20 == 0: time.sleep(0.002)
    try: answers += len(s.recv(65536)) > 0
    except OSError: pass
time.sleep(0.5)
while True:
    try: answers += len(s.recv(65536)) > 0
    except OSError: break
print(sent, answers, hellos)
"""


def test_a_captured_session_replayed(w):
    """Every datagram of a session, its handshake included, again: no new session, no harm, and no answer but a
    hello's challenge, which only who has the keys could take up."""
    capture = f"{w.folder}/captured"
    import time
    watcher = w.start(w.app, ["python3", "-c", CAPTURE, "wifi", capture], "capture")
    w.wait(lambda: "ready" in w.text("capture"), "the capture")
    pair = w.pair()
    w.start_client("upload", 2_000_000).result()
    time.sleep(0.5)
    watcher.terminate()
    sessions = len(pair.status("concentrator")["sessions"])
    for living in (True, False):
        result = w.run(w.app, ["python3", "-c", REPLAY, capture, CONCENTRATOR])
        sent, answers, hellos = map(int, result.stdout.split())
        assert sent >= 10, f"only {sent} datagrams were captured"
        assert answers <= hellos, f"{answers} of {sent} replayed datagrams were answered, {hellos} are hellos"
        status = pair.status("concentrator")
        assert len(status["sessions"]) <= sessions, "a replay opened a session"
        assert pair.concentrator.poll() is None, "the concentrator ended"
        if living:
            pair.alive()
            assert w.curl("http://origin.test/where").returncode == 0, "the session was harmed"
            pair.proxy.terminate()
            pair.proxy.wait(40)
    w.notes.append(f"{sent} datagrams")


def test_a_proxy_the_concentrator_does_not_know(w):
    """Another key: silence, and the proxy says so."""
    pair = w.pair(wait=False)
    pair.proxy.kill()
    path, _ = w.key("stranger")
    text = open(pair.files[0]).read().replace(pair.proxy_key, path)
    open(pair.files[0], "w").write(text)
    pair.start_proxy()
    result = w.curl("http://origin.test/where", limit=5)
    assert result.returncode != 0
    assert not pair.status("concentrator")["sessions"]
    w.wait(lambda: "no answer from the concentrator" in w.text("proxy"), "a sentence in the proxy's log")
