"""Links that die during a transfer, one and both; the handshake under loss."""
import time

from links import kernel_address, peer_address, same_streams, seconds
from test_joins import carried


def test_a_silent_link_as_initiator(w):
    w.shape(1, 10, 5), w.shape(2, 10, 5)
    peer, kernel = w.connect(size=900_000, peer_options=["--at", "0.02 join 1", "--at", "0.3 cut 1"])
    same_streams(peer, kernel)
    carried(peer, 2)
    assert peer["counters"]["bytesReinjected"] > 0
    w.expect(MPJoinSynRx=1, MPJoinAckRx=1)


def test_the_first_link_goes_silent_as_initiator(w):
    w.shape(1, 10, 5), w.shape(2, 10, 5)
    peer, kernel = w.connect(size=900_000, peer_options=["--at", "0.02 join 1", "--at", "0.3 cut 0"])
    same_streams(peer, kernel)
    carried(peer, 2)
    w.expect(MPJoinSynRx=1, MPJoinAckRx=1)


def test_a_silent_link_as_listener(w):
    w.shape(1, 10, 5), w.shape(2, 10, 5)
    w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 2 subflow")
    peer, kernel = w.serve(size=900_000, during=lambda: (time.sleep(0.3), w.fail(2)))
    same_streams(peer, kernel)
    carried(peer, 2)
    w.expect(MPJoinSynTx=1, MPJoinSynAckRx=1)


def test_the_first_link_goes_silent_as_listener(w):
    w.shape(1, 10, 5), w.shape(2, 10, 5)
    w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 2 subflow")
    peer, kernel = w.serve(size=900_000, during=lambda: (time.sleep(0.3), w.fail(1)))
    same_streams(peer, kernel)
    carried(peer, 2)
    w.expect(MPJoinSynTx=1, MPJoinSynAckRx=1)


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


def test_both_links_go_silent_for_a_while(w):
    w.shape(1, 10, 5), w.shape(2, 10, 5)
    peer, kernel = w.connect(size=900_000, peer_options=[
        "--at", "0.02 join 1", "--at", "0.3 cut 0", "--at", "0.3 cut 1", "--at", "1.3 mend 0", "--at", "1.3 mend 1"])
    same_streams(peer, kernel)
    w.expect(MPJoinSynRx=1, MPJoinAckRx=1)


def test_both_links_go_silent_and_one_comes_back(w):
    w.shape(1, 10, 5), w.shape(2, 10, 5)
    peer, kernel = w.connect(size=900_000, peer_options=[
        "--at", "0.02 join 1", "--at", "0.3 cut 0", "--at", "0.3 cut 1", "--at", "1.1 mend 1"])
    same_streams(peer, kernel)
    w.expect(MPJoinSynRx=1, MPJoinAckRx=1)


def test_a_third_of_the_handshake_is_lost_as_initiator(w):
    for seed in range(6):
        peer, kernel = w.connect(size=20_000, peer_options=[
            "--seed", seed, "--mangle", "out drop handshake p=0.3 nth=1-4", "--mangle", "in drop handshake p=0.3 nth=1-4", "--seconds", 40])
        same_streams(peer, kernel)
    # Plain TCP is allowed only where the SYN with the option was lost three times.
    w.expect(MPCapableSYNRX=lambda n: n >= 6, MPCapableFallbackACK=0)


test_a_third_of_the_handshake_is_lost_as_initiator.seconds = 120


def test_a_third_of_the_handshake_is_lost_as_listener(w):
    for seed in range(6):
        peer, kernel = w.serve(size=20_000, peer_options=[
            "--seed", seed, "--mangle", "out drop handshake p=0.3 nth=1-4", "--mangle", "in drop handshake p=0.3 nth=1-4", "--seconds", 40])
        same_streams(peer, kernel)
    w.expect(MPCapableSYNACKRX=range(4, 7), MPCapableSYNTXDrop=range(0, 3), MPCapableFallbackSYNACK=range(0, 3))


test_a_third_of_the_handshake_is_lost_as_listener.seconds = 120


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
