"""braid doctor: what it finds, and its exit code."""
import subprocess

from runner import check
from world import sh


def doctor(w, config, space, *options):
    result = subprocess.run(["ip", "netns", "exec", space, w.braid, "doctor", "--config", config, *options],
                            capture_output=True, text=True, timeout=90)
    check("Fatal" not in result.stderr, result.stderr)
    return result.returncode, result.stdout + result.stderr


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
    # A configuration with something wrong in it.
    with open(other, "a") as file:
        file.write("mode: sideways\n")
    code, text = doctor(w, other, w.app, "--quick")
    check(code == 2 and "mode" in text, text)
    sh(f"rm {other}")


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
       f"add rule ip block f udp dport 443 drop'")
    code, text = doctor(w, pair.files[0], w.app, "--quick")
    check(code == 1 and text.count("answers TCP over it and no UDP") == 2, text)
