"""ADD_ADDR, REMOVE_ADDR, MP_PRIO, the C flag, address IDs."""
import time

from links import kernel_address, peer_address, same_streams
from test_joins import carried, second


def slow(w, links=2):
    for n in range(1, links + 1):
        w.shape(n, 10, 2)


def test_we_announce_with_a_port(w):
    slow(w)
    peer, kernel = w.serve(size=600_000, peer_options=["--at", f"0 announce {peer_address(2)}:5111 id=4"])
    same_streams(peer, kernel)
    assert "echo 4" in peer["heard"], peer["heard"]
    assert any(s["local"] == f"{peer_address(2)}:5111" for s in peer["subflows"])
    carried(peer, 2)
    w.expect(AddAddr=1, EchoAddTx=1, PortAdd=1, MPJoinSynTx=1, MPJoinSynAckRx=1)


def test_we_announce_an_ipv6_address(w):
    slow(w)
    w.mptcp("limits set subflows 2 add_addr_accepted 2")
    peer, kernel = w.serve(size=600_000, v6=(2,), peer_options=["--at", f"0 announce {peer_address(2, True)} id=5"])
    same_streams(peer, kernel)
    assert "echo 5" in peer["heard"], peer["heard"]
    # An IPv4 socket of the kernel takes no IPv6 subflow: only the echo is owed.
    w.expect(AddAddr=1, EchoAddTx=1, MPJoinSynTx=range(0, 2))


def test_we_announce_an_ipv6_address_with_a_port(w):
    """Over IPv6 altogether, so that the kernel joins it."""
    slow(w)
    peer, kernel = w.serve(size=600_000, links=0, v6=(1, 2), to=peer_address(1, True), peer_options=[
        "--line", "1 rate=10 delay=2", "--mss", 1360,
        "--at", f"0 announce [{peer_address(2, True)}]:5112 id=6"])
    same_streams(peer, kernel)
    assert "echo 6" in peer["heard"], peer["heard"]
    w.expect(AddAddr=1, EchoAddTx=1, PortAdd=1, MPJoinSynTx=1, MPJoinSynAckRx=1)


def test_we_announce_an_ipv4_address_over_ipv6(w):
    slow(w)
    peer, kernel = w.serve(size=500_000, links=2, v6=(1,), to=peer_address(1, True), peer_options=[
        "--mss", 1360, "--at", f"0 announce {peer_address(2)} id=6"])
    same_streams(peer, kernel)
    assert "echo 6" in peer["heard"], peer["heard"]
    w.expect(AddAddr=1, EchoAddTx=1, MPJoinSynTx=1, MPJoinSynAckRx=1)


def test_the_kernel_announces(w):
    slow(w)
    w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 3 signal")
    peer, kernel = w.connect(size=600_000, peer_options=["--follow", 1])
    same_streams(peer, kernel)
    assert peer["heard"][0] == f"add 3 {kernel_address(2)}", peer["heard"]
    carried(peer, 2)
    w.expect(AddAddrTx=1, EchoAdd=1, MPJoinSynRx=1, MPJoinAckRx=1)


def test_the_kernel_announces_a_port(w):
    slow(w)
    w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 3 signal port 5113")
    peer, kernel = w.connect(size=600_000, peer_options=["--follow", 1])
    same_streams(peer, kernel)
    assert peer["heard"][0] == f"add 3 {kernel_address(2)} 5113", peer["heard"]
    carried(peer, 2)
    w.expect(AddAddrTx=1, EchoAdd=1, MPJoinSynRx=1, MPJoinAckRx=1, MPJoinPortSynRx=1, MPJoinPortAckRx=1)


def test_the_kernel_announces_an_ipv6_address(w):
    slow(w)
    w.mptcp(f"endpoint add {kernel_address(2, True)} dev v2 id 3 signal")
    peer, kernel = w.connect(size=600_000, links=0, v6=(1, 2), to=kernel_address(1, True),
                             peer_options=["--follow", 1, "--mss", 1360, "--line", "1 rate=10 delay=2"])
    same_streams(peer, kernel)
    assert peer["heard"][0] == f"add 3 {kernel_address(2, True)}", peer["heard"]
    carried(peer, 2)
    w.expect(AddAddrTx=1, EchoAdd=1, MPJoinSynRx=1, MPJoinAckRx=1)


def test_a_forged_announcement_is_ignored_by_us(w):
    slow(w)
    w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 3 signal")
    peer, kernel = w.connect(size=400_000, peer_options=["--follow", 1, "--mangle", "in hmac add"])
    same_streams(peer, kernel)
    assert peer["heard"] == [] and peer["counters"]["hmacFailures"] >= 1
    w.expect(AddAddrTx=lambda n: n >= 1, EchoAdd=0, MPJoinSynRx=0)


def test_a_forged_announcement_is_ignored_by_the_kernel(w):
    slow(w)
    peer, kernel = w.serve(size=400_000, peer_options=["--at", f"0 announce {peer_address(2)} id=1",
                                                       "--mangle", "out hmac add"],
                           wrong=["wrong HMAC in ADD_ADDR"])
    same_streams(peer, kernel)
    w.expect(AddAddr=0, EchoAddTx=0, MPJoinSynTx=0, AddAddrDrop=0)


def test_an_address_that_leads_nowhere(w):
    """The kernel tries to join it in vain; the transfer does not mind."""
    slow(w)
    peer, kernel = w.serve(size=500_000, peer_options=["--at", "0 announce 10.92.2.99 id=1"])
    same_streams(peer, kernel)
    w.expect(AddAddr=1, EchoAddTx=1, MPJoinSynTx=range(1, 3), MPJoinSynAckRx=0)


def test_an_address_of_the_kernel_that_leads_nowhere(w):
    """We try to join it in vain."""
    slow(w)
    w.mptcp("endpoint add 10.91.2.99 id 3 signal")
    peer, kernel = w.connect(size=500_000, peer_options=["--follow", 1])
    same_streams(peer, kernel)
    assert peer["heard"][0] == "add 3 10.91.2.99" and len(peer["subflows"]) == 2
    assert second(peer)["segmentsOut"] >= 1 and second(peer)["segmentsIn"] == 0
    w.expect(AddAddrTx=1, EchoAdd=1, MPJoinSynRx=0)


def test_a_lost_announcement_is_repeated(w):
    slow(w)
    peer, kernel = w.serve(size=1_500_000, peer_options=["--at", f"0 announce {peer_address(2)} id=1",
                                                         "--mangle", "out drop add nth=1"])
    same_streams(peer, kernel)
    assert "echo 1" in peer["heard"], peer["heard"]
    w.expect(AddAddr=1, EchoAddTx=1, MPJoinSynTx=1, MPJoinSynAckRx=1)


def test_we_remove_an_address(w):
    slow(w)
    peer, kernel = w.serve(size=1_500_000, peer_options=["--at", f"0 announce {peer_address(2)} id=1", "--id",
                                                         f"{peer_address(2)}=1", "--at", "0.4 remove id=1"])
    same_streams(peer, kernel)
    carried(peer, 2)
    w.expect(AddAddr=1, EchoAddTx=1, MPJoinSynTx=1, MPJoinSynAckRx=1, RmAddr=1, RmSubflow=range(0, 2))


def test_we_remove_an_address_as_initiator(w):
    slow(w)
    peer, kernel = w.connect(size=1_500_000, peer_options=["--at", "0.02 join 1", "--at", "0.4 remove id=1"])
    same_streams(peer, kernel)
    carried(peer, 2)
    w.expect(MPJoinSynRx=1, MPJoinAckRx=1, RmAddr=1, RmSubflow=range(0, 2))


def test_the_kernel_removes_an_address(w):
    slow(w)
    w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 3 signal")

    def during():
        time.sleep(0.6)
        w.mptcp("endpoint delete id 3")
    peer, kernel = w.connect(size=1_800_000, peer_options=["--follow", 1], during=during)
    same_streams(peer, kernel)
    carried(peer, 2)   # first: without the announcement, which the kernel's worker sends, there is nothing to remove
    assert "remove 3" in peer["heard"], peer["heard"]
    w.expect(AddAddrTx=1, EchoAdd=1, MPJoinSynRx=1, MPJoinAckRx=1, RmAddrTx=1, RmSubflow=range(0, 2))


def test_the_kernel_removes_a_subflow_address(w):
    slow(w)
    w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 3 subflow")

    def during():
        time.sleep(0.6)
        w.mptcp("endpoint delete id 3")
    peer, kernel = w.serve(size=1_800_000, during=during)
    same_streams(peer, kernel)
    assert "remove 3" in peer["heard"], peer["heard"]
    carried(peer, 2)
    w.expect(MPJoinSynTx=1, MPJoinSynAckRx=1, RmAddrTx=1, RmSubflow=range(0, 2))


def test_we_deny_joins_to_the_initial_address(w):
    """Flag C: the kernel joins the announced address only."""
    slow(w)
    w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 2 subflow")
    peer, kernel = w.serve(size=500_000, peer_options=["--deny-joins"])
    same_streams(peer, kernel)
    assert len(peer["subflows"]) == 1
    w.expect(MPJoinSynTx=0)


def test_the_kernel_denies_joins_to_its_initial_address(w):
    slow(w)
    w.sysctl(allow_join_initial_addr_port=0)
    peer, kernel = w.connect(size=300_000, peer_options=["--at", "0 join 1"])
    same_streams(peer, kernel)
    assert peer["deniedJoins"] and len(peer["subflows"]) == 1
    w.expect(MPJoinSynRx=0)


def test_we_make_a_subflow_backup_and_regular_again(w):
    slow(w)
    peer, kernel = w.connect(size=1_500_000, peer_options=["--at", "0.02 join 1", "--at", "0.3 prio 1 backup",
                                                           "--at", "0.7 prio 1 regular"])
    same_streams(peer, kernel)
    w.expect(MPJoinSynRx=1, MPJoinAckRx=1, MPPrioRx=2)


def test_the_kernel_makes_a_subflow_backup(w):
    slow(w)
    w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 3 subflow")

    def during():
        limit = time.monotonic() + 1.2
        while not w.counters()["MPJoinSynAckRx"] and time.monotonic() < limit:  # its worker joins in its own time
            time.sleep(0.05)
        time.sleep(0.1)
        w.mptcp("endpoint change id 3 backup")
        time.sleep(0.5)
        w.mptcp("endpoint change id 3 nobackup")
    peer, kernel = w.serve(size=2_000_000, during=during)
    same_streams(peer, kernel)
    carried(peer, 2)
    w.expect(MPJoinSynTx=1, MPJoinSynAckRx=1, MPPrioTx=2)


def test_a_backup_of_ours_is_unused(w):
    slow(w)
    peer, kernel = w.connect(size=600_000, peer_options=["--at", "0.02 join 1 backup"])
    same_streams(peer, kernel)
    assert second(peer)["bytesIn"] + second(peer)["bytesOut"] == 0, second(peer)
    w.expect(MPJoinSynRx=1, MPJoinSynBackupRx=1, MPJoinAckRx=1)


def test_a_backup_of_the_kernel_is_unused(w):
    slow(w)
    w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 3 subflow backup")
    peer, kernel = w.serve(size=600_000)
    same_streams(peer, kernel)
    assert second(peer)["bytesIn"] + second(peer)["bytesOut"] == 0, second(peer)
    w.expect(MPJoinSynTx=1, MPJoinSynAckRx=1)


def test_a_backup_is_used_when_the_other_link_dies(w):
    slow(w)
    peer, kernel = w.connect(size=900_000, peer_options=["--at", "0.02 join 1 backup", "--at", "0.3 cut 0"])
    same_streams(peer, kernel)
    carried(peer, 2)
    w.expect(MPJoinSynRx=1, MPJoinSynBackupRx=1, MPJoinAckRx=1)


def test_a_backup_of_the_kernel_is_used_when_the_other_link_dies(w):
    slow(w)
    w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 3 subflow backup")
    peer, kernel = w.serve(size=900_000, during=lambda: (time.sleep(0.3), w.fail(1)))
    same_streams(peer, kernel)
    carried(peer, 2)
    w.expect(MPJoinSynTx=1, MPJoinSynAckRx=1)
