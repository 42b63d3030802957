import Measures

/// Whether records longer than every path must take arrive, by the other side's reports: where none
/// of them does, though what was sent beside them does or no report comes at all, their length may
/// be the reason (a black hole, RFC 8899 section 4.3).
struct FullRecordWatch {
    /// Such records, and the bytes of datagrams' frames in them, since the beginning.
    struct Totals: Equatable {
        var records = 0, bytes = 0
    }
    /// One may be lost for another reason.
    private static let minimumMissing = 2

    private(set) var sent = Totals()
    private var reported = Totals()
    /// In a row, of those reported on.
    private var missing = 0
    /// How long the latest report may take, from the sending.
    private var answer = Interval.zero
    /// When it is suspected that they don't arrive; `.distantFuture` where it is not.
    private(set) var suspectedAt = Instant.distantFuture

    /// Frames of `bytes` left in one; `isNew`: the first of it. `answer`: the time until a report.
    mutating func noteSent(_ bytes: Int, isNew: Bool, answer: Interval, at now: Instant) {
        sent.bytes += bytes
        if isNew { sent.records += 1 }
        self.answer = answer
        if suspectedAt == .distantFuture { suspectedAt = now + answer }
    }

    /// A report on all records up to `totals`: of the bytes sent since the last report `lost` did
    /// not come. `oldest`: when the first record left that is not reported on yet; nil where there
    /// is none.
    mutating func noteReport(
        upTo totals: Totals, lost: Int, oldest: Instant?, at now: Instant
    ) {
        let bytes = totals.bytes - reported.bytes, records = totals.records - reported.records
        reported = totals
        guard bytes > 0 else { return }
        missing = lost < bytes ? 0 : missing + records
        if missing >= Self.minimumMissing {
            missing = 0
            suspectedAt = now
        } else {
            suspectedAt = oldest.map { max($0 + answer, now) } ?? .distantFuture
        }
    }

    /// Whether there is a suspicion to look into, once; until the next one is sent there is none.
    mutating func takeSuspicion(at now: Instant) -> Bool {
        guard suspectedAt <= now else { return false }
        suspectedAt = .distantFuture
        return true
    }

    /// It can't be looked into now: later.
    mutating func postpone(until then: Instant) { suspectedAt = then }
}
