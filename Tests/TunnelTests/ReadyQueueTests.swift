import Buffers
import Crypto
import Measures
import Multipath
import Testing

@testable import Tunnel

/// The turns of streams that have something to send.
@Suite struct ReadyQueueTests {
    private let host = SessionHost(
        configuration: EndpointConfiguration(
            role: .concentrator(users: []), identity: StaticKeyPair(privateKey: World.key(1))),
        seed: World.key(2))

    private func stream(_ user: Int) -> StreamHandle {
        let connection = Connection(
            role: .listener, configuration: ConnectionConfiguration(), localKey: 1, at: .zero)
        let stream = StreamHandle(
            connection: connection, host: host, session: nil, target: nil)
        if user >= 0 {
            stream.account = UserState(
                EndpointConfiguration.User(name: "", publicKey: .zero), number: user,
                memory: MemoryShare(of: MemoryBudget(limit: 0), maximum: 0),
                flows: SharedLimit(0), wallClock: 0)
        }
        return stream
    }

    /// Visits as `transmit` does: each stream sends what it has, at most 32 segments of 1400 bytes
    /// at a time.
    private func visit(
        _ queue: inout ReadyQueue, _ left: inout [ObjectIdentifier: Int],
        until done: (StreamHandle) -> Bool
    ) -> Int {
        var sent = 0
        while let stream = queue.popFirst() {
            let n = min(32, left[ObjectIdentifier(stream)] ?? 0)
            left[ObjectIdentifier(stream)]! -= n
            queue.charge(stream, bytes: n * 1400, segments: n)
            sent += n
            if left[ObjectIdentifier(stream)]! > 0 { queue.append(stream) }
            if done(stream) { return sent }
        }
        return sent
    }

    @Test func aUsersRequestPassesAnothersThousandDownloads() {
        var queue = ReadyQueue(), left: [ObjectIdentifier: Int] = [:]
        let bulk = (0..<1000).map { _ in stream(0) }
        for s in bulk { left[ObjectIdentifier(s)] = 1000; queue.append(s) }
        _ = visit(&queue, &left) { $0 === bulk[900] }
        let small = stream(1)
        left[ObjectIdentifier(small)] = 1
        queue.append(small)
        #expect(visit(&queue, &left) { $0 === small } <= 64)
    }

    @Test func aThinStreamPassesItsUsersBulk() {
        var queue = ReadyQueue(), left: [ObjectIdentifier: Int] = [:]
        let bulk = (0..<100).map { _ in stream(0) }
        for s in bulk { left[ObjectIdentifier(s)] = 1000; queue.append(s) }
        _ = visit(&queue, &left) { $0 === bulk[99] }
        let thin = stream(0)
        left[ObjectIdentifier(thin)] = 2
        queue.append(thin)
        #expect(visit(&queue, &left) { $0 === thin } <= 64)
    }

    @Test func usersShareInEqualParts() {
        var queue = ReadyQueue(), left: [ObjectIdentifier: Int] = [:], visits = [0, 0, 0]
        for (user, count) in [(0, 1), (1, 10), (2, 100)] {
            for _ in 0..<count {
                let s = stream(user); left[ObjectIdentifier(s)] = 1 << 30; queue.append(s)
            }
        }
        var rounds = 0
        _ = visit(&queue, &left) {
            visits[$0.turnNumber - 1] += 1; rounds += 1; return rounds == 3000
        }
        #expect(visits.allSatisfy { $0 > 950 && $0 < 1050 }, "\(visits)")
    }

    @Test func thinStreamsDoNotStarveBulk() {
        var queue = ReadyQueue()
        let bulk = stream(0), thin = (0..<20).map { _ in stream(0) }
        bulk.queues.isBulk = true
        queue.append(bulk)
        for s in thin { queue.append(s) }
        var seen = 0
        for i in 0..<1000 {
            guard let next = queue.popFirst() else { break }
            queue.charge(next, bytes: 100, segments: next === bulk ? 32 : 1)
            if next === bulk { seen += 1 }
            queue.append(next)
            #expect(queue.count == 21, "\(i)")
        }
        #expect(seen > 90)
    }

    @Test func nothingIsLostOrTakenTwice() {
        var queue = ReadyQueue(), random = SeededRandom(seed: 4), inside = 0
        let streams = (0..<60).map { stream($0 % 7 - 1) }
        for _ in 0..<20_000 {
            if random.next() % 3 > 0 {
                let s = streams[Int(random.next() % 60)]
                if !s.queues.isReady { inside += 1 }
                if random.next() % 8 == 0 { queue.prepend(s) } else { queue.append(s) }
                #expect(s.queues.isReady)
            } else if let s = queue.popFirst() {
                inside -= 1
                #expect(!s.queues.isReady)
                queue.charge(
                    s, bytes: Int(random.next() % 50_000), segments: Int(random.next() % 33))
            }
            #expect(queue.count == inside && queue.isEmpty == (inside == 0))
        }
        while queue.popFirst() != nil { inside -= 1 }
        #expect(inside == 0)
    }

    @Test func usersAreToldInTurn() {
        var queue = ActivityQueue()
        let many = (0..<1000).map { _ in stream(0) }, one = stream(1)
        for s in many { queue.append(s) }
        _ = queue.popFirst()
        queue.append(one)
        #expect(
            queue.popFirst() === many[1] && queue.popFirst() === one && queue.popFirst() === many[2]
        )
        var count = 3
        while queue.popFirst() != nil { count += 1 }
        #expect(count == 1000 && queue.isEmpty)
    }
}
