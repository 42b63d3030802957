"""An uplink goes away in the middle; every byte arrives all the same."""
from runner import between, seconds
from world import content_hash

# Wide enough for a machine that is busy with something else; the benchmarks hold the real bounds.
LOST, SILENT = 1.0, 1.5


def check(w, result, size, bound):
    assert result["bytes"] == size and result["sha256"] == content_hash(size), f"wrong bytes: {result}"
    w.notes.append(f"longest gap {result['gap'] * 1000:.0f} ms")
    between(result["gap"], 0, bound, "the longest gap in s")


def transfer(w, kind, happens, bound, size=12_000_000, wifi=20, cell=10):
    """A transfer of about four seconds, with `happens()` after one."""
    import time
    w.limit(wifi=wifi, cell=cell)
    client = w.start_client(kind, size)
    time.sleep(1.2)
    assert client.process.poll() is None, "the transfer was over before anything happened"
    happens()
    check(w, client.result(), size, bound)


def test_download_loses_wifi(w):
    pair = w.pair()
    transfer(w, "download", lambda: w.down("wifi"), LOST)
    assert pair.usable() == 1
    pair.alive()


def test_download_loses_cellular(w):
    w.pair()
    transfer(w, "download", lambda: w.down("cell"), LOST)


def test_upload_loses_wifi(w):
    w.pair()
    transfer(w, "upload", lambda: w.down("wifi"), LOST)


def test_upload_loses_cellular(w):
    w.pair()
    transfer(w, "upload", lambda: w.down("cell"), LOST)


def test_download_wifi_falls_silent(w):
    w.pair()
    transfer(w, "download", lambda: w.silence("wifi"), SILENT)


def test_upload_wifi_falls_silent(w):
    w.pair()
    transfer(w, "upload", lambda: w.silence("wifi"), SILENT)


def test_both_uplinks_carry_data(w):
    """8 + 4 Mbit/s: neither alone would be done in time."""
    w.pair()
    w.limit(wifi=8, cell=4)
    before = [w.received("wifi"), w.received("cell")]
    size = 6_000_000
    result = w.start_client("download", size).result()
    wifi, cell = (w.received(name) - b for name, b in zip(("wifi", "cell"), before))
    share = size * 8 / result["seconds"] / 12e6
    w.notes.append(f"{share:.2f} of the sum, {cell / (wifi + cell):.2f} of it over cellular")
    assert result["sha256"] == content_hash(size)
    between(share, 0.8, 1, "the share of the links' sum")


def test_wifi_returns_and_is_used_again(w):
    import time
    pair = w.pair()
    w.limit(wifi=20, cell=4)
    client = w.start_client("download", 16_000_000)
    time.sleep(1)
    w.down("wifi")
    time.sleep(1)
    w.up("wifi")
    before = w.received("wifi")
    w.wait(lambda: w.received("wifi") - before > 500_000, "data over the returned uplink", 5)
    check(w, client.result(), 16_000_000, LOST)
    assert pair.usable() == 2


def test_both_lost_for_a_while(w):
    import time
    w.pair()
    w.limit(wifi=20, cell=10)
    client = w.start_client("download", 12_000_000)
    time.sleep(1)
    w.down("wifi")
    w.down("cell")
    time.sleep(2)
    w.up("cell")
    result = client.result()
    assert result["sha256"] == content_hash(12_000_000)


@seconds(90)
def test_forty_connections_at_once(w):
    """A handover of many connections is one handover."""
    import time
    w.pair()
    w.limit(wifi=50, cell=25)
    client = w.start_client("many", 40, 400_000)
    time.sleep(1)
    w.down("wifi")
    result = client.result(80)
    assert result["failed"] == 0 and result["hashes"] == [content_hash(400_000)], result


def test_through_a_nat(w):
    need_nat(w)
    w.pair()
    transfer(w, "download", lambda: w.down("wifi"), LOST)


def need_nat(w):
    w.masquerade()


def test_the_concentrator_restarts(w):
    """The proxy finds the new one by itself; new connections work."""
    import time
    pair = w.pair()
    pair.concentrator.kill()
    pair.concentrator.wait()
    pair.start_concentrator()
    w.wait(lambda: w.curl("http://origin.test/where", limit=3).returncode == 0, "a download after the restart", 25)
    pair.alive()
