"""How a connection ends: DATA_FIN, half-close, both at once, MP_FASTCLOSE."""
from links import GONE, kernel_address, same_streams
from test_joins import carried


def test_half_close_each_way(w):
    for run in (w.connect, w.serve):
        for mine, theirs in (("half-close", "source"), ("source", "half-close")):
            peer, kernel = run(mine, 200_000, kernel=theirs)
            same_streams(peer, kernel)
    w.expect(MPCapableSYNACKRX=2, MPCapableACKRX=2)


def test_both_close_at_once(w):
    for seed in range(3):
        for run in (w.connect, w.serve):
            peer, kernel = run("source", 20_000, kernel="source", peer_options=["--seed", seed])
            same_streams(peer, kernel)
    w.expect(MPCapableSYNACKRX=3, MPCapableACKRX=3)


def test_nothing_was_sent(w):
    for run in (w.connect, w.serve):
        peer, kernel = run("source", 0, kernel="sink")
        same_streams(peer, kernel)
    w.expect(MPCapableSYNTX=1, MPCapableSYNRX=1)


def test_data_fin_is_lost(w):
    for run in (w.connect, w.serve):
        peer, kernel = run("source", 30_000, kernel="source",
                           peer_options=["--mangle", "out drop ack nth=2-4", "--seconds", 40, "--mangle", "in drop fin nth=1"])
        same_streams(peer, kernel)
    w.expect(MPCapableSYNTX=1, MPCapableSYNRX=1)


def test_an_idle_connection_closes(w):
    for run in (w.connect, w.serve):
        peer, kernel = run("idle", 0, kernel="idle", peer_options=["--at", "0.2 finish"])
        same_streams(peer, kernel)
    w.expect()


def test_we_abort(w):
    w.shape(1, 10, 2), w.shape(2, 10, 2)
    peer, kernel = w.connect(size=3_000_000, peer_options=["--at", "0.02 join 1", "--at", "0.4 fastclose"])
    assert peer["error"] == "localAbort" and kernel["error"] in GONE, (peer["error"], kernel["error"])
    carried(peer, 2)
    w.expect(MPJoinSynRx=1, MPJoinAckRx=1, MPFastcloseRx=lambda n: n >= 1)


def test_we_abort_as_listener(w):
    w.shape(1, 10, 2)
    peer, kernel = w.serve(size=3_000_000, peer_options=["--at", "0.4 fastclose"])
    assert peer["error"] == "localAbort" and kernel["error"] in GONE, (peer["error"], kernel["error"])
    w.expect(MPFastcloseRx=1)


def test_the_kernel_aborts(w):
    w.shape(1, 10, 2), w.shape(2, 10, 2)
    peer, kernel = w.connect("source", 3_000_000, kernel="fastclose", kernel_size=300_000,
                             peer_options=["--at", "0.02 join 1"])
    assert peer["error"] == "peerAborted", peer["error"]
    w.expect(MPJoinSynRx=1, MPJoinAckRx=1, MPFastcloseTx=lambda n: n >= 1, MPRstRx=range(0, 3))


def test_the_kernel_aborts_as_initiator(w):
    w.shape(1, 10, 2)
    peer, kernel = w.serve("source", 3_000_000, kernel="fastclose", kernel_size=300_000)
    assert peer["error"] == "peerAborted", peer["error"]
    w.expect(MPFastcloseTx=lambda n: n >= 1)


def test_a_wrong_key_is_ignored_by_the_kernel(w):
    w.shape(1, 10, 2)
    # The fourth ACK: 300 kB take at least five flights of the kernel's, however busy the machine is.
    peer, kernel = w.connect("sink", 300_000, kernel="source", peer_options=["--mangle", "out fastclose ack nth=4"],
                             wrong=["MP_FASTCLOSE with a wrong key"])
    same_streams(peer, kernel)
    assert peer["mangled"] == [1]
    w.expect()


def test_a_wrong_key_is_ignored_by_us(w):
    w.shape(1, 10, 2)
    peer, kernel = w.connect("source", 300_000, kernel="sink", peer_options=["--mangle", "in fastclose ack nth=4"])
    same_streams(peer, kernel)
    assert peer["mangled"] == [1]
    w.expect()
