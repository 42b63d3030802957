import Measures

/// The options of a segment as they follow a TCP header: kind, length, value, one behind the other.
extension SegmentOptions {
    /// The most bytes of options a TCP header has room for (RFC 9293 section 3.1).
    public static let room = 40
    /// The most bytes `write` puts where it is not limited: every option there is, unpadded.
    static let maximumOctets = 4 + 3 + 2 + 10 + 34 + 24 + 24 + 28 + 30 + 11 + 3 + 12 + 12 + 4

    /// The kinds that belong to RFC 8684.
    public static let multipath: Kinds = [
        .multipathCapable, .join, .dss, .addAddress, .removeAddress,
        .priority, .fail, .fastClose, .reset
    ]
    /// Those that may stand on an ACK of their own: it is no sign of a loss (RFC 8684 section 3).
    public static let multipathSignals = multipath.subtracting(.dss)

    /// Bytes of the 40 that those options of `kinds` take that are present, each padded to a
    /// multiple of four as on raw IP. The whole header fits where `octets()` is at most `room`;
    /// often also where it is a little more, since `RawSegment` packs tighter when it must.
    public func octets(_ kinds: Kinds = Kinds(rawValue: .max)) -> Int {
        var total = 0
        forEach(kinds) { n in total += (n + 3) & ~3 }
        // SACK-permitted stands in the place of the NOPs before the timestamps.
        return present.intersection(kinds).isSuperset(of: [.timestamps, .sackPermitted])
            ? total - 4 : total
    }

    /// The bytes without any padding.
    var tightOctets: Int {
        var total = 0
        forEach(Kinds(rawValue: .max)) { n in total += n }
        return total
    }

    /// The lengths of the options that are present, in the order in which they are written.
    @inline(__always) private func forEach(_ kinds: Kinds, _ body: (Int) -> Void) {
        let p = present.intersection(kinds)
        if p.contains(.maximumSegmentSize) { body(4) }
        if p.contains(.timestamps) { body(Timestamps.octets) }
        if p.contains(.sackPermitted) { body(2) }
        if p.contains(.windowScale) { body(3) }
        if p.contains(.sack) { body(sack.octets) }
        if p.contains(.multipathCapable) { body(multipathCapable.octets) }
        if p.contains(.join) { body(join.octets) }
        if p.contains(.dss) { body(dss.octets) }
        if p.contains(.addAddress) { body(addAddress.octets) }
        if p.contains(.removeAddress) { body(removeAddress.octets) }
        if p.contains(.priority) { body(MPPriority.octets) }
        if p.contains(.fail) { body(MPFail.octets) }
        if p.contains(.fastClose) { body(MPFastClose.octets) }
        if p.contains(.reset) { body(MPReset.octets) }
    }

    /// Writes every option that is present, in Linux's order, and returns the bytes written. With
    /// `padded` each one is led by NOPs so that it ends on a multiple of four, as every TCP writes
    /// them.
    func write(to p: UnsafeMutableRawPointer, padded: Bool) -> Int {
        var at = 0
        @inline(__always) func place(_ n: Int) -> UnsafeMutableRawPointer {
            if padded {
                while (at + n) & 3 != 0 {
                    p.put(TCPOptionKind.noOperation, at)
                    at += 1
                }
            }
            defer { at += n }
            return p + at
        }
        if present.contains(.maximumSegmentSize) {
            let q = place(4)
            q.put(TCPOptionKind.maximumSegmentSize, 0)
            q.put(4 as UInt8, 1)
            q.put(maximumSegmentSize, 2)
        }
        if present.contains(.sackPermitted) {
            // Linux saves two NOPs by putting this one before the timestamps.
            let isPaired = present.contains(.timestamps)
            let q = isPaired ? p + at : place(2)
            if isPaired { at += 2 }
            q.put(TCPOptionKind.sackPermitted, 0)
            q.put(2 as UInt8, 1)
        }
        if present.contains(.timestamps) { timestamps.write(to: place(Timestamps.octets)) }
        if present.contains(.windowScale) {
            let q = place(3)
            q.put(TCPOptionKind.windowScale, 0)
            q.put(3 as UInt8, 1)
            q.put(windowScale, 2)
        }
        if present.contains(.sack) { sack.write(to: place(sack.octets)) }
        guard !present.isDisjoint(with: Self.multipath) else { return at }
        if present.contains(.multipathCapable) {
            multipathCapable.write(to: place(multipathCapable.octets))
        }
        if present.contains(.join) { join.write(to: place(join.octets)) }
        if present.contains(.dss) { dss.write(to: place(dss.octets)) }
        if present.contains(.addAddress) { addAddress.write(to: place(addAddress.octets)) }
        if present.contains(.removeAddress) { removeAddress.write(to: place(removeAddress.octets)) }
        if present.contains(.priority) { priority.write(to: place(MPPriority.octets)) }
        if present.contains(.fail) { fail.write(to: place(MPFail.octets)) }
        if present.contains(.fastClose) { fastClose.write(to: place(MPFastClose.octets)) }
        if present.contains(.reset) { reset.write(to: place(MPReset.octets)) }
        return at
    }

    /// Reads `count` bytes of options. Unknown ones are skipped, and TCP's own with a wrong length
    /// too, as every TCP does; a wrong MPTCP option is refused, since half of one must not be acted
    /// upon.
    ///
    /// Of options that are there twice the last one counts.
    mutating func read(_ p: UnsafeRawPointer, count: Int, flags: ControlBits) throws(WireError) {
        present = []
        var at = 0
        while at < count {
            let kind = p.byte(at)
            if kind == TCPOptionKind.noOperation {
                at += 1
                continue
            }
            if kind == TCPOptionKind.end { return }
            guard at + 1 < count else { throw .badOptionLength(kind: kind) }
            let length = Int(p.byte(at + 1))
            guard length >= 2, length <= count - at else { throw .badOptionLength(kind: kind) }
            if kind == TCPOptionKind.multipath {
                guard length >= 3 else { throw .badOptionLength(kind: kind) }
                try readMultipath(p + at, length: length, flags: flags)
            } else {
                readBasic(kind, p + at, length: length)
            }
            at += length
        }
    }

    private mutating func readBasic(_ kind: UInt8, _ p: UnsafeRawPointer, length: Int) {
        switch (kind, length) {
        case (TCPOptionKind.maximumSegmentSize, 4):
            maximumSegmentSize = p.word16(2)
            present.insert(.maximumSegmentSize)
        case (TCPOptionKind.windowScale, 3):
            // RFC 7323 section 2.3: a shift above 14 counts as 14.
            windowScale = min(p.byte(2), 14)
            present.insert(.windowScale)
        case (TCPOptionKind.sackPermitted, 2):
            present.insert(.sackPermitted)
        case (TCPOptionKind.timestamps, Timestamps.octets):
            timestamps = Timestamps.read(p)
            present.insert(.timestamps)
        case (TCPOptionKind.sack, _):
            if sack.read(p, length: length) { present.insert(.sack) }
        default:
            break
        }
    }

    private mutating func readMultipath(
        _ p: UnsafeRawPointer, length: Int,
        flags: ControlBits
    ) throws(WireError) {
        switch p.byte(2) >> 4 {
        case MultipathSubtype.capable:
            multipathCapable = try MPCapable.read(p, length: length, flags: flags)
            present.insert(.multipathCapable)
        case MultipathSubtype.join:
            join = try MPJoin.read(p, length: length, flags: flags)
            present.insert(.join)
        case MultipathSubtype.dss:
            dss = try DSS.read(p, length: length)
            present.insert(.dss)
        case MultipathSubtype.addAddress:
            addAddress = try AddAddress.read(p, length: length)
            present.insert(.addAddress)
        case MultipathSubtype.removeAddress:
            removeAddress = try RemoveAddress.read(p, length: length)
            present.insert(.removeAddress)
        case MultipathSubtype.priority:
            priority = try MPPriority.read(p, length: length)
            present.insert(.priority)
        case MultipathSubtype.fail:
            fail = try MPFail.read(p, length: length)
            present.insert(.fail)
        case MultipathSubtype.fastClose:
            fastClose = try MPFastClose.read(p, length: length)
            present.insert(.fastClose)
        case MultipathSubtype.reset:
            reset = try MPReset.read(p, length: length, flags: flags)
            present.insert(.reset)
        default:
            break
        }
    }
}
