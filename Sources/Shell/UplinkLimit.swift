import CDatagram
import Measures

/// A token bucket for one uplink: what was carried is paid for at the rate, and nothing is read
/// while there is a debt.
struct UplinkLimit {
    enum Admission: Equatable { case now, later(Interval) }

    let rate: Rate
    /// Wakes the socket when the debt is paid.
    let timer: LoopTimer?
    private var credit = 0.0
    private var since: Instant
    private var carried: Int

    /// What may come at once where nothing came for a while.
    private static let burst = Interval.milliseconds(100)

    init(_ rate: Rate, since: Instant, carried: Int, timer: LoopTimer?) {
        self.rate = rate
        self.since = since
        self.carried = carried
        self.timer = timer
    }

    /// `total`: bytes carried so far. Whether more is read now, or when.
    mutating func admits(_ total: Int, at now: Instant) -> Admission {
        let perSecond = Double(max(1, rate.bytesPerSecond))
        credit += perSecond * max(0, (now - since).seconds) - Double(total - carried)
        credit = min(credit, perSecond * Self.burst.seconds)
        since = now
        carried = total
        if credit >= 0 { return .now }
        return .later(Interval(seconds: min(-credit / perSecond, 1)))
    }
}

extension DatagramSocket {
    /// UDP payloads both ways.
    var bytesCarried: Int { statistics.bytesSent &+ statistics.bytesReceived }

    /// What waits in the kernel is no more than a quarter of a second's worth; nil: as at first.
    func limitBuffers(to rate: Rate?) {
        guard isOpen else { return }
        let bytes = rate.map { max(16 << 10, min(Self.kernelBuffer, Int($0.bytesPerSecond) / 4)) }
        braid_set_buffers(descriptor, Int32(bytes ?? Self.kernelBuffer))
    }
}
