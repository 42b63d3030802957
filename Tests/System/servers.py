"""What the tests' Internet offers, all in one process: web on 80, names on 53, odd TCP services on 7001 and up."""
import hashlib
import http.server
import re
import socket
import socketserver
import struct
import sys
import threading
import time

from world import CONCENTRATOR, ORIGIN, ORIGIN6, RESOLVER, content

NAMES = {
    "origin.test": ([ORIGIN], [ORIGIN6]), "v4.test": ([ORIGIN], []), "v6.test": ([], [ORIGIN6]),
    # Happy Eyeballs: the first family leads nowhere.
    "halfdead.test": ([ORIGIN], ["fd00:81:3::dead"]),
    "loopback.test": (["127.0.0.1"], []), "concentrator.test": ([CONCENTRATOR], []), "nowhere.test": (["10.81.3.99"], []),
}


class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16

    def do_GET(self):
        path = self.path.split("?")[0]
        if match := re.fullmatch(r"/bytes/(\d+)", path):
            size = int(match[1])
            self.head(200, size, "application/octet-stream")
            for piece in content(size):
                self.wfile.write(piece)
        elif match := re.fullmatch(r"/page/(\d+)", path):
            self.page([f"/object/{i}.svg" for i in range(int(match[1]))])
        elif match := re.fullmatch(r"/families/(\d+)", path):
            # Half of the objects over each family.
            self.page([f"http://v{4 + i % 2 * 2}.test/object/{i}.svg" for i in range(int(match[1]))])
        elif match := re.fullmatch(r"/object/(\d+)\.svg", path):
            pad = "x" * (1000 + int(match[1]) * 977 % 40000)
            self.answer(f"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><!--{pad}--></svg>", "image/svg+xml")
        elif path == "/where":
            self.answer(f"seen {self.client_address[0]}\n")
        elif path == "/trickle":
            self.head(200, 20)
            for i in range(20):
                self.wfile.write(b"%d" % (i % 10))
                self.wfile.flush()
                time.sleep(0.1)
        else:
            self.answer("no such thing\n", status=404)

    def do_PUT(self):
        digest, size, gap, last = hashlib.sha256(), 0, 0, time.monotonic()
        for piece in self.body():
            now = time.monotonic()
            gap, last = max(gap, now - last) if size else 0, now
            digest.update(piece)
            size += len(piece)
        self.answer(f"{size} {digest.hexdigest()} {gap:.3f}\n")

    do_POST = do_PUT

    def page(self, objects):
        """A page of these, which says how many were loaded."""
        images = "".join(f"<img src='{each}'>" for each in objects)
        self.answer(f"""<!doctype html><title>page</title><p id=n>0 loaded</p>{images}<script>
            onload = () => {{ let good = [...document.images].filter(i => i.complete && i.naturalWidth > 0);
            document.getElementById('n').textContent = good.length + ' loaded' }}</script>""", "text/html")

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while length := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left > 0:
            piece = self.rfile.read1(min(left, 1 << 16))
            if not piece:
                return
            left -= len(piece)
            yield piece

    def head(self, status, size, kind="text/plain"):
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        self.send_header("Content-Type", kind)
        self.end_headers()

    def answer(self, text, kind="text/plain", status=200):
        data = text.encode()
        self.head(status, len(data), kind)
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class WebServer(http.server.ThreadingHTTPServer):
    request_queue_size = 512

    def handle_error(self, *_):
        pass  # a client that goes away is no news here


class WebServer6(WebServer):
    address_family = socket.AF_INET6


class Names(socketserver.DatagramRequestHandler):
    """Answers A and AAAA for NAMES; names in `silent.test` never, anything else doesn't exist."""

    def handle(self):
        query = self.rfile.read()
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        kind, = struct.unpack_from(">H", query, at + 1)
        question, name = query[12:at + 5], ".".join(labels)
        if name.endswith("silent.test"):
            return
        v4, v6 = NAMES.get(name, (None, None))
        found = {1: v4, 28: v6}.get(kind, []) if v4 is not None else []
        family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
        records = [b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(a)) + a
                   for a in (socket.inet_pton(family, text) for text in found)]
        code = 0 if v4 is not None else 3
        self.wfile.write(query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(records), 0, 0) + question + b"".join(records))


class Resolver(socketserver.UDPServer):
    """One after another, which costs less than a thread for each, and space for those of an attack meanwhile."""

    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        super().server_bind()


def serve(port, handler):
    """A TCP service: `handler(connection)` in a thread of its own."""
    listener = socket.create_server((ORIGIN, port), backlog=256)

    def one(connection):
        try:
            with connection:
                handler(connection)
        except OSError:
            pass

    def loop():
        while True:
            threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()
    threading.Thread(target=loop, daemon=True).start()


def hash_at_end(connection):
    """Reads to the end of the stream, then says the hash: only a half-close gets it."""
    digest = hashlib.sha256()
    while data := connection.recv(1 << 16):
        digest.update(data)
    connection.sendall(digest.hexdigest().encode())


def goodbye_first(connection):
    """Closes its own direction first, then says nothing but reads on; the file tells how much came."""
    connection.sendall(b"goodbye")
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(1 << 16):
        pass


def deaf(connection):
    """Never reads."""
    time.sleep(3600)


def echo(connection):
    while data := connection.recv(1 << 16):
        connection.sendall(data)


def reset(connection):
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def main():
    threading.Thread(target=WebServer((ORIGIN, 80), Web).serve_forever, daemon=True).start()
    threading.Thread(target=WebServer6((ORIGIN6, 80), Web).serve_forever, daemon=True).start()
    resolver = Resolver((RESOLVER, 53), Names)
    threading.Thread(target=resolver.serve_forever, daemon=True).start()
    for port, handler in ((7001, hash_at_end), (7002, goodbye_first), (7003, deaf), (7004, echo), (7005, reset)):
        serve(port, handler)
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
