"""The redundant scheduler by listener, on links with delay."""
from lab import in_lab
from runner import seconds


@seconds(120)
def test_every_byte_on_two_uplinks(w):
    # The same rate: a slow uplink beside a fast one carries only a part.
    said = in_lab(w.braid, "redundant_inside.py", "--wifi", "20M/30ms", "--cellular", "20M/60ms")
    w.notes += said.splitlines()
