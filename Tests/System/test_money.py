"""Prices and allowances: what is counted, what a kill -9 loses of it, and what follows when an allowance is used up."""
import os
import signal
import subprocess
import time

from runner import check, seconds
from test_reload import Files
from world import content_hash, sh

ETHERNET = 14


def money_pair(w, cell, wifi="", policy="cost: prefer-cheap\n", folder=None):
    """Both uplinks, the cellular one with these keys; what they use is kept in the world's folder, or this one."""
    os.environ["STATE_DIRECTORY"] = folder or w.folder
    try:
        pair = w.pair(proxy=f"uplinks:\n  - {{ interface: wifi{wifi} }}\n  - {{ interface: cell, {cell} }}\n{policy}",
                      uplinks=())
    finally:
        del os.environ["STATE_DIRECTORY"]
    pair.wait_for_paths(2)
    return pair


def again(w, pair, folder=None):
    os.environ["STATE_DIRECTORY"] = folder or w.folder
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


def saved_bytes(folder, name="cell"):
    with open(f"{folder}/proxy.usage") as file:
        return next((int(line.split()[1]) for line in file if line.startswith(f"{name} ")), 0)


def download(w, size):
    result = w.curl("-o", "/dev/null", "-w", "%{size_download}", f"http://origin.test/bytes/{size}")
    check(result.stdout == str(size).encode(), f"{result.stdout} of {size}: {result.stderr}")


@seconds(60)
def test_what_a_dear_uplink_carries_is_counted(w):
    # Segmentation happens before the interface counts.
    for space in (w.app, w.mid):
        for uplink in ("wifi", "cell"):
            subprocess.run(["ip", "-n", space, "link", "set", uplink, "gso_max_segs", "1"], check=True)
    # However slow the machine is: what waits, waits for the cheap one.
    pair = money_pair(w, "price: 5 EUR, allowance: 100MB, on_empty: stop", policy="cost: prefer-cheap\npatience: 16s\n")
    download(w, 10_000_000)
    check(used(pair) < 500_000, f"{used(pair)} bytes over the dear uplink while the cheap one had room")
    w.down("wifi")
    download(w, 8_000_000)
    w.wait(lambda: abs(used(pair) - carried(w)) <= 100_000, "the count")
    # Sent, datagrams leave many in one message; each has headers of its own, 28 bytes of 1,400.
    result = w.start_client("upload", 16_000_000).result()
    check(result["bytes"] == 16_000_000, f"{result}")
    w.wait(lambda: abs(used(pair) - carried(w)) <= 100_000, "the count of what was sent")
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
    saved = saved_bytes(w.folder)
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
def test_prices_change_while_it_runs(w):
    """By braid reload: what was carried before an uplink is counted doesn't count, and no connection is lost."""
    for space in (w.app, w.mid):
        for uplink in ("wifi", "cell"):
            subprocess.run(["ip", "-n", space, "link", "set", uplink, "gso_max_segs", "1"], check=True)
    w.limit(wifi=16, cell=16)
    pair = money_pair(w, "role: regular", policy="")
    files, size = Files(pair), 50_000_000
    client = w.start_client("download", size)
    w.wait(lambda: carried(w) > 2_000_000, "the transfer")
    check("used_bytes" not in next(u for u in pair.status()["uplinks"] if u["name"] == "cell"), "counted already")
    before = carried(w)
    said = files.reload("proxy", ("role: regular", "price: 5 EUR, allowance: 8MB, on_empty: stop"))
    check(said == "uplinks: cell changed", said)
    w.wait(lambda: "has used 80 %" in w.text(pair.names[0]), "80 % of the allowance", 20)
    w.wait(lambda: pair.usable() == 1, "the uplink to be left", 20)
    check(8_000_000 <= used(pair) <= carried(w) - before, f"{used(pair)} used, the interface has {carried(w) - before}")
    check(client.process.poll() is None, "the transfer was over too soon")
    # More of it, but dear: as much as the cheap one can't carry in time, and that is soon.
    dear = ("role: regular", "price: 5 EUR, allowance: 100MB")
    said = files.reload("proxy", dear, more="cost: prefer-cheap\npatience: 500ms\n")
    check(said == "uplinks: cell changed\ncost: prefer-cheap, was ignore\npatience: 0.5 s, was 4.0 s", said)
    w.wait(lambda: pair.usable() == 2, "the uplink's return")
    began = carried(w)
    w.wait(lambda: carried(w) - began > 1_000_000, "the dear uplink, half a second later")
    # With more patience nothing: the cheap one is as slow as before, for two seconds and more.
    said = files.reload("proxy", dear, more="cost: prefer-cheap\npatience: 16s\n")
    check(said == "patience: 16.0 s, was 0.5 s", said)
    time.sleep(0.7)
    began, wifi = carried(w), carried(w, "wifi")
    w.wait(lambda: carried(w, "wifi") - wifi > 4_000_000, "the cheap uplink to go on")
    check(carried(w) - began < 500_000, f"{carried(w) - began} bytes over the dear uplink")
    # For nothing again: both carry it.
    said = files.reload("proxy")
    check("cost: ignore, was prefer-cheap" in said, said)
    result = client.result()
    check(result["sha256"] == content_hash(size), "other bytes")
    check(w.text(pair.names[0]).count("session opened") == 1, "the session was lost")
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


@seconds(60)
def test_a_disk_that_takes_nothing_is_one_warning(w):
    """Full at first, sound, then read-only: it counts on, and what was counted is written once it can be."""
    folder = f"{w.folder}/disk"
    os.mkdir(folder)
    sh(f"mount -t tmpfs -o size=64k none {folder}")
    try:
        sh(f"dd if=/dev/zero of={folder}/full bs=1k count=64 2>/dev/null || true")
        pair = money_pair(w, "allowance: 4MB, on_empty: backup", policy="", folder=folder)
        w.down("wifi")

        def said():
            return [line for line in w.text(pair.names[0]).splitlines() if "what uplinks have used" in line]
        download(w, 3_300_000)
        w.wait(lambda: "has used 80 %" in w.text(pair.names[0]), "the warning at 80 %")
        known = used(pair)
        check(known > 3_300_000 and saved_bytes(folder) == 0, f"{known} used, {saved_bytes(folder)} saved")
        check(len(said()) == 1 and "can't be written" in said()[0], f"{said()}")
        os.remove(f"{folder}/full")
        w.wait(lambda: saved_bytes(folder) >= known, "what was counted to be written")
        check(len(said()) == 2 and "is written again" in said()[1], f"{said()}")
        check(w.text(pair.names[0]).count("has used 80 %") == 1, "the warning at 80 % came twice")
        pair.proxy.send_signal(signal.SIGKILL)
        pair.proxy.wait()
        known = saved_bytes(folder)
        sh(f"mount -o remount,ro {folder}")
        again(w, pair, folder)
        pair.wait_for_paths(1)
        check(used(pair) >= known, f"{used(pair)} of {known} known from a file that can't be written")
        download(w, 500_000)
        check(saved_bytes(folder) == known and len(said()) == 3, f"{saved_bytes(folder)} saved, {said()}")
        # Its namespace has a mount of its own.
        for where in ("", f"nsenter -t {pair.proxy.pid} -m "):
            sh(f"{where}mount -o remount,rw {folder}")
        w.wait(lambda: saved_bytes(folder) >= known + 500_000, "the rest to be written")
        pair.alive()
    finally:
        sh(f"umount -l {folder}")


@seconds(60)
def test_several_kills_lose_little(w):
    """Five processes, each killed in the middle of an upload or a download: each counts to its end."""
    for space in (w.app, w.mid):
        for uplink in ("wifi", "cell"):
            subprocess.run(["ip", "-n", space, "link", "set", uplink, "gso_max_segs", "1"], check=True)
    pair = money_pair(w, "price: 5 EUR, allowance: 10GB")
    w.down("wifi")
    w.wait(lambda: pair.usable() == 1, "the cellular uplink alone")
    for turn in range(5):
        counted, before = used(pair), carried(w)
        client = w.start_client("upload" if turn % 2 else "download", 40_000_000)
        w.wait(lambda: carried(w) - before > 3_000_000, "the transfer to go on")
        known = used(pair)
        pair.proxy.send_signal(signal.SIGKILL)
        pair.proxy.wait()
        client.process.kill()
        client.process.wait()
        time.sleep(0.3)
        saved = saved_bytes(w.folder)
        off = carried(w) - before - (saved - counted)
        w.notes.append(f"known {known}, saved {saved}, off by {off}")
        # What comes in when nobody is there any more was nobody's to count; of an upload that are acknowledgements.
        check(turn % 2 == 0 or abs(off) <= 100_000, f"{off} bytes off")
        check(known - 100_000 <= saved <= carried(w) + 1_000, f"{saved} saved of {known} to {carried(w)}")
        again(w, pair)
        pair.wait_for_paths(1)
        check(used(pair) >= saved, f"{used(pair)} after the start, {saved} before")


@seconds(60)
def test_a_used_up_uplink_is_a_backup(w):
    """`on_empty: backup`: nothing over it while the other works, everything where that is gone."""
    pair = money_pair(w, "role: regular, allowance: 10MB, on_empty: backup", policy="")
    usage_set(w, pair, "20MB")
    w.wait(lambda: "has used 100 %" in w.text(pair.names[0]), "the warning at 100 %")
    before = used(pair)
    download(w, 4_000_000)
    check(used(pair) - before < 400_000, f"{used(pair) - before} bytes over what is used up")
    w.down("wifi")
    download(w, 1_000_000)
    check(used(pair) - before > 1_000_000, f"{used(pair) - before} bytes over what alone works")
    pair.alive()
