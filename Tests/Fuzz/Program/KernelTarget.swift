import CMnl
import Glibc
import Measures

@testable import Shell

/// What the kernel hands over: packets that a queue holds, of which programs wrote every byte, and
/// messages of netlink, whatever their lengths say.
enum KernelTarget {
    static func run(_ input: inout Input) {
        if input.bit() { packet(input.rest()) } else { messages(&input) }
    }

    /// Who a packet is from, read again byte by byte.
    private static func packet(_ bytes: [UInt8]) {
        let found = withExact(bytes) { PacketQueue.ends(of: UnsafeRawBufferPointer($0)) }
        guard let (source, destination) = found else { return }
        let isIPv4 = bytes[0] >> 4 == 4
        func word(_ at: Int) -> UInt64 { bytes[at..<at + 4].reduce(0) { $0 << 8 | UInt64($1) } }
        func address(_ at: Int) -> IPAddress {
            isIPv4
                ? IPAddress(v4: UInt32(word(at)))
                : IPAddress(
                    v6High: word(at) << 32 | word(at + 4), low: word(at + 8) << 32 | word(at + 12))
        }
        check(
            source.address == address(isIPv4 ? 12 : 8)
                && destination.address == address(isIPv4 ? 16 : 24), "another address")
    }

    private static let types = [
        RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE, Int(NLMSG_ERROR), Int(NLMSG_DONE), 3 << 8
    ].map { UInt16($0) }

    /// Messages in one buffer, with lengths that may be wrong.
    private static func messages(_ input: inout Input) {
        var buffer: [UInt8] = []
        while !input.isEmpty, buffer.count < 4_000 {
            let form = input.byte(), payload = input.take(Int(input.byte()))
            var length = UInt32(16 + payload.count)
            if form & 8 != 0 { length = UInt32(input.word(UInt16.self)) }
            let type = types[Int(form & 7) % types.count]
            withUnsafeBytes(of: (length, type, UInt16(form >> 4))) { buffer += $0 }
            buffer += [0, 0, 0, 0, 0, 0, 0, 0] + payload
            while buffer.count % 4 != 0 { buffer.append(0) }
        }
        var snapshot = NetworkSnapshot(), seen = 0
        withExact(buffer) { bytes in
            Netlink.forEachMessage(bytes, bytes.count) { message in
                seen += 1
                Netlink.read(message, into: &snapshot)
                if let held = PacketQueue.read(message) { check(held.id <= .max, "a number") }
                return true
            }
        }
        check(seen <= buffer.count / 16, "more messages than there is room for")
        check(
            snapshot.links.count + snapshot.addresses.count <= seen,
            "more than one thing of a message")
    }
}
