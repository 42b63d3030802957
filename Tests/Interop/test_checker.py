"""mptcp_check itself: each rule finds the one packet of a good capture that was made to break it."""
import struct

from links import peer_address, same_streams
from mptcp_packets import ACK, ADD_ADDR, DSS, JOIN, SYN

# How a change is described: subtype, which packets qualify (option, flags, bytes of payload, ours), what is changed
# (the packet, where its TCP header and its option begin), what must be found.


def set_word(form, where, delta):
    def change(packet, tcp, option):
        at = (option if where >= 0 else tcp) + abs(where)
        value = struct.unpack_from(form, packet, at)[0]
        struct.pack_into(form, packet, at, (value + delta) & ((1 << 8 * struct.calcsize(form)) - 1))
    return change


def no_option(packet, tcp, option):
    packet[option:option + packet[option + 1]] = b"\1" * packet[option + 1]


def last_byte(packet, tcp, option):
    packet[-1] ^= 1


def is_data(option, flags, payload, ours):
    return payload > 100 and ours and len(option) > 20


def is_ack(option, flags, payload, ours):
    return not payload and ours and len(option) == 12


CHANGES = (
    (DSS, is_ack, set_word("!Q", 4, 1 << 30), "DATA_ACK .* beyond the data seen"),
    (DSS, is_ack, set_word("!H", -14, -1000), "the window's edge went back"),
    (DSS, is_ack, set_word("!I", -8, 1 << 20), "TCP acknowledges .* were sent"),
    (DSS, is_ack, set_word("!B", 3, 4), "an MPTCP option of subtype 2 with"),
    (DSS, is_data, set_word("!I", 20, 1), "wrong DSS checksum"),
    (DSS, is_data, set_word("!H", 26, 1), "wrong DSS checksum"),
    (DSS, is_data, last_byte, "wrong DSS checksum"),
    (DSS, is_data, no_option, "are not mapped"),
    (JOIN, lambda option, flags, payload, ours: not flags & SYN, set_word("!B", 10, 1), "wrong HMAC in the third packet"),
    (JOIN, lambda option, flags, payload, ours: flags & (SYN | ACK) == SYN | ACK, set_word("!B", 6, 1), "wrong HMAC in a SYN/ACK"),
    (JOIN, lambda option, flags, payload, ours: flags & (SYN | ACK) == SYN, set_word("!B", 5, 1), "an unknown token"),
    (ADD_ADDR, lambda option, flags, payload, ours: not option[2] & 1, set_word("!B", 9, 1), "wrong HMAC in ADD_ADDR"),
    (ADD_ADDR, lambda option, flags, payload, ours: option[2] & 1, set_word("!B", 5, 1), "an echo of an address that was not"),
)


def altered(capture, subtype, qualifies, change):
    """The capture with the second packet that qualifies changed, or the only one."""
    at, found = 24, []
    while at < len(capture):
        length = struct.unpack_from("<I", capture, at + 8)[0]
        start, tcp = at + 16, at + 36
        at = start + length
        end, option = tcp + (capture[tcp + 12] >> 4) * 4, tcp + 20
        while option < end and capture[option]:
            if capture[option] == 1:
                option += 1
                continue
            words = capture[option:option + capture[option + 1]]
            if words[0] == 30 and words[2] >> 4 == subtype and \
                    qualifies(words, capture[tcp + 13], at - end, capture[start + 13] == 92):
                found.append((start, at, tcp, option))
            option += len(words)
    assert found, f"no option of subtype {subtype} qualifies"
    start, end, tcp, option = found[min(1, len(found) - 1)]
    packet = bytearray(capture[start:end])
    change(packet, tcp - start, option - start)
    return capture[:start] + packet + capture[end:]


def test_every_rule_finds_its_packet(w):
    w.shape(1, 20, 2), w.shape(2, 20, 2)
    peer, kernel = w.serve(size=200_000, peer_options=["--checksum", "--at", f"0 announce {peer_address(2)} id=1"])
    same_streams(peer, kernel)
    with open(w.capture, "rb") as file:
        good = file.read()
    for subtype, qualifies, change, pattern in CHANGES:
        with open(w.capture, "wb") as file:
            file.write(altered(good, subtype, qualifies, change))
        w.tolerated = [".*"]
        w.judge([pattern], checksums=False)
