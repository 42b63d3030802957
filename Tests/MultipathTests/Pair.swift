import Buffers
import Measures
import Multipath
import Subflow
import Wire

/// Two connections joined by paths of fixed delay, in virtual time; segments can be looked at,
/// dropped or kept on the way.
final class Pair {
    struct Flight {
        var at: Instant
        var order: Int
        var toListener: Bool
        var path: PathID
        var port: UInt16  // the initiator's port names the subflow
        var segment: Segment
        var payload: [UInt8]
    }
    let configuration: ConnectionConfiguration
    let initiator: Connection
    let listener: Connection
    var now = Instant.zero
    var delays: [Interval]
    /// Return false to lose the segment.
    var filter: (Flight) -> Bool = { _ in true }
    /// What a middlebox does to a segment under way; the log has it unchanged.
    var change: (inout Flight) -> Void = { _ in }
    var log: [Flight] = []
    private var flights: [Flight] = []
    private var order = 0
    private var numbers: [[UInt16: SubflowIndex]] = [[:], [:]]  // by side: port to subflow index
    private var nextPort: UInt16 = 5000
    private var random = SeededRandom(seed: 7)
    var refusedJoins = 0

    init(
        framing: Framing,
        delays: [Interval] = [.milliseconds(15), .milliseconds(50)],
        scheduler: SchedulerKind = .predictedArrival,
        adjust: (inout ConnectionConfiguration) -> Void = { _ in }
    ) {
        var c = ConnectionConfiguration()
        c.scheduler = scheduler
        c.framing = framing
        adjust(&c)
        configuration = c
        self.delays = delays
        initiator = Connection(
            role: .initiator, configuration: c, localKey: 0x0001_0203_0405_0607, at: .zero)
        listener = Connection(
            role: .listener, configuration: c, localKey: 0xa0a1_a2a3_a4a5_a6a7, at: .zero)
    }

    func open(path: PathID = 0) {
        let index = initiator.open(
            path: path, localPort: nextPort, remotePort: 443,
            initialSequence: SubflowSequence(.max - 5),
            backup: false, estimate: nil, at: now)
        numbers[0][nextPort] = index
        nextPort += 1
    }

    @discardableResult func join(path: PathID, backup: Bool = false) -> Bool {
        guard
            let index = initiator.join(
                path: path, localPort: nextPort, remotePort: 443,
                initialSequence: SubflowSequence(UInt32(truncatingIfNeeded: random.next())),
                addressID: AddressID(path.octet), nonce: 0x1122_3344,
                backup: backup, estimate: nil, at: now)
        else { return false }
        numbers[0][nextPort] = index
        nextPort += 1
        return true
    }

    /// Runs until `end` or until nothing is left to happen.
    func run(for interval: Interval) {
        let end = now + interval
        pump()
        while true {
            let next = min(
                flights.map(\.at).min() ?? .distantFuture,
                min(initiator.deadline, listener.deadline))
            guard next <= end else { break }
            precondition(next >= now || next < now, "time is an order")
            now = max(now, next)
            deliverDue()
            initiator.advance(to: now)
            listener.advance(to: now)
            pump()
        }
        now = end
    }

    private func pump() {
        for (side, connection) in [initiator, listener].enumerated() {
            var out = OutgoingSegment()
            var emitted = 0
            while connection.nextSegment(at: now, into: &out) {
                emitted += 1
                precondition(emitted < 100_000, "the engine spins")
                let payload = Array(out.payload.first) + Array(out.payload.second)
                let flight = Flight(
                    at: now + delays[out.path.number], order: order, toListener: side == 0,
                    path: out.path,
                    port: side == 0 ? out.segment.sourcePort : out.segment.destinationPort,
                    segment: out.segment, payload: payload)
                order += 1
                log.append(flight)
                guard filter(flight) else { continue }
                var changed = flight
                change(&changed)
                flights.append(changed)
            }
        }
    }

    private func deliverDue() {
        flights.sort { ($0.at, $0.order) < ($1.at, $1.order) }
        while let first = flights.first, first.at <= now {
            flights.removeFirst()
            deliver(first)
        }
    }

    /// The last segment logged that way on a path, to be forged from.
    func last(
        toListener: Bool, path: PathID = 0, where fits: (Flight) -> Bool = { _ in true }
    ) -> Flight? {
        log.last { $0.toListener == toListener && $0.path == path && fits($0) }
    }

    /// Hands a segment over at once, whoever made it.
    func inject(_ flight: Flight) { deliver(flight) }

    private func deliver(_ f: Flight) {
        let side = f.toListener ? 1 : 0
        let connection = f.toListener ? listener : initiator
        while let gone = connection.takeEndedSubflow() {
            numbers[side] = numbers[side].filter { $0.value != gone }
        }
        f.payload.withUnsafeBytes { bytes in
            if let index = numbers[side][f.port] {
                connection.receive(f.segment, payload: bytes, subflow: index, at: now)
            } else if f.toListener, f.segment.flags.contains(.syn) {
                let isn = SubflowSequence(UInt32(truncatingIfNeeded: random.next()))
                if f.segment.options.present.contains(.join) {
                    if let index = connection.acceptJoin(
                        f.segment, payload: bytes, path: f.path,
                        initialSequence: isn,
                        nonce: 0x5566_7788, estimate: nil, at: now)
                    {
                        numbers[1][f.port] = index
                    } else {
                        refusedJoins += 1
                    }
                } else {
                    numbers[1][f.port] = connection.accept(
                        f.segment, payload: bytes, path: f.path,
                        initialSequence: isn,
                        estimate: nil, at: now)
                }
            }
        }
    }

    // MARK: Applications

    static func byte(_ n: Int) -> UInt8 { UInt8(truncatingIfNeeded: (n &* 2_654_435_761) >> 13) }

    /// Writes as much of a known stream as fits; returns the new position.
    func write(_ connection: Connection, from position: Int, upTo end: Int) -> Int {
        var position = position
        while position < end {
            let space = connection.writeSpace(min(65536, end - position))
            if space.isEmpty { break }
            for i in 0..<space.count { space[i] = Self.byte(position + i) }
            connection.commitWrite(space.count, at: now)
            position += space.count
        }
        return position
    }

    /// Reads everything there is; nil where a byte is wrong.
    func read(_ connection: Connection, from position: Int) -> Int? {
        let pieces = connection.readable
        var n = position
        for piece in [pieces.first, pieces.second] {
            for b in piece {
                guard b == Self.byte(n) else { return nil }
                n += 1
            }
        }
        connection.consume(pieces.count, at: now)
        return n
    }
}
