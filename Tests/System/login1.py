"""Buses for test_idle_hint.py: a login1 on a bus, and things that only look like a bus.

    login1.py serve ADDRESS           org.freedesktop.login1; each line of standard input is what it says from then on:
                                      idle, in-use, nobody, odd (a value of another type), mute (no answer)
    login1.py bus PATH WHAT           a socket: silent, garbage (after the greeting), nonsense (instead of it), shut, flood
"""
import os
import socket
import struct
import sys
import threading

MANAGER = "org.freedesktop.login1.Manager"
PROPERTIES = "org.freedesktop.DBus.Properties"
PATH = "/org/freedesktop/login1"


def serve(address):
    import dbus
    import dbus.mainloop.glib
    import dbus.service
    from gi.repository import GLib

    dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
    bus = dbus.bus.BusConnection(address)
    word = ["nobody"]

    class Manager(dbus.service.Object):
        @dbus.service.method(PROPERTIES, in_signature="ss", out_signature="v", async_callbacks=("answer", "fail"))
        def Get(self, interface, name, answer, fail):
            print("asked", name, flush=True)
            if word[0] == "mute":
                return
            if word[0] == "odd":
                answer(dbus.String("yes", variant_level=1))
            elif name == "IdleHint":
                answer(dbus.Boolean(word[0] != "in-use", variant_level=1))
            else:
                answer(dbus.UInt64(0 if word[0] == "nobody" else 1_700_000_000_000_000, variant_level=1))

        @dbus.service.signal(PROPERTIES, signature="sa{sv}as")
        def PropertiesChanged(self, interface, changed, gone):
            pass

    manager = Manager(bus, PATH)
    name = dbus.service.BusName("org.freedesktop.login1", bus)
    print("ready", flush=True)

    def heard(*_):
        line = sys.stdin.readline()
        if not line:
            loop.quit()
            return False
        word[0] = line.strip()
        manager.PropertiesChanged(MANAGER, {"IdleHint": dbus.Boolean(word[0] == "idle")}, [])
        return True

    loop = GLib.MainLoop()
    GLib.io_add_watch(0, GLib.IO_IN | GLib.IO_HUP, heard)
    loop.run()
    del name


def signal(serial):
    """PropertiesChanged of the manager, in the D-Bus specification's marshalling, with a body of nothing."""
    fields = b""
    for code, kind, text in ((1, b"o", PATH), (2, b"s", PROPERTIES), (3, b"s", "PropertiesChanged"), (7, b"s", ":1.7")):
        fields += b"\0" * (-len(fields) % 8) + bytes([code, 1]) + kind + b"\0" + struct.pack("<I", len(text)) + text.encode() + b"\0"
    head = struct.pack("<cBBBIII", b"l", 4, 1, 1, 0, serial, len(fields)) + fields
    return head + b"\0" * (-len(head) % 8)


def greeted(client):
    """The greeting, as a bus has it, to the end of the client's part."""
    data = b""
    while b"BEGIN\r\n" not in data:
        piece = client.recv(4096)
        if not piece:
            return
        if not data:
            client.sendall(b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n")
        data += piece


def treat(client, what):
    try:
        if what == "nonsense":
            client.sendall(os.urandom(100_000))
        elif what == "garbage":
            greeted(client)
            client.sendall(os.urandom(100_000))
        elif what == "flood":
            greeted(client)
            block = b"".join(signal(serial + 1) for serial in range(1000))
            while True:
                client.sendall(block)
        if what != "shut":
            while client.recv(4096):
                pass
    except OSError:
        pass
    client.close()


def bus(path, what):
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(8)
    print("ready", flush=True)
    while True:
        client, _ = server.accept()
        print("came", flush=True)
        threading.Thread(target=treat, args=(client, what), daemon=True).start()


{"serve": serve, "bus": bus}[sys.argv[1]](*sys.argv[2:])
