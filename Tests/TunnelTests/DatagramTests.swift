import Buffers
import Measures
import Multipath
import Testing
import Wire

@testable import Tunnel

private func bytes(_ n: Int, _ fill: UInt8 = 7) -> [UInt8] { Array(repeating: fill, count: n) }

/// The pure parts of datagram flows, each by hand.
@Suite struct DatagramPartTests {
    // MARK: Copies

    @Test func aNumberCountsOnce() {
        var window = SequenceWindow()
        func accept(_ n: UInt32) -> Bool { window.accept(n) }
        #expect(accept(5))
        #expect(!accept(5) && !window.isFresh(5))
        #expect(accept(4) && !accept(4))
        #expect(accept(5 + 2_047))
        #expect(!window.isFresh(5) && accept(6), "still told apart")
        #expect(accept(5 + 2_048))
        #expect(!accept(3), "too far behind to be told from one that came")
        #expect(!accept(5))
    }

    @Test func numbersGoRound() {
        var window = SequenceWindow()
        func accept(_ n: UInt32) -> Bool { window.accept(n) }
        let last = DatagramFrame.sequences - 1
        #expect(accept(last))
        #expect(accept(0) && !accept(last) && !accept(0))
        #expect(accept(last - 1))
        #expect(accept(5_000), "a jump beyond the window forgets what was before")
        #expect(!accept(0) && accept(4_999))
    }

    /// Against a set of all that came, with jumps and wraps.
    @Test func theWindowIsASet() {
        var random = SeededRandom(seed: 9), window = SequenceWindow()
        func accept(_ n: UInt32) -> Bool { window.accept(n) }
        var seen: Set<UInt32> = [], newest: UInt32 = DatagramFrame.sequences - 700
        var isFirst = true
        for _ in 0..<20_000 {
            let offset = Int(random.next() % 3_000) - 2_500
            let n =
                UInt32(bitPattern: Int32(newest) &+ Int32(offset)) & (DatagramFrame.sequences - 1)
            let ahead = SequenceWindow.distance(from: newest, to: n)
            let expected = isFirst || ahead > 0 || (ahead > -2_048 && !seen.contains(n))
            #expect(window.isFresh(n) == expected)
            #expect(accept(n) == expected)
            if ahead > 0 || isFirst { newest = n }
            isFirst = false
            seen.insert(n)
            seen = seen.filter { SequenceWindow.distance(from: newest, to: $0) > -2_100 }
        }
    }

    // MARK: Order

    /// Feeds one resequencer; what it hands over, by their first byte.
    private final class Line {
        var resequencer = Resequencer()
        let store = DatagramStore()
        var out: [UInt8] = []
        func take(_ n: UInt32, ordered: Bool = true, at ms: Int64) {
            [UInt8(n)].withUnsafeBytes {
                resequencer.receive(
                    $0, sequence: n, isOrdered: ordered, store, at: .zero + .milliseconds(ms)
                ) { out.append($0[0]) }
            }
        }
        func advance(_ ms: Int64) {
            resequencer.advance(to: .zero + .milliseconds(ms), store) { out.append($0[0]) }
        }
    }

    @Test func aGapIsFilled() {
        let line = Line()
        for n in [0, 2, 3, 1, 4] as [UInt32] { line.take(n, at: 0) }
        #expect(line.out == [0, 1, 2, 3, 4])
        #expect(line.store.used == 0 && line.resequencer.deadline == .distantFuture)
    }

    @Test func aGapIsWaitedForSoLong() {
        let line = Line()
        for n in [0, 2, 4] as [UInt32] { line.take(n, at: Int64(n)) }
        #expect(line.resequencer.deadline == .zero + .milliseconds(32))
        line.advance(31)
        #expect(line.out == [0])
        line.advance(32)
        #expect(line.out == [0, 2])
        line.advance(34)
        #expect(line.out == [0, 2, 4])
        line.take(1, at: 40)
        #expect(line.out == [0, 2, 4, 1], "who comes later is not held up any more")
        #expect(line.store.used == 0)
    }

    @Test func whoNeedsNoOrderWaitsForNobody() {
        let line = Line()
        for n in [0, 3] as [UInt32] { line.take(n, at: 0) }
        line.take(5, ordered: false, at: 1)
        #expect(line.out == [0, 3, 5])
        line.take(4, ordered: false, at: 1)
        #expect(line.out == [0, 3, 5, 4])
    }

    /// Whatever comes in whatever order: each once, nothing kept, nothing held for longer than the
    /// wait; in order where all gaps are filled in time.
    @Test(arguments: 0..<40 as Range<UInt64>) func eachComesOnceAndInTime(_ seed: UInt64) {
        var random = SeededRandom(seed: seed), resequencer = Resequencer()
        let store = DatagramStore()
        var arrivals: [(at: Int64, n: UInt32)] = []
        let spread = Int64(random.next() % 60), isLossy = seed % 2 == 0
        for n in 0..<400 as Range<UInt32> where !(isLossy && random.chance(0.05)) {
            arrivals.append((Int64(n) + Int64(random.next() % UInt64(spread + 1)), n))
        }
        arrivals.sort { ($0.at, $0.n) < ($1.at, $1.n) }
        var out: [(at: Int64, n: UInt32)] = [], cameAt: [UInt32: Int64] = [:]
        var i = 0
        for ms in 0..<600 as Range<Int64> {
            let now = Instant.zero + .milliseconds(ms)
            func hand(_ payload: UnsafeRawBufferPointer) {
                out.append((ms, payload.loadUnaligned(as: UInt32.self)))
            }
            resequencer.advance(to: now, store, deliver: hand)
            while i < arrivals.count, arrivals[i].at == ms {
                cameAt[arrivals[i].n] = ms
                withUnsafeBytes(of: arrivals[i].n) {
                    resequencer.receive(
                        $0, sequence: arrivals[i].n, isOrdered: true, store, at: now,
                        deliver: hand)
                }
                i += 1
            }
        }
        #expect(out.map(\.n).sorted() == arrivals.map(\.n).sorted())
        #expect(out.allSatisfy { $0.at - cameAt[$0.n]! <= 30 })
        #expect(store.used == 0)
        if !isLossy, spread <= 30, arrivals.first?.n == 0 {
            #expect(out.map(\.n) == Array(0..<400))
        }
    }

    // MARK: Pieces

    @Test func piecesBecomeTheDatagram() throws {
        let store = DatagramStore()
        var assembly = DatagramAssembly()
        func piece(_ i: UInt8, _ n: Int, of last: UInt8 = 2, _ sequence: UInt32 = 1) -> [UInt8]? {
            bytes(n, i).withUnsafeBytes {
                assembly.receive(
                    $0, .init(index: i, last: last), sequence: sequence, store, at: .zero)
            }
        }
        #expect(piece(2, 1) == nil && piece(0, 3) == nil && piece(0, 3) == nil)
        #expect(piece(1, 1, of: 1) == nil, "cut otherwise")
        #expect(piece(1, 3) == bytes(3, 0) + bytes(3, 1) + bytes(1, 2))
        #expect(store.used == 0 && assembly.count == 0)
        #expect(piece(0, 5, of: 2, 9) == nil)
        #expect(assembly.advance(to: .zero + .milliseconds(300), store) == 1)
        #expect(store.used == 0)
    }

    @Test func incompleteOnesAreFew() {
        let store = DatagramStore()
        var assembly = DatagramAssembly()
        for n in 0..<100 as Range<UInt32> {
            _ = bytes(9_000).withUnsafeBytes {
                assembly.receive($0, .init(index: 0, last: 15), sequence: n, store, at: .zero)
            }
        }
        #expect(assembly.count == DatagramLimits.assemblies)
        assembly.removeAll(store)
        #expect(store.used == 0)
    }

    @Test(arguments: [1, 1_000, 1_208, 1_209, 2_000, 8_999, 9_000])
    func aDatagramIsCutToFit(_ n: Int) {
        for opening in [
            nil,
            DatagramFrame.Opening(
                association: 1,
                target: Target(host: .name(String(repeating: "a", count: 255)), port: 9))
        ] {
            let payload = bytes(n)
            payload.withUnsafeBytes { all in
                var frame = DatagramFrame(flow: 1, sequence: 2, opening: opening, payload: all)
                let pieces = DatagramFlows.pieces(of: frame, limit: 1_208)
                #expect(pieces.map(\.count).reduce(0, +) == n && pieces.count <= 16)
                for (i, range) in pieces.enumerated() {
                    frame.payload = UnsafeRawBufferPointer(rebasing: all[range])
                    if pieces.count > 1 {
                        frame.piece = .init(index: UInt8(i), last: UInt8(pieces.count - 1))
                    }
                    #expect(frame.size <= 1_208)
                }
            }
        }
    }

    // MARK: Which path

    private func path(
        _ n: Int, delay: Int64, usable: Bool = true, backup: Bool = false, uncertain: Bool = false,
        space: Int = 10_000
    ) -> DatagramPath {
        DatagramPath(
            id: PathID(n), isUsable: usable, isBackup: backup, isUncertain: uncertain,
            delay: .milliseconds(delay), space: space, rate: 0, limit: 1_228)
    }

    @Test func theFirstToArriveIsTaken() {
        let paths = [path(0, delay: 15), path(1, delay: 50)]
        #expect(DatagramPolicy.lowestDelay.choose(paths) == 0b01)
        #expect(DatagramPolicy.spread.choose(paths) == 0b01)
        #expect(DatagramPolicy.redundant.choose(paths) == 0b11)
        #expect(DatagramPolicy.lowestDelay.choose([path(0, delay: 15, space: 0), paths[1]]) == 0b10)
        #expect(DatagramPolicy.lowestDelay.choose([path(0, delay: 15, space: 0)]) == 0)
        #expect(DatagramPolicy.redundant.choose([]) == 0)
    }

    @Test func whatIsPaidForIsTakenInNeed() {
        let paths = [path(0, delay: 15), path(1, delay: 10, backup: true)]
        #expect(DatagramPolicy.lowestDelay.choose(paths) == 0b01)
        #expect(DatagramPolicy.redundant.choose(paths) == 0b01)
        let uncertain = [path(0, delay: 15, uncertain: true), paths[1]]
        #expect(DatagramPolicy.lowestDelay.choose(uncertain) == 0b11)
        let lost = [path(0, delay: 15, usable: false), paths[1]]
        #expect(DatagramPolicy.lowestDelay.choose(lost) == 0b10)
        let none = [path(0, delay: 15, usable: false), path(1, delay: 10, usable: false)]
        #expect(DatagramPolicy.lowestDelay.choose(none) == 0b11)
    }

    @Test func autoLooksAtTheFlow() {
        var voice = FlowMeter(), video = FlowMeter(), bulk = FlowMeter()
        for i in 0..<200 as Range<Int64> { voice.note(172, at: .zero + .milliseconds(20 * i)) }
        for i in 0..<200 as Range<Int64> { video.note(1_200, at: .zero + .milliseconds(10 * i)) }
        for i in 0..<200 as Range<Int64> { bulk.note(1_200, at: .zero + .milliseconds(i)) }
        #expect(voice.kind == .steady && video.kind == .other && bulk.kind == .bulk)
        #expect(DatagramPolicy.auto.effective(for: .steady, .full) == .redundant)
        #expect(DatagramPolicy.auto.effective(for: .steady, .backup) == .lowestDelay)
        #expect(DatagramPolicy.auto.effective(for: .bulk, .single) == .spread)
        #expect(DatagramPolicy.redundant.effective(for: .bulk, .single) == .redundant)
        voice.note(172, at: .zero + .seconds(60))
        #expect(voice.kind == .other, "after a pause it has yet to show what it is")
    }

    // MARK: Numbers

    @Test func aNumberRestsUntilBothHaveForgottenIt() throws {
        var numbers = FlowNumbers(isInitiator: true)
        func allocate(_ seconds: Int64) -> UInt16? {
            numbers.allocate(at: .zero + .seconds(seconds))
        }
        let first = try #require(allocate(0))
        numbers.close(first, at: .zero)
        var said: [UInt16] = []
        for ms in [0, 100, 200, 10_000] as [Int64] {
            numbers.announceClosings(
                maximum: 10, wait: .milliseconds(200), at: .zero + .milliseconds(ms)
            ) { said.append($0) }
        }
        #expect(said == [first, first, first])
        for _ in 0..<0x7fff { #expect(allocate(0) != first) }
        #expect(allocate(60) == nil, "unconfirmed")
        numbers.confirm(first, at: .zero + .seconds(60))
        #expect(allocate(69) == nil, "it rests")
        for _ in 0..<1_024 { _ = allocate(70) }
        numbers.announceClosings(maximum: 10, wait: .seconds(1), at: .zero + .seconds(71)) { _ in }
        #expect(numbers.unconfirmed == 0 && numbers.deadline == .distantFuture)
    }

    /// A copy that stood in a queue while its flow was closed does not open it again: it has come
    /// already.
    @Test func aLateCopyOpensNoClosedFlow() {
        let flows = DatagramFlows(isInitiator: false)
        #expect(flows.open(association: 3, owner: StreamSlot(0), policy: .auto))
        let opening = DatagramFrame.Opening(
            association: 3, target: Target(host: .name("far.example"), port: 9))
        var came = 0
        func receive(_ flow: UInt16, path: PathID, seconds: Int64) {
            bytes(20).withUnsafeBytes {
                flows.receive(
                    DatagramFrame(flow: flow, sequence: 0, opening: opening, payload: $0),
                    path: path, packet: UInt64(seconds) + 1, at: .zero + .seconds(seconds)
                ) { _, _, _ in came += 1 }
            }
        }
        receive(7, path: 0, seconds: 0)
        receive(7, path: 1, seconds: 1)
        #expect(came == 1 && flows.counters.copiesReceived == 1)
        flows.receive(FlowFrame(.closed, flow: 7), at: .zero + .seconds(2))
        flows.receive(FlowFrame(.closed, flow: 7), at: .zero + .seconds(3))
        receive(7, path: 2, seconds: 11)
        #expect(came == 1 && flows.flowCount == 0 && flows.counters.unknown == 1)
        // One of which nothing had come is closed as well.
        flows.receive(FlowFrame(.closed, flow: 8), at: .zero + .seconds(3))
        receive(8, path: 2, seconds: 4)
        #expect(came == 1)
        // Its number means another one after its rest.
        receive(7, path: 0, seconds: 12)
        #expect(came == 2 && flows.flowCount == 1)
        // However many are closed.
        var closed = ClosedNumbers()
        for n in 0..<0x7fff as Range<UInt16> { closed.add(n, at: .zero) }
        let newest = closed.contains(0x7ffe, at: .zero), oldest = closed.contains(0, at: .zero)
        #expect(newest && oldest)
        let rested = closed.contains(0x7ffe, at: .zero + DatagramLimits.numberRest)
        #expect(!rested)
    }

    /// Closings that nobody confirms: so many, then no new flow; each is repeated in its time, and
    /// the time of one does not grow with the others.
    @Test func closingsThatNobodyConfirmsAreBounded() throws {
        var numbers = FlowNumbers(isInitiator: false)
        var closed = 0
        while let number = numbers.allocate(at: .zero) {
            numbers.close(number, at: .zero)
            closed += 1
            if closed > 40_000 { break }
        }
        #expect(closed == DatagramLimits.flows && numbers.unconfirmed == closed)
        var said: [UInt16: Int] = [:], now = Instant.zero
        while now < .zero + .seconds(10) {
            numbers.announceClosings(maximum: 512, wait: .milliseconds(100), at: now) {
                said[$0, default: 0] += 1
            }
            now = now + .milliseconds(10)
        }
        #expect(said.count == closed)
        #expect(said.values.allSatisfy { (5...11).contains($0) })
        numbers.announceClosings(maximum: 0, wait: .milliseconds(100), at: now) { _ in }
        let number = try #require(said.keys.max())
        numbers.confirm(number, at: now)
        #expect(numbers.allocate(at: now) != nil)
        #expect(numbers.allocate(at: now) != nil)
    }

    // MARK: Sizes

    @Test func longRecordsThatNeverArriveAreSuspected() {
        var watch = FullRecordWatch(), now = Instant.zero
        func take() -> Bool { watch.takeSuspicion(at: now) }
        func step(_ ms: Int64) { now = now + .milliseconds(ms) }
        // All arrive: no suspicion.
        for _ in 0..<3 {
            watch.noteSent(1_400, isNew: true, answer: .milliseconds(60), at: now)
            step(40)
            watch.noteReport(upTo: watch.sent, lost: 0, oldest: nil, at: now)
            #expect(!take() && watch.suspectedAt == .distantFuture)
        }
        // One is lost, and the next one comes.
        for lost in [1_400, 0] {
            watch.noteSent(1_400, isNew: true, answer: .milliseconds(60), at: now)
            step(40)
            watch.noteReport(upTo: watch.sent, lost: lost, oldest: nil, at: now)
            #expect(!take())
        }
        // Two in a row, beside short ones that are reported.
        for isSecond in [false, true] {
            watch.noteSent(1_400, isNew: true, answer: .milliseconds(60), at: now)
            step(40)
            watch.noteReport(upTo: watch.sent, lost: 1_400, oldest: nil, at: now)
            #expect(take() == isSecond)
            #expect(!take(), "once")
        }
        // Nothing is reported at all.
        watch.noteSent(1_400, isNew: true, answer: .milliseconds(60), at: now)
        step(59)
        #expect(!take())
        step(1)
        #expect(take())
    }
}

/// Two ends of a session's flows, joined by hand.
private final class FlowPair {
    let near = DatagramFlows(isInitiator: true), far = DatagramFlows(isInitiator: false)
    var now = Instant.zero + .seconds(1)
    var packet: UInt64 = 1
    var got: [(target: Target, bytes: [UInt8])] = []
    /// What the last `carry` sent to the far side, by path.
    var onWire: [(path: PathID, bytes: [UInt8])] = []

    func send(
        _ from: DatagramFlows, _ payload: [UInt8], _ target: Target, _ association: UInt16 = 1
    ) {
        payload.withUnsafeBytes {
            _ = try? from.send($0, association: association, to: target, at: now)
        }
    }

    /// The near side has `payload` for each of these ports of one host.
    func send(toPorts ports: ClosedRange<UInt16>, _ payload: [UInt8]) {
        for port in ports { send(near, payload, Target(host: .name("a"), port: port)) }
    }

    /// Lets one side send; what is lost by `keep` never comes.
    func exchange(
        _ from: DatagramFlows, paths: Int = 1, views given: [DatagramPath]? = nil,
        keep: (PathID, Int) -> Bool = { _, _ in true }
    ) {
        let to = from === near ? far : near
        var views = given ?? (0..<paths).map { FlowPair.path($0) }
        onWire = []
        from.fill(&views, mode: .full, at: now) { path, frame in
            var out = [UInt8](repeating: 0, count: frame.size)
            out.withUnsafeMutableBytes { _ = frame.write(into: $0.baseAddress!) }
            from.carriers[path.number].window.noteSent(
                out.count, number: packet + UInt64(onWire.count), isFull: false,
                answer: .milliseconds(100), at: now)
            onWire.append((path, out))
            return true
        }
        for (i, item) in onWire.enumerated() {
            defer { packet += 1 }
            guard keep(item.path, i) else { continue }
            item.bytes.withUnsafeBytes {
                to.receive(
                    DatagramFrame.read($0)!, path: item.path, packet: packet, at: now
                ) { _, target, payload in got.append((target, Array(payload))) }
            }
        }
    }

    static func path(
        _ number: Int, usable: Bool = true, backup: Bool = false, uncertain: Bool = false
    ) -> DatagramPath {
        DatagramPath(
            id: PathID(number), isUsable: usable, isBackup: backup, isUncertain: uncertain,
            delay: .milliseconds(Int64(10 + number)), space: 1 << 20, rate: 0, limit: 1_228)
    }

    func words(_ from: DatagramFlows) {
        let to = from === near ? far : near
        from.repeatClosings(wait: .milliseconds(100), at: now)
        let said = from.statements
        from.statements = []
        for frame in said { to.receive(frame, at: now) }
    }
    func settle() { for _ in 0..<4 { words(near); words(far) } }

    /// Lets as many flows of associations that have ended end as do in `turns` turns.
    func endFlows(_ side: DatagramFlows, turns: Int64 = 2) {
        for turn in 0..<turns {
            side.advance(to: now + .milliseconds(turn)) { _, _, _ in }
        }
    }

    /// The copies of what was sent a moment ago are given back within this time.
    func forgetRecent(_ side: DatagramFlows) {
        now += DatagramLimits.queueAge + DatagramLimits.recentCheck
        side.advance(to: now) { _, _, _ in }
    }

    init() {
        _ = near.open(association: 1, owner: 0, policy: .auto)
        _ = far.open(association: 1, owner: 0, policy: .auto)
    }
    static let target = Target(host: .name("example.org"), port: 9)
    static let source = Target(host: .address(IPAddress(v4: 0xc000_0207)), port: 9)
}

@Suite struct DatagramFlowTests {
    @Test func theTargetIsSaidUntilItIsKnown() {
        let pair = FlowPair()
        pair.send(pair.near, bytes(3), FlowPair.target)
        pair.exchange(pair.near) { _, _ in false }
        #expect(pair.onWire[0].bytes[0] == 0x41)
        pair.settle()
        pair.send(pair.near, bytes(3), FlowPair.target)
        pair.exchange(pair.near)
        #expect(pair.onWire[0].bytes[0] == 0x41 && pair.got.count == 1)
        #expect(pair.got[0].target == FlowPair.target)
        pair.settle()
        pair.send(pair.near, bytes(200), FlowPair.target)
        pair.exchange(pair.near)
        #expect(pair.onWire[0].bytes[0] == 0x40 && pair.onWire[0].bytes.count == 208)
        #expect(pair.got[1].bytes == bytes(200) && pair.got[1].target == FlowPair.target)
    }

    @Test func anAnswerFromElsewhereHasAFlowOfItsOwn() {
        let pair = FlowPair()
        pair.send(pair.near, bytes(3), FlowPair.target)
        pair.exchange(pair.near)
        pair.settle()
        pair.send(pair.far, bytes(4), FlowPair.source)
        pair.exchange(pair.far)
        #expect(pair.got.last?.target == FlowPair.source)
        pair.settle()
        // And it serves both directions.
        pair.send(pair.near, bytes(5), FlowPair.source)
        pair.exchange(pair.near)
        #expect(pair.onWire[0].bytes[0] == 0x40 && pair.got.last?.target == FlowPair.source)
        #expect(pair.near.flowCount == 2 && pair.far.flowCount == 2)
    }

    @Test func theFirstCopyCounts() {
        let pair = FlowPair()
        _ = pair.near.open(association: 2, owner: 7, policy: .redundant)
        _ = pair.far.open(association: 2, owner: 7, policy: .redundant)
        for i in 0..<20 {
            pair.send(pair.near, bytes(100, UInt8(i)), FlowPair.source, 2)
            pair.exchange(pair.near, paths: 2) { path, k in (i + k) % 3 != 0 || path == 1 }
        }
        #expect(pair.got.map { $0.bytes[0] } == Array(0..<20))
        #expect(pair.near.counters.copiesSent == 20 && pair.far.counters.copiesReceived > 5)
    }

    /// Three datagrams, 20 ms apart, lost with path 0, which took them alone.
    private func pairAfterLoss() -> FlowPair {
        let pair = FlowPair()
        for i in 0..<3 {
            pair.send(pair.near, bytes(100, UInt8(i)), FlowPair.source)
            pair.exchange(pair.near, paths: 2) { path, _ in path != 0 }
            #expect(pair.onWire.map(\.path) == [0])
            pair.now = pair.now + .milliseconds(20)
        }
        #expect(pair.got.isEmpty)
        pair.near.recent.isRepeatDue = true
        return pair
    }

    @Test func whatAPathTookWithItGoesOnceMore() {
        let pair = pairAfterLoss()
        pair.exchange(pair.near, views: [])
        #expect(pair.onWire.isEmpty, "there is no way yet")
        pair.exchange(pair.near, views: [FlowPair.path(1)])
        #expect(pair.got.map { $0.bytes[0] } == [0, 1, 2])
        pair.near.recent.isRepeatDue = true
        pair.exchange(pair.near, views: [FlowPair.path(2)])
        #expect(pair.onWire.isEmpty, "once")
        pair.send(pair.near, bytes(100, 3), FlowPair.source)
        pair.exchange(pair.near, views: [FlowPair.path(1)])
        #expect(pair.got.count == 4, "with a number of its own")
        pair.now = pair.now + .seconds(1)
        pair.near.advance(to: pair.now) { _, _, _ in }
        #expect(pair.near.store.used == 0 && pair.near.recent.expiresAt == .distantFuture)
    }

    @Test func whatIsOldOrKnownToHaveArrivedDoesNot() {
        let pair = pairAfterLoss()
        // The second one's record was reported: the first one is no news of this path's end either.
        let report = DatagramReportFrame(newest: 2, bytes: 100, held: 0)
        pair.near.receive(report, path: 0, at: pair.now)
        pair.exchange(pair.near, views: [FlowPair.path(1)])
        #expect(pair.got.map { $0.bytes[0] } == [2])
        let late = pairAfterLoss()
        late.now = late.now + .milliseconds(61)
        late.exchange(late.near, views: [FlowPair.path(1)])
        #expect(late.got.map { $0.bytes[0] } == [2], "what is older than 100 ms helps nobody")
    }

    @Test func anUnprovenPathIsWorthNoBackup() {
        let pair = pairAfterLoss()
        let backup = FlowPair.path(1, backup: true)
        pair.exchange(pair.near, views: [FlowPair.path(0, uncertain: true), backup])
        #expect(pair.onWire.isEmpty)
        pair.exchange(pair.near, views: [FlowPair.path(0, usable: false), backup])
        #expect(pair.onWire.map(\.path) == [1, 1, 1] && pair.got.count == 3)
        let regular = pairAfterLoss()
        regular.exchange(
            regular.near, views: [FlowPair.path(0, uncertain: true), FlowPair.path(1)])
        #expect(regular.onWire.map(\.path) == [1, 1, 1] && regular.got.count == 3)
        let fine = pairAfterLoss()
        fine.exchange(fine.near, paths: 2)
        #expect(fine.onWire.isEmpty, "the path was proven")
    }

    @Test func aLongOneIsWholeOrNotThere() {
        let pair = FlowPair()
        for n in [1, 1_200, 1_221, 5_000, 9_000] { pair.send(pair.near, bytes(n), FlowPair.target) }
        pair.exchange(pair.near)
        #expect(pair.got.map(\.bytes.count) == [1, 1_200, 1_221, 5_000, 9_000])
        pair.send(pair.near, bytes(9_000), FlowPair.target)
        pair.exchange(pair.near) { _, i in i != 3 }
        #expect(pair.got.count == 5)
        pair.send(pair.near, bytes(9_001), FlowPair.target)
        pair.exchange(pair.near)
        #expect(pair.onWire.isEmpty && pair.near.counters.tooLong == 1)
        pair.now = pair.now + .seconds(1)
        pair.far.advance(to: pair.now) { _, _, _ in }
        pair.near.advance(to: pair.now) { _, _, _ in }
        #expect(pair.far.counters.incomplete == 1 && pair.far.store.used == 0)
        #expect(pair.near.store.used == 0)
    }

    @Test func theEndOfAnAssociationEndsItAll() {
        let pair = FlowPair()
        pair.send(toPorts: 1...50, bytes(3))
        pair.exchange(pair.near)
        pair.settle()
        pair.send(pair.near, bytes(3), FlowPair.source)
        pair.near.close(association: 1, at: pair.now)
        pair.endFlows(pair.near)
        #expect(pair.near.flowCount == 0)
        pair.forgetRecent(pair.near)
        #expect(pair.near.store.used == 0)
        // What the other side still has under way is for nobody.
        pair.send(pair.far, bytes(9), Target(host: .name("a"), port: 3))
        pair.exchange(pair.far)
        #expect(pair.got.count == 50)
        pair.far.close(association: 1, at: pair.now)
        pair.endFlows(pair.far)
        pair.settle()
        // Ends are said 32 at a time.
        #expect(pair.near.numbers.unconfirmed == 51 - ArrivalWork.maximumFlowEnds)
        pair.now = pair.now + .milliseconds(10)
        pair.settle()
        #expect(pair.near.isEmpty && pair.far.isEmpty)
    }

    @Test func whoHasForgottenIsTold() {
        let pair = FlowPair()
        pair.send(pair.near, bytes(3), FlowPair.target)
        pair.exchange(pair.near)
        pair.settle()
        pair.far.close(association: 1, at: pair.now)
        pair.far.statements = []
        _ = pair.far.open(association: 1, owner: 0, policy: .auto)
        for _ in 0..<2 {
            pair.send(pair.near, bytes(3), FlowPair.target)
            pair.exchange(pair.near)
            pair.settle()
        }
        #expect(pair.got.count == 2 && pair.far.flowCount == 1)
    }

    /// A number that comes to mean something else never brings the one's datagrams to the other.
    @Test func onlyItsOpenerSaysWhatAFlowIs() {
        let pair = FlowPair()
        let forged = DatagramFrame(
            flow: 0x0001, sequence: 0,
            opening: .init(association: 1, target: FlowPair.target),
            payload: UnsafeRawBufferPointer(start: nil, count: 0))
        pair.near.receive(forged, path: 0, packet: 1, at: pair.now) { _, _, _ in
            Issue.record("taken")
        }
        #expect(pair.near.flowCount == 0 && pair.near.counters.unknown == 1)
    }

    @Test func flowsThatRestEnd() {
        let pair = FlowPair()
        pair.send(pair.near, bytes(3), FlowPair.target)
        pair.send(pair.near, bytes(3), Target(host: .name("dns"), port: 53))
        pair.exchange(pair.near)
        pair.settle()
        func wait(_ seconds: Int64) {
            pair.now = pair.now + .seconds(seconds)
            for side in [pair.near, pair.far] { side.advance(to: pair.now) { _, _, _ in } }
            pair.settle()
        }
        wait(31)
        #expect(pair.near.flowCount == 1 && pair.far.flowCount == 1)
        wait(270)
        #expect(pair.near.flowCount == 0 && pair.far.flowCount == 0)
    }

    @Test func thereAreSoManyFlows() {
        let pair = FlowPair()
        for n in 0..<6_000 as Range<UInt32> {
            pair.send(pair.near, bytes(1), Target(host: .address(IPAddress(v4: n)), port: 9))
            pair.exchange(pair.near)
        }
        #expect(pair.near.flowCount == DatagramLimits.flows)
        #expect(pair.near.counters.refusedFlows == 6_000 - DatagramLimits.flows)
        pair.now = pair.now + .seconds(3)
        pair.send(pair.near, bytes(1), FlowPair.target)
        #expect(pair.near.flow(.init(association: 1, target: FlowPair.target)) != nil)
        #expect(pair.near.flowCount == DatagramLimits.flows)
    }

    /// A call is not late for a flood of its own session's.
    /// Of a user's sessions all have the same share; what one gives back another may have.
    @Test func flowsOfAUserAreCountedOverAllSessions() {
        let share = SharedLimit(100)
        let now = Instant.zero + .seconds(1)
        func make() -> DatagramFlows {
            let flows = DatagramFlows(isInitiator: false, share: share)
            _ = flows.open(association: 1, owner: 0, policy: .auto)
            return flows
        }
        func send(_ flows: DatagramFlows, _ port: UInt16) {
            bytes(3).withUnsafeBytes {
                _ = try? flows.send(
                    $0, association: 1, to: Target(host: .name("a"), port: port), at: now)
            }
        }
        let first = make()
        var second: DatagramFlows? = make()
        for port in 1...80 as ClosedRange<UInt16> { send(first, port) }
        for port in 1...80 as ClosedRange<UInt16> { send(second!, port) }
        #expect(first.flowCount == 80 && second!.flowCount == 20 && share.used == 100)
        #expect(second!.counters.refusedFlows == 60)
        let third = make()
        for port in 1...9 as ClosedRange<UInt16> { send(third, port) }
        #expect(third.flowCount == 0 && third.counters.refusedFlows == 9, "the others have all")
        second = nil
        #expect(share.used == 80, "the end of a session gives them back")
        first.close(association: 1, at: now)
        #expect(share.used == 0, "at once, whatever ends when")
        for turn in 0..<3 as Range<Int64> {
            first.advance(to: now + .milliseconds(turn)) { _, _, _ in }
        }
        #expect(first.flowCount == 0 && share.used == 0)
    }

    /// Whichever flows end first, those of an association that stay are ended with it.
    @Test func flowsLeaveTheirAssociationInAnyOrder() {
        var random = SeededRandom(seed: 5)
        let flows = DatagramFlows(isInitiator: true)
        let now = Instant.zero + .seconds(1)
        for association in 1...3 as ClosedRange<UInt16> {
            _ = flows.open(association: association, owner: 0, policy: .auto)
        }
        var open: [DatagramFrame.Opening] = []
        for i in 0..<2_000 as Range<UInt16> {
            if random.next() % 3 > 0 || open.isEmpty {
                let opening = DatagramFrame.Opening(
                    association: 1 + i % 3, target: Target(host: .name("a"), port: i + 1))
                open.append(opening)
                bytes(3).withUnsafeBytes {
                    _ = try? flows.send(
                        $0, association: opening.association, to: opening.target, at: now)
                }
            } else {
                let gone = open.remove(at: Int(random.next() % UInt64(open.count)))
                flows.end(flows.flow(gone)!, at: now)
            }
        }
        #expect(flows.flowCount == open.count)
        for association in 1...3 as ClosedRange<UInt16> {
            flows.close(association: association, at: now)
            open.removeAll { $0.association == association }
            for turn in 0..<20 as Range<Int64> {
                flows.advance(to: now + .milliseconds(turn)) { _, _, _ in }
            }
            #expect(flows.flowCount == open.count)
        }
        #expect(flows.store.used == 0)
    }

    /// There may be thousands: they are nobody's at once, and end a few in a turn.
    @Test func theFlowsOfAnAssociationEndByAndBy() {
        let pair = FlowPair()
        func target(_ n: Int) -> Target {
            Target(host: .address(IPAddress(v4: UInt32(n + 1))), port: 9)
        }
        for n in 0..<300 { pair.send(pair.near, bytes(1), target(n)) }
        pair.exchange(pair.near)
        pair.settle()
        #expect(pair.far.flowCount == 300 && pair.got.count == 300)
        pair.send(pair.near, bytes(1), target(0))
        pair.near.close(association: 1, at: pair.now)
        pair.exchange(pair.near)
        #expect(pair.onWire.isEmpty, "what waited is not sent")
        #expect(pair.near.flow(.init(association: 1, target: target(0))) == nil)
        #expect(pair.near.deadline <= pair.now)
        for left in stride(
            from: 300 - DatagramLimits.endingAtOnce, to: 0, by: -DatagramLimits.endingAtOnce)
        {
            pair.near.advance(to: pair.now) { _, _, _ in }
            #expect(pair.near.flowCount == left && !pair.near.isEmpty)
            pair.near.advance(to: pair.now) { _, _, _ in }
            #expect(pair.near.flowCount == left, "no more of them in the same turn")
            pair.now += DatagramLimits.endingWait
        }
        pair.near.advance(to: pair.now) { _, _, _ in }
        #expect(pair.near.flowCount == 0 && pair.near.numbers.unconfirmed == 300)
        pair.forgetRecent(pair.near)
        #expect(pair.near.store.used == 0)
    }

    /// The number of an association that ended means the next one from then on, whatever of the
    /// first one's flows is still there.
    @Test func anAssociationsNumberIsFreeAtOnce() {
        let pair = FlowPair()
        pair.send(toPorts: 1...200, bytes(1))
        pair.exchange(pair.near)
        pair.settle()
        for side in [pair.near, pair.far] {
            side.close(association: 1, at: pair.now)
            let isOpen = side.open(association: 1, owner: 1, policy: .auto)
            #expect(isOpen)
        }
        pair.got = []
        pair.send(toPorts: 1...200, bytes(2))
        pair.exchange(pair.near)
        pair.settle()
        #expect(pair.got.count == 200 && pair.near.flowCount == 400)
        for side in [pair.near, pair.far] { pair.endFlows(side, turns: 20) }
        #expect(pair.near.flowCount == 200 && pair.far.flowCount == 200)
        pair.send(toPorts: 1...200, bytes(3))
        pair.exchange(pair.near)
        #expect(pair.got.count == 400 && pair.far.counters.unknown == 0)
        #expect(pair.near.flowCount == 200)
    }

    /// A peer may use the number of a flow that is ending for another one.
    @Test func aFlowsNumberMayComeAgainWhileItEnds() {
        let share = SharedLimit(1_000)
        let far = DatagramFlows(isInitiator: false, share: share)
        let now = Instant.zero + .seconds(1)
        func receive(_ flow: UInt16, _ association: UInt16) {
            bytes(3).withUnsafeBytes {
                let opening = DatagramFrame.Opening(
                    association: association, target: FlowPair.target)
                far.receive(
                    DatagramFrame(flow: flow, sequence: 0, opening: opening, payload: $0),
                    path: 0, packet: 1, at: now
                ) { _, _, _ in }
            }
        }
        for association in 1...2 as ClosedRange<UInt16> {
            _ = far.open(association: association, owner: 0, policy: .auto)
        }
        for flow in 0..<200 as Range<UInt16> { receive(flow, 1) }
        far.close(association: 1, at: now)
        #expect(share.used == 0)
        for flow in 0..<200 as Range<UInt16> { receive(flow, 2) }
        #expect(far.flowCount == 200 && share.used == 200)
        for turn in 0..<20 as Range<Int64> {
            far.advance(to: now + .milliseconds(turn)) { _, _, _ in }
        }
        #expect(far.flowCount == 200 && share.used == 200)
        for flow in 0..<200 as Range<UInt16> { #expect(far.flow(number: flow) != nil) }
    }

    /// What waits is paid by the session's user, and is given back with the session.
    @Test func whatWaitsIsPaidFor() {
        let budget = MemoryBudget(limit: 1 << 20)
        let memory = MemoryShare(of: budget, isOnlyOne: true)
        var flows: DatagramFlows? = DatagramFlows(isInitiator: true, memory: memory)
        _ = flows!.open(association: 1, owner: 0, policy: .auto)
        for i in 0..<1_000 as Range<UInt16> {
            bytes(9_000).withUnsafeBytes {
                _ = try? flows!.send(
                    $0, association: 1, to: Target(host: .name("a"), port: i % 300 + 1),
                    at: .zero + .microseconds(Int64(i)))
            }
        }
        #expect(flows!.store.used <= budget.used && budget.used <= 1 << 20)
        #expect(flows!.store.used > 400_000 && flows!.counters.crowdedOut > 800)
        flows = nil
        #expect(budget.used == 0)
    }

    @Test func aCallGoesAheadOfAFlood() {
        let pair = FlowPair()
        let flood = Target(host: .name("flood"), port: 9)
        var heard = 0
        for ms in 0..<2_000 {
            pair.now = pair.now + .milliseconds(1)
            for _ in 0..<20 { pair.send(pair.near, bytes(60, 1), flood) }
            if ms % 20 == 0 { pair.send(pair.near, bytes(172, 2), FlowPair.source) }
            // 4 Mbit/s.
            var views = [
                DatagramPath(
                    id: 0, isUsable: true, isBackup: false, isUncertain: false,
                    delay: .milliseconds(10), space: 500, rate: 0, limit: 1_228)
            ]
            pair.near.fill(&views, mode: .full, at: pair.now) { _, frame in
                if frame.payload.first == 2 { heard += 1 }
                return true
            }
        }
        #expect(heard == 100 && pair.near.counters.late > 10_000)
        #expect(pair.near.store.used < 1 << 20)
    }

    /// Hostile words and frames of every kind: nothing grows without bound.
    @Test func whateverIsSaidIsBounded() {
        var random = SeededRandom(seed: 3)
        let pair = FlowPair()
        for _ in 0..<60_000 {
            let number = UInt16(truncatingIfNeeded: random.next())
            let statement: FlowFrame.Statement =
                random.chance(0.4) ? .closed : random.chance(0.5) ? .unknown : .acknowledged
            pair.far.receive(FlowFrame(statement, flow: number), at: pair.now)
            let opening = DatagramFrame.Opening(
                association: 1,
                target: Target(host: .address(IPAddress(v4: UInt32(number))), port: 1))
            bytes(1_000).withUnsafeBytes {
                pair.far.receive(
                    DatagramFrame(
                        flow: number, sequence: UInt32(truncatingIfNeeded: random.next()),
                        isOrdered: true, opening: random.chance(0.5) ? opening : nil,
                        piece: random.chance(0.3) ? .init(index: 1, last: 9) : nil, payload: $0),
                    path: 3, packet: random.next(), at: pair.now
                ) { _, _, _ in }
            }
            pair.far.receive(
                DatagramReportFrame(
                    newest: UInt32(truncatingIfNeeded: random.next()),
                    bytes: UInt32(truncatingIfNeeded: random.next()), held: 3), path: 3,
                at: pair.now)
        }
        #expect(pair.far.flowCount <= DatagramLimits.flows)
        #expect(pair.far.statements.count <= DatagramLimits.statements)
        #expect(pair.far.store.used <= DatagramLimits.memory)
    }
}
