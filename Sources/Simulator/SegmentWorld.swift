import Buffers
import Crypto
import Measures
import Multipath
import Subflow
import Wire

/// Two connections joined by virtual links that carry segments: the engine without sessions and
/// ciphers.
///
/// What a session would do is done by the script: subflows are opened on every uplink, joined again
/// when they end, and path health is set by the faults (an interface event at the initiator at
/// once, at the listener one link delay later; a silent outage makes the path suspect on both sides
/// after a while).
public final class SegmentWorld: InstantLoop {
    /// Links, applications and what goes wrong.
    public let scenario: Scenario
    /// Virtual time since the start.
    public internal(set) var now = Instant.zero
    /// Of every segment sent.
    public private(set) var trace = Trace()
    /// The first thing that went wrong.
    public internal(set) var failure: String?
    /// The end that opened it.
    public let initiator: Connection
    /// The end that was connected to.
    public let listener: Connection
    /// The applications at both ends.
    public let ends: (initiator: StreamEnd, listener: StreamEnd)
    /// Called for every segment when it is sent: `fromInitiator`, path, segment, payload bytes.
    public var observer: ((Instant, Bool, Int, borrowing Segment, Int) -> Void)?
    /// Called for every fault and health change.
    public var noted: ((Instant, String) -> Void)?

    /// Headers that a sealed segment carries on the line (docs/design.md: at most 64).
    static let lineOverhead = 64
    /// Of each path: where the listener's segments go through a line shared with others before the
    /// path's own. None: they don't.
    var bottlenecks: [SharedBottleneck] = []
    static let firstPort: UInt16 = 40_000
    static let listenerPort: UInt16 = 443
    static let rejoinAfter = Interval.milliseconds(250)

    let pool = PacketPool(slotSize: 4096, limit: 1 << 17)
    var lanes: [Lane] = []
    private var random: SeededRandom
    private var subflows: [Entry] = []  // by port - firstPort
    var notices: [(at: Instant, what: Notice)] = []
    var nextFault = 0
    private var toListener: WindowChecker
    private var toInitiator: WindowChecker
    private let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 64)
    private var carriage: SegmentCarriage
    private var segment = Segment()
    private var outgoing = OutgoingSegment()
    private var isOpened = false
    private var isAccepted = false

    struct Lane {
        var up: VirtualLink
        var down: VirtualLink
        var isDown = false
        var joinsFrom = Instant.zero
        /// The listener hears of changes in their order.
        var listenerHears = Instant.zero
    }
    private struct Entry {
        var initiator: SubflowIndex?
        var listener: SubflowIndex?
        var listenerEnded = false
        var contexts: SegmentCarriage.Contexts
    }
    /// What an end is to learn later, from an address signal or by looking itself.
    enum Notice {
        case health(PathHealth, path: Int, atInitiator: Bool)
    }

    /// The first stream of the scenario; all chance comes from `seed`.
    public init(_ scenario: Scenario, seed: UInt64, configuration: ConnectionConfiguration) {
        self.scenario = scenario
        random = SeededRandom(seed: seed)
        let keys = (random.next(), random.next())
        // This world's listener knows no plain TCP.
        var configuration = configuration
        configuration.timeoutsBeforePlainSYN = .max
        initiator = Connection(
            role: .initiator, configuration: configuration, localKey: keys.0, at: .zero)
        listener = Connection(
            role: .listener, configuration: configuration, localKey: keys.1, at: .zero)
        carriage = SegmentCarriage(isSealed: configuration.framing == .sealed)
        // In a session the first flight goes before any window is known (DataSender's initial
        // edge).
        let early = configuration.framing == .sealed ? 64 << 10 : 0
        toListener = WindowChecker(senderKey: keys.0, allowance: early)
        toInitiator = WindowChecker(senderKey: keys.1, allowance: early)
        let plan = scenario.streams[0]
        let key = random.next()
        ends = StreamEnd.pair(
            key: key, initiator: plan.initiator, listener: plan.listener,
            initiatorReader: plan.initiatorReader, listenerReader: plan.listenerReader)
        for uplink in scenario.uplinks {
            let radio = uplink.radio.map {
                Radio(sleepsAfter: $0.sleepsAfter, wakeTime: $0.wakeTime)
            }
            // Segments here have no checksum that would find flipped bits.
            let clean: (LinkConditions) -> LinkConditions = {
                $0.with {
                    $0.corruption = 0; $0.mtu = nil
                }
            }
            lanes.append(
                Lane(
                    up: VirtualLink(
                        clean(uplink.up), pool: pool, seed: random.next(),
                        radio: radio),
                    down: VirtualLink(
                        clean(uplink.down), pool: pool, seed: random.next(),
                        radio: radio)))
        }
    }
    deinit { scratch.deallocate() }

    /// Whether both applications are done and both connections over.
    public var isOver: Bool {
        ends.initiator.isFinished && ends.listener.isFinished && initiator.isOver && listener.isOver
    }

    /// Runs until everything is over, something fails, or `limit`. Reaching the limit is a failure
    /// unless
    /// `mayStop`.
    public func run(until limit: Instant? = nil, mayStop: Bool = false) {
        let end = limit ?? (scenario.faults.last?.at ?? .zero) + scenario.timeLimit + .seconds(60)
        runInstants(until: end, mayStop: mayStop)
        if failure == nil, !mayStop {
            for lane in lanes { lane.up.clear(at: now); lane.down.clear(at: now) }
            if pool.inUse != 0 { failure = "\(pool.inUse) packets leaked" }
        }
    }

    /// One line on where both sides stand.
    public func describe() -> String {
        "initiator wrote \(ends.initiator.written)/\(ends.initiator.supply.total)"
            + " read \(ends.initiator.read)/\(ends.initiator.expected)"
            + " over \(initiator.isOver),"
            + " listener wrote \(ends.listener.written)/\(ends.listener.supply.total)"
            + " read \(ends.listener.read)/\(ends.listener.expected) over \(listener.isOver)"
    }

    // MARK: One instant

    var isFinished: Bool { isOver && nextFault == scenario.faults.count }
    var engineDeadline: Instant { min(initiator.deadline, listener.deadline) }

    var nextEvent: Instant {
        var next = min(initiator.deadline, listener.deadline)
        next = min(next, ends.initiator.deadline, ends.listener.deadline)
        for lane in lanes { next = min(next, lane.up.nextDelivery, lane.down.nextDelivery) }
        for notice in notices { next = min(next, notice.at) }
        if nextFault < scenario.faults.count { next = min(next, scenario.faults[nextFault].at) }
        for (i, lane) in lanes.enumerated() where wantsJoin(i) && lane.joinsFrom > now {
            next = min(next, lane.joinsFrom)
        }
        return next
    }

    func turn() -> Bool {
        var busy = false
        applyFaults()
        for i in lanes.indices {
            while let packet = lanes[i].up.deliver(at: now) {
                receive(packet, atInitiator: false, path: i)
                busy = true
            }
            while let packet = lanes[i].down.deliver(at: now) {
                receive(packet, atInitiator: true, path: i)
                busy = true
            }
        }
        initiator.advance(to: now)
        listener.advance(to: now)
        openSubflows()
        _ = initiator.takeEvents()
        _ = listener.takeEvents()
        busy = ends.initiator.turn(initiator, at: now) || busy
        if isAccepted { busy = ends.listener.turn(listener, at: now) || busy }
        busy = transmit(fromInitiator: true) || busy
        busy = transmit(fromInitiator: false) || busy
        collectEnded()
        if let wrong = ends.initiator.failure { failure = "initiator: \(wrong)" }
        if let wrong = ends.listener.failure { failure = "listener: \(wrong)" }
        if let wrong = carriage.failure ?? toListener.failure ?? toInitiator.failure {
            failure = wrong
        }
        return busy
    }

    private func transmit(fromInitiator: Bool) -> Bool {
        let connection = fromInitiator ? initiator : listener
        var sent = 0
        while connection.nextSegment(at: now, into: &outgoing) {
            sent += 1
            if sent > 100_000 { failure = "more than \(sent) segments at one instant"; break }
            send(
                outgoing.segment, outgoing.payload, path: outgoing.path.number,
                fromInitiator: fromInitiator)
        }
        return sent > 0
    }

    private func send(_ segment: Segment, _ payload: Pieces, path: Int, fromInitiator: Bool) {
        observer?(now, fromInitiator, path, segment, payload.count)
        check(segment, payload, fromInitiator: fromInitiator)
        let entry =
            Int(fromInitiator ? segment.sourcePort : segment.destinationPort) - Int(Self.firstPort)
        let length = carriage.encode(
            segment, payload, fromInitiator: fromInitiator,
            contexts: &subflows[entry].contexts, into: scratch)
        let bytes = UnsafeRawBufferPointer(rebasing: scratch[0..<length])
        // The trace leaves out the packet's copy of the segment's memory, where absent fields hold
        // anything.
        trace.add(SegmentCarriage.encoded(bytes), lane: path * 2 + (fromInitiator ? 0 : 1), at: now)
        if lanes[path].isDown { return }
        guard let packet = pool.packet(copying: bytes) else {
            failure = "packet pool exhausted"; return
        }
        let link = fromInitiator ? lanes[path].up : lanes[path].down
        let lineBytes = payload.count + Self.lineOverhead
        if !fromInitiator, bottlenecks.indices.contains(path) {
            bottlenecks[path].offer(packet, lineBytes: lineBytes, to: link, at: now)
        } else {
            link.offer(packet, lineBytes: lineBytes, at: now)
        }
    }

    private func check(_ segment: borrowing Segment, _ payload: Pieces, fromInitiator: Bool) {
        let port = fromInitiator ? segment.sourcePort : segment.destinationPort
        if fromInitiator {
            toListener.senderSent(segment, payloadLength: payload.count, subflow: port)
            toInitiator.receiverSent(segment, subflow: port)
        } else {
            toInitiator.senderSent(segment, payloadLength: payload.count, subflow: port)
            toListener.receiverSent(segment, subflow: port)
        }
    }

    // MARK: In

    private func receive(_ packet: consuming Packet, atInitiator: Bool, path: Int) {
        let bytes = UnsafeRawBufferPointer(packet.bytes)
        let entry =
            SegmentCarriage.subflow(of: bytes, atInitiator: atInitiator) - Int(Self.firstPort)
        guard
            let payload = carriage.decode(
                bytes, atInitiator: atInitiator,
                contexts: &subflows[entry].contexts,
                into: &segment)
        else {
            return
        }
        if atInitiator {
            if let index = subflows[entry].initiator {
                initiator.receive(segment, payload: payload, subflow: index, at: now)
            } else {
                refuse(segment, payloadLength: payload.count, path: path, fromInitiator: true)
            }
        } else if let index = subflows[entry].listener {
            listener.receive(segment, payload: payload, subflow: index, at: now)
        } else if segment.flags.contains(.syn),
            !segment.flags.contains(.ack),
            !subflows[entry].listenerEnded
        {
            let sequence = SubflowSequence(UInt32(truncatingIfNeeded: random.next()))
            if segment.options.present.contains(.multipathCapable) {
                isAccepted = true
                subflows[entry].listener = listener.accept(
                    segment, payload: payload, path: PathID(path),
                    initialSequence: sequence,
                    estimate: nil, at: now)
            } else {
                let nonce = UInt32(truncatingIfNeeded: random.next())
                // A join may overtake the first subflow's third packet, which brings the
                // initiator's key.
                subflows[entry].listener =
                    !isAccepted
                    ? nil
                    : listener.acceptJoin(
                        segment, payload: payload, path: PathID(path),
                        initialSequence: sequence, nonce: nonce,
                        estimate: nil, at: now)
                if subflows[entry].listener == nil {
                    refuse(segment, payloadLength: payload.count, path: path, fromInitiator: false)
                }
            }
        } else {
            refuse(segment, payloadLength: payload.count, path: path, fromInitiator: false)
        }
    }

    /// RFC 9293 section 3.10.7.1: RST for a segment that belongs to nothing.
    private func refuse(
        _ segment: borrowing Segment, payloadLength: Int, path: Int, fromInitiator: Bool
    ) {
        // Data sent early, before the peer's SYN/ACK, may arrive without its SYN: that is a loss,
        // not a stranger.
        guard !segment.flags.contains(.rst), !segment.flags.isDisjoint(with: [.ack, .syn]) else {
            return
        }
        var answer = Segment()
        answer.sourcePort = segment.destinationPort
        answer.destinationPort = segment.sourcePort
        answer.flags = .rst
        if segment.flags.contains(.ack) {
            answer.sequence = segment.acknowledgement
        } else {
            answer.flags = [.rst, .ack]
            let length =
                payloadLength + (segment.flags.contains(.syn) ? 1 : 0)
                + (segment.flags.contains(.fin) ? 1 : 0)
            answer.acknowledgement = segment.sequence + length
        }
        send(answer, .empty, path: path, fromInitiator: fromInitiator)
    }

    // MARK: Subflows

    private func wantsJoin(_ path: Int) -> Bool {
        isOpened && !lanes[path].isDown && !initiator.hasSubflow(path: PathID(path))
            && !initiator.isOver
            && initiator.canJoin
    }

    private func openSubflows() {
        if !isOpened {
            guard let path = lanes.indices.first(where: { !lanes[$0].isDown }) else { return }
            isOpened = true
            let port = newPort()
            subflows[subflows.count - 1].initiator = initiator.open(
                path: PathID(path), localPort: port, remotePort: Self.listenerPort,
                initialSequence: SubflowSequence(UInt32(truncatingIfNeeded: random.next())),
                backup: scenario.uplinks[path].isBackup, estimate: nil, at: now)
        }
        for path in lanes.indices where now >= lanes[path].joinsFrom && wantsJoin(path) {
            lanes[path].joinsFrom = now + Self.rejoinAfter
            let port = newPort()
            subflows[subflows.count - 1].initiator = initiator.join(
                path: PathID(path), localPort: port, remotePort: Self.listenerPort,
                initialSequence: SubflowSequence(UInt32(truncatingIfNeeded: random.next())),
                addressID: AddressID(UInt8(path)), nonce: UInt32(truncatingIfNeeded: random.next()),
                backup: scenario.uplinks[path].isBackup, estimate: nil, at: now)
        }
    }

    private func newPort() -> UInt16 {
        let port = Self.firstPort + UInt16(subflows.count)
        subflows.append(Entry(contexts: .init(number: port)))
        return port
    }

    private func collectEnded() {
        while let ended = initiator.takeEndedSubflow() {
            if let i = subflows.firstIndex(where: { $0.initiator == ended }) {
                subflows[i].initiator = nil
            }
        }
        while let ended = listener.takeEndedSubflow() {
            if let i = subflows.firstIndex(where: { $0.listener == ended }) {
                subflows[i].listener = nil
                subflows[i].listenerEnded = true
            }
        }
    }
}
