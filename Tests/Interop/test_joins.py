"""Further subflows, opened by either side."""
import time

from links import OutOfBounds, kernel_address, peer_address, same_streams


def carried(peer, number, least=1):
    """The subflows that carried payload in either direction. The kernel joins when its worker gets its turn, which on a
    busy machine may be after the transfer or at its very end: tried again, where a fault of ours shows again."""
    if len(peer["subflows"]) < number:
        raise OutOfBounds(f"only {len(peer['subflows'])} of {number} subflows were opened before the transfer ended")
    busy = [s for s in peer["subflows"] if s["bytesIn"] + s["bytesOut"] >= least]
    if len(busy) < number:
        raise OutOfBounds(f"only {len(busy)} of {len(peer['subflows'])} subflows carried data")


def second(peer):
    """The subflow that was joined first. Where the kernel joins it may come too late, as above."""
    if len(peer["subflows"]) < 2:
        raise OutOfBounds("no subflow was joined before the transfer ended")
    return peer["subflows"][1]


def test_we_join_as_initiator(w):
    w.shape(1, 20, 2), w.shape(2, 20, 2)
    peer, kernel = w.connect(size=600_000, peer_options=["--at", "0.02 join 1"])
    same_streams(peer, kernel)
    carried(peer, 2)
    w.expect(MPJoinSynRx=1, MPJoinAckRx=1)


def test_two_joins_as_initiator(w):
    for n in (1, 2, 3):
        w.shape(n, 20, 2)
    peer, kernel = w.connect(size=1_500_000, links=3, peer_options=["--at", "0 join 1", "--at", "0.02 join 2"])
    same_streams(peer, kernel)
    carried(peer, 3)
    w.expect(MPJoinSynRx=2, MPJoinAckRx=2)


test_two_joins_as_initiator.links = 3


def test_we_join_as_listener(w):
    """The kernel announces nothing; the listener joins the initiator's own port, which the kernel refuses: a client
    takes joins only where it listens."""
    w.shape(1, 20, 2)
    peer, kernel = w.serve(size=600_000, peer_options=["--at", "0.05 join 1"])
    same_streams(peer, kernel)
    w.expect(MPJoinSynTx=0)


def test_the_kernel_joins_as_initiator(w):
    w.shape(1, 20, 2), w.shape(2, 20, 2)
    w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 2 subflow")
    peer, kernel = w.serve(size=800_000)
    same_streams(peer, kernel)
    carried(peer, 2)
    w.expect(MPJoinSynTx=1, MPJoinSynAckRx=1)


def test_the_kernel_joins_twice(w):
    for n in (1, 2, 3):
        w.shape(n, 20, 2)
    for n in (2, 3):
        w.mptcp(f"endpoint add {kernel_address(n)} dev v{n} id {n} subflow")
    peer, kernel = w.serve(size=1_200_000, links=3)
    same_streams(peer, kernel)
    carried(peer, 3)
    w.expect(MPJoinSynTx=2, MPJoinSynAckRx=2)


test_the_kernel_joins_twice.links = 3


def test_the_kernel_joins_the_address_we_announce(w):
    w.shape(1, 20, 2), w.shape(2, 20, 2)
    peer, kernel = w.serve(size=800_000, peer_options=["--at", f"0 announce {peer_address(2)} id=1"])
    same_streams(peer, kernel)
    carried(peer, 2)
    assert "echo 1" in peer["heard"], peer["heard"]
    w.expect(MPJoinSynTx=1, MPJoinSynAckRx=1, AddAddr=1, EchoAddTx=1)


def test_an_unknown_token_is_reset_by_the_kernel(w):
    w.shape(1, 20, 2)
    peer, kernel = w.connect(size=400_000, peer_options=["--at", "0.02 join 1", "--mangle", "out token join"],
                             wrong=["MP_JOIN with an unknown token"])
    same_streams(peer, kernel)
    assert peer["counters"]["joinsRefused"] == 1 and second(peer)["reset"]
    w.expect(MPJoinNoTokenFound=1, MPJoinSynRx=1, MPJoinAckRx=0)


def test_an_unknown_token_is_reset_by_us(w):
    w.shape(1, 20, 2)
    w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 2 subflow")
    peer, kernel = w.serve(size=400_000, peer_options=["--mangle", "in token join"])
    same_streams(peer, kernel)
    assert peer["counters"]["joinsRefused"] == 1 and peer["refused"] >= 1
    w.expect(MPJoinSynTx=1, MPJoinSynAckRx=0)


def test_a_wrong_hmac_is_refused_by_the_kernel(w):
    w.shape(1, 20, 2)
    peer, kernel = w.connect(size=400_000, peer_options=["--at", "0.02 join 1", "--mangle", "out hmac join"],
                             wrong=["wrong HMAC in the third packet of a join"])
    same_streams(peer, kernel)
    assert second(peer)["reset"]
    w.expect(MPJoinSynRx=1, MPJoinAckRx=0, MPJoinAckHMacFailure=lambda n: n >= 1)


def test_a_wrong_hmac_in_the_answer_is_refused_by_us(w):
    w.shape(1, 20, 2)
    peer, kernel = w.connect(size=400_000, peer_options=["--at", "0.02 join 1", "--mangle", "in hmac synack path=1"])
    same_streams(peer, kernel)
    assert peer["counters"]["hmacFailures"] == 1
    w.expect(MPJoinSynRx=1, MPJoinAckRx=0)


def test_a_wrong_hmac_of_the_kernel_is_refused_by_us(w):
    w.shape(1, 20, 2)
    w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 2 subflow")
    peer, kernel = w.serve(size=400_000, peer_options=["--mangle", "in hmac join"])
    same_streams(peer, kernel)
    assert peer["counters"]["hmacFailures"] >= 1
    w.expect(MPJoinSynTx=1, MPJoinSynAckRx=1, MPJoinAckRx=0)


def test_a_join_after_the_end_is_refused(w):
    """Both DATA_FINs were exchanged: nobody joins any more, neither side minds."""
    peer, kernel = w.connect("source", 50_000, kernel="source",
                             peer_options=["--at", "0.4 join 1", "--linger", 0.6, "--seconds", 5])
    same_streams(peer, kernel)
    w.expect(MPJoinAckRx=0)


def test_a_join_after_a_data_fin_is_refused_by_the_kernel(w):
    """After its own, and after ours: only a connection open both ways takes joins there. The transfer goes on."""
    w.shape(1, 10, 2), w.shape(2, 10, 2)
    for ours, theirs in ((900_000, 10_000), (10_000, 900_000)):
        peer, kernel = w.connect("source", ours, kernel="source", kernel_size=theirs,
                                 peer_options=["--at", "0.4 join 1"])
        same_streams(peer, kernel)
        assert second(peer)["reset"] and second(peer)["bytesIn"] + second(peer)["bytesOut"] == 0
    w.expect(MPJoinSynRx=2, MPJoinAckRx=0, MPJoinRejected=2)


def test_the_kernel_opens_none_after_a_data_fin(w):
    w.shape(1, 10, 2), w.shape(2, 10, 2)

    def during():
        time.sleep(0.4)
        w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 2 subflow")
    for ours, theirs in ((900_000, 10_000), (10_000, 900_000)):
        peer, kernel = w.serve("source", ours, kernel="source", kernel_size=theirs, during=during)
        same_streams(peer, kernel)
        assert len(peer["subflows"]) == 1
        w.mptcp("endpoint flush")
    w.expect(MPJoinSynTx=0)


def test_joins_cross(w):
    """Both sides open one at the same time."""
    w.shape(1, 20, 2), w.shape(2, 20, 2)
    w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 2 subflow")
    peer, kernel = w.connect(size=800_000, kernel_options=[], peer_options=[
        "--at", "0 join 1", "--at", f"0 announce {peer_address(2)} id=1"])
    same_streams(peer, kernel)
    w.expect(MPJoinSynRx=1, MPJoinAckRx=1, AddAddr=1, EchoAddTx=1, MPJoinSynTx=range(0, 3))
