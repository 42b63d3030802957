import Crypto
import Measures
import Subflow
import Wire

/// ADD_ADDR and REMOVE_ADDR of one connection on raw IP (RFC 8684 section 3.4). Inside a session
/// they belong to the session (`Tunnel`).
extension Connection {
    /// An advertisement is repeated until echoed, this often at most.
    private static let maximumRepeats = 5
    private static let minimumRepeatInterval = Interval.milliseconds(500)
    /// A peer may announce this many addresses before the owner looked at them.
    private static let maximumHeard = 64

    // MARK: The owner's side

    /// Tells the peer of a further address of ours, until it echoes it. `port` nil: the
    /// connection's own. Nothing happens before both keys are known. An identifier that means
    /// another address is taken back first (RFC 8684 section 3.4.1).
    public func announce(_ address: IPAddress, port: UInt16?, id: AddressID, at now: Instant) {
        guard framing.signalsAddresses, raw.plain == nil, let remoteKey else { return }
        if let known = raw.announced.first(where: { $0.id == id }) {
            if known.address != address { withdraw(id, at: now) }
        }
        raw.announced.removeAll { $0.id == id }
        raw.announced.append((id, address))
        var option = AddAddress()
        option.id = id
        option.address = address
        option.port = port
        option.hmac = Self.proof(sender: localKey, receiver: remoteKey, id, address, port)
        raw.awaitingEcho.removeAll { $0.option.id == id }
        raw.awaitingEcho.append(.init(option: option, deadline: now + repeatInterval))
        raw.signals.append(.add(option))
        inputChanged(at: now)
    }

    /// Takes an address back and ends the subflows from it. Without echo: Linux would read one as a
    /// removal.
    public func withdraw(_ id: AddressID, at now: Instant) {
        guard framing.signalsAddresses, raw.plain == nil, remoteKey != nil else { return }
        raw.awaitingEcho.removeAll { $0.option.id == id }
        raw.announced.removeAll { $0.id == id }
        var option = RemoveAddress()
        option.append(id)
        raw.signals.append(.remove(option))
        for case let member? in members where member.join.localAddressID == id && livingSubflows > 1
        {
            reset(member, reason: MPReset.administrativelyProhibited)
        }
        inputChanged(at: now)
    }

    /// The next thing the peer said of its addresses.
    public func takeAddressSignal() -> PeerAddressSignal? {
        raw.heard.isEmpty ? nil : raw.heard.removeFirst()
    }

    private var repeatInterval: Interval { max(Self.minimumRepeatInterval, slowestRoundTrip * 2) }

    private static func proof(
        sender: UInt64, receiver: UInt64, _ id: AddressID, _ address: IPAddress,
        _ port: UInt16?
    ) -> UInt64 {
        withUnsafeTemporaryAllocation(byteCount: 16, alignment: 8) { bytes in
            if address.isIPv4 {
                bytes.storeBytes(of: address.v4.bigEndian, as: UInt32.self)
            } else {
                bytes.storeBytes(of: address.high.bigEndian, as: UInt64.self)
                bytes.storeBytes(of: address.low.bigEndian, toByteOffset: 8, as: UInt64.self)
            }
            let used = UnsafeRawBufferPointer(rebasing: bytes[0..<(address.isIPv4 ? 4 : 16)])
            return MultipathHash.addAddress(
                senderKey: sender, receiverKey: receiver, id: id.value,
                address: used, port: port ?? 0)
        }
    }

    // MARK: What arrives

    func takeAddressSignals(_ segment: borrowing Segment, at now: Instant) {
        let present = segment.options.present
        if present.contains(.addAddress) { take(segment.options.addAddress) }
        if present.contains(.removeAddress) { take(segment.options.removeAddress) }
    }

    private func take(_ option: AddAddress) {
        if option.isEcho {
            let known = raw.awaitingEcho.count
            raw.awaitingEcho.removeAll {
                $0.option.id == option.id && $0.option.address == option.address
                    && $0.option.port == option.port
            }
            if raw.awaitingEcho.count < known { heard(.echoed(id: option.id)) }
            return
        }
        guard let remoteKey, let hmac = option.hmac,
            constantTimeEqual(
                hmac,
                Self.proof(
                    sender: remoteKey, receiver: localKey, option.id, option.address,
                    option.port))
        else {
            traffic.counted.hmacFailures += 1
            return
        }
        var echo = option
        echo.isEcho = true
        echo.hmac = nil
        raw.signals.append(.add(echo))
        heard(.added(id: option.id, address: option.address, port: option.port))
    }

    /// The subflows of an address the peer took back end; the last one stays, since only a subflow
    /// that is found dead may go then (section 3.4.2).
    private func take(_ option: RemoveAddress) {
        for i in 0..<option.count {
            let id = option[i]
            for case let member? in members
            where member.join.remoteAddressID == id && member.isAlive && !member.isEnding
                && livingSubflows > 1
            {
                reset(member, reason: MPReset.unspecified)
            }
            heard(.removed(id: id))
        }
    }

    private func heard(_ signal: PeerAddressSignal) {
        guard raw.heard.count < Self.maximumHeard else { return }
        raw.heard.append(signal)
        report(.addresses)
    }

    // MARK: Time, and what leaves

    func repeatAdvertisements(at now: Instant) {
        var i = 0
        while i < raw.awaitingEcho.count {
            guard raw.awaitingEcho[i].deadline <= now else { i += 1; continue }
            guard raw.awaitingEcho[i].repeats.count < Self.maximumRepeats else {
                raw.awaitingEcho.remove(at: i)
                continue
            }
            raw.awaitingEcho[i].repeats.failed()
            raw.awaitingEcho[i].deadline =
                now + raw.awaitingEcho[i].repeats.wait(repeatInterval)
            raw.signals.append(.add(raw.awaitingEcho[i].option))
            turn.phase = .control
            i += 1
        }
    }

    /// More acknowledgements than these in a row, for the sake of signals alone, might be taken for
    /// a sign of congestion (RFC 8684 section 3).
    private static let maximumSignalsInRow = 2

    /// The subflow for the next signal: the best one, but not beside keys, which leave no room for
    /// an address.
    func signalMember(at now: Instant) -> MemberSubflow? {
        guard !raw.signals.isEmpty, raw.signalsFrom <= now, let member = bestMember() else {
            return nil
        }
        return member.isOpener && !member.proof.isKnownToPeer ? nil : member
    }

    /// A round trip lies between every two signals and the next ones, unless data goes meanwhile.
    func signalLeft(at now: Instant) {
        raw.signalsInRow += 1
        guard raw.signalsInRow >= Self.maximumSignalsInRow else { return }
        raw.signalsInRow = 0
        raw.signalsFrom = now + slowestRoundTrip
    }

    /// One signal, on an ACK of its own. Of the 40 bytes an IPv6 address with a port leaves none
    /// for a data acknowledgement.
    func attachSignal(_ segment: inout Segment) {
        switch raw.signals.removeFirst() {
        case .add(let option):
            segment.options.addAddress = option
            segment.options.present.insert(.addAddress)
        case .remove(let option):
            segment.options.removeAddress = option
            segment.options.present.insert(.removeAddress)
        }
        if segment.options.octets() > SegmentOptions.room { segment.options.present.remove(.dss) }
    }
}
