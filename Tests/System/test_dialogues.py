"""The ways in: SOCKS and HTTP, names and addresses, what comes back when it can't be done."""
import hashlib
import socket
import struct

from world import ORIGIN, ORIGIN6, content, content_hash, need, socks5

SIZE = 3_000_000


def test_every_kind_of_proxy(w):
    need("curl")
    w.pair()
    for proxy, url in [
        ("--socks5-hostname 127.0.0.1:1080", "http://origin.test"), ("--socks5 127.0.0.1:1080", f"http://{ORIGIN}"),
        ("--socks4a 127.0.0.1:1080", "http://origin.test"), ("--socks4 127.0.0.1:1080", f"http://{ORIGIN}"),
        ("--proxy http://127.0.0.1:1080", "http://origin.test"),
        ("--proxytunnel --proxy http://127.0.0.1:1080", "http://origin.test"),
        ("--socks5-hostname 127.0.0.1:1080", f"http://[{ORIGIN6}]"), ("--socks5-hostname 127.0.0.1:1080", "http://v6.test"),
        ("--proxy http://127.0.0.1:1080", f"http://[{ORIGIN6}]"),
    ]:
        result = w.curl(f"{url}/bytes/{SIZE}", proxy=proxy)
        assert result.returncode == 0, f"{proxy} {url}: {result.stderr.decode().strip()}"
        assert hashlib.sha256(result.stdout).hexdigest() == content_hash(SIZE), f"{proxy} {url}: wrong bytes"


def test_keep_alive_over_http_proxy(w):
    need("curl")
    w.pair()
    result = w.curl(*[f"http://{host}/where" for host in ("origin.test", "v4.test", "origin.test")], "-v",
                    proxy="--proxy http://127.0.0.1:1080")
    assert result.returncode == 0 and result.stdout.count(b"seen") == 3, result.stderr.decode()
    assert result.stderr.count(b"Re-using existing connection") == 2, "curl had to connect anew"


def test_uploads(w):
    need("curl")
    w.pair()
    path = f"{w.folder}/up"
    with open(path, "wb") as file:
        for piece in content(SIZE):
            file.write(piece)
    for proxy in ("--socks5-hostname 127.0.0.1:1080", "--proxy http://127.0.0.1:1080"):
        for how in (["-T", path], ["-T", path, "-H", "Transfer-Encoding: chunked"]):
            result = w.curl(*how, "http://origin.test/upload", proxy=proxy)
            assert result.stdout.decode().split()[:2] == [str(SIZE), content_hash(SIZE)], f"{proxy} {how}: {result}"


def test_password(w):
    need("curl")
    w.pair(proxy="listen: \"mixed://bob:s%40cret@0.0.0.0:1080\"\n")
    good = ["--socks5-hostname bob:s%40cret@127.0.0.1:1080", "--proxy http://bob:s%40cret@127.0.0.1:1080"]
    bad = ["--socks5-hostname bob:wrong@127.0.0.1:1080", "--socks5-hostname 127.0.0.1:1080", "--socks4a 127.0.0.1:1080",
           "--proxy http://127.0.0.1:1080", "--proxy http://bob:wrong@127.0.0.1:1080"]
    for proxy in good:
        result = w.curl("http://origin.test/where", proxy=proxy)
        assert result.returncode == 0 and b"seen" in result.stdout, f"{proxy}: {result.stderr.decode()}"
    for proxy in bad:
        result = w.curl("http://origin.test/where", proxy=proxy)
        assert b"seen" not in result.stdout, f"{proxy} was let in"
    assert b" 407 " in w.curl("-i", "http://origin.test/where", proxy=bad[3]).stdout.split(b"\n")[0]


def test_an_upload_during_the_pause_after_a_wrong_password(w):
    """More than is kept comes with the right password while its source still pauses: it waits, and arrives whole."""
    need("curl")
    w.pair(proxy="listen: \"mixed://bob:secret@127.0.0.1:1080\"\n")
    path = f"{w.folder}/up"
    with open(path, "wb") as file:
        for piece in content(SIZE):
            file.write(piece)
    for wrong in ("one", "two"):
        assert b"seen" not in w.curl("http://origin.test/where", proxy=f"--proxy http://bob:{wrong}@127.0.0.1:1080").stdout
        result = w.curl("-T", path, "-H", "Expect:", "http://origin.test/upload",
                        proxy="--proxy http://bob:secret@127.0.0.1:1080")
        assert result.stdout.decode().split()[:2] == [str(SIZE), content_hash(SIZE)], f"after {wrong}: {result}"


def reply_code(w, host, port, timeout=25):
    """The SOCKS5 reply for a target, asked on the application's host."""
    script = ("import sys; from world import socks5; s, code = socks5(sys.argv[1], int(sys.argv[2]), timeout=%d); print(code)" % timeout)
    import os
    result = w.run(w.app, ["python3", "-c", script, host, str(port)], env={**os.environ, "PYTHONPATH": os.path.dirname(__file__)})
    assert result.returncode == 0, result.stderr.decode()
    return int(result.stdout)


def test_socks_replies_tell_the_true_reason(w):
    w.pair(proxy="open: checked\n")
    assert reply_code(w, "origin.test", 80) == 0
    assert reply_code(w, ORIGIN, 81) == 5, "a refused connection is reply 5"
    assert reply_code(w, "nx.test", 80) == 4, "a name that doesn't exist is reply 4 (host unreachable)"
    w.run(w.net, ["ip", "route", "add", "unreachable", "10.99.0.0/16"])
    assert reply_code(w, "10.99.0.1", 80) in (3, 4), "no route is reply 3 or 4"


def test_http_errors_say_one_sentence(w):
    need("curl")
    w.pair()
    for url, code in [(f"http://{ORIGIN}:81/", b"502"), ("http://nx.test/", b"502")]:
        result = w.curl("-i", url, proxy="--proxy http://127.0.0.1:1080")
        first, _, body = result.stdout.partition(b"\r\n\r\n")
        assert code in first.split(b"\r\n")[0], f"{url}: {first[:60]}"
        assert 10 < len(body.strip()) < 300, f"{url}: {body}"


def test_private_targets_are_denied_by_default(w):
    need("curl")
    w.pair(proxy="open: checked\n", concentrator="")
    for host in (ORIGIN, "origin.test", "127.0.0.1", "loopback.test", "169.254.169.254", "::1", "::ffff:127.0.0.1"):
        assert reply_code(w, host, 80) == 2, f"{host} was not denied"
    result = w.curl("-i", "http://loopback.test/", proxy="--proxy http://127.0.0.1:1080")
    assert b" 403 " in result.stdout.split(b"\n")[0] or b" 502 " in result.stdout.split(b"\n")[0], result.stdout[:80]


def test_happy_eyeballs(w):
    """The AAAA leads nowhere; the connection must not wait for it to time out."""
    need("curl")
    w.pair()
    result = w.curl("-w", "%{time_total}", "http://halfdead.test/where")
    assert result.returncode == 0 and float(result.stdout.split()[-1]) < 3, result


def test_half_close(w):
    """The application ends its direction first and still gets the answer; and the other way around."""
    w.pair()
    result = w.run(w.app, ["python3", "-c", """
import hashlib, os, socket, sys
from world import socks5
s, code = socks5('origin.test', 7001)
data = os.urandom(2_000_000)
s.sendall(data)
s.shutdown(socket.SHUT_WR)
answer = b''
while piece := s.recv(1000): answer += piece
assert answer.decode() == hashlib.sha256(data).hexdigest(), answer
s, code = socks5('origin.test', 7002)
answer = b''
while piece := s.recv(1000): answer += piece
assert answer == b'goodbye', answer
for _ in range(50): s.sendall(b'x' * 10000)
s.close()
s, code = socks5('origin.test', 7005)
s.sendall(b'x')
try: assert s.recv(1) == b'', 'bytes after a reset'
except ConnectionResetError: pass
"""], env=with_world())
    assert result.returncode == 0, result.stderr.decode()


def with_world():
    import os
    return {**os.environ, "PYTHONPATH": os.path.dirname(os.path.abspath(__file__))}


def test_slow_small_pieces_arrive_at_once(w):
    """Twenty bytes, one every 100 ms: none waits for the next."""
    need("curl")
    w.pair()
    result = w.run(w.app, ["python3", "-c", """
import time
from world import socks5
s, _ = socks5('origin.test', 80)
s.sendall(b'GET /trickle HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
data, times = b'', []
while not data.endswith(b'0123456789' * 2):
    piece = s.recv(100)
    assert piece, data
    data += piece
    times.append(time.monotonic())
assert len(times) >= 15, f'only {len(times)} arrivals'
"""], env=with_world())
    assert result.returncode == 0, result.stderr.decode()
