import Measures

/// What one end of a subflow knows that lets sealed segments leave things out: a plain value, one
/// per subflow and end, given to every `SealedSegment.write` and `read` of that subflow.
///
/// **What is left out, and why that is safe.** Acknowledgement, window and data acknowledgement
/// mostly stay the same from one data segment to the next. A set of the three becomes the
/// *reference* when the peer is known to have it, and then a segment that means the same values
/// sends none of them.
///
/// - The sender: where a segment that takes sequence space means other values than the reference,
///   these become the *candidate*, and the highest sequence number sent so far is noted. Until the
///   values change again, every such segment says them. As soon as the peer acknowledges a number
///   beyond the noted one, a segment with the candidate has arrived, since only such segments
///   carried those numbers: the candidate is the new reference.
/// - References are counted by an *era*, 1 to 6 in a circle, and every compact segment names the
///   era it refers to. A segment that says values proposes them for the following era. The receiver
///   keeps the values of two eras, by parity. Of several proposals for one era it keeps the one
///   that ends furthest in sequence space: the candidate that was confirmed reaches beyond all that
///   were given up before it, so neither loss nor reordering nor duplication can leave another one
///   in its place.
/// - A segment that refers to an era the receiver no longer holds (it was overtaken by two changes,
///   each of which took a round trip) is refused, which TCP takes for a loss. Nothing is ever
///   guessed.
public struct SealedContext: Sendable {
    /// The initiator's port, which names the subflow within its session.
    public let number: UInt16
    /// Whether this end opened the subflow.
    public let isInitiator: Bool

    /// Acknowledgement, window, data acknowledgement, as absolute numbers.
    struct Fields: Equatable, Sendable {
        var acknowledgement: UInt32 = 0
        var dataAcknowledgement: UInt32 = 0
        var window: UInt16 = 0
        var hasDataAcknowledgement = false
    }
    /// Values the peer said for one era; era 0: none yet.
    struct Slot: Sendable {
        var fields = Fields()
        /// Where the segment that said them ends in sequence space.
        var end = SubflowSequence(0)
        var era: UInt8 = 0
        /// The record it came in.
        var record: UInt64 = 0
    }

    // What this end sends.
    var sendInitial = SubflowSequence(0)
    var highestSent = SubflowSequence(0)
    /// The highest acknowledgement received: what the peer has for certain.
    var highestAcknowledged = SubflowSequence(0)
    var candidateFrom = SubflowSequence(0)
    var reference = Fields()
    var candidate = Fields()
    var era: UInt8 = 0
    var hasCandidate = false
    var knowsSendInitial = false
    // What it receives.
    var knowsReceiveInitial = false
    var receiveInitial = SubflowSequence(0)
    var even = Slot()
    var odd = Slot()

    /// The initial sequence numbers are learnt from the SYNs written and read. A number that is
    /// used again needs a new context.
    public init(number: UInt16, isInitiator: Bool) {
        self.number = number
        self.isInitiator = isInitiator
    }

    // MARK: Sending

    /// The subflow's own SYN was written with it, so that segments can be measured by it.
    public var hasWrittenSYN: Bool { knowsSendInitial }

    @inline(__always) static func following(_ era: UInt8) -> UInt8 { era == 6 ? 1 : era &+ 1 }

    /// The reference that the next segment may refer to; nil where there is none yet.
    @inline(__always) var confirmedReference: Fields? {
        if hasCandidate, candidateFrom.isBefore(highestAcknowledged) { return candidate }
        return era == 0 ? nil : reference
    }

    /// Makes the candidate the reference once a segment that said it has arrived.
    @inline(__always) mutating func confirm() {
        guard hasCandidate, candidateFrom.isBefore(highestAcknowledged) else { return }
        reference = candidate
        era = Self.following(era)
        hasCandidate = false
    }

    /// A compact segment that takes sequence space up to `end` and means `fields` goes out.
    @inline(__always) mutating func sent(_ fields: Fields, isReference: Bool, end: SubflowSequence)
    {
        if isReference {
            hasCandidate = false
        } else if !hasCandidate || candidate != fields {
            candidate = fields
            candidateFrom = highestSent
            hasCandidate = true
        }
        if highestSent.isBefore(end) { highestSent = end }
    }

    /// A general segment goes out. It proposes nothing, so its arrival must not count for the
    /// candidate.
    mutating func sentGeneral(_ segment: borrowing Segment, end: SubflowSequence) {
        if segment.flags.contains(.syn), !knowsSendInitial {
            knowsSendInitial = true
            sendInitial = segment.sequence
            highestSent = end
            highestAcknowledged = segment.sequence
        }
        guard segment.sequence != end else { return }
        hasCandidate = false
        if highestSent.isBefore(end) { highestSent = end }
    }

    // MARK: Receiving

    @inline(__always) mutating func received(acknowledgement: SubflowSequence) {
        if knowsSendInitial, highestAcknowledged.isBefore(acknowledgement) {
            highestAcknowledged = acknowledgement
        }
    }

    mutating func received(initialSequence: SubflowSequence) {
        guard !knowsReceiveInitial else { return }
        knowsReceiveInitial = true
        receiveInitial = initialSequence
    }

    /// The values of an era, where they are still here. `record`: what names them came in.
    @inline(__always) func fields(era: UInt8, record: UInt64?) -> Fields? {
        let slot = era & 1 == 0 ? even : odd
        return slot.era == era && era != 0 && (record ?? .max) >= slot.record ? slot.fields : nil
    }

    /// A compact segment that ends at `end` said `fields` and referred to `era`.
    @inline(__always) mutating func proposed(
        _ fields: Fields, after era: UInt8, end: SubflowSequence, record: UInt64?
    ) {
        let next = Self.following(era)
        if next & 1 == 0 {
            guard (record ?? .max) >= odd.record else { return }
            even.take(fields, era: next, end: end, record: record ?? 0)
        } else {
            guard (record ?? .max) >= even.record else { return }
            odd.take(fields, era: next, end: end, record: record ?? 0)
        }
    }

    /// The subflow goes on over another path, whose records are counted by themselves.
    public mutating func forgetRecords() {
        even.record = 0
        odd.record = 0
    }
}

extension SealedContext.Slot {
    @inline(__always) mutating func take(
        _ fields: SealedContext.Fields, era: UInt8, end: SubflowSequence,
        record: UInt64
    ) {
        if self.era == era {
            guard self.end.isBefore(end) else { return }
        } else if self.era != 0 {
            // Of the same parity, so two or four steps ahead in the circle of six; four is two
            // behind.
            let ahead = (era &+ 6 &- self.era) % 6
            guard ahead == 2 else { return }
        }
        self = SealedContext.Slot(fields: fields, end: end, era: era, record: record)
    }
}
