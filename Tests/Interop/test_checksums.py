"""DSS checksums, MP_FAIL and the infinite mapping; fallback to plain TCP."""
from links import GONE, kernel_address, peer_address, same_streams
from test_joins import carried, second


def test_checksums_in_the_four_combinations(w):
    for kernel_wants in (0, 1):
        w.sysctl(checksum_enabled=kernel_wants)
        for we_want in (False, True):
            for run in (w.connect, w.serve):
                peer, kernel = run(size=150_000, peer_options=["--checksum"] if we_want else [])
                same_streams(peer, kernel)
                assert peer["checksums"] == (we_want or bool(kernel_wants)), peer["checksums"]
                assert peer["counters"]["checksumFailures"] == 0 and not peer["plain"]
    w.expect(MPCapableSYNTX=4, MPCapableSYNRX=4)


def test_checksums_over_two_subflows_with_loss(w):
    # Long enough for a join whose SYN or answer is lost, too: it comes again after a second.
    w.shape(1, 20, 2, loss=0.01), w.shape(2, 20, 2, loss=0.01)
    peer, kernel = w.connect(size=4_000_000, peer_options=["--checksum", "--at", "0.02 join 1"])
    same_streams(peer, kernel)
    carried(peer, 2)
    w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 2 subflow")
    peer, kernel = w.serve(size=4_000_000, peer_options=["--checksum"])
    same_streams(peer, kernel)
    carried(peer, 2)
    w.expect(MPJoinAckRx=1, MPJoinSynAckRx=1)


def test_corrupted_to_us_on_one_of_two_subflows(w):
    """The subflow is reset with MP_FAIL, its data comes again on the other."""
    w.shape(1, 10, 2), w.shape(2, 10, 2)
    peer, kernel = w.connect(size=900_000, peer_options=["--checksum", "--at", "0.02 join 1",
                                                         "--mangle", "in flip path=1 nth=30"])
    same_streams(peer, kernel)
    assert peer["counters"]["checksumFailures"] == 1 and peer["mangled"] == [1]
    w.expect(MPJoinAckRx=1, MPFailRx=1)


def test_corrupted_to_the_kernel_on_one_of_two_subflows(w):
    w.shape(1, 10, 2), w.shape(2, 10, 2)
    peer, kernel = w.connect(size=900_000, peer_options=["--checksum", "--at", "0.02 join 1",
                                                         "--mangle", "out flip path=1 nth=30"],
                             wrong=["wrong DSS checksum", "differ from those sent before"])
    same_streams(peer, kernel)
    assert second(peer)["reset"], second(peer)
    w.expect(MPJoinAckRx=1, MPFailTx=1, DataCsumErr=1, DSSCorruptionReset=range(0, 2))


def changed_once(a, b, what):
    assert a["bytes"] == b["bytes"], f"{what}: {a['bytes']} bytes became {b['bytes']}"
    assert a["sha256"] != b["sha256"], f"{what}: the changed bytes were not taken"


def test_corrupted_to_the_kernel_on_the_only_subflow(w):
    """MP_FAIL from the kernel; ours in answer, and the infinite mapping; then plain TCP with the changed bytes."""
    w.shape(1, 10, 2)
    for run in (w.connect, w.serve):
        peer, kernel = run("source", 600_000, kernel="source", kernel_size=600_000,
                           peer_options=["--checksum", "--mangle", "out flip nth=40"], wrong=["wrong DSS checksum"])
        changed_once(peer["sent"], kernel["received"], "peer to kernel")
        assert kernel["sent"] == peer["received"] and peer["error"] is None and kernel["error"] is None
        assert peer["counters"]["failsReceived"] >= 1 and peer["counters"]["failsSent"] == 1 and peer["plain"]
    w.expect(MPFailTx=2, MPFailRx=2, DataCsumErr=2, InfiniteMapRx=2, DssFallback=range(0, 3))


def test_corrupted_to_us_on_the_only_subflow(w):
    """Ours goes first; the kernel's infinite mapping ends MPTCP, or ours where data of ours is sooner."""
    w.shape(1, 10, 2)
    for run in (w.connect, w.serve):
        for pattern in ("sink", "source"):
            peer, kernel = run(pattern, 600_000, kernel="source", kernel_size=600_000,
                               peer_options=["--checksum", "--mangle", "in flip nth=40"])
            changed_once(kernel["sent"], peer["received"], "kernel to peer")
            assert peer["sent"] == kernel["received"] and peer["error"] is None and kernel["error"] is None
            assert peer["counters"]["checksumFailures"] == 1 and peer["counters"]["failsSent"] == 1 and peer["plain"]
            if pattern == "sink":
                assert peer["counters"]["infiniteMappings"] >= 1
    w.expect(MPFailRx=4, MPFailTx=4, InfiniteMapTx=range(2, 5), InfiniteMapRx=range(0, 3), DssFallback=range(0, 5))


# ---- fallback ----

def test_the_kernel_listens_with_plain_tcp(w):
    peer, kernel = w.connect(size=200_000, kernel_options=["proto=tcp"])
    same_streams(peer, kernel)
    assert peer["plain"] and peer["remoteKey" if "remoteKey" in peer else "localKey"]
    w.expect(MPCapableSYNRX=0)


def test_the_kernel_connects_with_plain_tcp(w):
    peer, kernel = w.serve(size=200_000, kernel_options=["proto=tcp"])
    same_streams(peer, kernel)
    assert peer["plain"]
    w.expect(MPCapableSYNTX=0)


def test_options_stripped_from_our_syn(w):
    peer, kernel = w.connect(size=200_000, peer_options=["--mangle", "out strip syn"])
    same_streams(peer, kernel)
    assert peer["plain"] and kernel["mptcp"] == 0
    w.expect(MPCapableSYNRX=0)


def test_options_stripped_from_the_kernels_answer(w):
    peer, kernel = w.connect(size=200_000, peer_options=["--mangle", "in strip synack"])
    same_streams(peer, kernel)
    assert peer["plain"]
    w.expect(MPCapableSYNRX=1, MPCapableFallbackACK=1)


def test_options_stripped_from_our_third_packet_on(w):
    peer, kernel = w.connect(size=200_000, peer_options=["--mangle", "out strip any nth=2-9999999"])
    same_streams(peer, kernel)
    assert peer["plain"]
    w.expect(MPCapableSYNRX=1, MPCapableFallbackACK=1)


def test_options_stripped_from_the_kernels_syn(w):
    peer, kernel = w.serve(size=200_000, peer_options=["--mangle", "in strip syn"])
    same_streams(peer, kernel)
    assert peer["plain"]
    w.expect(MPCapableSYNTX=1, MPCapableFallbackSYNACK=1)


def test_options_stripped_from_our_answer(w):
    peer, kernel = w.serve(size=200_000, peer_options=["--mangle", "out strip synack"])
    same_streams(peer, kernel)
    assert peer["plain"]
    w.expect(MPCapableSYNTX=1, MPCapableFallbackSYNACK=1)


def test_options_stripped_both_ways(w):
    for run in (w.connect, w.serve):
        peer, kernel = run(size=200_000, peer_options=["--mangle", "in strip any", "--mangle", "out strip any"])
        same_streams(peer, kernel)
        assert peer["plain"]


def test_syns_with_the_option_are_dropped(w):
    """A middlebox that swallows them: the third SYN goes without."""
    peer, kernel = w.connect(size=50_000, peer_options=["--mangle", "out drop capable"])
    same_streams(peer, kernel)
    assert peer["plain"]
    w.expect(MPCapableSYNRX=0)


def test_plain_tcp_has_half_close_and_a_window(w):
    w.shape(1, 20, 2)
    for run in (w.connect, w.serve):
        for mine, theirs in (("half-close", "source"), ("source", "half-close")):
            peer, kernel = run(mine, 200_000, kernel=theirs, kernel_options=["proto=tcp"],
                               peer_options=["--window", 20_000, "--read-rate", 400_000])
            same_streams(peer, kernel)
            assert peer["plain"]
    w.expect()


def test_plain_tcp_with_loss(w):
    w.shape(1, 10, 5, loss=0.03)
    for run in (w.connect, w.serve):
        peer, kernel = run(size=300_000, kernel_options=["proto=tcp"])
        same_streams(peer, kernel)
    w.expect()


def test_a_reset_in_plain_tcp(w):
    w.shape(1, 10, 2)
    peer, kernel = w.serve(size=3_000_000, kernel_options=["proto=tcp"], peer_options=["--at", "0.3 fastclose"])
    assert peer["error"] == "localAbort" and kernel["error"] in GONE, (peer["error"], kernel["error"])
    w.expect()
