import Buffers
import Crypto
import Glibc
import Measures
import Multipath
import Subflow
import Tunnel
import Wire

/// The worst datagrams an authenticated user is known to be able to send, after the worst histories
/// known: what each costs the concentrator, in microseconds of CPU, beside an ordinary full data
/// datagram.
///
/// A scenario is played several times from the same seed, and each of its datagrams counts with the
/// least it cost: what else the machine did in one of them is left out, what the datagram itself
/// costs is not.
enum WorstBenchmark {
    private static let plays = 3

    /// Those whose name holds `part`.
    static func run(_ part: String) -> [Figure] {
        var figures: [Figure] = []
        for scenario in Scenario.all where part.isEmpty || scenario.name.contains(part) {
            var minimum: [Double] = []
            for _ in 0..<plays {
                let costs = scenario.play(HostilePair(scenario))
                if minimum.isEmpty { minimum = costs }
                for i in 0..<min(minimum.count, costs.count) {
                    minimum[i] = min(minimum[i], costs[i])
                }
            }
            if !part.isEmpty {
                for (i, cost) in minimum.enumerated() where cost > 50_000 {
                    print("  datagram \(i): \((cost / 100).rounded() / 10) us")
                }
            }
            minimum.sort()
            guard let maximum = minimum.last else { continue }
            figures.append(
                Figure(
                    name: "worst: \(scenario.name), median of \(minimum.count)",
                    value: minimum[minimum.count / 2] / 1000, unit: "us"))
            figures.append(
                Figure(
                    name: "worst: \(scenario.name), maximum", value: maximum / 1000, unit: "us",
                    aim: "at most 50"))
        }
        return figures
    }
}

/// A way to be a nuisance.
private struct Scenario: Sendable {
    var name: String
    /// The datagram size of the user's uplink, which says its MSS.
    var datagramLimit = 1_472
    var streams = 1
    /// Each connection has a subflow on each.
    var uplinks = 1
    /// The user has an association for datagrams.
    var hasAssociation = false
    /// Plays it; the cost of each datagram in nanoseconds.
    var play: @Sendable (HostilePair) -> [Double]

    static let all: [Scenario] = [
        Scenario(name: "ordinary full data datagram") { pair in pair.upload(500) },
        Scenario(name: "ordinary full data datagrams, all cores cold", streams: 200) { pair in
            pair.upload(200)
        },
        Scenario(name: "SACK storm, MSS 64", datagramLimit: 110) { pair in pair.sackStorm() },
        Scenario(name: "SACK storm, MSS 536", datagramLimit: 576) { pair in pair.sackStorm() },
        Scenario(name: "SACK storm, MSS 1400") { pair in pair.sackStorm() },
        Scenario(name: "everything acknowledged at once, MSS 536", datagramLimit: 576) { pair in
            pair.fillWindow()
            return [pair.cost(pair.frames(of: [pair.acknowledgement(upTo: pair.outstanding)]))]
        },
        Scenario(name: "last segment acknowledged selectively", datagramLimit: 576) { pair in
            pair.fillWindow()
            return [pair.acknowledgeLast()]
        },
        Scenario(name: "last segment acknowledged selectively, then reset", datagramLimit: 576) {
            pair in
            pair.fillWindow()
            _ = pair.acknowledgeLast()
            pair.tick()
            return [pair.cost(pair.resets([pair.number]))]
        },
        Scenario(name: "every other acknowledged selectively, then reset", datagramLimit: 576) {
            pair in
            pair.fillWindow()
            _ = pair.acknowledgeEveryOther()
            pair.tick()
            return [pair.cost(pair.resets([pair.number]))]
        },
        Scenario(name: "all lost, and what went again acknowledged at once", datagramLimit: 576) {
            pair in
            pair.fillWindow()
            _ = pair.acknowledgeLast()
            for _ in 0..<200 { pair.tick() }
            return [pair.cost(pair.frames(of: [pair.acknowledgement(upTo: pair.outstanding)]))]
        },
        Scenario(name: "every other went again, then all acknowledged", datagramLimit: 576) {
            pair in
            pair.fillWindow()
            _ = pair.acknowledgeEveryOther()
            for _ in 0..<200 { pair.tick() }
            return [pair.cost(pair.frames(of: [pair.acknowledgement(upTo: pair.outstanding)]))]
        },
        Scenario(name: "something of everything", datagramLimit: 576, streams: 200) { pair in
            pair.fillWindow()
            _ = pair.acknowledgeEveryOther()
            return [pair.cost(pair.something())]
        },
        Scenario(name: "one more of up to 50,000 connections", streams: 20_000) { pair in
            pair.openMore(until: 50_000)
        },
        Scenario(name: "one-byte ranges") { pair in pair.holes(size: 1, datagrams: 200) },
        Scenario(name: "ranges of 300 bytes, then one-byte fillings") { pair in
            pair.holes(size: 300, datagrams: 1_000, gap: 1) + pair.fillings(size: 300, gap: 1)
        },
        Scenario(name: "one-byte mappings, far apart") { pair in pair.mappings(datagrams: 120) },
        Scenario(name: "path states, 10,000 streams", streams: 10_000) { pair in
            (0..<40).map { turn in pair.cost(pair.states(turn) { _ in 0 }) }
        },
        Scenario(name: "modes, 10,000 streams", streams: 10_000) { pair in
            (0..<40).map { turn in pair.cost(pair.states(turn) { UInt8($0 % 3) }) }
        },
        Scenario(name: "rekeys", play: { pair in (0..<20).map { _ in pair.cost(pair.rekeys()) } }),
        Scenario(name: "resets of unknown subflows") { pair in
            (0..<40).map { turn in
                pair.cost(
                    pair.resets((0..<340).map { UInt16(truncatingIfNeeded: turn * 340 + $0) }))
            }
        },
        Scenario(name: "resets of 2,000 subflows", streams: 2_000) { pair in
            (0..<6).map { turn in
                pair.cost(pair.resets((0..<340).compactMap { pair.number(of: turn * 340 + $0) }))
            }
        },
        Scenario(name: "SYNs for 2,000 subflows in use", streams: 2_000) { pair in
            (0..<6).map { turn in
                pair.cost(pair.openings((0..<60).compactMap { pair.number(of: turn * 60 + $0) }))
            }
        },
        Scenario(name: "aborts of 2,000 connections", streams: 2_000) { pair in
            (0..<6).map { turn in pair.cost(pair.aborts(turn)) }
        },
        Scenario(name: "aborts by their keys alone", streams: 2_000) { pair in
            (0..<6).map { turn in pair.cost(pair.aborts(turn, number: 60_000)) }
        },
        Scenario(name: "ends of 2,000 connections", streams: 2_000) { pair in
            (0..<6).map { turn in pair.cost(pair.ends(turn)) }
        },
        Scenario(name: "acknowledgements of 20,000 connections", streams: 20_000) { pair in
            (0..<200).map { turn in pair.cost(pair.idleAcknowledgements(turn)) }
        },
        Scenario(name: "keys of 30 new connections at a time", streams: 10_000) { pair in
            pair.openMore(until: 20_000, atOnce: 30)
        },
        Scenario(name: "the session closed, 10,000 streams", streams: 10_000) { pair in
            [pair.cost(pair.close())]
        },
        Scenario(name: "joins to unknown connections") { pair in
            (0..<40).map { turn in pair.cost(pair.joins(turn, token: 77)) }
        },
        Scenario(name: "joins to one connection") { pair in
            (0..<40).map { turn in pair.cost(pair.joins(turn, token: pair.token)) }
        },
        Scenario(name: "new connections") { pair in
            (0..<40).map { turn in pair.cost(pair.openings(turn)) }
        },
        Scenario(name: "new connections by the shortest SYNs") { pair in
            (0..<40).map { turn in pair.cost(pair.openings(turn, isShort: true)) }
        },
        Scenario(name: "a ring of 4 MB that doubles") { pair in pair.doubling() },
        Scenario(name: "segments of unknown subflows") { pair in
            (0..<40).map { _ in
                pair.cost(pair.frames(of: (0..<60).map { _ in (Segment(), 1) }, number: 60_000))
            }
        },
        Scenario(name: "all of 16 full windows acknowledged", datagramLimit: 576, streams: 16) {
            pair in
            pair.fillWindows()
            return [pair.cost(pair.acknowledgeAll())]
        },
        Scenario(name: "16 full windows, each reset", datagramLimit: 576, streams: 16) { pair in
            pair.fillWindows()
            return [pair.cost(pair.resets((0..<16).compactMap { pair.number(of: $0) }))]
        },
        Scenario(name: "16 full windows, the path silent", datagramLimit: 576, streams: 16) {
            pair in
            pair.fillWindows()
            return (0..<20).map { pair.cost(pair.silences($0) + pair.acknowledgeAll()) }
        },
        Scenario(name: "datagrams of new flows", hasAssociation: true) { pair in
            (0..<60).map { turn in pair.cost(pair.flows(turn)) }
        },
        Scenario(name: "short datagrams of one flow", hasAssociation: true) { pair in
            _ = pair.cost(pair.flows(0))
            return (0..<40).map { turn in
                pair.cost(pair.datagrams(170) { (0, UInt32(turn * 170 + $0 + 1)) })
            }
        },
        Scenario(name: "short datagrams of 4,096 flows", hasAssociation: true) { pair in
            for turn in 0..<50 { _ = pair.cost(pair.flows(turn)) }
            return (0..<40).map { turn in
                pair.cost(
                    pair.datagrams(170) {
                        (UInt16((turn * 170 + $0) * 37 % 4_096), UInt32(turn + 1))
                    })
            }
        },
        Scenario(name: "datagrams out of order", hasAssociation: true) { pair in
            _ = pair.cost(pair.flows(0))
            return (0..<40).map { turn in
                pair.cost(
                    pair.datagrams(170, isOrdered: true) {
                        (0, UInt32(turn * 400 + 400 - 2 * $0))
                    })
            }
        },
        Scenario(name: "a gap filled before 256 datagrams", hasAssociation: true) { pair in
            _ = pair.cost(pair.flows(0))
            return (0..<20).map { turn in
                let first = UInt32(turn * 400 + 1)
                _ = pair.cost(pair.datagrams(128, isOrdered: true) { (0, first + UInt32($0) + 1) })
                _ = pair.cost(
                    pair.datagrams(128, isOrdered: true) { (0, first + UInt32($0) + 129) })
                return pair.cost(pair.datagrams(1, isOrdered: true) { _ in (0, first) })
            }
        },
        Scenario(name: "pieces of datagrams", hasAssociation: true) { pair in
            for turn in 0..<50 { _ = pair.cost(pair.flows(turn)) }
            return (0..<200).map { turn in
                pair.cost(
                    pair.datagrams(140, piece: .init(index: 1, last: 15)) {
                        (UInt16((turn * 140 + $0) % 4_096), UInt32(turn * 140 + $0 + 1))
                    })
            }
        },
        Scenario(name: "flows closed", hasAssociation: true) { pair in
            for turn in 0..<50 { _ = pair.cost(pair.flows(turn)) }
            return (0..<12).map { turn in
                pair.cost(pair.statements(.closed) { UInt16(turn * 340 + $0) })
            }
        },
        Scenario(name: "known flows not known", hasAssociation: true) { pair in
            for turn in 0..<50 { _ = pair.cost(pair.flows(turn)) }
            return (0..<12).map { turn in
                pair.cost(pair.statements(.unknown) { UInt16(turn * 340 + $0) })
            }
        },
        Scenario(name: "flows opened anew elsewhere", hasAssociation: true) { pair in
            for turn in 0..<50 { _ = pair.cost(pair.flows(turn)) }
            return (0..<40).map { turn in pair.cost(pair.flows(turn, moved: 1 << 16)) }
        },
        Scenario(name: "flows that crowd out others", hasAssociation: true) { pair in
            for turn in 0..<200 { _ = pair.cost(pair.flows(turn)) }
            pair.rest(.seconds(3))
            return (0..<40).map { turn in pair.cost(pair.flows(turn + 200)) }
        },
        Scenario(name: "gaps filled before 256 datagrams in each of 60 flows", hasAssociation: true)
        { pair in
            for turn in 0..<3 { _ = pair.cost(pair.flows(turn)) }
            return (0..<4).map { turn in
                let first = UInt32(turn * 400 + 1)
                for flow in 0..<60 {
                    for part in 0..<4 {
                        _ = pair.cost(
                            pair.datagrams(64, isOrdered: true) {
                                (UInt16(flow), first + UInt32(part * 64 + $0) + 1)
                            }, isAtOnce: true)
                    }
                }
                return pair.cost(
                    pair.datagrams(60, isOrdered: true) { (UInt16($0), first) }, isAtOnce: true)
            }
        },
        Scenario(name: "datagrams of 9,000 bytes that become whole", hasAssociation: true) { pair in
            for turn in 0..<3 { _ = pair.cost(pair.flows(turn)) }
            return (0..<4).map { turn in
                for flow in 0..<110 {
                    for i in 1..<8 {
                        _ = pair.cost(
                            pair.datagrams(
                                1, piece: .init(index: UInt8(i), last: 7), size: 1_280
                            ) { _ in (UInt16(flow), UInt32(turn + 1)) }, isAtOnce: true)
                    }
                }
                return pair.cost(
                    pair.datagrams(140, piece: .init(index: 0, last: 7)) {
                        (UInt16($0), UInt32(turn + 1))
                    }, isAtOnce: true)
            }
        },
        Scenario(name: "the turns behind the end of 4,096 flows", hasAssociation: true) { pair in
            for turn in 0..<200 { _ = pair.cost(pair.flows(turn)) }
            _ = pair.cost(pair.frames(of: [pair.end()], number: pair.associationNumber))
            return (0..<400).map { _ in pair.turnCost() }
        },
        Scenario(name: "unreadable segments of 20,000 connections", streams: 20_000) { pair in
            (0..<100).map { turn in pair.cost(pair.unreadable(turn)) }
        },
        Scenario(name: "resets of 20,000 subflows", streams: 20_000) { pair in
            (0..<50).map { turn in
                pair.cost(
                    pair.resets(
                        (0..<340).compactMap { pair.number(of: (turn * 340 + $0) * 7_919 % 20_000) }
                    ))
            }
        },
        Scenario(name: "16 full windows, each aborted", datagramLimit: 576, streams: 16) { pair in
            pair.fillWindows()
            return [pair.cost(pair.aborts(0))]
        },
        Scenario(
            name: "the turn behind 16 full windows, each aborted", datagramLimit: 576, streams: 16
        ) { pair in
            pair.fillWindows()
            _ = pair.cost(pair.aborts(0))
            return [pair.turnCost()]
        },
        Scenario(name: "all data of 16 full windows acknowledged", datagramLimit: 576, streams: 16)
        {
            pair in
            pair.fillWindows()
            return [pair.cost(pair.acknowledgeAll(withData: true))]
        },
        Scenario(
            name: "turns after a path silent, 16 full windows", datagramLimit: 576, streams: 16
        ) {
            pair in
            pair.fillWindows()
            return (0..<10).map {
                _ = pair.cost(pair.silences($0)); return pair.turnCost()
            }
        },
        Scenario(name: "flows not known", hasAssociation: true) { pair in
            (0..<12).map { turn in
                pair.cost(pair.statements(.unknown) { UInt16(turn * 340 + $0) })
            }
        },
        Scenario(name: "an association of 4,096 flows ends", hasAssociation: true) { pair in
            for turn in 0..<50 { _ = pair.cost(pair.flows(turn)) }
            return [pair.cost(pair.frames(of: [pair.end()], number: pair.associationNumber))]
        },
        // What follows was found by attack: what something drags along that is not in its frame.
        Scenario(name: "gaps filled by datagrams that open their flow", hasAssociation: true) {
            pair in
            (0..<4).map { turn in
                let first = UInt32(turn * 400)
                if turn == 0 { _ = pair.cost(pair.flows(0, count: 20)) }
                for flow in 0..<20 {
                    for part in 0..<4 {
                        _ = pair.cost(
                            pair.datagrams(64, isOrdered: true) {
                                (UInt16(flow), first + UInt32(part * 64 + $0) + 2)
                            }, isAtOnce: true)
                    }
                }
                return pair.cost(pair.flows(0, count: 20, sequence: first + 1), isAtOnce: true)
            }
        },
        Scenario(name: "datagrams out of order without memory", hasAssociation: true) { pair in
            for turn in 0..<3 { _ = pair.cost(pair.flows(turn)) }
            return (0..<4).map { turn in
                let first = UInt32(turn * 4_000)
                pair.holdBack(flows: 70, from: first + 2)
                return pair.cost(
                    pair.datagrams(70, isOrdered: true) { (UInt16($0), first + 2_000) },
                    isAtOnce: true)
            }
        },
        Scenario(name: "datagrams before 250 that wait, in each of 60 flows", hasAssociation: true)
        { pair in
            for turn in 0..<3 { _ = pair.cost(pair.flows(turn)) }
            return (0..<4).map { turn in
                let first = UInt32(turn * 4_000)
                pair.holdBack(flows: 60, from: first + 100)
                return pair.cost(
                    pair.datagrams(60, isOrdered: true) { (UInt16($0), first + 50) },
                    isAtOnce: true)
            }
        },
        Scenario(name: "16 full windows, each aborted by its key", datagramLimit: 576, streams: 16)
        { pair in
            pair.fillWindows()
            return [pair.cost(pair.aborts(0, number: 60_000))]
        },
        Scenario(
            name: "joins after a path silent, 16 full windows", datagramLimit: 576, streams: 16
        ) { pair in
            pair.fillWindows()
            return (0..<8).map {
                _ = pair.cost(pair.silences($0))
                return pair.cost(pair.joinsToEach(), isAtOnce: true)
            }
        },
        Scenario(
            name: "resets after a path silent, 16 full windows", datagramLimit: 576, streams: 16
        ) { pair in
            pair.fillWindows()
            _ = pair.cost(pair.silences(0))
            return [
                pair.cost(pair.resets((0..<16).compactMap { pair.number(of: $0) }), isAtOnce: true)
            ]
        },
        Scenario(name: "acknowledgements after 7 of 8 paths were lost", streams: 400, uplinks: 8) {
            pair in
            _ = pair.cost(pair.losses(of: 1..<8))
            return (0..<4).map { pair.cost(pair.idleAcknowledgements($0), isAtOnce: true) }
        },
        Scenario(
            name: "turns after 7 of 8 paths were lost", streams: 400, uplinks: 8
        ) { pair in
            _ = pair.cost(pair.losses(of: 1..<8))
            return (0..<8).map { _ in pair.turnCost() }
        },
        Scenario(name: "aborts by their keys, 8 subflows each", streams: 400, uplinks: 8) { pair in
            (0..<4).map { turn in pair.cost(pair.aborts(turn, number: 60_000)) }
        },
        Scenario(name: "aborts, 8 subflows each", streams: 400, uplinks: 8) { pair in
            (0..<4).map { turn in pair.cost(pair.aborts(turn)) }
        },
        Scenario(name: "ends, 8 subflows each", streams: 400, uplinks: 8) { pair in
            (0..<4).map { turn in pair.cost(pair.ends(turn)) }
        },
        Scenario(name: "proofs of joins", streams: 100) { pair in
            (0..<10).map { turn in
                for i in 0..<10 { _ = pair.cost(pair.joinsToOne(turn * 10 + i)) }
                return pair.cost(pair.proofs(turn * 10..<turn * 10 + 10), isAtOnce: true)
            }
        },
        Scenario(name: "a flow closed after 4,096 others", hasAssociation: true) { pair in
            (0..<4).map { turn in
                for i in 0..<13 {
                    _ = pair.cost(pair.statements(.closed) { UInt16(i * 340 + $0) })
                }
                pair.rest(.seconds(11))
                return pair.cost(pair.statements(.closed) { _ in 1 })
            }
        },
        Scenario(name: "flows closed, each for the first time", hasAssociation: true) { pair in
            (0..<12).map { turn in
                pair.cost(pair.statements(.closed) { UInt16(turn * 340 + $0) })
            }
        },
        Scenario(name: "SYNs behind 8,000 numbers that rested", streams: 9_000) { pair in
            var at = 0
            while at < 8_500 {
                _ = pair.cost(pair.resets((at..<at + 17).compactMap { pair.number(of: $0) }))
                at += 17
            }
            pair.rest(.seconds(11))
            return (0..<40).map { pair.cost(pair.openings($0, isShort: true)) }
        },
        Scenario(name: "SYNs after a rest", streams: 9_000) { pair in
            pair.rest(.seconds(11))
            return (0..<4).map { pair.cost(pair.openings($0, isShort: true)) }
        },
        Scenario(name: "flows that hold much closed", hasAssociation: true) { pair in
            for turn in 0..<3 { _ = pair.cost(pair.flows(turn)) }
            return (0..<4).map { turn in
                let first = UInt32(turn * 4_000)
                for flow in 0..<60 {
                    for part in 0..<4 {
                        _ = pair.cost(
                            pair.datagrams(60, isOrdered: true) {
                                (UInt16(turn * 60 + flow), first + UInt32(part * 60 + $0) * 2 + 100)
                            }, isAtOnce: true)
                    }
                }
                return pair.cost(
                    pair.statements(.closed, count: 60) { UInt16(turn * 60 + $0) }, isAtOnce: true)
            }
        },
        Scenario(name: "segments before the keys from another path", streams: 1, uplinks: 2) {
            pair in
            _ = pair.cost(pair.openings(0, isShort: true, count: 16))
            return (0..<20).map { pair.cost(pair.keyless(16), path: $0 & 1) }
        },
        Scenario(name: "turns behind the end of 1,000 associations", hasAssociation: true) { pair in
            pair.endAssociations(1_000)
        },
        Scenario(name: "resets of 40,000 subflows, all of them", streams: 40_000) { pair in
            (0..<2_300).map { turn in
                pair.cost(pair.resets((0..<17).compactMap { pair.number(of: turn * 17 + $0) }))
            }
        },
        Scenario(name: "reports of datagrams", hasAssociation: true) { pair in
            (0..<20).map { turn in pair.cost(pair.reports(turn)) }
        },
        Scenario(name: "join requests", streams: 200) { pair in
            (0..<20).map { turn in pair.cost(pair.joinRequests(turn)) }
        },
        Scenario(name: "departures") { pair in (0..<20).map { pair.cost(pair.departures($0)) } },
        Scenario(name: "program versions") { pair in (0..<20).map { pair.cost(pair.versions($0)) }
        },
        Scenario(name: "probes") { pair in (0..<40).map { _ in pair.cost(pair.probes()) } },
        Scenario(name: "padding") { pair in
            (0..<40).map { _ in
                pair.cost([UInt8](repeating: FrameType.padding.rawValue, count: 1_430))
            }
        }
    ]
}

/// A concentrator, a proxy that opens the session and its connections, and a user with the proxy's
/// keys.
private final class HostilePair {
    static func key(_ n: UInt8) -> Key32 {
        [UInt8](repeating: n, count: 32).withUnsafeBytes { Key32($0) }
    }
    static let there = SocketAddress(IPAddress(v4: 0xcb00_7101), port: 443)
    static let here = SocketAddress(IPAddress(v4: 0xc633_6401), port: 5000)

    let proxy: Endpoint, concentrator: Endpoint
    let batch = DatagramBatch()
    var now = Instant.zero + .seconds(1)
    var accepted: [StreamHandle] = []
    var opened: [StreamHandle] = []
    private var association: StreamHandle?
    private var associations: [StreamHandle] = []
    private var generation: UInt16 = 1_000
    private var next: UInt16 = 50_000
    private let head = UnsafeMutableRawPointer.allocate(
        byteCount: SealedSegment.maximumHead, alignment: 16)
    deinit { head.deallocate() }

    init(_ scenario: Scenario) {
        let client = StaticKeyPair(privateKey: Self.key(3)),
            server = StaticKeyPair(privateKey: Self.key(5))
        var mine = EndpointConfiguration(
            role: .proxy(
                concentrator: [Self.there], publicKey: server.publicKey, preSharedKey: nil),
            identity: client)
        var other = EndpointConfiguration(
            role: .concentrator(users: [.init(name: "user", publicKey: client.publicKey)]),
            identity: server)
        // A large window soon: what matters is what it holds, not how it came.
        mine.connection.subflow.congestion = .newReno
        mine.connection.subflow.paced = false
        other.connection.subflow = mine.connection.subflow
        mine.connection.receiveLimit = 16 << 20
        other.connection.receiveLimit = 16 << 20
        proxy = Endpoint(configuration: mine, seed: Self.key(7), at: now)
        concentrator = Endpoint(configuration: other, seed: Self.key(8), at: now)
        proxy.addUplink(
            Uplink(number: 0, name: "memory", datagramLimit: scenario.datagramLimit), at: now)
        if scenario.uplinks > 1 {
            for i in 1..<scenario.uplinks {
                proxy.addUplink(
                    Uplink(
                        number: UplinkNumber(i), name: "memory \(i)",
                        datagramLimit: scenario.datagramLimit), at: now)
            }
        }
        for _ in 0..<scenario.streams {
            opened.append(proxy.open(Target(host: .name("worst"), port: 80), at: now))
            if opened.count % 100 == 0 { turn() }
        }
        if scenario.hasAssociation {
            _ = proxy.openAssociation(policy: .auto, at: now)
        }
        for _ in 0..<20 { turn() }
        precondition(
            accepted.count == scenario.streams,
            "\(accepted.count) of \(scenario.streams) connections")
    }

    // MARK: The honest part

    func turn() {
        now += .microseconds(200)
        proxy.advance(to: now)
        concentrator.advance(to: now)
        while proxy.nextEvent() != nil {}
        answer()
        carry(proxy) { self.receive($0, uplink: $1.uplink) }
        carry(concentrator) {
            self.proxy.receive(
                $0, from: Self.there, local: Self.here.address,
                uplink: UplinkNumber(Int($1.remote.port - Self.here.port)), at: self.now)
        }
    }

    private func answer() {
        while let event = concentrator.nextEvent() {
            switch event {
            case .incoming(let handle, _, _):
                accepted.append(handle)
                handle.answer(with: .connected, at: now)
            case .associating(let handle, _):
                association = handle
                associations.append(handle)
                handle.answer(with: .connected, at: now)
            default: break
            }
        }
    }

    /// Each uplink has a port of its own.
    private func receive(_ datagram: UnsafeMutableRawBufferPointer, uplink: UplinkNumber = 0) {
        let source = SocketAddress(Self.here.address, port: Self.here.port + UInt16(uplink.value))
        concentrator.receive(
            datagram, from: source, local: Self.there.address, uplink: 0, at: now)
    }

    private func carry(
        _ from: Endpoint, _ take: (UnsafeMutableRawBufferPointer, DatagramBatch.Run) -> Void
    ) {
        var more = true
        while more {
            more = from.transmit(into: batch, at: now)
            for run in batch.runs {
                for i in 0..<run.datagrams {
                    let n = min(run.segmentSize, run.length - i * run.segmentSize)
                    take(
                        UnsafeMutableRawBufferPointer(
                            start: batch.arena + run.offset + i * run.segmentSize, count: n), run)
                }
            }
            batch.removeAll()
        }
    }

    /// Time goes by; what the concentrator sends is lost.
    func tick() {
        now += .microseconds(200)
        concentrator.advance(to: now)
        answer()
        carry(concentrator) { _, _ in }
    }

    /// The cost of each of `count` full datagrams of an upload.
    func upload(_ count: Int) -> [Double] {
        var costs: [Double] = [], i = 0
        while costs.count < count {
            let stream = opened[i % opened.count], reader = accepted[i % opened.count]
            i += 1
            while case let space = stream.writeSpace(1 << 16), space.count > 0 {
                stream.commitWrite(space.count, at: now)
            }
            now += .microseconds(200)
            carry(proxy) { datagram, _ in
                let start = threadTime()
                self.receive(datagram)
                if datagram.count > 1_400 { costs.append(threadTime() - start) }
            }
            while case let n = reader.readable.count, n > 0 {
                reader.consume(n, at: now)
            }
            turn()
        }
        return costs
    }

    // MARK: The other part

    /// What `frames` cost in one datagram.
    func cost(_ frames: [UInt8], isAtOnce: Bool = false, path: Int = 0) -> Double {
        if !isAtOnce { tick() }
        guard var datagram = proxy.forge(frames, path: PathID(path)) else {
            preconditionFailure("no session")
        }
        return datagram.withUnsafeMutableBytes { bytes in
            let start = threadTime()
            receive(bytes, uplink: UplinkNumber(path))
            return threadTime() - start
        }
    }

    /// What the next turn costs: its `advance` and its `transmit`.
    func turnCost() -> Double {
        now += .microseconds(200)
        let start = threadTime()
        concentrator.advance(to: now)
        while concentrator.nextEvent() != nil {}
        _ = concentrator.transmit(into: batch, at: now)
        let cost = threadTime() - start
        batch.removeAll()
        return cost
    }

    /// Time goes by.
    func rest(_ time: Interval) {
        now += time
        tick()
    }

    var tcp: Subflow { accepted[0].connection.subflow(0)! }
    var number: UInt16 { tcp.remotePort }
    var token: UInt32 { accepted[0].connection.localToken }
    var outstanding: Int { tcp.sendUnacknowledged.distance(to: tcp.sendNext) }
    func number(of i: Int) -> UInt16? {
        i < accepted.count ? accepted[i].connection.subflow(0)?.remotePort : nil
    }

    /// A download that is acknowledged until the window is large, and then no more.
    func fillWindow() {
        var quiet = 0
        while quiet < 20 {
            let before = outstanding
            while case let space = accepted[0].writeSpace(1 << 20), space.count > 0 {
                accepted[0].commitWrite(space.count, at: now)
            }
            if before < min(6 << 20, 5_000 * tcp.sendSegmentSize),
                tcp.congestionWindow < 14 << 20, now < .zero + .seconds(30)
            {
                turn()
                let reader = opened[0].connection
                while case let n = reader.readable.count, n > 0 { reader.consume(n, at: now) }
            } else {
                tick()
                quiet = outstanding > before ? 0 : quiet + 1
            }
        }
    }

    /// The same on each connection.
    func fillWindows() {
        var quiet = 0, before = 0
        while quiet < 20, now < .zero + .seconds(60) {
            var all = 0
            for i in accepted.indices {
                let stream = accepted[i], tcp = stream.connection.subflow(0)!
                while case let space = stream.writeSpace(1 << 20), space.count > 0 {
                    stream.commitWrite(space.count, at: now)
                }
                all += tcp.outstandingCount
                let reader = opened[i].connection
                while case let n = reader.readable.count, n > 0 { reader.consume(n, at: now) }
            }
            quiet = all > before ? 0 : quiet + 1
            before = all
            if all < accepted.count * 2_000 { turn() } else { tick() }
        }
    }

    /// Acknowledges everything on every connection.
    func acknowledgeAll(withData: Bool = false) -> [UInt8] {
        accepted.flatMap { stream in
            guard let tcp = stream.connection.subflow(0) else { return [UInt8]() }
            var s = Segment()
            s.flags = .ack
            s.sequence = tcp.receiveNext
            s.acknowledgement = tcp.sendNext
            s.window = 60_000
            if withData {
                s.options.present = .dss
                let first = DataSequence(
                    MultipathHash.initialDataSequence(of: stream.connection.localKey))
                s.options.dss.acknowledgement =
                    (first + (tcp.initialSendSequence.distance(to: tcp.sendNext)))
            }
            return frames(of: [(s, 0)], number: tcp.remotePort)
        }
    }

    /// An acknowledgement of `bytes` more, with blocks counted from SND.UNA.
    func acknowledgement(upTo bytes: Int, _ blocks: [Range<Int>] = []) -> (Segment, Int) {
        var s = Segment()
        s.flags = .ack
        s.sequence = tcp.receiveNext
        s.acknowledgement = tcp.sendUnacknowledged + bytes
        s.window = 60_000
        for block in blocks {
            s.options.sack.append(
                SACKBlocks.Block(
                    start: tcp.sendUnacknowledged + block.lowerBound,
                    end: tcp.sendUnacknowledged + block.upperBound))
        }
        if !blocks.isEmpty { s.options.present.insert(.sack) }
        return (s, 0)
    }

    /// As many of the segments as fit a datagram.
    func frames(of segments: [(Segment, Int)], number given: UInt16? = nil) -> [UInt8] {
        var all: [UInt8] = []
        for (segment, length) in segments {
            var context = SealedContext(number: given ?? number, isInitiator: true)
            let n = SealedSegment.write(
                segment, payloadLength: length, runsToEnd: false, context: &context, into: head)
            guard all.count + n + length <= 1_430 else { break }
            all += UnsafeRawBufferPointer(start: head, count: n)
            all += [UInt8](repeating: 65, count: length)
        }
        return all
    }

    func acknowledgeLast() -> Double {
        let end = outstanding
        return cost(frames(of: [acknowledgement(upTo: 0, [end - 500..<end])]))
    }

    /// A few more acknowledgements, path states, new connections, joins, resets and probes.
    func something() -> [UInt8] {
        let end = outstanding, size = tcp.sendSegmentSize, whole = end / size * size
        var all = frames(of: [
            acknowledgement(upTo: 0, [size..<whole]),
            acknowledgement(upTo: 0, [-size..<0, size..<whole]),
            acknowledgement(upTo: outstanding)
        ])
        all += states(1) { UInt8($0 % 3) }.prefix(40 * PathStateFrame.size)
        for _ in 0..<8 { all += frames(of: [(opening(isShort: true), 0)], number: next) }
        all += resets((0..<60).compactMap { number(of: 100 + $0) })
        all += probes().prefix(20 * ProbeFrame.size)
        precondition(all.count <= 1_430)
        return all
    }

    /// Connections that the proxy opens one after another: what the concentrator pays for each of
    /// its datagrams.
    func openMore(until n: Int, atOnce: Int = 20) -> [Double] {
        var costs: [Double] = []
        while opened.count < n {
            opened.append(proxy.open(Target(host: .name("worst"), port: 80), at: now))
            now += .microseconds(200)
            concentrator.advance(to: now)
            carry(proxy) { datagram, _ in
                let start = threadTime()
                self.receive(datagram)
                costs.append(threadTime() - start)
            }
            if opened.count % atOnce == 0 { turn() }
        }
        return costs
    }

    /// So that nothing is one piece; the cost of each datagram.
    func acknowledgeEveryOther() -> [Double] {
        let end = outstanding, size = tcp.sendSegmentSize
        var costs: [Double] = [], at = size
        while at + size < end, costs.count < 600 {
            var segments: [(Segment, Int)] = []
            for _ in 0..<25 where at + 8 * size < end {
                segments.append(
                    acknowledgement(
                        upTo: 0, (0..<4).map { (at + 2 * $0 * size)..<(at + (2 * $0 + 1) * size) }))
                at += 8 * size
            }
            if segments.isEmpty { break }
            costs.append(cost(frames(of: segments)))
        }
        return costs
    }

    func sackStorm() -> [Double] {
        fillWindow()
        let end = outstanding, size = tcp.sendSegmentSize
        var costs = acknowledgeEveryOther()
        // Then blocks over all of it, never those of the acknowledgement before.
        let whole = end / size * size
        for turn in 0..<40 {
            let segments = (0..<25).map { i in
                let cut = size * (1 + (turn * 25 + i) % (whole / size - 2))
                return acknowledgement(
                    upTo: 0,
                    i & 1 == 0
                        ? [size..<whole, size..<cut + size] : [cut..<whole, size..<cut + size])
            }
            costs.append(cost(frames(of: segments)))
        }
        // Nothing was lost after all.
        for _ in 0..<20 {
            costs.append(
                cost(
                    frames(
                        of: (0..<25).map { _ in acknowledgement(upTo: 0, [-size..<0, size..<whole])
                        })))
        }
        return costs
    }

    private func data(at place: Int, size: Int, mapped: Int? = nil) -> (Segment, Int) {
        var s = Segment()
        s.flags = .ack
        s.sequence = tcp.receiveNext + place
        s.acknowledgement = tcp.sendNext
        s.window = 60_000
        s.options.present = .dss
        var mapping = DSS.Mapping()
        let first =
            DataSequence(MultipathHash.initialDataSequence(of: opened[0].connection.localKey)) + 1
        let received = tcp.initialReceiveSequence.distance(to: tcp.receiveNext) - 1
        mapping.dataSequence = first + received + place
        mapping.width = .four
        mapping.subflowSequence =
            s.sequence.value &- tcp.initialReceiveSequence.value &+ UInt32(mapped ?? 0)
        mapping.length = UInt16(size)
        s.options.dss.mapping = mapping
        return (s, size)
    }

    func holes(size: Int, datagrams: Int, gap: Int = 1) -> [Double] {
        var at = gap, costs: [Double] = []
        for _ in 0..<datagrams {
            var segments: [(Segment, Int)] = [], room = 1_400
            while room > size + 40 {
                segments.append(data(at: at, size: size))
                at += size + gap
                room -= size + 40
            }
            costs.append(cost(frames(of: segments)))
        }
        return costs
    }

    /// 4 MB that wait behind a hole, and what makes the receive ring grow for more.
    func doubling() -> [Double] {
        let size = 1_400, whole = 4 << 20
        _ = upload(6_000)  // a reader that keeps up is offered more
        for at in stride(from: 1, to: whole - 2 * size, by: size) {
            _ = cost(frames(of: [data(at: at, size: size)]))
        }
        return (-2..<3).map { cost(frames(of: [data(at: whole + $0 * size, size: size)])) }
    }

    /// From the last hole to the first.
    func fillings(size: Int, gap: Int) -> [Double] {
        (0..<20).map { turn in
            cost(
                frames(
                    of: (0..<30).map {
                        data(at: (size + gap) * (1 + 600 - 30 * turn - $0), size: gap)
                    }))
        }
    }

    func mappings(datagrams: Int) -> [Double] {
        var costs: [Double] = []
        // One too many ends the subflow.
        while costs.count < datagrams, accepted[0].connection.subflow(0)?.state == .established {
            costs.append(
                cost(
                    frames(
                        of: (0..<34).map { i in
                            var (s, _) = data(at: 5_000, size: 1)
                            s.options.dss.mapping!.subflowSequence &+= UInt32(
                                20_000 + 2 * (costs.count * 34 + i))
                            return (s, 2)
                        })))
        }
        return costs
    }

    func states(_ turn: Int, mode: (Int) -> UInt8) -> [UInt8] {
        var all: [UInt8] = []
        for i in 0..<230 {
            generation &+= 1
            var bytes = [UInt8](repeating: 0, count: PathStateFrame.size)
            let frame = PathStateFrame(
                path: UInt8(i % 15 + 1), generation: generation, incarnation: UInt8(turn & 255),
                isOpen: (i / 15 + turn) & 1 == 0, isBackup: false, isSilent: false, mode: mode(i))
            bytes.withUnsafeMutableBytes { frame.write(into: $0.baseAddress!) }
            all += bytes
        }
        return all
    }

    /// That the path of all connections is silent, or was so no longer.
    func silences(_ turn: Int) -> [UInt8] {
        generation &+= 1
        var bytes = [UInt8](repeating: 0, count: PathStateFrame.size)
        bytes.withUnsafeMutableBytes {
            PathStateFrame(
                path: 0, generation: generation, incarnation: 0, isOpen: true, isBackup: false,
                isSilent: turn & 1 == 0, mode: 0
            ).write(into: $0.baseAddress!)
        }
        return bytes
    }

    /// That paths are gone.
    func losses(of paths: Range<Int>) -> [UInt8] {
        paths.flatMap { path -> [UInt8] in
            generation &+= 1
            var bytes = [UInt8](repeating: 0, count: PathStateFrame.size)
            bytes.withUnsafeMutableBytes {
                PathStateFrame(
                    path: UInt8(path), generation: generation, incarnation: 0, isOpen: false,
                    isBackup: false, isSilent: false, mode: 0
                ).write(into: $0.baseAddress!)
            }
            return bytes
        }
    }

    // MARK: Datagrams

    var associationNumber: UInt16 {
        association?.connection.subflow(0)?.remotePort ?? 0
    }

    /// The abort of the association's stream.
    func end() -> (Segment, Int) {
        var s = Segment()
        guard let tcp = association?.connection.subflow(0) else { return (s, 0) }
        s.flags = [.ack, .rst]
        s.sequence = tcp.receiveNext
        s.acknowledgement = tcp.sendNext
        s.options.present = .fastClose
        s.options.fastClose.receiverKey = association?.connection.localKey ?? 0
        return (s, 0)
    }

    private static var none: UnsafeRawBufferPointer { .init(start: nil, count: 0) }

    private func datagram(_ frame: DatagramFrame) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: frame.size)
        bytes.withUnsafeMutableBytes { _ = frame.write(into: $0.baseAddress!) }
        return bytes
    }

    /// A datagram's worth of flows that are not known yet.
    func flows(
        _ turn: Int, moved: Int = 0, count: Int = 84, sequence: UInt32 = 0
    ) -> [UInt8] {
        (0..<count).flatMap { (i: Int) -> [UInt8] in
            let n = turn * 84 + i
            return datagram(
                DatagramFrame(
                    flow: UInt16(n & 0x7fff), sequence: sequence, isOrdered: sequence > 0,
                    opening: .init(
                        association: 1,
                        target: Target(
                            host: .address(IPAddress(v4: 0x0a00_0000 + UInt32(n + moved))), port: 9)
                    ),
                    payload: Self.none))
        }
    }

    /// 240 ordered datagrams of each of so many flows come that have to wait: every other number
    /// from `first` on.
    func holdBack(flows: Int, from first: UInt32) {
        for part in 0..<4 {
            for flow in 0..<flows {
                _ = cost(
                    datagrams(60, isOrdered: true) {
                        (UInt16(flow), first + UInt32(part * 60 + $0) * 2)
                    }, isAtOnce: true)
            }
        }
    }

    /// `count` datagrams of four bytes.
    func datagrams(
        _ count: Int, isOrdered: Bool = false, piece: DatagramFrame.Piece? = nil, size: Int = 0,
        _ which: (Int) -> (flow: UInt16, sequence: UInt32)
    ) -> [UInt8] {
        var all: [UInt8] = []
        let payload = [UInt8](repeating: 65, count: size)
        for i in 0..<count {
            let (flow, sequence) = which(i)
            let one = payload.withUnsafeBytes {
                datagram(
                    DatagramFrame(
                        flow: flow, sequence: sequence, isOrdered: isOrdered, piece: piece,
                        payload: $0))
            }
            if all.count + one.count > 1_430 { break }
            all += one
        }
        return all
    }

    func statements(
        _ what: FlowFrame.Statement, count: Int = 340, _ flow: (Int) -> UInt16
    ) -> [UInt8] {
        (0..<count).flatMap { i -> [UInt8] in
            var bytes = [UInt8](repeating: 0, count: FlowFrame.size)
            bytes.withUnsafeMutableBytes {
                FlowFrame(what, flow: flow(i)).write(into: $0.baseAddress!)
            }
            return bytes
        }
    }

    func reports(_ turn: Int) -> [UInt8] {
        (0..<125).flatMap { i -> [UInt8] in
            var bytes = [UInt8](repeating: 0, count: DatagramReportFrame.size)
            bytes.withUnsafeMutableBytes {
                DatagramReportFrame(
                    newest: UInt32(turn * 125 + i), bytes: UInt32(turn * 125 + i), held: 0
                ).write(into: $0.baseAddress!)
            }
            return bytes
        }
    }

    // MARK: Other frames

    func joinRequests(_ turn: Int) -> [UInt8] {
        (0..<280).flatMap { i -> [UInt8] in
            var bytes = [UInt8](repeating: 0, count: JoinRequestFrame.size)
            let stream = accepted[(turn * 280 + i) % accepted.count]
            bytes.withUnsafeMutableBytes {
                JoinRequestFrame(token: stream.connection.localToken)
                    .write(into: $0.baseAddress!)
            }
            return bytes
        }
    }

    func departures(_ turn: Int) -> [UInt8] {
        (0..<300).flatMap { i -> [UInt8] in
            let frame =
                (turn + i) & 1 == 0 ? GoAwayFrame.announcement(seconds: UInt16(i)) : .answer
            var bytes = [UInt8](repeating: 0, count: frame.size)
            bytes.withUnsafeMutableBytes { frame.write(into: $0.baseAddress!) }
            return bytes
        }
    }

    func versions(_ turn: Int) -> [UInt8] {
        (0..<350).flatMap { i -> [UInt8] in
            let frame = ProgramVersionFrame(text: i & 1 == 0 ? "1" : "20")
            var bytes = [UInt8](repeating: 0, count: frame.size)
            bytes.withUnsafeMutableBytes { frame.write(into: $0.baseAddress!) }
            return bytes
        }
    }

    func rekeys() -> [UInt8] {
        var all: [UInt8] = []
        for i in 0..<14 {
            next &+= 1
            var message = [UInt8](repeating: UInt8(i), count: 97)
            message[0] = UInt8(next & 255)
            let frame = message.withUnsafeBytes { m in
                var bytes = [UInt8](repeating: 0, count: RekeyFrame.headSize + m.count)
                bytes.withUnsafeMutableBytes {
                    RekeyFrame(isAnswer: false, epoch: 1, message: m).write(into: $0.baseAddress!)
                }
                return bytes
            }
            all += frame
        }
        return all
    }

    func close() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: CloseFrame.size)
        bytes.withUnsafeMutableBytes {
            CloseFrame(reason: .shutDown).write(into: $0.baseAddress!)
        }
        return bytes
    }

    func resets(_ numbers: [UInt16]) -> [UInt8] {
        numbers.flatMap { number in
            var bytes = [UInt8](repeating: 0, count: SubflowResetFrame.size)
            bytes.withUnsafeMutableBytes {
                SubflowResetFrame(number: number, reason: 0).write(into: $0.baseAddress!)
            }
            return bytes
        }
    }

    private func syn() -> Segment {
        var s = Segment()
        s.flags = .syn
        next &+= 1
        s.sequence = SubflowSequence(UInt32(next) << 8)
        s.window = 60_000
        s.options.present = [.maximumSegmentSize, .windowScale, .sackPermitted]
        s.options.maximumSegmentSize = 1_400
        s.options.windowScale = 9
        return s
    }

    private func many(_ count: Int = .max, _ make: () -> Segment) -> [UInt8] {
        var all: [UInt8] = []
        for _ in 0..<min(count, 1_000) {
            let one = frames(of: [(make(), 0)], number: next)
            if all.count + one.count > 1_430 { return all }
            all += one
        }
        return all
    }

    /// Acknowledgements of the latest connections, which have no keys.
    func keyless(_ count: Int) -> [UInt8] {
        var all: [UInt8] = []
        for i in 0..<count {
            var s = Segment()
            s.flags = .ack
            s.sequence = SubflowSequence(UInt32(next &- UInt16(i)) << 8) + 1
            s.window = 60_000
            all += frames(of: [(s, 0)], number: next &- UInt16(i))
        }
        return all
    }

    /// Turns in each of which 22 associations end that had a datagram each from elsewhere a moment
    /// ago.
    func endAssociations(_ count: Int) -> [Double] {
        var mine: [StreamHandle] = []
        for i in 0..<count {
            mine.append(proxy.openAssociation(policy: .lowestDelay, at: now))
            if i % 20 == 0 { turn() }
        }
        for _ in 0..<50 { turn() }
        let payload = [UInt8](repeating: 65, count: 4)
        for handle in associations {
            _ = payload.withUnsafeBytes {
                concentrator.send(
                    $0, on: handle,
                    to: Target(host: .address(IPAddress(v4: 0x0a00_0001)), port: 9), at: now)
            }
        }
        tick()
        return (0..<associations.count / 22).map { turn in
            let ends = associations[turn * 22..<turn * 22 + 22].flatMap { handle -> [UInt8] in
                guard let tcp = handle.connection.subflow(0) else { return [] }
                var s = Segment()
                s.flags = [.ack, .rst]
                s.sequence = tcp.receiveNext
                s.acknowledgement = tcp.sendNext
                s.options.present = .fastClose
                s.options.fastClose.receiverKey = handle.connection.localKey
                return frames(of: [(s, 0)], number: tcp.remotePort)
            }
            _ = cost(ends, isAtOnce: true)
            return turnCost()
        }
    }

    func joins(_ turn: Int, token: UInt32) -> [UInt8] {
        many {
            var s = syn()
            s.options.present.insert(.join)
            s.options.join.form = .syn(token: token, nonce: UInt32(next))
            return s
        }
    }

    /// One to each connection.
    func joinsToEach() -> [UInt8] {
        accepted.prefix(16).flatMap { stream -> [UInt8] in
            var s = syn()
            s.options.present = .join
            s.options.join.form = .syn(token: stream.connection.localToken, nonce: UInt32(next))
            return frames(of: [(s, 0)], number: next)
        }
    }

    /// Seven to one of the connections.
    func joinsToOne(_ i: Int) -> [UInt8] {
        var all: [UInt8] = []
        for _ in 0..<7 {
            var s = syn()
            s.options.present = .join
            s.options.join.form = .syn(token: accepted[i].connection.localToken, nonce: 7)
            all += frames(of: [(s, 0)], number: next)
        }
        return all
    }

    /// The third packets of what `joinsToOne` has joined, with wrong proofs.
    func proofs(_ which: Range<Int>) -> [UInt8] {
        var all: [UInt8] = []
        for i in which {
            for k in 1..<8 {
                guard let tcp = accepted[i].connection.subflow(SubflowIndex(k)) else { continue }
                var s = Segment()
                s.flags = .ack
                s.sequence = tcp.receiveNext
                s.acknowledgement = tcp.sendNext
                s.window = 60_000
                s.options.present = .join
                s.options.join.form = .ack(.init())
                let one = frames(of: [(s, 0)], number: tcp.remotePort)
                if all.count + one.count > 1_430 { return all }
                all += one
            }
        }
        return all
    }

    private func opening(isShort: Bool) -> Segment {
        var s = syn()
        if isShort { s.options.present = [] }
        s.options.present.insert(.multipathCapable)
        s.options.multipathCapable = MPCapable()
        return s
    }

    func openings(_ turn: Int, isShort: Bool = false, count: Int = .max) -> [UInt8] {
        many(count) { opening(isShort: isShort) }
    }

    /// SYNs of the numbers of others, as a proxy sends them that has forgotten everything.
    func openings(_ numbers: [UInt16]) -> [UInt8] {
        var all: [UInt8] = []
        for number in numbers {
            let one = frames(of: [(opening(isShort: true), 0)], number: number)
            if all.count + one.count > 1_430 { break }
            all += one
        }
        return all
    }

    private func segments(
        _ turn: Int, number: UInt16?, _ make: (StreamHandle) -> Segment
    )
        -> [UInt8]
    {
        var all: [UInt8] = []
        for i in 0..<80 where turn * 80 + i < accepted.count {
            let stream = accepted[turn * 80 + i]
            guard let tcp = stream.connection.subflow(0) else { continue }
            let one = frames(of: [(make(stream), 0)], number: number ?? tcp.remotePort)
            if all.count + one.count > 1_430 { break }
            all += one
        }
        return all
    }

    /// Of connections far apart in memory, none of which was used lately.
    func idleAcknowledgements(_ turn: Int) -> [UInt8] {
        var all: [UInt8] = []
        for i in 0..<95 {
            let stream = accepted[(turn * 95 + i) * 7_919 % accepted.count]
            guard let tcp = stream.connection.subflow(0) else { continue }
            var s = Segment()
            s.flags = .ack
            s.sequence = tcp.receiveNext
            s.acknowledgement = tcp.sendNext
            s.window = 60_000
            let one = frames(of: [(s, 0)], number: tcp.remotePort)
            if all.count + one.count > 1_430 { break }
            all += one
        }
        return all
    }

    /// Segments without a head, of connections far apart in memory.
    func unreadable(_ turn: Int) -> [UInt8] {
        (0..<355).flatMap { i -> [UInt8] in
            let number = number(of: (turn * 355 + i) * 7_919 % accepted.count) ?? 0
            return [0xf0, UInt8(number >> 8), UInt8(number & 255), 0]
        }
    }

    func aborts(_ turn: Int, number: UInt16? = nil) -> [UInt8] {
        segments(turn, number: number) { stream in
            var s = Segment()
            guard let tcp = stream.connection.subflow(0) else { return s }
            s.flags = number == nil ? [.ack, .rst] : .rst
            s.sequence = tcp.receiveNext
            s.acknowledgement = tcp.sendNext
            s.options.present = .fastClose
            s.options.fastClose.receiverKey = stream.connection.localKey
            return s
        }
    }

    /// DATA_FIN and FIN of each, and whatever they had not acknowledged.
    func ends(_ turn: Int) -> [UInt8] {
        segments(turn, number: nil) { stream in
            var s = Segment()
            guard let tcp = stream.connection.subflow(0),
                let i = accepted.firstIndex(where: { $0 === stream })
            else { return s }
            s.flags = [.ack, .fin]
            s.sequence = tcp.receiveNext
            s.acknowledgement = tcp.sendNext
            s.window = 60_000
            s.options.present = .dss
            var mapping = DSS.Mapping()
            let first =
                DataSequence(MultipathHash.initialDataSequence(of: opened[i].connection.localKey))
                + 1
            mapping.dataSequence =
                first + (tcp.initialReceiveSequence.distance(to: tcp.receiveNext) - 1)
            mapping.width = .four
            mapping.length = 1
            s.options.dss.mapping = mapping
            s.options.dss.dataFin = true
            return s
        }
    }

    func probes() -> [UInt8] {
        (0..<130).flatMap { i in
            var bytes = [UInt8](repeating: 0, count: ProbeFrame.size)
            bytes.withUnsafeMutableBytes {
                ProbeFrame(
                    isAnswer: i & 1 == 0, identifier: UInt16(i), sentAt: now.nanoseconds - 5_000
                ).write(into: $0.baseAddress!)
            }
            return bytes
        }
    }
}
