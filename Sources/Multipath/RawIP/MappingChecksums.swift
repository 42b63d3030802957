import Buffers
import Measures
import Subflow
import Wire

/// A checksummed mapping whose bytes are still arriving: they count as data only when the checksum
/// over all of them is right (RFC 8684 section 3.3.1).
struct UncheckedMapping {
    let start: UInt32  // relative subflow sequence of the first byte
    let offset: UInt64  // its data offset
    let dataSequence: UInt64
    /// As on the wire: with the DATA_FIN, where it has one.
    let length: UInt16
    let checksum: UInt16
    var bytes: [UInt8]
    var received = 0

    var isComplete: Bool { received == bytes.count }
    var isIntact: Bool {
        bytes.withUnsafeBytes {
            DSS.checksum(
                dataSequence: dataSequence, subflowSequence: start, length: length,
                payload: Pieces(first: $0, second: UnsafeRawBufferPointer(start: nil, count: 0)))
                == checksum
        }
    }
}

/// DSS checksums on raw IP, and MP_FAIL where one is wrong (sections 3.3.1 and 3.7).
extension Connection {
    /// More mappings than this, incomplete on one subflow, are a mistake of the peer.
    private static let maximumUnchecked = 1024

    // MARK: Out

    func addChecksum(_ segment: inout Segment, offset: UInt64, length: Int) {
        guard raw.usesChecksums else { return }
        let payload = sender.ring.pieces(from: offset, count: length)
        let first = sender.sequence(at: 0).value
        if segment.options.present.contains(.multipathCapable),
            let mapped = segment.options.multipathCapable.dataLength
        {
            segment.options.multipathCapable.checksum = DSS.checksum(
                dataSequence: first, subflowSequence: 1, length: mapped, payload: payload)
        }
        guard segment.options.present.contains(.dss), let m = segment.options.dss.mapping else {
            return
        }
        segment.options.dss.mapping!.checksum = DSS.checksum(
            dataSequence: m.dataSequence.value, subflowSequence: m.subflowSequence,
            length: m.length,
            payload: payload)
    }

    // MARK: In

    /// Notes the mapping of a segment; false where it has none, or one without a checksum.
    func noteUnchecked(_ segment: borrowing Segment, member: MemberSubflow) -> Bool {
        let present = segment.options.present
        if present.contains(.dss), let mapping = segment.options.dss.mapping, mapping.length > 0 {
            guard let checksum = mapping.checksum,
                let offset = dataOffset(of: mapping.dataSequence, width: mapping.width),
                let first = peer.firstSequence
            else { return false }
            let length = Int(mapping.length) - (segment.options.dss.dataFin ? 1 : 0)
            guard length > 0 else { return true }
            return insert(
                UncheckedMapping(
                    start: mapping.subflowSequence, offset: offset,
                    dataSequence: (first + Int(offset)).value,
                    length: mapping.length, checksum: checksum,
                    bytes: [UInt8](repeating: 0, count: length)), member)
        }
        if present.contains(.multipathCapable), let first = peer.firstSequence,
            let length = segment.options.multipathCapable.dataLength, length > 0
        {
            guard let checksum = segment.options.multipathCapable.checksum else { return false }
            return insert(
                UncheckedMapping(
                    start: 1, offset: 0, dataSequence: first.value, length: length,
                    checksum: checksum,
                    bytes: [UInt8](repeating: 0, count: Int(length))), member)
        }
        return true
    }

    private func insert(_ mapping: UncheckedMapping, _ member: MemberSubflow) -> Bool {
        let next = member.relativeReceive(member.tcp.receiveNext)
        let end = mapping.start &+ UInt32(mapping.bytes.count)
        // Everything of it arrived before: a repetition.
        guard Int32(bitPattern: end &- next) > 0 else { return true }
        if member.raw.unchecked.contains(where: { $0.start == mapping.start }) { return true }
        guard member.raw.unchecked.count < Self.maximumUnchecked else { return false }
        member.raw.unchecked.append(mapping)
        return true
    }

    func isUncheckedMapped(from start: UInt32, count: Int, member: MemberSubflow) -> Bool {
        // What is repeated needs no mapping again: it was judged when it first came.
        let next = member.relativeReceive(member.tcp.receiveNext)
        let repeated = min(count, max(0, Int(Int32(bitPattern: next &- start))))
        var position = start &+ UInt32(repeated), left = count - repeated
        while left > 0 {
            guard let i = unchecked(at: position, member) else { return false }
            let m = member.raw.unchecked[i]
            let step = min(left, m.bytes.count - Int(position &- m.start))
            guard
                receiver.accepts(
                    m.offset &+ UInt64(position &- m.start),
                    m.offset &+ UInt64(position &- m.start) &+ UInt64(step))
            else { return false }
            position &+= UInt32(step)
            left -= step
        }
        return true
    }

    private func unchecked(at position: UInt32, _ member: MemberSubflow) -> Int? {
        member.raw.unchecked.firstIndex {
            let ahead = Int64(Int32(bitPattern: position &- $0.start))
            return ahead >= 0 && ahead < Int64($0.bytes.count)
        }
    }

    /// Takes new bytes of the subflow; those of a mapping that is now complete become data.
    func placeUnchecked(_ bytes: UnsafeRawBufferPointer, position: UInt32, member: MemberSubflow) {
        var done = 0
        while done < bytes.count, let i = unchecked(at: position &+ UInt32(done), member) {
            let at = Int(position &+ UInt32(done) &- member.raw.unchecked[i].start)
            let step = min(bytes.count - done, member.raw.unchecked[i].bytes.count - at)
            member.raw.unchecked[i].bytes.withUnsafeMutableBytes {
                UnsafeMutableRawBufferPointer(rebasing: $0[at..<(at + step)])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[done..<(done + step)]))
            }
            member.raw.unchecked[i].received += step
            done += step
            guard member.raw.unchecked[i].isComplete else { continue }
            let mapping = member.raw.unchecked.remove(at: i)
            if mapping.isIntact { placeChecked(mapping, member) } else { failed(mapping, member) }
            // what follows on it is no better (section 3.7)
            if member.ending.resetReason != nil { return }
        }
    }

    private func placeChecked(_ mapping: UncheckedMapping, _ member: MemberSubflow) {
        mapping.bytes.withUnsafeBytes {
            place($0, at: mapping.offset, member: member, path: member.path)
        }
    }

    /// RFC 8684 section 3.7: with other subflows this one is reset with MP_FAIL and its data comes
    /// again on them; alone, the changed bytes are taken as plain TCP would, and MP_FAIL asks for
    /// an infinite mapping.
    private func failed(_ mapping: UncheckedMapping, _ member: MemberSubflow) {
        traffic.counted.checksumFailures += 1
        if raw.failWasSent { return placeChecked(mapping, member) }
        let number = DataSequence(mapping.dataSequence)
        guard livingSubflows <= 1, mapping.offset == receiver.next else {
            member.raw.failedSequence = number
            return reset(member, reason: MPReset.middleboxInterference)
        }
        raw.failWasSent = true
        raw.owesFail = number
        member.tcp.requestAcknowledgement()
        placeChecked(mapping, member)
    }

    /// The connection fell back: what waits for the rest of its mapping is taken as it is, in
    /// order.
    func releaseUnchecked(of member: MemberSubflow) {
        let next = member.relativeReceive(member.tcp.receiveNext)
        for mapping in member.raw.unchecked {
            let inOrder = min(Int(Int32(bitPattern: next &- mapping.start)), mapping.bytes.count)
            guard inOrder > 0 else { continue }
            mapping.bytes.withUnsafeBytes {
                place(
                    UnsafeRawBufferPointer(rebasing: $0[0..<inOrder]), at: mapping.offset,
                    member: member,
                    path: member.path)
            }
        }
        member.raw.unchecked = []
    }

    // MARK: MP_FAIL

    /// On a subflow that goes on: the peer found a wrong checksum in what we sent (section 3.7).
    func takeFail(_ option: MPFail, member: MemberSubflow) {
        traffic.counted.failsReceived += 1
        guard raw.plain == nil, livingSubflows <= 1 else { return }
        if !raw.failWasSent {
            // The answer is an MP_FAIL, too.
            raw.failWasSent = true
            raw.owesFail = peer.firstSequence.map { $0 + Int(receiver.next) }
        }
        raw.infinite = (first: sender.next, from: sender.acknowledged)
        member.tcp.requestAcknowledgement()
    }

    func attachFail(_ segment: inout Segment) {
        guard let number = raw.owesFail, !segment.flags.contains(.syn) else { return }
        raw.owesFail = nil
        segment.options.fail.dataSequence = number
        segment.options.present.insert(.fail)
        traffic.counted.failsSent += 1
    }
}
