"""braid doctor: what it finds, and its exit code."""
import subprocess

from runner import check, seconds
from world import sh


def doctor(w, config, space, *options):
    result = subprocess.run(["ip", "netns", "exec", space, w.braid, "doctor", "--config", config, *options],
                            capture_output=True, text=True, timeout=90)
    check("Fatal" not in result.stderr, result.stderr)
    return result.returncode, result.stdout + result.stderr


@seconds(150)
def test_what_is_well_and_what_is_not(w):
    pair = w.pair()
    code, text = doctor(w, pair.files[0], w.app, "--quick")
    check(code == 0 and text.count("packets up to") == 2 and "a proxy runs here" in text and "WRONG" not in text, text)
    check("of the same version" in text, text)
    code, text = doctor(w, pair.files[1], w.net)
    check(code == 0 and "is listened on" in text and "users and invitations: 1" in text, text)
    # One uplink lets nothing through: it is named, and the other one is well.
    w.silence("cell")
    code, text = doctor(w, pair.files[0], w.app, "--quick")
    check(code == 1 and text.count("WRONG") == 1 and "WRONG cell" in text and "ok    wifi" in text, text)
    w.silence("cell", False)
    # The calls and downloads of the running proxy went on meanwhile.
    pair.alive()
    # An uplink that is not there, and a concentrator that is not.
    with open(pair.files[0]) as file:
        own = file.read()
    other = f"{w.folder}/other.yaml"
    with open(other, "w") as file:
        file.write(own.replace(":443", ":444").replace("interface: cell", "interface: wwan7"))
    code, text = doctor(w, other, w.app, "--quick")
    check(code == 1 and "uplink wwan7 is not there" in text and "nobody answers at" in text and pair.proxy_public in text, text)
    # A key that is another's looks like a port that is closed: the network is not blamed for it alone.
    wrong = w.key("another")[1]
    with open(other, "w") as file:
        file.write(own.replace(pair.concentrator_public, wrong))
    code, text = doctor(w, other, w.app, "--quick")
    check(code == 1 and text.count("no UDP: see below") == 2 and f"is its public key {wrong}" in text and "UDP is blocked on every way" in text, text)
    # A name without an address is one fault.
    with open(other, "w") as file:
        file.write(own.replace("10.81.3.2:443", "nosuch.test:443"))
    code, text = doctor(w, other, w.app, "--quick")
    check(code == 1 and text.count("WRONG") == 1 and "does not resolve: nosuch.test:443" in text and "getent hosts" in text, text)
    # An uplink that is named and has no route.
    sh(f"ip -n {w.app} route del default dev cell")
    code, text = doctor(w, pair.files[0], w.app, "--quick")
    check(code == 1 and text.count("WRONG") == 1 and "ip route add default via ROUTER dev cell" in text, text)
    w.route("cell")
    # One whose packets are too short: nothing is sent on it, and the way is not blamed.
    sh(f"ip -n {w.app} link set cell mtu 1200")
    code, text = doctor(w, pair.files[0], w.app, "--quick")
    check(code == 1 and text.count("WRONG") == 1 and "WRONG cell" in text and "ip link set cell mtu 1500" in text, text)
    check("one uplink only, wifi" in text, text)
    sh(f"ip -n {w.app} link set cell mtu 1500")
    # A configuration with something wrong in it.
    with open(other, "w") as file:
        file.write(own + "mode: sideways\n")
    code, text = doctor(w, other, w.app, "--quick")
    check(code == 2 and "mode" in text, text)
    sh(f"rm {other}")


@seconds(120)
def test_rates_a_nat_and_a_firewall(w):
    pair = w.pair()
    w.masquerade()

    def remember(seconds):
        for name in ("udp_timeout", "udp_timeout_stream"):
            sh(f"ip netns exec {w.mid} sysctl -qw net.netfilter.nf_conntrack_{name}={seconds}")

    # A NAT that forgets sooner than it is asked, and one that does not.
    remember(2)
    code, text = doctor(w, pair.files[0], w.app, "--nat-timeout", "6")
    check(code == 1 and text.count("Mbit/s down") == 2 and text.count("behind a NAT, seen as") == 2, text)
    check(text.count("WRONG") == 2 and text.count("hears nothing after 6 s of silence") == 2, text)
    remember(60)
    code, text = doctor(w, pair.files[0], w.app, "--nat-timeout", "4")
    check(code == 0 and text.count("hears after 4 s of silence") == 2, text)
    # What lets TCP through and no UDP is told from what lets nothing through.
    sh(f"ip netns exec {w.mid} nft 'add table ip block; add chain ip block f {{ type filter hook forward priority -10; }}; "
       f"add rule ip block f iifname wifi udp dport 443 drop'")
    code, text = doctor(w, pair.files[0], w.app, "--quick")
    check(code == 1 and text.count("WRONG") == 1 and "WRONG wifi" in text and "or a portal waits for a login" in text, text)
    check("another port" not in text, f"the port is 443 already: {text}")
    sh(f"ip netns exec {w.mid} nft 'add rule ip block f udp dport 443 drop'")
    code, text = doctor(w, pair.files[0], w.app, "--quick")
    check(code == 1 and text.count("answers TCP over it and no UDP: see below") == 2, text)
