"""Addresses change on either side, at the NAT between, or there are several; what is under way goes on."""
import json
import time

from runner import between, seconds
from world import CONCENTRATOR, content_hash, need, sh

SECOND = "10.81.3.3"


def checked(w, client, size, bound):
    result = client.result()
    assert result["bytes"] == size and result["sha256"] == content_hash(size), f"wrong bytes: {result}"
    w.notes.append(f"longest gap {result['gap'] * 1000:.0f} ms")
    between(result["gap"], 0, bound, "the longest gap in s")


def rebind(w, first):
    """The router's NAT forgets all flows and gives ports from `first` on from now on."""
    need("nft")
    sh(f"ip netns exec {w.mid} nft -f -", input=(
        "table ip nat {\nchain postrouting {\ntype nat hook postrouting priority 100;\n}\n}\n"
        "flush chain ip nat postrouting\n"
        f"add rule ip nat postrouting oifname net udp dport 443 masquerade to :{first}-{first + 99}\n"))
    # An interface that goes down takes its translations with it; its neighbour should not have to be looked for.
    neighbour = json.loads(sh(f"ip -n {w.net} -j link show eth0"))[0]["address"]
    sh(f"ip -n {w.mid} link set net down && ip -n {w.mid} link set net up && "
       f"ip -n {w.mid} neighbour replace {CONCENTRATOR} lladdr {neighbour} dev net")


def ports(pair):
    """The proxy's ports as the concentrator sees them, of usable paths."""
    return sorted(int(path["remote"].rsplit(":", 1)[1]) for s in pair.status("concentrator")["sessions"]
                  for path in s["paths"] if path["health"] == "usable")


def remotes(pair, health="usable"):
    return sorted((path["uplink"], path["remote"]) for s in pair.status()["sessions"] for path in s["paths"]
                  if path["health"] == health)


def rebinding(w, kind):
    rebind(w, 20000)
    pair = w.pair(uplinks=("wifi",))
    assert all(20000 <= port < 20100 for port in ports(pair)), ports(pair)
    w.limit(wifi=20)
    client = w.start_client(kind, 10_000_000)
    time.sleep(1.2)
    rebind(w, 30000)
    w.wait(lambda: ports(pair) and all(30000 <= port < 30100 for port in ports(pair)), "the new port", 5)
    # The kernel may take a second to notice that the router's interface is up again.
    checked(w, client, 10_000_000, 1.6)
    assert "path moved" in w.text("concentrator"), "the log does not tell that the address moved"


def test_a_nat_forgets_during_a_download(w):
    rebinding(w, "download")


def test_a_nat_forgets_during_an_upload(w):
    rebinding(w, "upload")


def renumber(w, *lines):
    """Several changes in one go, as a DHCP client or a change of WiFi brings them."""
    sh(f"ip -n {w.app} -batch -", input="\n".join(lines) + "\n")


def change_of_address(w, uplinks, bound):
    w.pair(uplinks=uplinks)
    w.limit(wifi=20, cell=10)
    client = w.start_client("download", 12_000_000)
    time.sleep(1.2)
    renumber(w, "address del 10.81.1.2/24 dev wifi", "address add 10.81.1.7/24 dev wifi",
             "route replace default via 10.81.1.1 dev wifi metric 100")
    time.sleep(0.7)
    # And once more, the new one first.
    renumber(w, "address add 10.81.1.8/24 dev wifi", "address del 10.81.1.7/24 dev wifi",
             "address replace 10.81.1.8/24 dev wifi", "route replace default via 10.81.1.1 dev wifi metric 100")
    checked(w, client, 12_000_000, bound)


def test_the_only_uplink_gets_another_address(w):
    change_of_address(w, ("wifi",), 1.0)


def test_one_of_two_uplinks_gets_another_address(w):
    change_of_address(w, ("wifi", "cell"), 1.0)


def several(w, extra="", mode="full", paths=4):
    """A concentrator with a second address, which it announces."""
    sh(f"ip -n {w.net} address add {SECOND}/24 dev eth0")
    pair = w.pair(listen="0.0.0.0:443", mode=mode,
                  concentrator=f"egress: {{ deny: [] }}\nannounce: [\"{SECOND}:443\"]\n{extra}")
    pair.wait_for_paths(paths)
    return pair


def block(w, address):
    """The router lets nothing through to or from one of the concentrator's addresses."""
    sh(f"ip netns exec {w.mid} nft -f -", input=(
        "table inet block {\nchain forward {\ntype filter hook forward priority 0;\n"
        f"ip daddr {address} drop\nip saddr {address} drop\n}}\n}}\n"))


def test_an_announced_address_outlives_the_first(w):
    pair = several(w)
    w.limit(wifi=20, cell=10)
    client = w.start_client("download", 12_000_000)
    time.sleep(1.2)
    block(w, CONCENTRATOR)
    checked(w, client, 12_000_000, 1.5)
    assert remotes(pair) == [("cell", f"{SECOND}:443"), ("wifi", f"{SECOND}:443")], remotes(pair)


def test_both_ends_move(w):
    """WiFi goes, and with it the address of the concentrator that the session began on."""
    for mode in ("full", "single"):
        pair = several(w, mode=mode, paths=4 if mode == "full" else 1)
        w.wait(lambda: "further address" in w.text(pair.names[0]), "the second address")
        w.limit(wifi=20, cell=10)
        client = w.start_client("download", 10_000_000)
        time.sleep(1.2)
        assert client.process.poll() is None, "the transfer was over before anything happened"
        block(w, CONCENTRATOR)
        w.down("wifi")
        checked(w, client, 10_000_000, 2.5)
        assert ("cell", f"{SECOND}:443") in remotes(pair), remotes(pair)
        pair.alive()
        w.up("wifi")
        sh(f"ip netns exec {w.mid} nft flush table inet block && ip -n {w.net} address del {SECOND}/24 dev eth0")
        for process in (pair.proxy, pair.concentrator):
            process.kill()
            process.wait()


def test_from_one_wifi_to_the_next(w):
    """Break before make: another address on the same interface, after 0.2 to 3 s without any network."""
    pair = w.pair(uplinks=("wifi",))
    w.limit(wifi=20)
    size = 5_000_000
    for number, gap in enumerate((0.2, 1.0, 3.0)):
        # One for each, so that each gap has a bound of its own.
        client = w.start_client("download", size)
        time.sleep(1)
        assert client.process.poll() is None, "the transfer was over before anything happened"
        w.down("wifi")
        sh(f"ip -n {w.app} address flush dev wifi")
        time.sleep(gap)
        sh(f"ip -n {w.app} address add 10.81.1.{20 + number}/24 dev wifi")
        w.up("wifi")
        checked(w, client, size, gap + 1)
    assert w.text(pair.names[0]).count("session opened") == 1, "the session was lost"
    pair.alive()


def test_an_announced_address_that_nobody_reaches(w):
    block(w, SECOND)
    pair = several(w, paths=2)
    size = 3_000_000
    result = w.start_client("download", size).result()
    assert result["sha256"] == content_hash(size)
    w.wait(lambda: len(remotes(pair, "unreached")) == 2, "paths that are called unreached")
    assert remotes(pair) == [("cell", f"{CONCENTRATOR}:443"), ("wifi", f"{CONCENTRATOR}:443")]


def test_no_further_path_to_the_first_address(w):
    pair = several(w, "join_first_address: false\n", paths=2)
    both = [("cell", f"{SECOND}:443"), ("wifi", f"{SECOND}:443")]
    w.wait(lambda: remotes(pair) == both, f"paths to the second address only, not {remotes(pair)}")
    # As if the load balancer sent everybody else elsewhere.
    block(w, CONCENTRATOR)
    size = 3_000_000
    result = w.start_client("download", size).result()
    assert result["sha256"] == content_hash(size)
    between(result["gap"], 0, 1, "the longest gap in s")


def test_an_announced_ipv6_address(w):
    for space, device, address in ((w.app, "wifi", "fd00:81:1::2"), (w.mid, "wifi", "fd00:81:1::1"),
                                   (w.mid, "net", "fd00:81:3::1"), (w.net, "eth0", "fd00:81:3::2")):
        sh(f"ip -n {space} address add {address}/64 dev {device} nodad")
    sh(f"ip netns exec {w.mid} sysctl -qw net.ipv6.conf.all.forwarding=1")
    sh(f"ip -n {w.app} -6 route add default via fd00:81:1::1 dev wifi")
    sh(f"ip -n {w.net} -6 route add default via fd00:81:3::1")
    pair = w.pair(concentrator="egress: { deny: [] }\nannounce: [\"[fd00:81:3::2]:443\"]\n",
                  concentrator_flags=("--listen", "0.0.0.0:443", "--listen", "[::]:443"))
    pair.wait_for_paths(3)
    assert ("wifi", "[fd00:81:3::2]:443") in remotes(pair), remotes(pair)
    w.limit(wifi=20, cell=10)
    client = w.start_client("download", 8_000_000)
    time.sleep(1)
    block(w, CONCENTRATOR)
    checked(w, client, 8_000_000, 1.5)


def test_a_listener_with_a_mode_of_its_own(w):
    pair = w.pair(mode="single", proxy=(
        "listen: [\"mixed://127.0.0.1:1080\", \"mixed://127.0.0.1:1081?mode=full\"]\n"))
    w.limit(wifi=20, cell=20)
    # What the kernel itself says (neighbours, router solicitations) is little.
    before = w.received("cell")
    assert w.curl("-o/dev/null", "http://origin.test/bytes/4000000").returncode == 0
    assert w.received("cell") - before < 5_000, "single mode used the other uplink"
    answer = w.curl("-o/dev/null", "http://origin.test/bytes/8000000", proxy="--socks5-hostname 127.0.0.1:1081")
    assert answer.returncode == 0
    assert w.received("cell") - before > 1_000_000, "the listener's own mode did not hold"
    w.wait(lambda: pair.usable() == 1, "the other uplink to fall asleep again")


@seconds(90)
def test_single_mode_sends_nothing_on_the_other_uplink(w):
    """Counted where it would pass: every UDP datagram by the router's cellular side."""
    sh(f"ip netns exec {w.mid} nft -f -", input=(
        "table inet count {\nchain forward {\ntype filter hook forward priority 0;\n"
        "iifname cell meta l4proto udp counter\n}\n}\n"))

    def datagrams():
        rules = json.loads(sh(f"ip netns exec {w.mid} nft -j list table inet count"))["nftables"]
        return sum(e["counter"]["packets"] for r in rules if "rule" in r for e in r["rule"]["expr"] if "counter" in e)

    pair = w.pair(mode="single")
    w.limit(wifi=20, cell=20)
    client = w.start_client("download", 6_000_000)
    checked(w, client, 6_000_000, 1.0)
    time.sleep(3)
    assert datagrams() == 0, f"{datagrams()} datagrams on the sleeping uplink"
    for mode in ("full", "single"):
        sh([w.braid, "mode", mode, "--control", pair.control[0]])
        w.wait(lambda: pair.usable() == (2 if mode == "full" else 1), f"mode {mode}")
    time.sleep(0.3)
    before = datagrams()
    assert before > 0
    client = w.start_client("download", 6_000_000)
    checked(w, client, 6_000_000, 1.0)
    assert datagrams() == before, f"{datagrams() - before} datagrams after the return to single mode"
