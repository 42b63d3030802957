import Wire

/// Watches records as they are sent and says when a nonce is used twice with one key: the packet numbers of
/// a (receiver's session, key epoch, path) must only grow.
///
/// A session index names one direction of one session, so it tells keys apart; an epoch's two bits come
/// again after four rekeyings, by when the epochs between have been seen.
struct NonceChecker {
    private struct Space: Hashable {
        var receiver: Int   // the node the records go to
        var session: UInt32
        var path: UInt8
    }
    private var highest: [Space: [UInt64?]] = [:]   // by epoch; never iterated
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
        var state = highest[space] ?? [nil, nil, nil, nil]
        if let last = state[epoch] {
            let number = (last + 1).nearestPacketNumber(low: header.number)
            if number <= last {
                failure = failure
                    ?? "packet number \(number) after \(last) on path \(header.path),"
                    + " epoch \(epoch), session \(header.session)"
            }
            state[epoch] = max(last, number)
        } else {
            state[epoch] = UInt64(header.number)
            state[(epoch + 2) & 3] = nil   // two rekeyings ago: its bits may come again with a new key
        }
        highest[space] = state
    }
}
