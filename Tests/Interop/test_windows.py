"""Receive windows, large and small and shut; rates over two links."""
import time

from links import PORT, between, kernel_address, peer_address, same_streams
from test_joins import carried


def test_a_slow_reader_of_ours(w):
    for run in (w.connect, w.serve):
        peer, kernel = run("sink", 0, kernel="source", kernel_size=400_000,
                           peer_options=["--window", 30_000, "--read-rate", 300_000])
        same_streams(peer, kernel)
    w.expect()


def test_our_window_shuts(w):
    """Nothing is read for a second and a half: the kernel probes, then goes on."""
    for run in (w.connect, w.serve):
        peer, kernel = run("sink", 0, kernel="source", kernel_size=300_000,
                           peer_options=["--window", 30_000, "--read-after", 1.5])
        same_streams(peer, kernel)
        assert peer["readSeconds"] > 1.4
    w.expect()


def test_the_window_of_the_kernel_shuts(w):
    """Our probes find out when it opens."""
    for run in (w.connect, w.serve):
        peer, kernel = run("source", 300_000, kernel="sink", kernel_options=["after=1.5", "buffer=16384"])
        same_streams(peer, kernel)
    w.expect()


def test_the_window_of_the_kernel_shuts_and_its_update_is_lost(w):
    peer, kernel = w.connect("source", 300_000, kernel="sink", kernel_options=["after=1.0", "buffer=16384"],
                             peer_options=["--at", "0.9 cut 0", "--at", "1.6 mend 0"])
    same_streams(peer, kernel)
    w.expect()


def test_a_slow_reader_at_the_kernel(w):
    peer, kernel = w.connect("source", 300_000, kernel="sink", kernel_options=["rate=200000", "buffer=16384"])
    same_streams(peer, kernel)
    w.expect()


def test_without_window_scaling(w):
    for run in (w.connect, w.serve):
        peer, kernel = run(size=300_000, peer_options=["--no-scaling", "--window", 60_000])
        same_streams(peer, kernel)
    w.expect()


def test_a_large_window(w):
    w.shape(1, 40, 50, queue=200)
    for run in (w.connect, w.serve):
        peer, kernel = run("sink", 0, kernel="source", kernel_size=4_000_000)
        same_streams(peer, kernel)
    w.expect()


def test_with_timestamps_and_without_sack(w):
    w.shape(1, 20, 5, loss=0.01), w.shape(2, 20, 5, loss=0.01)
    for options in (["--timestamps", "--mss", 1360], ["--no-sack"]):
        peer, kernel = w.connect(size=300_000, peer_options=[*options, "--at", "0.02 join 1"])
        same_streams(peer, kernel)
        peer, kernel = w.serve(size=300_000, peer_options=options)
        same_streams(peer, kernel)
    w.expect()


# ---- two links together ----

def two_kernels(w, size):
    """What the kernel's own receiver takes for the same transfer, on the same lines, seconds."""
    links = w.another(2)
    links.lines = w.lines
    try:
        other = links.other_kernel()
        end = links.start_kernel("server", "0.0.0.0", PORT, "source", size)
        sink = links.start_kernel("client", kernel_address(1), PORT, "sink", 0, f"from={peer_address(1)}", space=other)
        result = links.end(sink, 40)
        links.end(end)
        assert result["received"]["bytes"] == size and links.counters()["MPJoinAckRx"] == 1
        return result["seconds"]
    finally:
        links.close()


def within(w, first, second, size):
    """Our sending and the kernel's, each in no more than size / (0.9 of the sum of the rates) + 0.4 s. The kernel's
    also in no more than it takes to another kernel: over 30 Mbit/s with 50 ms and 10 with 1 ms its slow start on the
    first link takes it 2.78 to 2.84 s, to us 2.70 to 2.75 (we acknowledge each of these segments at once, and our
    window never holds it up), the bound being 2.62."""
    (rate_a, delay_a), (rate_b, delay_b) = first, second
    w.shape(1, rate_a, delay_a, queue=100), w.shape(2, rate_b, delay_b, queue=100)
    limit = size * 8 / (0.9 * (rate_a + rate_b) * 1e6) + 0.4
    for way in ("to the kernel", "to us"):
        mine, theirs = ("source", "sink") if way == "to the kernel" else ("sink", "source")
        peer, kernel = w.connect(mine, size, kernel=theirs, peer_options=["--at", "0 join 1"])
        same_streams(peer, kernel)
        carried(peer, 2)
        took = kernel["seconds"] if way == "to the kernel" else peer["readSeconds"]
        w.notes.append(f"{way} {took:.2f} s of {limit:.2f}")
        if way == "to us" and took > limit:
            limit = two_kernels(w, size)
            w.notes.append(f"between two kernels {limit:.2f} s")
        between(took, 0, limit, f"the time {way}")


def test_two_links_10_and_10(w):
    within(w, (10, 1), (10, 1), 6_000_000)


def test_two_links_10_and_10_with_unequal_delay(w):
    within(w, (10, 1), (10, 50), 6_000_000)


def test_two_links_30_and_10_with_unequal_delay(w):
    within(w, (30, 1), (10, 50), 10_000_000)


def test_two_links_30_slow_and_10_quick(w):
    within(w, (30, 50), (10, 1), 10_000_000)
