import Measures

/// Where a path's datagrams come from, seen by the concentrator.
struct PathAddress: Equatable {
    var remote: SocketAddress
    /// The address of ours that was asked, and the socket.
    var local: IPAddress
    var uplink: UplinkNumber
}

/// An address that has not yet shown that it receives what is sent to it.
struct AddressCheck {
    let address: PathAddress
    /// What only who receives there can hand back; negative, so that it is no now.
    let nonce: Int64
    /// Bytes of UDP payload from there and to there.
    var received = 0
    var sent = 0
    var askedAt = Instant.zero
    var asks = 0
    /// The question goes with the next flush, in a datagram of its own.
    var isDue = false

    /// RFC 9000 section 8.1: three times what came from an address, until it is validated.
    func allows(_ bytes: Int) -> Bool { sent + bytes <= 3 * received }
    /// Data leaves room for the question, or it might never be asked again: what is held back takes
    /// all that acknowledgements allow.
    func allowsData(_ bytes: Int) -> Bool { allows(bytes + Limits.challengeSpace) }
}

/// A sealed datagram for an address that may get no more yet.
struct HeldDatagram: Equatable {
    var bytes: [UInt8]
    var since: Instant
}

/// Whether the address where a path leads has shown that it receives (RFC 9000 section 8), and what
/// may be sent until it has.
///
/// Its inputs are what comes, what is asked and what is to leave; each returns what is to be done
/// about it, which the session does.
struct AddressValidation {
    /// Until it has, it gets three times what came from it.
    private(set) var isValidated: Bool
    /// An address that has not: the path's own, or where that has, a new one its datagrams come
    /// from.
    private(set) var check: AddressCheck?
    /// Sealed datagrams for an address that may get no more yet, the oldest first.
    private(set) var held: [HeldDatagram] = []

    init(isValidated: Bool) { self.isValidated = isValidated }

    /// Datagrams come from where they are expected, and nothing is asked.
    @inline(__always) var isComplete: Bool { isValidated && check == nil }

    // MARK: What comes

    /// What an arrival calls for.
    enum Arrival: Equatable {
        case nothing
        /// The address that is asked was heard again: more may leave for it (`takeHeld`). `asks`:
        /// question or answer may have been lost.
        case heard(asks: Bool)
        /// This address is to be asked. `leadsThere`: nothing better is known of the path.
        case isNew(leadsThere: Bool)
    }

    /// An authentic datagram of `bytes` came from `source`; `isNewest`: no later one was sent that
    /// has come. `current`: where the path leads; `wait`: how long an answer may take. `makeCheck`:
    /// what begins for an address that was not known.
    mutating func arrived(
        _ bytes: Int, from source: PathAddress, isNewest: Bool, current: PathAddress,
        wait: Interval, at now: Instant, makeCheck: () -> AddressCheck
    ) -> Arrival {
        if isValidated, source == current {
            // Newer than the other address: whoever was there, the proxy has not moved.
            if isNewest { check = nil }
            return .nothing
        }
        if let known = check, known.address == source {
            check?.received += bytes
            return .heard(asks: !known.isDue && now - known.askedAt >= wait)
        }
        guard isNewest else { return .nothing }
        var fresh = makeCheck()
        fresh.received = bytes
        check = fresh
        return .isNew(leadsThere: !isValidated)
    }

    /// What an answer shows.
    enum Proof: Equatable {
        /// The path's datagrams go there from now on, instead of where it led.
        case moves(to: PathAddress)
        /// The path leads where it was thought to: all that is held may leave.
        case confirms
    }

    /// A challenge came back from `source`; nil where it is not the one that was asked there.
    /// `roundTrip`: nil where it was asked more than once, so that it can't be told which challenge
    /// is answered.
    mutating func answered(
        _ nonce: Int64, from source: PathAddress, at now: Instant
    ) -> (proof: Proof, roundTrip: Interval?)? {
        guard let asked = check, asked.nonce == nonce, asked.address == source else { return nil }
        check = nil
        let roundTrip = asked.asks == 1 ? now - asked.askedAt : nil
        if isValidated { return (.moves(to: source), roundTrip) }
        isValidated = true
        return (.confirms, roundTrip)
    }

    // MARK: Questions

    /// The address that has not shown that it receives is to be asked; false where there is none.
    mutating func ask() -> Bool {
        check?.isDue = true
        return check != nil
    }

    /// The question, in a datagram of `length` bytes, may leave for this address, and counts as
    /// sent; nil where it may not.
    mutating func sendChallenge(_ length: Int, at now: Instant) -> PathAddress? {
        check?.isDue = false
        guard length > 0, let asked = check, asked.allows(length) else { return nil }
        check?.asks += 1
        check?.askedAt = now
        check?.sent += length
        return asked.address
    }

    // MARK: What may leave

    /// What becomes of a datagram.
    enum Admission: Equatable {
        case leaves
        /// It may be held (`hold`) until more has come.
        case waits
        /// Nobody is known there, or too many wait: as good as lost.
        case isLost
    }

    /// A datagram of `length` bytes is to leave for an address that has not shown that it receives.
    /// `budget`: what all of the session's may get together.
    mutating func admit(_ length: Int, _ budget: inout TokenBucket, at now: Instant) -> Admission {
        guard let asked = check else { return .isLost }
        if held.isEmpty, asked.allowsData(length), budget.take(length, at: now) {
            check?.sent += length
            return .leaves
        }
        return held.count < Limits.heldDatagrams ? .waits : .isLost
    }

    mutating func hold(_ bytes: [UInt8], at now: Instant) {
        held.append(HeldDatagram(bytes: bytes, since: now))
    }

    /// What was held and may leave now; what waited longer than an answer takes was given up and
    /// sent again meanwhile.
    mutating func takeHeld(_ budget: inout TokenBucket, at now: Instant) -> [HeldDatagram] {
        held.removeAll { now - $0.since > Limits.maximumHold }
        var count = 0
        for datagram in held {
            let length = datagram.bytes.count
            if !isValidated {
                guard check?.allowsData(length) == true, budget.take(length, at: now) else { break }
                check?.sent += length
            }
            count += 1
        }
        defer { held.removeFirst(count) }
        return Array(held[..<count])
    }

    /// Where a copy of a datagram of `length` bytes may go as well: the address that is asked, if
    /// the proxy has moved there; nil where it may get no more. `copied` follows where it leaves.
    func copyAddress(_ length: Int, _ budget: inout TokenBucket, at now: Instant) -> PathAddress? {
        guard isValidated, let asked = check, asked.allowsData(length),
            budget.take(length, at: now)
        else { return nil }
        return asked.address
    }
    mutating func copied(_ length: Int) { check?.sent += length }

    // MARK: What is forgotten

    /// The path was closed: what comes next comes from somewhere else. Where it leads until then;
    /// `current`: where it led.
    mutating func close(at current: PathAddress, nonce: @autoclosure () -> Int64) -> PathAddress {
        guard isValidated else { return current }
        isValidated = false
        held.removeAll()
        if check == nil || check?.address == current {
            check = AddressCheck(address: current, nonce: nonce())
        }
        return check?.address ?? current
    }

    /// Nothing is known of where the path leads.
    mutating func restart() { self = AddressValidation(isValidated: false) }

    /// What is held can't be opened any more: the keys are gone.
    mutating func dropHeld() { held.removeAll() }
}
