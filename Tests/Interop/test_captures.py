"""What passed the devices, read by programs that share no code with Braid."""
import subprocess

from links import kernel_address, need, peer_address, same_streams
from mptcp_packets import CAPABLE, packets, parse
from test_joins import carried


def judged(w, peer):
    """No malformed option, no wrong checksum; tokens and IDSNs are those of the keys. (mptcp_check has been asked.)"""
    need("tshark")

    def fields(filter, *names):
        command = ["tshark", "-o", "tcp.desegment_tcp_streams:FALSE", "-o", "tcp.check_checksum:TRUE",
                   # Random payload looks like anything; as echo it is only bytes.
                   "-d", "tcp.port==5000,echo",
                   "-r", w.capture, "-Y", filter, "-T", "fields", "-E", "occurrence=f"]
        for name in names:
            command += ["-e", name]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return [line.split("\t") for line in result.stdout.splitlines()]
    bad = fields("_ws.malformed || tcp.checksum.status == 0 || ip.checksum.status == 0", "frame.number", "_ws.col.Info", "_ws.expert.message")
    assert not bad, f"{len(bad)} malformed frames, such as {bad[:3]}"
    capable = fields("tcp.options.mptcp.subtype == 0 && mptcp.expected_token", "mptcp.expected_token", "mptcp.expected_idsn")
    tokens, numbers = {int(row[0]) for row in capable}, {int(row[1]) for row in capable if row[1]}
    ours = {peer["localToken"], peer["remoteToken"]}
    assert tokens and tokens <= ours, f"tokens {tokens}, not of {ours}"
    ours = {peer["localIDSN"], peer["remoteIDSN"]}
    assert numbers and numbers <= ours, f"IDSNs {numbers}, not of {ours}"
    return w.judged


def test_we_join(w):
    w.shape(1, 20, 2), w.shape(2, 20, 2)
    peer, kernel = w.connect(size=500_000, peer_options=["--at", "0 join 1"])
    same_streams(peer, kernel)
    carried(peer, 2)
    assert judged(w, peer)["joins"] >= 1
    w.expect()


def test_the_kernel_joins(w):
    w.shape(1, 20, 2), w.shape(2, 20, 2)
    w.mptcp(f"endpoint add {kernel_address(2)} dev v2 id 2 subflow")
    peer, kernel = w.serve(size=1_500_000, peer_options=["--at", "0.1 prio 0 backup"])
    same_streams(peer, kernel)
    carried(peer, 2)
    assert judged(w, peer)["joins"] >= 1


def test_mp_capable_with_data(w):
    """The first data of either initiator carries both keys (RFC 8684 section 3.1)."""
    w.shape(1, 20, 10)   # data follows the third packet before anybody has answered that
    for run, port in ((w.connect, 5000), (w.serve, 5000)):
        peer, kernel = run(size=20_000)
        same_streams(peer, kernel)
        with open(w.capture, "rb") as file:
            found = [parse(number, at, ip, False) for number, at, ip in packets(file.read())]
        first = [p for p in found if p and p.target[1] == port and len(p.payload)][0]
        assert [(kind, len(option)) for kind, option in first.options] == [(CAPABLE, 22)], first.options
    w.expect()


def test_checksums_and_loss(w):
    w.shape(1, 20, 2, loss=0.01), w.shape(2, 20, 2, loss=0.01)
    peer, kernel = w.connect(size=500_000, peer_options=["--checksum", "--at", "0 join 1"])
    same_streams(peer, kernel)
    judged(w, peer)
    w.expect()


def test_ipv6(w):
    peer, kernel = w.connect(size=300_000, links=0, v6=(1, 2), to=kernel_address(1, True),
                             peer_options=["--mss", 1360, "--at", "0 join 1"])
    same_streams(peer, kernel)
    judged(w, peer)
    w.expect()


def test_an_abort(w):
    w.shape(1, 10, 2)
    peer, kernel = w.connect(size=3_000_000, peer_options=["--at", "0.3 fastclose"])
    assert judged(w, peer)["aborted"] == 1
