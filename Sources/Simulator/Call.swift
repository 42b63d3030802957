import Measures

/// A call: datagrams of one size at a steady pace, both ways.
public struct CallPlan: Hashable, Sendable {
    /// Bytes of a datagram, four of which are its number.
    public var size: Int
    /// From one datagram to the next.
    public var period: Interval
    /// When the caller's first datagram is due; the other end's first one goes when that arrives.
    public var begins = Instant.zero
    /// No datagram is due from then on.
    public var ends = Instant.distantFuture

    /// A call of datagrams of `size` bytes, at least four.
    public init(size: Int, period: Interval) {
        precondition(size >= CallDirection.numberBytes)
        self.size = size
        self.period = period
    }

    /// 64 kbit/s in frames of 20 ms with their RTP header: 50 datagrams a second.
    public static let voice = CallPlan(size: 172, period: .milliseconds(20))
    /// 1 Mbit/s.
    public static let video = CallPlan(size: 1_200, period: .microseconds(9_600))
}

/// When the datagrams of one direction of a call arrived.
public struct CallLog: Sendable {
    /// From one datagram to the next.
    public let period: Interval
    /// When each was due to be sent, and how long its first copy took from then; nil: none came.
    public internal(set) var delays: [(due: Instant, delay: Interval?)] = []

    init(period: Interval) { self.period = period }

    /// The median of the delays of those that were due before `moment` and arrived, without the
    /// first second's; nil: none.
    public func usualDelay(before moment: Instant) -> Interval? {
        guard let first = delays.first else { return nil }
        return delays.filter { $0.due < moment && $0.due >= first.due + .seconds(1) }
            .compactMap(\.delay).median
    }

    /// Seconds of datagrams due in `span` that were lost or came more than `late` after `usual`.
    public func missed(
        in span: Range<Instant>, usual: Interval, late: Interval = .milliseconds(150)
    ) -> Interval {
        let missed = delays.filter {
            span.contains($0.due) && $0.delay.map { $0 > usual + late } ?? true
        }
        return period * Int64(missed.count)
    }
}

/// One direction of a call: what is sent, and what becomes of it.
///
/// A datagram is its number, big-endian, and bytes that depend on number and key alone. Checked:
/// every byte, the length, and that none comes twice.
public final class CallDirection {
    static let numberBytes = 4
    /// What is sent.
    public let plan: CallPlan
    /// What has arrived of it.
    public private(set) var log: CallLog
    /// The first thing that was wrong; nil while all is right.
    public private(set) var failure: String?
    private let pattern: StreamPattern
    private var began: Instant?

    /// `key` gives its bytes.
    public init(_ plan: CallPlan, key: UInt64) {
        self.plan = plan
        pattern = StreamPattern(key: key)
        log = CallLog(period: plan.period)
    }

    /// The first datagram is due at `now`; nothing where it has begun.
    public func begin(at now: Instant) { if began == nil { began = now } }

    /// When the next datagram is due; `.distantFuture` where none is.
    public var nextDue: Instant {
        guard let began else { return .distantFuture }
        let due = began + plan.period * Int64(log.delays.count)
        return due < plan.ends ? due : .distantFuture
    }

    /// Writes the next datagram, `plan.size` bytes.
    public func writeNext(into bytes: UnsafeMutableRawBufferPointer) {
        let number = UInt32(log.delays.count)
        bytes.storeBytes(of: number.bigEndian, as: UInt32.self)
        pattern.fill(
            UnsafeMutableRawBufferPointer(rebasing: bytes[Self.numberBytes..<plan.size]),
            from: UInt64(number) * UInt64(plan.size))
        log.delays.append((nextDue, nil))
    }

    /// A datagram arrived.
    public func arrived(_ bytes: UnsafeRawBufferPointer, at now: Instant) {
        guard bytes.count == plan.size else {
            return fail("\(bytes.count) bytes in a datagram of \(plan.size)")
        }
        let number = Int(UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)))
        guard log.delays.indices.contains(number),
            pattern.firstDifference(
                UnsafeRawBufferPointer(rebasing: bytes[Self.numberBytes...]),
                from: UInt64(number) * UInt64(plan.size)) == nil
        else { return fail("a datagram that nobody sent") }
        guard log.delays[number].delay == nil else { return fail("datagram \(number) twice") }
        log.delays[number].delay = now - log.delays[number].due
    }

    private func fail(_ text: String) { if failure == nil { failure = text } }
}

/// What became of a call.
public struct CallRecord: Sendable {
    /// From the proxy's application, and to it.
    public let up: CallLog, down: CallLog

    /// When it is over.
    public init(up: CallLog, down: CallLog) {
        self.up = up
        self.down = down
    }
}
