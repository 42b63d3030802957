import Buffers
import Crypto
import Measures
import Multipath
import Testing

@testable import Tunnel
@testable import Wire

/// What a user with keys can make an endpoint do: no more than the datagram is worth.
@Suite struct BoundTests {
    private func session(_ endpoint: Endpoint) throws -> Session {
        try #require(endpoint.sessions.first ?? nil)
    }

    private func world(_ seed: UInt64, streams: Int) throws -> World {
        let world = World(seed: seed)
        for _ in 0..<streams {  // that stay open and say nothing
            let stream = world.proxy.open(
                Target(host: .name("example.org"), port: 1), at: world.now)
            let client = Client(stream, sending: 0)
            client.hasFinished = true
            stream.owner = client
            world.clients.append(client)
        }
        #expect(world.run(.seconds(5)) { world.concentrator.host.streams.living == streams })
        _ = world.run(.seconds(3))
        #expect(world.concentrator.host.streams.compactMap { $0 }.count == streams)
        return world
    }

    private func state(
        _ path: UInt8, _ generation: UInt16, isOpen: Bool, mode: UInt8 = 0
    ) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: PathStateFrame.size)
        bytes.withUnsafeMutableBytes {
            PathStateFrame(
                path: path, generation: generation, incarnation: 9, isOpen: isOpen, isBackup: false,
                isSilent: false, mode: mode
            ).write(into: $0.baseAddress!)
        }
        return bytes
    }

    /// 2,000 connections hear of a lost path one after the other, none of them in the datagram that
    /// said it, and all of them soon.
    @Test func connectionsHearOfAPathInTheirTurn() throws {
        let world = try world(801, streams: 2_000)
        let theirs = try session(world.concentrator)
        let path = try #require(theirs.paths[1])
        #expect(
            world.concentrator.host.streams.compactMap { $0 }.allSatisfy {
                $0.connection.hasSubflow(path: 1)
            })
        try SkippedFrameTests.inject(
            state(1, path.statement.generation &+ 1, isOpen: false), toProxy: false, world)
        #expect(path.health == .lost)
        #expect(theirs.changes.left == 2_000)
        world.filter = { _, _, _ in false }
        _ = world.run(.milliseconds(20))
        #expect(
            !theirs.changes.isPending && world.concentrator.host.work.sessionsWithChanges.isEmpty)
        #expect(
            world.concentrator.host.streams.compactMap { $0 }.allSatisfy {
                !$0.connection.hasSubflow(path: 1)
            })
    }

    /// What an end sees by itself, the loss of an uplink, all connections have heard of when the call
    /// returns.
    @Test func connectionsHearOfALostUplinkAtOnce() throws {
        let world = try world(802, streams: 200)
        let ours = try session(world.proxy)
        let path = try #require(ours.paths[1])
        world.proxy.removeUplink(path.uplink, at: world.now)
        #expect(path.health == .lost && !ours.changes.isPending)
        let streams = world.proxy.host.streams.compactMap { $0 }
        #expect(streams.count >= 200)
        #expect(streams.allSatisfy { !$0.connection.hasSubflow(path: 1) })
    }

    /// The end of a session ends none of its 2,000 connections in the datagram that said it, and
    /// all of them soon; its user may have a new one at once.
    @Test func connectionsOfAClosedSessionEndInTheirTurn() throws {
        let world = try world(808, streams: 2_000)
        let theirs = try session(world.concentrator)
        var close = [UInt8](repeating: 0, count: CloseFrame.size)
        close.withUnsafeMutableBytes {
            CloseFrame(reason: .shutDown).write(into: $0.baseAddress!)
        }
        try SkippedFrameTests.inject(close, toProxy: false, world)
        #expect(theirs.isClosing && world.concentrator.sessions.allSatisfy { $0 == nil })
        #expect(world.concentrator.host.streams.living == 2_000)
        world.filter = { _, _, _ in false }
        _ = world.run(.milliseconds(20))
        #expect(world.concentrator.host.streams.living == 0)
        #expect(world.concentrator.ending.isEmpty && theirs.streams.isEmpty)
    }

    /// Lost and open again before a connection heard of either: its subflow there ended all the
    /// same.
    @Test func aPathThatIsLostAndOpenInOneDatagram() throws {
        let world = try world(802, streams: 5)
        let theirs = try session(world.concentrator)
        let path = try #require(theirs.paths[1])
        world.filter = { _, _, _ in false }
        let generation = path.statement.generation
        try SkippedFrameTests.inject(
            state(1, generation &+ 1, isOpen: true)
                + state(1, generation &+ 2, isOpen: true, mode: 2),
            toProxy: false, world)
        _ = world.run(.milliseconds(20))
        for stream in world.concentrator.host.streams.compactMap({ $0 }) {
            #expect(!stream.connection.hasSubflow(path: 1))
            #expect(stream.connection.mode == .single)
        }
    }

    /// More path states than paths are no news.
    @Test func pathStatesPerDatagram() throws {
        let world = try world(803, streams: 1)
        let theirs = try session(world.concentrator), path = try #require(theirs.paths[0])
        let generation = path.statement.generation
        let frames = (1...200).flatMap { state(0, generation &+ UInt16($0), isOpen: true) }
        try SkippedFrameTests.inject(frames, toProxy: false, world)
        #expect(path.statement.generation == generation &+ UInt16(Limits.statesPerDatagram))
    }

    /// One datagram of reset frames ends a few subflows only; the others go on, and nothing behind
    /// them counts.
    @Test func resetsPerDatagram() throws {
        let world = try world(807, streams: 100)
        let streams = world.concentrator.host.streams.compactMap { $0 }
        world.filter = { _, _, _ in false }
        let before = streams.reduce(0) { $0 + $1.connection.livingSubflows }
        let frames = streams.flatMap { stream -> [UInt8] in
            var bytes = [UInt8](repeating: 0, count: SubflowResetFrame.size)
            bytes.withUnsafeMutableBytes {
                SubflowResetFrame(number: stream.links[0].number, reason: 0).write(
                    into: $0.baseAddress!)
            }
            return bytes
        }
        let path = try #require(try session(world.concentrator).paths[0])
        let generation = path.statement.generation &+ 1
        let behind = state(0, generation, isOpen: true)
        try SkippedFrameTests.inject(frames + behind, toProxy: false, world)
        #expect(
            streams.reduce(0) { $0 + $1.connection.livingSubflows } == before
                - ArrivalWork.maximum / ArrivalWork.subflowReset)
        #expect(path.statement.generation != generation)
        #expect(world.concentrator.host.counters.tooMuchWork == 1)
        // The next datagram has its own.
        try SkippedFrameTests.inject(behind, toProxy: false, world)
        #expect(path.statement.generation == generation)
        #expect(world.concentrator.host.counters.tooMuchWork == 1)
    }

    /// Segments without a head cost what finding their connections does.
    @Test func unreadableSegmentsPerDatagram() throws {
        let world = try world(809, streams: 1)
        let number = try #require(
            world.concentrator.host.streams.compactMap { $0 }.first?.links[0].number)
        let before = world.concentrator.host.counters
        let frame: [UInt8] = [0xe0, UInt8(number >> 8), UInt8(number & 255), 0]
        try SkippedFrameTests.inject(
            (0..<300).flatMap { _ in frame }, toProxy: false, world)
        let after = world.concentrator.host.counters
        #expect(after.tooMuchWork == before.tooMuchWork + 1)
        #expect(
            after.badSegments - before.badSegments
                == ArrivalWork.maximum / ArrivalWork.unreadable + 1)
    }

    /// 1,000 connections that are aborted at once: a datagram of resets is read to its end.
    @Test func honestAbortsAreRead() throws {
        let world = try world(810, streams: 1_000)
        for client in world.clients { client.stream.abort(at: world.now) }
        #expect(world.run(.seconds(3)) { world.concentrator.host.streams.living == 0 })
        #expect(world.concentrator.host.counters.tooMuchWork == 0)
    }

    /// An abort that is found by its key ends every subflow of its connection, which is paid for.
    @Test func abortsByKeyArePaidForWithAllSubflows() throws {
        let world = try world(811, streams: 40)
        world.filter = { _, _, _ in false }
        let streams = world.concentrator.host.streams.compactMap { $0 }
        #expect(streams.allSatisfy { $0.connection.memberCount == 2 })
        let frames = streams.flatMap { stream -> [UInt8] in
            var abort = Segment()
            abort.flags = .rst
            abort.options.present = .fastClose
            abort.options.fastClose.receiverKey = stream.connection.localKey
            return frame(abort, 60_000)
        }
        try SkippedFrameTests.inject(frames, toProxy: false, world)
        let each = ArrivalWork.frame + ArrivalWork.abortByKey + 2 * ArrivalWork.subflowEnd
        let ended = streams.filter { $0.connection.error != nil }.count
        #expect(ended == ArrivalWork.maximum / each)
        #expect(world.concentrator.host.counters.tooMuchWork == 1)
    }

    /// A segment that comes while its connection has yet to hear that a path is lost counts as if
    /// it had come before: no datagram pays for what another one has said.
    @Test func segmentsBeforeTheNewsAreRead() throws {
        let world = try world(812, streams: 100)
        let theirs = try session(world.concentrator), path = try #require(theirs.paths[1])
        world.filter = { _, _, _ in false }
        let streams = Array(world.concentrator.host.streams.compactMap { $0 }.prefix(20))
        let numbers = streams.compactMap { stream in
            stream.links.first { $0.path == 0 && $0.isUsed }?.number
        }
        #expect(numbers.count == 20)
        try SkippedFrameTests.inject(
            state(1, path.statement.generation &+ 1, isOpen: false), toProxy: false, world)
        var frames: [UInt8] = []
        for (stream, number) in zip(streams, numbers) {
            guard case .used(let entry) = theirs.numbers.lookup(number),
                let tcp = stream.connection.subflow(entry.subflow)
            else { continue }
            var s = Segment()
            s.flags = .ack
            s.sequence = tcp.receiveNext
            s.acknowledgement = tcp.sendNext
            s.window = 1_000
            frames += frame(s, number)
        }
        let before = streams.reduce(0) { $0 + $1.connection.livingSubflows }
        try SkippedFrameTests.inject(frames, toProxy: false, world)
        #expect(world.concentrator.host.counters.tooMuchWork == 0)
        #expect(streams.allSatisfy { $0.connection.hasSubflow(path: 1) })
        #expect(streams.reduce(0) { $0 + $1.connection.livingSubflows } == before)
        _ = world.run(.milliseconds(20))
        #expect(streams.allSatisfy { !$0.connection.hasSubflow(path: 1) })
    }

    /// A join makes its connection hear of what was said of its paths, which is paid for.
    @Test func joinsPayForTheNews() throws {
        let world = try world(813, streams: 16)
        let theirs = try session(world.concentrator), path = try #require(theirs.paths[1])
        world.filter = { _, _, _ in false }
        let streams = world.concentrator.host.streams.compactMap { $0 }
        #expect(streams.allSatisfy { $0.connection.hasSubflow(path: 1) })
        try SkippedFrameTests.inject(
            state(1, path.statement.generation &+ 1, isOpen: false), toProxy: false, world)
        let frames = streams.enumerated().flatMap { i, stream -> [UInt8] in
            var syn = Segment()
            syn.flags = .syn
            syn.window = 1_000
            syn.options.present = .join
            syn.options.join.form = .syn(token: stream.connection.localToken, nonce: 1)
            return frame(syn, UInt16(60_000 + i))
        }
        // States of the past, which say nothing, before them.
        let states = (0..<28).flatMap { _ in
            state(1, path.statement.generation &- 9, isOpen: true)
        }
        try SkippedFrameTests.inject(states + frames, toProxy: false, world)
        let each = ArrivalWork.frame + ArrivalWork.opening + ArrivalWork.subflowEnd
        let joined = streams.filter { !$0.connection.hasSubflow(path: 1) }.count
        #expect(joined == (ArrivalWork.maximum - 28 * ArrivalWork.state) / each)
        #expect(joined < Limits.openingsPerDatagram)
        #expect(world.concentrator.host.counters.tooMuchWork == 1)
    }

    /// A concentrator can't have more connections looked for in a datagram than are paid for; and
    /// puts no more requests into one.
    @Test func joinRequestsArePaidFor() throws {
        let world = try world(816, streams: 30)
        let ours = try session(world.concentrator), path = try #require(ours.paths[0])
        world.filter = { _, _, _ in false }
        let requests = (0..<60).flatMap { i in
            [UInt8](unsafeUninitializedCapacity: JoinRequestFrame.size) { out, count in
                JoinRequestFrame(token: UInt32(i)).write(
                    into: UnsafeMutableRawPointer(out.baseAddress!))
                count = JoinRequestFrame.size
            }
        }
        try SkippedFrameTests.inject(requests, toProxy: true, world)
        #expect(world.proxy.host.counters.tooMuchWork == 1)
        let few = ArrivalWork.maximum / ArrivalWork.joinRequest * JoinRequestFrame.size
        try SkippedFrameTests.inject(Array(requests[..<few]), toProxy: true, world)
        #expect(world.proxy.host.counters.tooMuchWork == 1)

        _ = ours.flush(path, DatagramBatch(), at: world.now)
        let before = path.waiting.work
        let taken = ours.append(JoinRequestFrame.size, to: path, work: ArrivalWork.joinRequest)
        #expect(taken != nil && path.waiting.work == before + ArrivalWork.joinRequest)
    }

    /// Of answers to unknown subflows a datagram holds no more than its reader reads.
    @Test func answersToUnknownSubflowsAreFewInADatagram() throws {
        let world = try world(814, streams: 1)
        let path = try #require(try session(world.concentrator).paths[0])
        world.filter = { _, _, _ in false }
        _ = world.run(.milliseconds(1))
        let before = path.waiting.count
        var unknown = Segment()
        unknown.flags = .ack
        let frames = (0..<60).flatMap { frame(unknown, UInt16(50_000 + $0)) }
        try SkippedFrameTests.inject(frames, toProxy: false, world)
        #expect(path.waiting.work <= ArrivalWork.maximumSent)
        #expect(
            path.waiting.count - before
                == ArrivalWork.maximumSent / ArrivalWork.sentReset * SubflowResetFrame.size)
    }

    /// Where pending signals and what waits are more than is read of one datagram, the signals have
    /// one of their own, ahead of the other.
    @Test func signalsGoAheadOfWhatCostsMuch() throws {
        let world = try world(815, streams: 1)
        let ours = try session(world.proxy), path = try #require(ours.paths[0])
        func datagrams(work: Int) throws -> Int {
            for case let path? in ours.paths { ours.signalState(of: path, at: world.now) }
            let out = try #require(ours.append(10, to: path, work: work))
            out.initializeMemory(as: UInt8.self, repeating: 0, count: 10)
            let batch = DatagramBatch()
            let isEmpty = ours.flush(path, batch, at: world.now)
            #expect(isEmpty && path.waiting.count == 0 && path.waiting.work == 0)
            return batch.runs.reduce(0) { $0 + $1.datagrams }
        }
        _ = ours.flush(path, DatagramBatch(), at: world.now)
        #expect(try datagrams(work: ArrivalWork.maximum - 2 * ArrivalWork.state) == 1)
        #expect(try datagrams(work: ArrivalWork.maximumSent) == 2)
    }

    /// One Diffie-Hellman a session and ten seconds, however many messages there are, right or
    /// wrong.
    @Test func rekeysAreRare() throws {
        let world = try world(804, streams: 1)
        let theirs = try session(world.concentrator)
        let wrong = { (salt: UInt8) -> [UInt8] in [5, 1, 96] + [UInt8](repeating: salt, count: 96) }
        let before = world.concentrator.host.counters.badFrames
        try SkippedFrameTests.inject((1...13).flatMap { wrong($0) }, toProxy: false, world)
        // Not while the datagram is read: nobody's datagram waits for a multiplication.
        #expect(world.concentrator.host.counters.badFrames == before)
        #expect(world.concentrator.host.work.rekeys.count == 1)
        world.concentrator.advance(to: world.now)
        #expect(world.concentrator.host.work.rekeys.isEmpty)
        #expect(world.concentrator.host.counters.badFrames == before + 1)
        let allowed = theirs.keys.rekeyAllowedAt
        #expect(allowed == world.now + Limits.rekeyInterval)
        _ = world.run(.seconds(9))
        try SkippedFrameTests.inject(wrong(77), toProxy: false, world)
        world.concentrator.advance(to: world.now)
        #expect(world.concentrator.host.counters.badFrames == before + 1)
        _ = world.run(.seconds(2))
        try SkippedFrameTests.inject(wrong(78), toProxy: false, world)
        world.concentrator.advance(to: world.now)
        #expect(world.concentrator.host.counters.badFrames == before + 2)
    }

    /// Of the SYNs in a datagram four count, whatever they are for; and a proxy that has more to
    /// say begins another datagram.
    @Test func synsOfADatagramAreFew() throws {
        let world = try world(807, streams: 1)
        var syn = Segment()
        syn.flags = .syn
        syn.window = 1_000
        syn.options.present = .multipathCapable
        let frames = (0..<60).flatMap { frame(syn, UInt16(50_000 + $0)) }
        try SkippedFrameTests.inject(frames, toProxy: false, world)
        #expect(world.concentrator.host.streams.living == 1 + Limits.openingsPerDatagram)

        // Sooner than any would be repeated.
        for _ in 0..<40 { _ = world.proxy.open(Target(host: .name("a"), port: 1), at: world.now) }
        #expect(
            world.run(.milliseconds(100)) {
                world.concentrator.host.streams.living == 41 + Limits.openingsPerDatagram
            })
    }

    /// Joins whose subflows end at once, as many as there are numbers: their indices must fit a
    /// byte.
    @Test func joinsThatEndAtOnce() throws {
        let world = try world(805, streams: 1)
        let stream = try #require(world.concentrator.host.streams.compactMap { $0 }.first)
        world.filter = { toProxy, _, _ in !toProxy }
        for round in 0..<400 {
            var syn = Segment()
            syn.flags = .syn
            syn.sequence = SubflowSequence(1_000)
            syn.window = 1_000
            syn.options.present = [.join, .sackPermitted]
            syn.options.join.form = .syn(token: stream.connection.localToken, nonce: 1)
            let number = UInt16(60_000 + round)
            try SkippedFrameTests.inject(frame(syn, number), toProxy: false, world)
            guard let index = stream.links.lastIndex(where: { $0.isUsed && $0.number == number }),
                let tcp = stream.connection.subflow(SubflowIndex(index))
            else { continue }
            _ = world.run(.microseconds(100))
            var fin = Segment()
            fin.flags = [.ack, .fin]
            fin.sequence = SubflowSequence(1_001)
            fin.acknowledgement = tcp.initialSendSequence + 1
            fin.window = 1_000
            try SkippedFrameTests.inject(frame(fin, number), toProxy: false, world)
        }
        #expect(stream.links.count <= 2 * SchedulingCandidates.capacity)
    }

    private func frame(_ segment: Segment, _ number: UInt16) -> [UInt8] {
        var context = SealedContext(number: number, isInitiator: true)
        let out = UnsafeMutableRawPointer.allocate(
            byteCount: SealedSegment.maximumHead, alignment: 1)
        defer { out.deallocate() }
        let n = SealedSegment.write(
            segment, payloadLength: 0, runsToEnd: false, context: &context, into: out)
        return Array(UnsafeRawBufferPointer(start: out, count: n))
    }

    /// An MSS of 64 is taken for one of 536.
    @Test func theLeastSegmentSize() {
        var configuration = ConnectionConfiguration()
        #expect(configuration.subflow.minimumSegmentSize == 64)
        let world = World(seed: 806)
        configuration = world.concentrator.configuration.connection
        #expect(configuration.subflow.minimumSegmentSize == 536)
    }
}
