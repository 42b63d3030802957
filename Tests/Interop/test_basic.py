"""One subflow, both roles."""
from links import kernel_address, peer_address, same_streams


def test_one_subflow_as_listener(w):
    peer, kernel = w.serve(size=300_000)
    same_streams(peer, kernel)
    assert not peer["plain"] and kernel["mptcp"] == 1
    w.expect(MPCapableSYNTX=1, MPCapableSYNACKRX=1, MPJoinSynTx=0)


def test_one_subflow_as_initiator(w):
    peer, kernel = w.connect(size=300_000)
    same_streams(peer, kernel)
    assert not peer["plain"] and kernel["mptcp"] == 1
    w.expect(MPCapableSYNRX=1, MPCapableACKRX=1, MPJoinSynRx=0)


def test_one_subflow_over_ipv6(w):
    peer, kernel = w.connect(to=kernel_address(1, True), links=0, v6=(1,), peer_options=["--mss", 1380])
    same_streams(peer, kernel)
    w.expect(MPCapableSYNRX=1, MPCapableACKRX=1)
    peer, kernel = w.serve(to=peer_address(1, True), links=0, v6=(1,))
    same_streams(peer, kernel)
    w.expect(MPCapableSYNTX=1, MPCapableSYNACKRX=1)


def test_every_pattern_as_listener(w):
    for mine, theirs in (("sink", "source"), ("source", "sink"), ("source", "source"), ("half-close", "source"),
                         ("source", "half-close")):
        peer, kernel = w.serve(mine, 120_000, kernel=theirs)
        same_streams(peer, kernel)
    w.expect(MPCapableSYNACKRX=5)


def test_every_pattern_as_initiator(w):
    for mine, theirs in (("sink", "source"), ("source", "sink"), ("source", "source"), ("half-close", "source"),
                         ("source", "half-close")):
        peer, kernel = w.connect(mine, 120_000, kernel=theirs)
        same_streams(peer, kernel)
    w.expect(MPCapableACKRX=5)
