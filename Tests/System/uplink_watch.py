"""Watches interfaces for IP packets that are no tunnel: uplink_watch.py CONCENTRATOR PORT INTERFACE...

Prints `ready`, then a line for each packet that is neither UDP to or from the concentrator's port (or an ICMP error about
that, where a datagram meets a socket that is closed already) nor what keeps neighbours and routers known. At SIGTERM it prints how many packets of the tunnel it saw.
"""
import select
import signal
import socket
import struct
import sys

concentrator, port, interfaces = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
sockets = []
for interface in interfaces:
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    s.bind((interface, 0))
    sockets.append(s)
tunnel, other = 0, 0


def about(frame):
    """None for the tunnel's packets and for neighbours; else what it is."""
    kind, packet = struct.unpack_from(">H", frame, 12)[0], frame[14:]
    if kind == 0x0800:
        proto, source, target = packet[9], socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
        rest = packet[(packet[0] & 15) * 4:]
    elif kind == 0x86DD:
        proto, rest = packet[6], packet[40:]
        source, target = (socket.inet_ntop(socket.AF_INET6, packet[at:at + 16]) for at in (8, 24))
        if proto == 0 and rest[0] == 58:
            return None  # hop-by-hop: multicast listener reports
        if proto == 58 and 130 <= rest[0] <= 143:
            return None
    else:
        return None
    if proto == 1 and rest[0] == 3 and len(rest) > 36:
        quoted = rest[8:]
        proto, source, target = quoted[9], socket.inet_ntoa(quoted[12:16]), socket.inet_ntoa(quoted[16:20])
        rest = quoted[(quoted[0] & 15) * 4:]
    ports = struct.unpack_from(">HH", rest, 0) if proto in (6, 17) and len(rest) >= 4 else (0, 0)
    if proto == 17 and ((target == concentrator and ports[1] == port) or (source == concentrator and ports[0] == port)):
        return True
    return f"{ {1: 'ICMP', 2: 'IGMP', 6: 'TCP', 17: 'UDP', 58: 'ICMPv6'}.get(proto, proto)} {source}:{ports[0]} to {target}:{ports[1]}"


def end(*_):
    print(f"tunnel {tunnel} other {other}", flush=True)
    sys.exit(0)


signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True:
    for s in select.select(sockets, [], [])[0]:
        found = about(s.recv(65536))
        if found is True:
            tunnel += 1
        elif found:
            other += 1
            print(found, flush=True)
