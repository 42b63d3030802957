import Measures
import Wire

/// What is under way of datagrams on one path, and how much may be, by the reports of the other
/// side: while what is sent does not queue up, more; where it does, less (as TCP Vegas, Brakmo and
/// Peterson 1995).
struct DatagramWindow {
    private struct Sent {
        var number: UInt64
        /// All bytes sent up to and with this record.
        var total: Int
        var at: Instant
        /// Bytes of frames in it, and whether it is longer than every path must take.
        var bytes: Int
        var isFull: Bool
        /// What was sent in such records up to and with this one.
        var full: FullRecordWatch.Totals
    }
    private static let remembered = 256
    /// Bytes a second below which a rate says nothing of the path.
    static let minimumRate = 1_000.0

    private var log: [Sent] = []
    private var logHead = 0
    /// Bytes sent, and those of them that were sent before what was reported.
    private var sent = 0
    private var passed = 0
    private var reported: UInt32 = 0
    /// The newest record that is known to have arrived.
    private(set) var newestReported: UInt64 = 0
    private var reportedAt = Instant.zero
    private(set) var window = DatagramLimits.firstWindow
    private var isGrowing = true
    private var wasFull = false
    /// Round trips as reports measure them, and the latest of them.
    private var roundTrip = RTTEstimator(minimumLifetime: .seconds(10), at: .zero)
    private var latestRoundTrip = Interval.zero
    /// Bytes a second that arrived, the most of lately.
    private(set) var rate = 0.0
    private var shortenedAt = Instant.zero
    /// Whether long records arrive.
    var sizes = FullRecordWatch()

    var underWay: Int { sent - passed }
    /// Of the last record that took a datagram.
    var newestSent: UInt64 { log.last?.number ?? 0 }

    /// What may be sent now. Where nobody reports any more what was sent is lost, not under way.
    mutating func space(at now: Instant) -> Int {
        if underWay > 0, let last = log.last, now - max(last.at, reportedAt) > stall {
            passed = sent
            shorten(to: window / 2, at: now)
        }
        return window - underWay
    }

    /// What the shortest of lately took: no queue.
    private var emptyRoundTrip: Interval { min(roundTrip.minimum, roundTrip.smoothed) }

    private var stall: Interval {
        max(roundTrip.smoothed * 2, .milliseconds(100)) + .milliseconds(100)
    }

    /// How long a datagram that leaves now takes, where that is known: half a round trip without
    /// queue, and the queue.
    var delay: Interval? {
        guard roundTrip.isKnown else { return nil }
        let measured = roundTrip.smoothed - emptyRoundTrip
        guard rate >= Self.minimumRate else { return emptyRoundTrip / 2 + measured }
        let excess = Double(underWay) - rate * emptyRoundTrip.seconds
        let computed = Interval(seconds: min(10, max(0, excess) / rate))
        return emptyRoundTrip / 2 + (underWay == 0 ? .zero : max(measured, computed))
    }

    /// A frame of `bytes` leaves in record `number`, perhaps behind others. `isFull`: with it the
    /// record is longer than every path must take. `answer`: how long the report on it may take.
    mutating func noteSent(
        _ bytes: Int, number: UInt64, isFull: Bool, answer: @autoclosure () -> Interval,
        at now: Instant
    ) {
        sent += bytes
        if window - underWay < 1_500 { wasFull = true }
        let last = log.count - 1
        if last >= 0, log[last].number == number {
            log[last].total = sent
            log[last].bytes += bytes
            if isFull {
                let wasFull = log[last].isFull
                sizes.noteSent(
                    wasFull ? bytes : log[last].bytes, isNew: !wasFull, answer: answer(), at: now)
                log[last].isFull = true
                log[last].full = sizes.sent
            }
            return
        }
        if isFull { sizes.noteSent(bytes, isNew: true, answer: answer(), at: now) }
        log.append(
            Sent(
                number: number, total: sent, at: now, bytes: bytes, isFull: isFull,
                full: sizes.sent))
        if log.count - logHead > Self.remembered { logHead += 1 }
        tidy()
    }

    private mutating func tidy() {
        guard logHead >= Self.remembered else { return }
        log.removeFirst(logHead)
        logHead = 0
    }

    /// The other side tells what came. Ignored where it names what was never sent.
    mutating func noteReport(_ frame: DatagramReportFrame, at now: Instant) {
        var i = logHead
        guard i < log.count else { return }
        let newest = log[log.count - 1].number
        let number = newest.nearestPacketNumber(low: frame.newest)
        guard number <= newest, number >= log[i].number else { return }
        while i + 1 < log.count, log[i + 1].number <= number { i += 1 }
        let entry = log[i]
        guard entry.total >= passed else { return }
        let arrived = Int(frame.bytes &- reported), departed = entry.total - passed
        let since = now - reportedAt
        passed = entry.total
        reported = frame.bytes
        reportedAt = now
        newestReported = number
        logHead = i
        if entry.number == number, frame.held < .max {
            let held = Interval(nanoseconds: Int64(frame.held) * DatagramReportFrame.heldUnit)
            let sample = now - entry.at - held
            if sample > .zero {
                latestRoundTrip = sample
                roundTrip.add(sample, at: now)
            }
        }
        guard arrived <= departed + departed / 2 + 65_536 else { return }
        var next = i + 1
        while next < log.count, !log[next].isFull { next += 1 }
        sizes.noteReport(
            upTo: entry.full, lost: departed - arrived,
            oldest: next < log.count ? log[next].at : nil, at: now)
        noteRate(arrived, in: since)
        adapt(arrived: arrived, departed: departed, at: now)
    }

    private mutating func noteRate(_ bytes: Int, in span: Interval) {
        guard span > .milliseconds(2), span < .seconds(1) else { return }
        let fresh = Double(bytes) / span.seconds
        rate = max(fresh, rate * 0.98)
    }

    private mutating func adapt(arrived: Int, departed: Int, at now: Instant) {
        let queue = latestRoundTrip - emptyRoundTrip
        defer { wasFull = false }
        if queue > DatagramLimits.longQueue || (departed > 8_000 && arrived < departed * 3 / 4) {
            isGrowing = false
            shorten(to: window * 7 / 8, at: now)
        } else if wasFull || underWay > window / 2 {
            if isGrowing, queue < DatagramLimits.shortQueue {
                window += arrived
            } else {
                isGrowing = false
                window += max(1, 3_000 * arrived / max(window, 1))
            }
            window = min(window, DatagramLimits.maximumWindow)
        }
    }

    /// Once in a round trip.
    private mutating func shorten(to bytes: Int, at now: Instant) {
        guard now - shortenedAt > roundTrip.smoothed else { return }
        shortenedAt = now
        window = max(DatagramLimits.minimumWindow, bytes)
    }
}

/// What came of datagrams on one path, and when it is reported.
struct DatagramArrivals {
    private var bytes: UInt32 = 0
    private var newest: UInt64 = 0
    private var newestAt = Instant.zero
    private var unreported = 0
    private(set) var dueAt = Instant.distantFuture

    mutating func note(_ size: Int, number: UInt64, at now: Instant) {
        bytes &+= UInt32(truncatingIfNeeded: size)
        unreported += size
        if number > newest {
            newest = number
            newestAt = now
        }
        dueAt = min(
            dueAt, unreported >= DatagramLimits.reportBytes ? now : now + DatagramLimits.reportWait)
    }

    /// What is to be reported at `now`; nil where nothing is due.
    mutating func takeReport(at now: Instant) -> DatagramReportFrame? {
        guard dueAt <= now else { return nil }
        dueAt = .distantFuture
        unreported = 0
        let held = (now - newestAt).nanoseconds / DatagramReportFrame.heldUnit
        return DatagramReportFrame(
            newest: UInt32(truncatingIfNeeded: newest & 0xff_ffff), bytes: bytes,
            held: UInt16(clamping: held))
    }
}

/// A path as datagrams use it.
struct DatagramCarrier {
    var window = DatagramWindow()
    var arrivals = DatagramArrivals()
    /// Of the path whose numbers and bytes these are; another one begins anew.
    var incarnation: UInt64 = .max
}
