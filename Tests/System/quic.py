"""QUIC (aioquic) through SOCKS5's UDP ASSOCIATE.

    quic.py serve ADDRESS PORT CERTIFICATE KEY
    quic.py fetch ADDRESS PORT BYTES       over the proxy; seconds, and the longest gap between two arrivals
    quic.py plain ADDRESS PORT BYTES       the same by a socket of its own
"""
import asyncio
import json
import ssl
import sys
import time

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from datagrams import Association


def window(is_client, **options):
    return QuicConfiguration(is_client=is_client, alpn_protocols=["braid"], max_data=16 << 20, max_stream_data=16 << 20, **options)


def answer(reader, writer):
    async def run():
        size = int((await reader.read(64)).decode())
        block = bytes(range(256)) * 256
        while size > 0:
            writer.write(block[:size])
            size -= len(block)
            await asyncio.sleep(0)
        writer.write_eof()
    asyncio.ensure_future(run())


async def serving(address, port, certificate, key):
    configuration = window(False)
    configuration.load_cert_chain(certificate, key)
    await serve(address, port, configuration=configuration, stream_handler=answer)
    print("ready", flush=True)
    await asyncio.Event().wait()


class Relayed(asyncio.DatagramProtocol):
    """A QUIC connection's datagrams in an association's."""

    def __init__(self, association, inner):
        self.association, self.inner = association, inner

    def connection_made(self, transport):
        self.transport = transport
        self.inner.connection_made(self)

    def sendto(self, data, address):
        self.transport.sendto(Association.head(*address[:2]) + data, self.association.relay)

    def close(self):
        self.transport.close()

    def is_closing(self):
        return self.transport.is_closing()

    def datagram_received(self, data, _):
        self.inner.datagram_received(data[10:], self.peer)


async def fetching(address, port, size):
    association = Association()
    assert association.code == 0, association.code
    association.udp.setblocking(False)
    quic = QuicConnectionProtocol(QuicConnection(configuration=window(True, verify_mode=ssl.CERT_NONE)))
    relayed = Relayed(association, quic)
    relayed.peer = (address, port)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: relayed, sock=association.udp)
    quic.connect((address, port))
    await quic.wait_connected()
    await download(quic, size)
    quic.close()


async def plain(address, port, size):
    async with connect(address, port, configuration=window(True, verify_mode=ssl.CERT_NONE)) as quic:
        await download(quic, size)


async def download(quic, size):
    reader, writer = await quic.create_stream()
    writer.write(str(size).encode())
    began = last = time.monotonic()
    got, gap = 0, 0
    while got < size:
        data = await asyncio.wait_for(reader.read(1 << 16), 20)
        if not data:
            break
        now = time.monotonic()
        gap, last = max(gap, now - last), now
        got += len(data)
    print(json.dumps({"bytes": got, "seconds": time.monotonic() - began, "gap": gap}))


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[0] == "serve":
        asyncio.run(serving(words[1], int(words[2]), words[3], words[4]))
    else:
        asyncio.run({"fetch": fetching, "plain": plain}[words[0]](words[1], int(words[2]), int(words[3])))
