import Wire

/// Watches records as they are sent and says when a nonce is used twice with one key: the packet
/// numbers of a (receiver's session, key epoch, path) grow, or one that was held back follows a
/// little later. The same bytes may go to two addresses, which tells no more than once.
///
/// A session index names one direction of one session, so it tells keys apart; an epoch's two bits
/// come again after four rekeyings, by when the epochs between have been seen.
struct NonceChecker {
    private struct Space: Hashable {
        var receiver: Int  // the node the records go to
        var session: UInt32
        var path: UInt8
    }
    private struct Recent {
        /// A datagram held back for an unproven address leaves up to half a second after its number
        /// was taken.
        static let size: UInt64 = 1_024
        var highest: UInt64
        /// The tag (its last eight bytes) of each of the latest numbers; zero where it was not
        /// sent.
        var tags = [UInt64](repeating: 0, count: Int(size))

        /// Whether the number may be sent with these bytes.
        mutating func take(_ number: UInt64, tag: UInt64) -> Bool {
            if number > highest {
                if number - highest < Self.size {
                    for skipped in highest + 1..<number { tags[Int(skipped % Self.size)] = 0 }
                } else {
                    for i in tags.indices { tags[i] = 0 }
                }
                highest = number
            } else if highest - number >= Self.size {
                return false
            }
            let place = Int(number % Self.size)
            defer { tags[place] = tag }
            return number == highest || tags[place] == 0 || tags[place] == tag
        }
    }
    private var spaces: [Space: [Recent?]] = [:]  // by epoch; never iterated
    private(set) var failure: String?
    private(set) var records = 0

    mutating func sent(_ datagram: UnsafeRawBufferPointer, to receiver: Int) {
        guard let header = DatagramHeader(datagram) else {
            failure = failure ?? "a datagram of \(datagram.count) bytes without a header"
            return
        }
        guard header.kind == .record else { return }
        records += 1
        let space = Space(receiver: receiver, session: header.session, path: header.path)
        let epoch = Int(header.epoch)
        let tag =
            datagram.count >= 8
            ? datagram.loadUnaligned(fromByteOffset: datagram.count - 8, as: UInt64.self) : 0
        var state = spaces[space] ?? [nil, nil, nil, nil]
        if var recent = state[epoch] {
            state[epoch] = nil
            let highest = recent.highest
            let number = (highest + 1).nearestPacketNumber(low: header.number)
            if number == highest && recent.tags[Int(number % Recent.size)] != tag
                || !recent.take(number, tag: tag)
            {
                failure =
                    failure
                    ?? "packet number \(number) after \(highest) on path \(header.path),"
                    + " epoch \(epoch), session \(header.session)"
            }
            state[epoch] = recent
        } else {
            var recent = Recent(highest: UInt64(header.number))
            _ = recent.take(recent.highest, tag: tag)
            state[epoch] = recent
            // two rekeyings ago: its bits may come again with a new key
            state[(epoch + 2) & 3] = nil
        }
        spaces[space] = state
    }
}
