import Measures
import Tunnel

/// Loses the proxy's datagrams that carry the news of a closed path, and watches what the
/// concentrator still sends into that path's link.
public final class SignalLoss {
    /// This many are lost, and all until `losesUntil`.
    public let count: Int
    /// Signals sent before it are lost whatever the count.
    public var losesUntil = Instant.zero
    /// How many were lost so far.
    public private(set) var lost = 0
    /// When the first that wasn't lost reached the concentrator.
    public private(set) var firstArrival: Instant?
    /// When the concentrator last sent something into the lost uplink.
    public private(set) var lastOnLost = Instant.zero
    /// Until the uplink is back: then it is not the lost one any more.
    public var watchesUntil = Instant.distantFuture
    /// Datagrams the concentrator sent into it after it was back.
    public private(set) var sentAfterReturn = 0

    private let lostUplink: Int
    private let since: Instant
    /// Path and packet number of the carriers that were sealed.
    private var carriers: Set<UInt32> = []
    /// Whether there was ever anything to say.
    public var wasDue: Bool { !carriers.isEmpty }

    /// The uplink goes at `since`; single mode may close another path before.
    public init(_ count: Int, lostUplink: Int, since: Instant) {
        self.count = count
        self.since = since
        self.lostUplink = lostUplink
    }

    /// Before the world runs.
    public func attach(to world: World) {
        world.proxy.signalCarried = { [self, unowned world] path, number, removes in
            guard removes, world.now >= since else { return }
            carriers.insert(
                UInt32(path.octet) << 24 | UInt32(truncatingIfNeeded: number & 0xff_ffff))
        }
        let others = world.observer
        world.observer = { [self] now, fromProxy, uplink, bytes in
            others?(now, fromProxy, uplink, bytes)
            guard !fromProxy, uplink == lostUplink else { return }
            if now < watchesUntil { lastOnLost = now } else { sentAfterReturn += 1 }
        }
        world.loses = { [self] now, fromProxy, _, bytes in
            guard fromProxy, isCarrier(bytes), lost < count || now < losesUntil else {
                return false
            }
            lost += 1
            return true
        }
        world.arriving = { [self] now, atConcentrator, _, bytes in
            if atConcentrator, firstArrival == nil, isCarrier(bytes) { firstArrival = now }
        }
    }

    /// By the clear header: byte 1 is the path, bytes 5 to 7 the packet number's low 24 bits.
    private func isCarrier(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard bytes.count >= 8, !carriers.isEmpty else { return false }
        let number = UInt32(bytes[5]) << 16 | UInt32(bytes[6]) << 8 | UInt32(bytes[7])
        return carriers.contains(UInt32(bytes[1]) << 24 | number)
    }
}
