"""Uplinks as the field has them: narrow, twice in one subnet, filtered, with addresses that come and go, renamed."""
import json
import subprocess
import threading
import time

from runner import between, check, seconds
from world import CONCENTRATOR, content_hash, need, sh

SECOND = "10.81.3.3"


def narrow(w, **limits):
    """The router drops packets longer than so many bytes of an uplink, and says nothing: narrow(wifi=1420)."""
    need("nft")
    # A run of datagrams would pass as one packet.
    for space, device in ((w.app, "wifi"), (w.app, "cell"), (w.net, "eth0")):
        sh(f"ip -n {space} link set dev {device} gso_max_segs 1")
    rules = "".join(f"iifname {uplink} meta length gt {size} drop\noifname {uplink} meta length gt {size} drop\n"
                    for uplink, size in limits.items())
    sh(f"ip netns exec {w.mid} nft -f -", input=(
        "table inet narrow {\nchain forward {\ntype filter hook forward priority 0;\n}\n}\n"
        "flush chain inet narrow forward\ntable inet narrow {\nchain forward {\n" + rules + "}\n}\n"))


def count_fragments(w):
    sh(f"ip netns exec {w.mid} nft -f -", input=(
        "table inet fragments {\nchain before {\ntype filter hook prerouting priority -500;\n"
        "ip frag-off & 0x3fff != 0 counter\n}\n}\n"))


def fragments(w):
    rules = json.loads(sh(f"ip netns exec {w.mid} nft -j list table inet fragments"))["nftables"]
    return sum(e["counter"]["packets"] for r in rules if "rule" in r for e in r["rule"]["expr"] if "counter" in e)


def paths(pair, side="proxy"):
    return {path["uplink"]: path for s in pair.status(side)["sessions"] for path in s["paths"]}


def transfer(w, kind, size):
    began = time.monotonic()
    result = w.start_client(kind, size).result()
    assert result["sha256"] == content_hash(size), f"wrong bytes: {result}"
    return time.monotonic() - began, result


def hole_on_every_uplink(w, kind):
    narrow(w, wifi=1420, cell=1420)
    count_fragments(w)
    pair = w.pair()
    w.limit(wifi=20, cell=20)
    took, _ = transfer(w, kind, 10_000_000)
    between(took, 0, 4.5, "10 MB over 40 Mbit/s in s")
    w.wait(lambda: all(1380 <= p["packet_size"] <= 1420 for p in paths(pair).values()), f"the sizes: {paths(pair)}", 20)
    check(fragments(w) == 0, f"{fragments(w)} IP fragments")


def test_nothing_above_1420_passes_download(w):
    hole_on_every_uplink(w, "download")


def test_nothing_above_1420_passes_upload(w):
    hole_on_every_uplink(w, "upload")


def hole_beside_a_healthy_uplink(w, mode):
    narrow(w, wifi=1000)
    uplinks = ("wifi", "cell,backup") if mode == "backup" else ("wifi", "cell")
    pair = w.pair(mode=mode, uplinks=uplinks, wait=False)
    w.limit(wifi=20, cell=20)
    pair.wait_for_paths(1)
    took, _ = transfer(w, "download", 8_000_000)
    between(took, 0, 6, "8 MB over the healthy uplink in s")
    known = paths(pair)
    check(known["cell"]["health"] == "usable", f"{known}")
    check("wifi" not in known or known["wifi"]["health"] != "usable", f"an uplink where full datagrams die: {known}")


def test_full_mode_beside_an_uplink_with_a_hole(w):
    hole_beside_a_healthy_uplink(w, "full")


def test_backup_mode_beside_an_uplink_with_a_hole(w):
    hole_beside_a_healthy_uplink(w, "backup")


def test_single_mode_leaves_an_uplink_with_a_hole(w):
    hole_beside_a_healthy_uplink(w, "single")


def test_an_uplink_becomes_narrow_during_a_download(w):
    count_fragments(w)
    pair = w.pair(uplinks=("wifi",))
    w.limit(wifi=20)
    client = w.start_client("download", 10_000_000)
    time.sleep(1.5)
    narrow(w, wifi=1280)
    result = client.result()
    assert result["sha256"] == content_hash(10_000_000)
    w.notes.append(f"longest gap {result['gap'] * 1000:.0f} ms")
    between(result["gap"], 0, 1, "the longest gap in s")
    check(paths(pair, "concentrator")[""]["packet_size"] in range(1272, 1281), f"{paths(pair, 'concentrator')}")
    check(fragments(w) == 0, f"{fragments(w)} IP fragments")


def test_an_interface_becomes_narrow(w):
    """EMSGSIZE at the concentrator's own interface: no fragment, and the transfer goes on."""
    count_fragments(w)
    w.pair(uplinks=("wifi",))
    w.limit(wifi=20)
    client = w.start_client("download", 10_000_000)
    time.sleep(1.5)
    sh(f"ip -n {w.net} link set eth0 mtu 1300")
    result = client.result()
    assert result["sha256"] == content_hash(10_000_000)
    between(result["gap"], 0, 1, "the longest gap in s")
    check(fragments(w) == 0, f"{fragments(w)} IP fragments")


def one_subnet(w):
    """Both uplinks lead into the router's one network, as two adapters in one LAN do."""
    sh(f"ip -n {w.app} address flush dev cell && ip -n {w.mid} address flush dev cell && "
       f"ip -n {w.mid} address flush dev wifi && ip -n {w.mid} link add lan type bridge && "
       f"ip -n {w.mid} link set wifi master lan && ip -n {w.mid} link set cell master lan && "
       f"ip -n {w.mid} address add 10.81.1.1/24 dev lan && ip -n {w.mid} link set lan up")
    sh(f"ip -n {w.app} address add 10.81.1.3/24 dev cell && "
       f"ip -n {w.app} route replace default via 10.81.1.1 dev wifi metric 100 && "
       f"ip -n {w.app} route replace default via 10.81.1.1 dev cell metric 200")


def test_two_uplinks_in_one_subnet(w):
    one_subnet(w)
    pair = w.pair()
    w.limit(wifi=20, cell=20)
    before = w.sent("wifi"), w.sent("cell")
    transfer(w, "upload", 8_000_000)
    sent = w.sent("wifi") - before[0], w.sent("cell") - before[1]
    check(min(sent) > 1_000_000, f"sent by wifi and cell: {sent}")
    check(all(path["health"] == "usable" for path in paths(pair).values()), f"{paths(pair)}")


def test_a_strict_filter_is_named(w):
    for name in ("all", "wifi", "cell"):
        sh(f"ip netns exec {w.app} sysctl -qw net.ipv4.conf.{name}.rp_filter=1")
    pair = w.pair(wait=False)
    pair.wait_for_paths(1)
    w.wait(lambda: "nothing was ever heard on an uplink" in w.text("proxy"), "the log to name it", 20)
    problems = {u["name"]: u.get("problem") for u in pair.status()["uplinks"]}
    check("rp_filter" in (problems["cell"] or "") and not problems["wifi"], f"{problems}")
    text = subprocess.run([w.braid, "status", "--control", pair.control[0]], capture_output=True, text=True).stdout
    check("cell: nothing was ever heard" in text, text)


def test_ipv6_addresses_come_and_go_beside_an_ipv4_path(w):
    w.pair(uplinks=("wifi",))
    w.limit(wifi=20)
    client = w.start_client("download", 8_000_000)
    ended = threading.Event()

    def disturb():
        while not ended.wait(0.15):
            sh(f"ip -n {w.app} address add fd00:81:1::2/64 dev wifi nodad")
            ended.wait(0.15)
            sh(f"ip -n {w.app} address del fd00:81:1::2/64 dev wifi")

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        result = client.result()
    finally:
        ended.set()
        thread.join()
    assert result["sha256"] == content_hash(8_000_000)
    between(result["gap"], 0, 0.3, "the longest gap in s")
    lost = w.text("proxy").count("path lost")
    check(lost == 0, f"the path was lost {lost} times")


def braid(w, pair, *words):
    return subprocess.run([w.braid, *words, "--control", pair.control[0]], capture_output=True, text=True)


def test_roles_of_a_living_proxy(w):
    pair = w.pair()
    w.limit(wifi=20, cell=20)
    refused = braid(w, pair, "mode", "backup")
    check(refused.returncode == 2 and "braid uplink NAME backup" in refused.stderr, refused.stderr)
    check(pair.status()["sessions"][0]["mode"] == "full", "the mode changed all the same")
    client = w.start_client("download", 16_000_000)
    time.sleep(0.7)
    for words in (("uplink", "cell", "backup"), ("mode", "backup")):
        done = braid(w, pair, *words)
        check(done.returncode == 0, done.stderr)
    time.sleep(0.7)
    before = w.received("cell")
    time.sleep(0.7)
    check(w.received("cell") - before < 20_000, f"{w.received('cell') - before} bytes on a backup uplink")
    last = braid(w, pair, "uplink", "cell", "regular")
    check(last.returncode == 2 and "braid mode" in last.stderr, f"mode backup without a backup uplink: {last}")
    check(braid(w, pair, "uplink", "cell", "off").returncode == 0 and pair.usable() == 1, "the uplink is off")
    check(braid(w, pair, "mode", "full").returncode == 0, "full mode again")
    check(braid(w, pair, "uplink", "cell", "regular").returncode == 0, "regular again")
    w.wait(lambda: pair.usable() == 2, "the uplink to be used again")
    before = w.received("cell")
    time.sleep(0.7)
    check(w.received("cell") - before > 300_000, "a regular uplink rests")
    unknown = braid(w, pair, "uplink", "eth7", "backup")
    check(unknown.returncode == 2 and "wifi" in unknown.stderr, unknown.stderr)
    check(braid(w, pair, "uplink", "cell", "sideways").returncode != 0, "an unknown role")
    assert client.result()["sha256"] == content_hash(16_000_000)


@seconds(90)
def test_the_concentrators_name_leads_elsewhere(w):
    """DDNS: the address changes without a goodbye, and the name follows some seconds later."""
    def name(address):
        with open("/etc/hosts", "w") as file:
            file.write(f"127.0.0.1 localhost\n::1 localhost\n{address} concentrator.test\n")
    name(CONCENTRATOR)
    try:
        sh(f"ip -n {w.net} address add {SECOND}/24 dev eth0")
        pair = w.pair(listen="0.0.0.0:443", wait=False,
                      proxy_flags=("--concentrator", "concentrator.test:443"))
        pair.wait_for_paths(2)
        w.limit(wifi=20, cell=20)
        client = w.start_client("download", 30_000_000)
        time.sleep(1)
        sh(f"ip netns exec {w.mid} nft -f -", input=(
            "table inet block {\nchain forward {\ntype filter hook forward priority 0;\n"
            f"ip daddr {CONCENTRATOR} drop\nip saddr {CONCENTRATOR} drop\n}}\n}}\n"))
        time.sleep(6)
        name(SECOND)
        began = time.monotonic()
        answer = w.curl("-o/dev/null", "http://origin.test/bytes/1000")
        assert answer.returncode == 0, answer.stderr
        between(time.monotonic() - began, 0, 8, "the first request after the change in s")
        assert client.result()["sha256"] == content_hash(30_000_000)
    finally:
        with open("/etc/hosts", "w") as file:
            file.write("127.0.0.1 localhost\n::1 localhost\n")
