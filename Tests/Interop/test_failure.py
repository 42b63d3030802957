"""Links that die during a transfer, one and both; the handshake under loss."""
import time

from links import kernel_address, same_streams, seconds
from mptcp_packets import ACK, SYN, packets, parse
from runner import OutOfBounds
from test_joins import carried


def silent(as_initiator, link):
    """One of two links falls silent in the middle: all goes on over the other."""
    def test(w):
        w.shape(1, 10, 5), w.shape(2, 10, 5)
        if as_initiator:
            peer, kernel = w.connect(size=900_000, peer_options=["--at", "0.02 join 1", "--at", f"0.3 cut {link - 1}"])
        else:
            w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 2 subflow")
            peer, kernel = w.serve(size=900_000, during=lambda: (time.sleep(0.3), w.fail(link)))
        same_streams(peer, kernel)
        carried(peer, 2)
        # On a busy machine perhaps nothing was under way on the link at that moment: then a fresh world tries again.
        if peer["counters"]["bytesReinjected"] == 0:
            raise OutOfBounds("nothing was reinjected")
        w.expect(**(dict(MPJoinSynRx=1, MPJoinAckRx=1) if as_initiator else dict(MPJoinSynTx=1, MPJoinSynAckRx=1)))
    return test


test_the_second_link_goes_silent_as_initiator = silent(True, 2)
test_the_first_link_goes_silent_as_initiator = silent(True, 1)
test_the_second_link_goes_silent_as_listener = silent(False, 2)
test_the_first_link_goes_silent_as_listener = silent(False, 1)


def both_silent(*mended):
    """Both links fall silent; those of `mended` come back after a second: the transfer goes on."""
    def test(w):
        w.shape(1, 10, 5), w.shape(2, 10, 5)
        words = ["0.02 join 1", "0.3 cut 0", "0.3 cut 1", *(f"1.3 mend {path}" for path in mended)]
        peer, kernel = w.connect(size=900_000, peer_options=[word for item in words for word in ("--at", item)])
        same_streams(peer, kernel)
        w.expect(MPJoinSynRx=1, MPJoinAckRx=1)
    return test


test_both_links_go_silent_for_a_while = both_silent(0, 1)
test_both_links_go_silent_and_the_first_comes_back = both_silent(0)
test_both_links_go_silent_and_the_second_comes_back = both_silent(1)


def test_our_interface_goes(w):
    """An interface event: the engine drops the subflow at once and tells by REMOVE_ADDR."""
    w.shape(1, 10, 5), w.shape(2, 10, 5)
    peer, kernel = w.connect(size=900_000, peer_options=["--at", "0.02 join 1", "--at", "0.3 cut 1",
                                                         "--at", "0.3 down 1", "--at", "0.3 remove id=1"])
    same_streams(peer, kernel)
    carried(peer, 2)
    w.expect(MPJoinSynRx=1, MPJoinAckRx=1, RmAddr=1, RmSubflow=range(0, 2))


def test_the_interface_of_the_kernel_goes(w):
    w.shape(1, 10, 5), w.shape(2, 10, 5)
    w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 2 subflow")

    def during():
        time.sleep(0.3)
        w.inside(w.kernel, "ip link set v2 down")
    peer, kernel = w.serve(size=900_000, during=during)
    same_streams(peer, kernel)
    carried(peer, 2)
    w.expect(MPJoinSynTx=1, MPJoinSynAckRx=1, RmAddrTx=range(0, 2), RmSubflow=range(0, 2))


THIRD = ["--mangle", "out drop handshake p=0.3 nth=1-4", "--mangle", "in drop handshake p=0.3 nth=1-4", "--seconds", 40]


def syns(w):
    """Of the initiator's SYNs that passed the devices: whether each had MP_CAPABLE."""
    with open(w.capture, "rb") as file:
        found = [parse(number, at, ip, False) for number, at, ip in packets(file.read())]
    return [bool(p.options) for p in found if p and p.flags & (SYN | ACK) == SYN]


@seconds(120)
def test_a_third_of_the_handshake_is_lost_as_initiator(w):
    """Our third SYN goes without the option; fewer lost ones, or lost third packets, cost only time."""
    plain = 0
    for seed in range(6):
        peer, kernel = w.connect(size=20_000, peer_options=["--seed", seed, *THIRD])
        same_streams(peer, kernel)
        plain += peer["plain"]
        assert peer["plain"] == (not all(syns(w))), syns(w)
        assert kernel["mptcp"] == (not peer["plain"])
    w.expect(MPCapableACKRX=6 - plain, MPCapableFallbackACK=0)


@seconds(120)
def test_a_third_of_the_handshake_is_lost_as_listener(w):
    """The kernel sends three SYNs with the option (net.mptcp.syn_retrans_before_tcp_fallback is 2), then without."""
    w.sysctl(blackhole_timeout=0)   # otherwise one fallback makes the next connections plain TCP
    plain = 0
    for seed in range(6):
        peer, kernel = w.serve(size=20_000, peer_options=["--seed", seed, *THIRD])
        same_streams(peer, kernel)
        plain += peer["plain"]
        sent = syns(w)
        assert peer["plain"] == (not all(sent)) and all(sent[:3]) and not any(sent[3:]), sent
        assert kernel["mptcp"] == (not peer["plain"])
    w.expect(MPCapableSYNTX=6, MPCapableSYNACKRX=6 - plain, MPCapableSYNTXDrop=plain, MPCapableFallbackSYNACK=0, Blackhole=plain)


@seconds(120)
def test_syns_are_lost(w):
    """Our third SYN goes without the option, the kernel's fourth."""
    for run, way, most in ((w.connect, "out", 1), (w.serve, "in", 2)):
        for lost in (most, most + 1):
            peer, kernel = run(size=20_000, peer_options=["--mangle", f"{way} drop syn nth=1-{lost}", "--seconds", 40])
            same_streams(peer, kernel)
            assert peer["plain"] == (lost > most) and kernel["mptcp"] == (lost == most), (lost, way, syns(w))
    w.expect(MPCapableSYNRX=1, MPCapableACKRX=1, MPCapableSYNTX=2, MPCapableSYNACKRX=1, MPCapableSYNTXDrop=1, Blackhole=1)


def test_joins_under_loss(w):
    w.shape(1, 20, 5), w.shape(2, 20, 5)
    peer, kernel = w.connect(size=400_000, peer_options=[
        "--seed", 5, "--at", "0.02 join 1", "--mangle", "out drop join nth=1-2", "--mangle", "in drop synack path=1 nth=1"])
    same_streams(peer, kernel)
    w.expect(MPJoinSynRx=range(0, 4), MPJoinAckRx=range(0, 2))


def test_the_proof_of_a_join_is_lost(w):
    w.shape(1, 10, 5), w.shape(2, 10, 5)
    peer, kernel = w.connect(size=900_000, peer_options=[
        "--at", "0.02 join 1", "--mangle", "out drop third path=1 nth=1"])
    same_streams(peer, kernel)
    carried(peer, 2)
    w.expect(MPJoinSynRx=1, MPJoinAckRx=1)


def test_five_percent_loss(w):
    w.shape(1, 10, 5, loss=0.05), w.shape(2, 10, 5, loss=0.05)
    for run in (w.connect, w.serve):
        peer, kernel = run(size=500_000, peer_options=["--at", "0.02 join 1"] if run == w.connect else [])
        same_streams(peer, kernel)
    w.expect(MPJoinSynRx=lambda n: n >= 1, MPJoinAckRx=1)


test_five_percent_loss.seconds = 90
