"""Sockets inside a test's network namespace, made from the test's own process."""
import ctypes
import os
import socket

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


class Inside:
    """`with Inside(name):` what is made within lives in that namespace; a socket stays there."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        self.home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        self.enter(there)
        os.close(there)

    def __exit__(self, *_):
        self.enter(self.home)
        os.close(self.home)

    @staticmethod
    def enter(descriptor):
        if LIBC.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def udp(namespace, to, device="", source=None):
    """A connected UDP socket of that namespace; `device` is the uplink it is bound to."""
    with Inside(namespace):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if device:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
        if source:
            s.bind((source, 0))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        s.connect(to)
    return s


def send(s, datagram):
    """Sends, or loses it as the network might: a peer that means harm does not mind."""
    try:
        s.send(datagram)
    except OSError:
        pass


UDP_SEGMENT = 103


def send_run(s, datagrams):
    """Datagrams of one length in one call (UDP_SEGMENT), at most 64 of them and 64 kB."""
    try:
        s.sendmsg([b"".join(datagrams)], [(socket.IPPROTO_UDP, UDP_SEGMENT, len(datagrams[0]).to_bytes(2, "little"))])
    except OSError:
        pass


def listening(namespace, address):
    """A bound UDP socket of that namespace."""
    with Inside(namespace):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        s.bind(address)
    return s
