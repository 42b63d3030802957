"""--pcap: what travels inside the tunnel, read by programs that know nothing of Braid."""
import os
import shutil
import subprocess
import sys

from runner import Skip
from world import HERE, need


def captured(w, size=3_000_000):
    """A download and an upload over two uplinks, one of them lost in the middle; both sides' captures."""
    import time
    files = [f"{w.folder}/proxy.pcap", f"{w.folder}/concentrator.pcap"]
    pair = w.pair(proxy_flags=["--pcap", files[0]], concentrator_flags=["--pcap", files[1]])
    w.limit(wifi=16, cell=8)
    client = w.start_client("download", size)
    time.sleep(0.6)
    w.down("wifi")
    client.result()
    w.start_client("upload", size).result()
    for process in (pair.proxy, pair.concentrator):
        process.terminate()
        assert process.wait(20) == 0
    return files


def test_an_independent_checker(w):
    checker = f"{HERE}/mptcp_check.py"
    if not os.path.exists(checker):
        raise Skip("mptcp_check.py is not there")
    for file in captured(w):
        result = subprocess.run([sys.executable, checker, file], capture_output=True, text=True)
        assert result.returncode == 0, f"{os.path.basename(file)}: {result.stdout[-1500:]}{result.stderr[-1500:]}"


def test_tshark_reads_it_as_mptcp(w):
    need("tshark")
    for file in captured(w):
        def fields(filter, *names):
            # Streams aren't put together here: Wireshark would call a retransmission cut elsewhere a malformed
            # fragment. That its bytes are the same is the independent checker's business.
            command = ["tshark", "-o", "tcp.desegment_tcp_streams:FALSE", "-r", file, "-Y", filter, "-T", "fields"]
            for name in names:
                command += ["-e", name]
            result = subprocess.run(command, capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
            return result.stdout.splitlines()
        assert fields("tcp.options.mptcp.subtype == 0", "frame.number"), "no MP_CAPABLE"
        assert fields("tcp.options.mptcp.subtype == 1", "frame.number"), "no MP_JOIN"
        assert fields("tcp.options.mptcp.subtype == 2", "frame.number"), "no DSS"
        bad = fields("_ws.malformed || tcp.checksum.status == 0 || ip.checksum.status == 0", "frame.number", "_ws.col.Info")
        assert not bad, f"{len(bad)} malformed frames, such as {bad[:3]}"
