import Buffers
import Crypto
import Measures

/// The record keys of one epoch.
final class EpochKeys {
    let epoch: UInt8
    /// Nil once they are too old (`Limits`): nothing is sent with them any more, and nothing
    /// opened.
    private(set) var send: RecordCipher?
    private(set) var receive: RecordCipher?
    let since: Instant
    var isDead: Bool { if send == nil { true } else { false } }

    init(epoch: UInt8, suite: CipherSuite, keys: NoiseHandshake.TransportKeys, since: Instant) {
        self.epoch = epoch
        send = RecordCipher(suite: suite, key: keys.send)
        receive = RecordCipher(suite: suite, key: keys.receive)
        self.since = since
    }
    func wipe() {
        send = nil
        receive = nil
    }

    /// As `RecordCipher.seal`; nil where the keys are dead.
    @inline(__always) func seal(
        path: UInt32, packetNumber: UInt64, associated: UnsafeRawBufferPointer,
        head: UnsafeRawBufferPointer, payload: Pieces, into out: UnsafeMutableRawPointer
    ) -> Int? {
        send?.seal(
            path: path, packetNumber: packetNumber, associated: associated, head: head,
            payload: payload, into: out)
    }

    /// As `RecordCipher.open`; nil also where the keys are dead.
    @inline(__always) func open(
        path: UInt32, packetNumber: UInt64, associated: UnsafeRawBufferPointer,
        record: UnsafeMutableRawBufferPointer
    ) -> Int? {
        receive?.open(
            path: path, packetNumber: packetNumber, associated: associated, record: record)
    }
}

/// The keys of a session: those in use, those before and after them, and what makes new ones.
struct SessionKeys {
    private(set) var suite: CipherSuite
    private(set) var current: EpochKeys
    /// Still opens late datagrams, until then.
    private var previous: (keys: EpochKeys, until: Instant)?
    /// At the concentrator: used from the first record of the peer's in this epoch on.
    var next: EpochKeys?
    var rekey: RekeyAttempt?
    /// At the concentrator: the answer to the latest message 1, repeated where that is.
    var rekeyAnswer: (message1: [UInt8], message2: [UInt8], epoch: UInt8)?
    /// Before it no message of a rekey is looked into: each costs Diffie-Hellman operations.
    var rekeyAllowedAt = Instant.zero
    /// With the present ones.
    var recordsSent: UInt64 = 0

    init(suite: CipherSuite, current: EpochKeys) {
        self.suite = suite
        self.current = current
    }

    var previousUntil: Instant { previous?.until ?? .distantFuture }

    /// The keys that open a record with these epoch bits.
    @inline(__always) func forOpening(epochBits: UInt8) -> EpochKeys? {
        if current.epoch & 3 == epochBits { return current }
        if let next, next.epoch & 3 == epochBits { return next }
        if let previous, previous.keys.epoch & 3 == epochBits { return previous.keys }
        return nil
    }

    @inline(__always) func isNext(_ keys: EpochKeys) -> Bool {
        if let next { next === keys } else { false }
    }

    /// From here on records leave with the next epoch's keys; the old ones open what is still under
    /// way.
    mutating func adoptNext(until: Instant) {
        guard let next else { return }
        precondition(next.epoch == current.epoch &+ 1)
        previous = (current, until)
        current = next
        self.next = nil
        recordsSent = 0
    }

    mutating func expirePrevious(at now: Instant) {
        if previousUntil <= now { previous = nil }
    }

    /// Another handshake's keys instead of these.
    mutating func restart(suite: CipherSuite, current: EpochKeys) {
        wipe()
        self.suite = suite
        self.current = current
        recordsSent = 0
    }

    /// No key is left.
    mutating func wipe() {
        current.wipe()
        previous?.keys.wipe()
        next?.wipe()
        previous = nil
        next = nil
        rekey = nil
        rekeyAnswer = nil
    }
}

struct RekeyAttempt {
    var epoch: UInt8
    var noise: NoiseHandshake
    var message: [UInt8]
    var again = Repeater()
}
