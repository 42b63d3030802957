import Buffers
import Crypto
import Measures
import Testing
import Wire

@testable import Crypto
@testable import Tunnel

/// Two sessions with a `SessionHost` each and no `Endpoint`: what a session does by itself, with
/// records in, records out and one deadline. Whose turn it is, and which session a datagram is for,
/// is all that the test does in an endpoint's place.
@Suite struct SessionAloneTests {
    private final class End {
        let host: SessionHost
        let session: Session
        let batch = DatagramBatch()
        var demands: [SessionDemand] = []

        init(
            _ configuration: EndpointConfiguration, _ opening: SessionOpening, user: UserState?,
            peer: SessionPeer, at now: Instant
        ) {
            host = SessionHost(configuration: configuration.inSession, seed: World.key(9))
            session = Session(
                opening, host: host, user: user, peer: peer,
                memory: MemoryShare(of: MemoryBudget(limit: 1 << 26)), mode: .full,
                numberCursor: 0, at: now)
        }

        /// Its time, if that has come.
        func advance(to now: Instant) {
            guard host.deadlines.nextSession <= now else { return }
            _ = host.deadlines.popSession(at: now)
            for demand in session.notifyingAll(at: now, { session.advance(to: now) }) {
                demands.append(demand)
                if case .isOver = demand { session.life = .closing }
            }
        }

        /// The datagrams that leave.
        func takeDatagrams(at now: Instant) -> [[UInt8]] {
            host.work.sessionsToFlush.removeAll()
            #expect(session.flush(into: batch, at: now))
            host.work.sessionsWithTimers.removeAll()
            session.refreshTimers(at: now)
            defer { batch.removeAll() }
            var all: [[UInt8]] = []
            for run in batch.runs {
                for at in stride(
                    from: run.offset, to: run.offset + run.length, by: run.segmentSize)
                {
                    let count = min(run.segmentSize, run.offset + run.length - at)
                    all.append(
                        Array(UnsafeRawBufferPointer(start: batch.arena + at, count: count)))
                }
            }
            return all
        }

        func receive(_ datagram: [UInt8], from source: PathAddress, at now: Instant) -> Bool {
            var datagram = datagram
            return datagram.withUnsafeMutableBytes { bytes in
                guard let header = DatagramHeader(UnsafeRawBufferPointer(bytes)),
                    case .authentic = session.receive(header, bytes, from: source, at: now)
                else { return false }
                return true
            }
        }
    }

    private final class Two {
        var now = Instant.zero + .seconds(1_000)
        let near: End, far: End
        var isCut = false
        private var flights: [(at: Instant, toFar: Bool, bytes: [UInt8])] = []
        static let client = SocketAddress(IPAddress(v4: 0xc000_0201), port: 4_000)
        let uplink = Uplink(number: 0, name: "wifi")

        init() {
            let mine = StaticKeyPair(privateKey: World.key(1))
            let theirs = StaticKeyPair(privateKey: World.key(2))
            let out = World.key(11), back = World.key(12)
            func opening(
                _ n: UInt32, _ send: Key32, _ receive: Key32, at now: Instant
            )
                -> SessionOpening
            {
                SessionOpening(
                    indices: SessionIndices(
                        slot: SessionSlot(of: n), local: n, remote: n), instance: 5,
                    suite: .chaCha20Poly1305,
                    keys: EpochKeys(
                        epoch: 0, suite: .chaCha20Poly1305,
                        keys: NoiseHandshake.TransportKeys(send: send, receive: receive),
                        since: now))
            }
            let proxy = EndpointConfiguration(
                role: .proxy(
                    concentrator: [World.far], publicKey: theirs.publicKey, preSharedKey: nil),
                identity: mine)
            let alice = EndpointConfiguration.User(name: "alice", publicKey: mine.publicKey)
            var concentrator = EndpointConfiguration(
                role: .concentrator(users: [alice]), identity: theirs)
            concentrator.sessionSilence = .seconds(60)
            near = End(
                proxy, opening(0, out, back, at: now), user: nil,
                peer: SessionPeer(publicKey: theirs.publicKey, preSharedKey: .zero), at: now)
            near.host.proxy.remotes = [World.far]
            near.host.proxy.uplinks = [UplinkState(uplink: uplink)]
            let user = UserState(
                alice, number: 0, memory: MemoryShare(of: MemoryBudget(limit: 1 << 26)),
                flows: SharedLimit(100), wallClock: 0)
            far = End(
                concentrator, opening(0, back, out, at: now), user: user, peer: user.peer, at: now)
        }

        /// 10 ms each way; at most `limit` datagrams, or it spins.
        func run(_ length: Interval, limit: Int = 2_000) {
            let end = now + length
            var datagrams = 0
            while true {
                for (one, toFar) in [(near, true), (far, false)] {
                    one.advance(to: now)
                    for bytes in one.takeDatagrams(at: now) where !isCut {
                        flights.append((now + .milliseconds(10), toFar, bytes))
                        datagrams += 1
                    }
                }
                #expect(datagrams <= limit)
                let next = min(
                    flights.first?.at ?? .distantFuture,
                    min(near.host.deadlines.nextSession, far.host.deadlines.nextSession))
                guard next <= end, datagrams <= limit else { break }
                now = max(now, next)
                while let first = flights.first, first.at <= now {
                    flights.removeFirst()
                    let source = PathAddress(
                        remote: first.toFar ? Self.client : World.far, local: .unspecifiedV4,
                        uplink: 0)
                    let isTaken = (first.toFar ? far : near).receive(
                        first.bytes, from: source, at: now)
                    #expect(isTaken, "a record of the other end's is authentic")
                }
            }
            now = end
        }
    }

    /// It opens a path and says so, both ends find that it works and how long it takes, the
    /// concentrator asks the address; then there is nothing to do.
    @Test func aPathIsOpenedAndProbedByTheTwoAlone() throws {
        let two = Two()
        two.near.session.openPaths(uplink: two.uplink, at: two.now)
        two.run(.seconds(2))
        let ours = try #require(two.near.session.paths[0])
        let theirs = try #require(two.far.session.paths[0])
        #expect(ours.health == .usable && theirs.health == .usable)
        #expect(theirs.validation.isComplete && theirs.remote == Two.client)
        #expect(abs((ours.roundTrip.smoothed - .milliseconds(20)).nanoseconds) < 2_000_000)
        #expect(!two.near.session.hasSignals, "its word was echoed")
        #expect(two.near.demands.isEmpty && two.far.demands.isEmpty)
        two.run(.seconds(60), limit: 200)
        #expect(ours.health == .usable && theirs.health == .usable)
    }

    /// Nobody has to tell a concentrator's session that nothing comes any more.
    @Test func silenceEndsAConcentratorsSessionByItsOwnClock() throws {
        let two = Two()
        two.near.session.openPaths(uplink: two.uplink, at: two.now)
        two.run(.seconds(2))
        two.isCut = true
        let isOver = {
            two.far.demands.contains { if case .isOver(.silent) = $0 { true } else { false } }
        }
        let silence = two.far.host.configuration.sessionSilence
        two.run(silence - .seconds(5), limit: 0)
        #expect(!isOver())
        two.run(.seconds(10), limit: 0)
        #expect(isOver())
    }
}
