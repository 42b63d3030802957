"""What stands around a telephone call between two unmodified SIP programs, and what became of the speech.

    voip.py front PORT...              takes the datagrams that the system redirects to these ports of 127.0.0.1 and
                                       sends them where they were meant for through SOCKS5's UDP ASSOCIATE, one
                                       association for each socket of the application, as redsocks' UDP relay does
    voip.py stun ADDRESS PORT          tells everybody the address he is seen with (RFC 5389)
"""
import select
import socket
import struct
import sys
import warnings
import wave

from datagrams import Association

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # gone with Python 3.13, as these tests' system is by then
    import audioop

RATE = 8_000
FRAME = RATE // 50


def front(target, ports):
    """A port of the front is the port of `target` that was meant."""
    poll = select.epoll()
    doors, lines, by = {}, {}, {}
    for port in ports:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("127.0.0.1", port))
        doors[s.fileno()] = (s, port)
        poll.register(s, select.EPOLLIN)
    at = {port: s for s, port in doors.values()}
    print("ready", flush=True)
    while True:
        for number, _ in poll.poll():
            if number in doors:
                door, port = doors[number]
                data, source = door.recvfrom(65535)
                line = lines.get(source)
                if line is None:
                    line = lines[source] = Association()
                    assert line.code == 0, line.code
                    by[line.udp.fileno()] = (line, source)
                    poll.register(line.udp, select.EPOLLIN)
                    print("association for", *source, flush=True)
                line.send(data, target, port)
            else:
                line, source = by[number]
                data, (host, port) = line.receive()
                if host == target and port in at:
                    at[port].sendto(data, source)


def stun(address, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, port))
    print("ready", flush=True)
    while True:
        data, source = s.recvfrom(2048)
        if len(data) < 20 or data[:2] != b"\x00\x01":
            continue
        cookie = struct.unpack(">I", data[4:8])[0]
        mapped = struct.pack(">BBHI", 0, 1, source[1] ^ (cookie >> 16),
                             struct.unpack(">I", socket.inet_aton(source[0]))[0] ^ cookie)
        print("seen", *source, flush=True)
        s.sendto(b"\x01\x01" + struct.pack(">H", 4 + len(mapped)) + data[4:20] + struct.pack(">HH", 0x20, len(mapped)) + mapped, source)


# ---- speech ----
def samples(path):
    with wave.open(path) as file:
        assert file.getnchannels() == 1 and file.getsampwidth() == 2, path
        data = file.readframes(file.getnframes())
        return data if file.getframerate() == RATE else audioop.ratecv(data, 2, 1, file.getframerate(), RATE, None)[0]


def write(path, data):
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(data)


def frames(data):
    """20 ms each, as G.711 leaves them."""
    data = audioop.ulaw2lin(audioop.lin2ulaw(data, 2), 2)
    return [data[i:i + 2 * FRAME] for i in range(0, len(data) - 2 * FRAME + 1, 2 * FRAME)]


def alike(a, b):
    """But for what two encoders round in another way."""
    return audioop.rms(audioop.add(a, audioop.mul(b, 2, -1), 2), 2) < audioop.rms(a, 2) / 20


def compare(sent, received):
    """Of what was spoken between the first and the last frame that came: seconds in all, and seconds that are
    missing. Frames are whole or not there, and in order; silence tells nothing and is left out."""
    loud = [f for f in frames(sent) if audioop.rms(f, 2) > 300]
    found, at = [], 0
    for frame in frames(received):
        if audioop.rms(frame, 2) > 250:
            # The next one usually; after a loss one of the next few seconds.
            n = next((n for n in range(at, min(at + 250, len(loud))) if alike(loud[n], frame)), None)
            if n is not None:
                found.append(n)
                at = n + 1
    if not found:
        return 0, 0
    spoken = found[-1] - found[0] + 1
    return spoken / 50, (spoken - len(found)) / 50


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[0] == "front":
        front(words[1], [int(w) for w in words[2:]])
    else:
        stun(words[1], int(words[2]))
