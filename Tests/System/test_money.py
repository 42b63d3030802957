"""Prices and allowances: what is counted, what a kill -9 loses of it, and what follows when an allowance is used up."""
import os
import signal
import subprocess
import time

from runner import check, seconds

ETHERNET = 14


def money_pair(w, cell, wifi="", policy="cost: prefer-cheap\n"):
    """Both uplinks, the cellular one with these keys; what they use is kept in the world's folder."""
    os.environ["STATE_DIRECTORY"] = w.folder
    try:
        pair = w.pair(proxy=f"uplinks:\n  - {{ interface: wifi{wifi} }}\n  - {{ interface: cell, {cell} }}\n{policy}",
                      uplinks=())
    finally:
        del os.environ["STATE_DIRECTORY"]
    pair.wait_for_paths(2)
    return pair


def again(w, pair):
    os.environ["STATE_DIRECTORY"] = w.folder
    try:
        pair.start_proxy()
    finally:
        del os.environ["STATE_DIRECTORY"]


def used(pair, name="cell"):
    return next(u for u in pair.status()["uplinks"] if u["name"] == name)["used_bytes"]


def usage_set(w, pair, volume):
    subprocess.run([w.braid, "usage", "set", "cell", volume, "--control", pair.control[0]], check=True, capture_output=True)


def carried(w, uplink="cell"):
    """IP packets' bytes by the interface's own count: each packet less its Ethernet header."""
    return sum(w._statistic(uplink, f"{way}_bytes") - ETHERNET * w._statistic(uplink, f"{way}_packets")
               for way in ("rx", "tx"))


def close_to(have, want, what):
    check(abs(have - want) <= max(100_000, want // 1000), f"{what}: {have} bytes, the interface has {want}")


def download(w, size):
    result = w.curl("-o", "/dev/null", "-w", "%{size_download}", f"http://origin.test/bytes/{size}")
    check(result.stdout == str(size).encode(), f"{result.stdout} of {size}: {result.stderr}")


@seconds(60)
def test_what_a_dear_uplink_carries_is_counted(w):
    # Segmentation happens before the interface counts.
    for space in (w.app, w.mid):
        for uplink in ("wifi", "cell"):
            subprocess.run(["ip", "-n", space, "link", "set", uplink, "gso_max_segs", "1"], check=True)
    pair = money_pair(w, "price: 5 EUR, allowance: 100MB, on_empty: stop")
    download(w, 10_000_000)
    check(used(pair) < 500_000, f"{used(pair)} bytes over the dear uplink while the cheap one had room")
    w.down("wifi")
    download(w, 8_000_000)
    w.wait(lambda: abs(used(pair) - carried(w)) <= 100_000, "the count")
    w.notes.append(f"counted {used(pair)}, the interface {carried(w)}")

    # Killed in the middle of a transfer; the next process goes on where this one was.
    client = w.start_client("download", 40_000_000)
    before = carried(w)
    w.wait(lambda: carried(w) - before > 6_000_000, "the transfer to go on")
    known = used(pair)
    pair.proxy.send_signal(signal.SIGKILL)
    pair.proxy.wait()
    client.process.wait()
    time.sleep(0.3)
    with open(f"{w.folder}/proxy.usage") as file:
        saved = next(int(line.split()[1]) for line in file if line.startswith("cell "))
    w.notes.append(f"known before kill -9: {known}, saved: {saved}, the interface's: {carried(w)}")
    # What came when nobody was there any more is the interface's, and was nobody's to count.
    check(known - 100_000 <= saved <= carried(w) + 1_000, f"{saved} saved of {known} to {carried(w)}")
    again(w, pair)
    pair.wait_for_paths(1)
    check(used(pair) >= saved, f"{used(pair)} after the start, {saved} before")

    # 95 of 100 MB, then all of it.
    usage_set(w, pair, "95MB")
    name = pair.names[0]
    w.wait(lambda: "has used 80 %" in w.text(name), "the warning at 80 %")
    w.up("wifi")
    pair.wait_for_paths(2)
    usage_set(w, pair, "101MB")
    w.wait(lambda: "has used 100 %" in w.text(name), "the warning at 100 %")
    w.wait(lambda: pair.usable() == 1, "the uplink to be left")
    download(w, 1_000_000)
    usage_set(w, pair, "0")
    w.wait(lambda: pair.usable() == 2, "the uplink's return")
    pair.alive()


@seconds(60)
def test_a_used_up_uplink_is_slow(w):
    pair = money_pair(w, "allowance: 10MB, on_empty: slow 800kbit/s", policy="")
    usage_set(w, pair, "20MB")
    w.down("wifi")
    w.wait(lambda: pair.usable() == 1, "the cellular uplink alone")
    began, before = time.monotonic(), used(pair)
    download(w, 400_000)
    took = time.monotonic() - began
    rate = (used(pair) - before) * 8 / took / 1000
    w.notes.append(f"400 kB in {took:.1f} s, {rate:.0f} kbit/s")
    # A tenth of a second's worth may come at once.
    check(rate < 900 and took > 3, f"{rate:.0f} kbit/s, {took:.1f} s")
    pair.alive()
