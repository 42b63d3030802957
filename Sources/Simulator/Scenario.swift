import Measures
import Multipath
import Tunnel

/// An uplink of a simulated proxy: two directions, perhaps one radio.
public struct UplinkPlan: Hashable, Sendable {
    /// From the proxy.
    public var up: LinkConditions
    /// To the proxy.
    public var down: LinkConditions
    /// The role that the proxy gives it.
    public var isBackup = false
    /// A backup path that is kept ready.
    public var isWarm = false
    /// What it costs beside the others.
    public var cost = PathCosts.Cost.usual
    /// A radio that sleeps after the first interval of silence and takes the second to wake.
    public var radio: RadioPlan?
    /// A radio's sleep.
    public struct RadioPlan: Hashable, Sendable {
        /// Of silence in both directions.
        public var sleepsAfter: Interval
        /// For which the first packet waits.
        public var wakeTime: Interval
        /// Wakes by a packet in either direction.
        public init(sleepsAfter: Interval, wakeTime: Interval) {
            self.sleepsAfter = sleepsAfter
            self.wakeTime = wakeTime
        }
    }
    /// Both directions alike.
    public init(_ both: LinkConditions, isBackup: Bool = false, radio: RadioPlan? = nil) {
        self.init(up: both, down: both, isBackup: isBackup, radio: radio)
    }
    /// Each direction by itself.
    public init(
        up: LinkConditions, down: LinkConditions, isBackup: Bool = false, radio: RadioPlan? = nil
    ) {
        self.up = up
        self.down = down
        self.isBackup = isBackup
        self.radio = radio
    }
}

/// One application stream: when it begins, and what both ends do.
public struct StreamPlan: Hashable, Sendable {
    /// When the initiator connects.
    public var at: Instant
    /// What the proxy's application sends.
    public var initiator: Supply
    /// What the target sends.
    public var listener: Supply
    /// How the proxy's application reads.
    public var initiatorReader = Reader.eager
    /// How the target reads.
    public var listenerReader = Reader.eager
    /// What the listener sends, as many bytes as `listener` says; empty: pseudo-random bytes.
    public var recording: [UInt8] = []
    /// Between the end of a response and the next request; only where the initiator makes requests.
    public var pause = Interval.zero
    /// How somebody uses what the initiator requests; nil: nobody waits for it.
    public var pace: Pace?
    /// Both applications make calls drawn from this seed (`CallsEnd`) instead.
    public var calls: UInt64?
    /// Of both ends; they read as fast as they can unless said otherwise.
    public init(
        at: Instant = .zero, initiator: Supply, listener: Supply, initiatorReader: Reader = .eager,
        listenerReader: Reader = .eager
    ) {
        self.at = at
        self.initiator = initiator
        self.listener = listener
        self.initiatorReader = initiatorReader
        self.listenerReader = listenerReader
    }
}

/// Something that happens to an uplink at a time.
public struct Fault: Hashable, Sendable {
    /// As the proxy sees it.
    public enum Direction: Hashable, Sendable { case both, up, down }
    /// What a fault does.
    public enum Change: Hashable, Sendable {
        /// The interface or address is gone; the proxy's shell is told at once, the other side is
        /// not.
        case removed
        /// The same, but what the proxy has sent is on its way already and arrives.
        case detached
        /// The interface takes nothing any more, and what was sent is on its way. `detached` or
        /// `removed` follow when the shell is told.
        case closing
        /// It is back, and the proxy's shell is told.
        case returned
        /// Silent: nobody is told. `.none` ends it.
        case outage(LinkConditions.Outage, Direction)
        case conditions(up: LinkConditions, down: LinkConditions)
        /// The longest packet is another from now on, and nobody is told; nil: any.
        case mtu(Int?, Direction)
        /// A NAT on the way forgets the flow: the server sees another source port, the old one is
        /// dead.
        case rebind
        /// A NAT's owner gets another address: the server sees that and another port.
        case roam
        /// The interface gets another address (DHCP, another WiFi of the same name), and the shell
        /// is told.
        case renumbered
        /// Datagrams too short for bulk payload (signals, echoes, probes, acknowledgements) are
        /// lost with this probability. Zero ends it.
        case smallLoss(Double, Direction)
        /// The concentrator takes its second address back, or announces it again.
        case announced(Bool)
        /// The concentrator's first address is gone, on every uplink, or there again; the second
        /// stays.
        case firstAddress(Bool)
        /// The owner changes the mode of its connections.
        case mode(HandoverMode)
        /// Whether somebody uses the machine, for a mode that follows from use.
        case use(ModeByUse.Hint)
    }
    /// When it happens.
    public var at: Instant
    /// Its place in the scenario's `uplinks`.
    public var uplink: Int
    /// What happens at that time.
    public var change: Change
    /// To one uplink.
    public init(at: Instant, uplink: Int, change: Change) {
        self.at = at
        self.uplink = uplink
        self.change = change
    }
}

/// Everything a simulation does, as a value.
public struct Scenario: Hashable, Sendable {
    /// At least one; numbered from 0.
    public var uplinks: [UplinkPlan]
    /// In any order.
    public var streams: [StreamPlan]
    /// In the order of their times.
    public var faults: [Fault] = []
    /// Beside the streams; leaves no place for `World.Options.associations`.
    public var call: CallPlan?
    /// After the last fault every stream must end within this.
    public var timeLimit = Interval.seconds(120)
    /// With the usual time limit.
    public init(uplinks: [UplinkPlan], streams: [StreamPlan], faults: [Fault] = []) {
        self.uplinks = uplinks
        self.streams = streams
        self.faults = faults
    }
}
