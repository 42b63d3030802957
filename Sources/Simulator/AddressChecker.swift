import Measures

/// Watches what the concentrator sends where: an address that cannot yet have shown that it
/// receives gets at most three times the bytes that came from it (RFC 9000 section 8.1), so no bulk
/// payload.
struct AddressChecker {
    private struct Ledger {
        var received = 0, sent = 0
        /// Something reached the proxy there, and something came back afterwards.
        var isReached = false, isProven = false
    }
    private var ledgers: [SocketAddress: Ledger] = [:]  // never iterated
    private(set) var failure: String?

    /// The concentrator got a datagram from `address`.
    mutating func arrived(from address: SocketAddress, bytes: Int) {
        ledgers[address, default: Ledger()].received += bytes
        if ledgers[address]?.isReached == true { ledgers[address]?.isProven = true }
    }

    /// The proxy got a datagram that was sent to `address`.
    mutating func reached(_ address: SocketAddress) {
        ledgers[address, default: Ledger()].isReached = true
    }

    /// The concentrator sends to `address`.
    mutating func sent(to address: SocketAddress, bytes: Int) {
        var ledger = ledgers[address] ?? Ledger()
        ledger.sent += bytes
        if !ledger.isProven, ledger.sent > 3 * ledger.received {
            failure =
                failure
                ?? "\(ledger.sent) bytes to \(address), which sent \(ledger.received) and has proved nothing"
        }
        ledgers[address] = ledger
    }
}
