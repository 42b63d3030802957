import Crypto
import Measures

/// A concentrator's answer to a hello whose proxy has not shown by a record yet that it has the
/// keys: a session, or the going on of one, that may still come to nothing.
struct PendingHandshake {
    /// Who asked, and which of its processes.
    let user: UserState
    let instance: UInt64
    /// Its slot is kept for a session to come, or is that of the one to go on.
    let indices: SessionIndices
    /// The session in its slot goes on with these keys; else another one begins with them.
    let resumes: Bool
    let suite: CipherSuite
    let keys: EpochKeys
    let openedAt: Instant

    /// What was answered, up to its first MAC, which it is found by, and with what: a copy that
    /// another path or the network makes of it gets the same, so often.
    let mac1: Bytes16
    let hello: [UInt8]
    let welcome: [UInt8]
    var repeats = 0
    /// Where the welcome went, and what each copy of it asked.
    var welcomed: [AddressCheck] = []

    /// The number that the welcome to this address carries, and to no other: whoever hands it back
    /// receives there. `nonce`: makes a new one.
    mutating func token(for source: PathAddress, at now: Instant, nonce: () -> Int64) -> Int64 {
        if let i = welcomed.firstIndex(where: { $0.address == source }) {
            welcomed[i].asks += 1
            return welcomed[i].nonce
        }
        var check = AddressCheck(address: source, nonce: nonce())
        check.askedAt = now
        check.asks = 1
        welcomed.append(check)
        return check.nonce
    }
}

/// Handshakes that wait for a first record, by what names them.
struct PendingHandshakes {
    /// Looked up, never iterated.
    private var byHello: [Bytes16: PendingHandshake] = [:]
    private var helloOf: [UInt32: Bytes16] = [:]
    /// Their hellos' first MACs, the oldest first.
    private var order: [Bytes16] = []
    /// By which sessions may go on, by their slots: how many each has.
    private var resuming: [SessionSlot: Int] = [:]

    var count: Int { order.count }
    /// When the oldest is forgotten; `.distantFuture` where there is none.
    var deadline: Instant {
        oldest.map { $0.openedAt + Limits.unconfirmedLifetime } ?? .distantFuture
    }
    var oldest: PendingHandshake? { order.first.flatMap { byHello[$0] } }

    /// The one that answered the hello with this first MAC.
    subscript(hello mac1: Bytes16) -> PendingHandshake? {
        get { byHello[mac1] }
        set { if byHello[mac1] != nil, let newValue { byHello[mac1] = newValue } }
    }

    /// The one that records with this session index mean.
    subscript(index: UInt32) -> PendingHandshake? { helloOf[index].flatMap { byHello[$0] } }

    /// Whether the session in the slot may go on by one of them.
    func mayResume(_ slot: SessionSlot) -> Bool { resuming[slot] != nil }

    /// Those that `fits`, the oldest first.
    func all(where fits: (PendingHandshake) -> Bool) -> [PendingHandshake] {
        order.compactMap { byHello[$0] }.filter(fits)
    }

    mutating func add(_ handshake: PendingHandshake) {
        remove(handshake.mac1)
        byHello[handshake.mac1] = handshake
        helloOf[handshake.indices.local] = handshake.mac1
        order.append(handshake.mac1)
        if handshake.resumes { resuming[handshake.indices.slot, default: 0] += 1 }
    }

    mutating func remove(_ mac1: Bytes16) {
        guard let handshake = byHello.removeValue(forKey: mac1) else { return }
        helloOf[handshake.indices.local] = nil
        order.removeAll { $0 == mac1 }
        let slot = handshake.indices.slot
        if handshake.resumes, let others = resuming[slot] {
            resuming[slot] = others > 1 ? others - 1 : nil
        }
    }
}
