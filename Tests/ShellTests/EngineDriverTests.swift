import Buffers
import Crypto
import Glibc
import Measures
import Testing
import Tunnel
import Wire

@testable import Shell

/// One end of the tunnel with a socket per stream instead of proxy and concentrator: the far ends
/// are the test's.
private final class EndOfTunnel: EngineDelegate {
    let driver: EngineDriver
    let loop: EventLoop
    var incoming: [StreamHandle] = []
    var pumps: [ObjectIdentifier: Pump] = [:]
    var answers: [DialStatus] = []
    var ends: [Pump.End] = []
    var failures: [UplinkNumber] = []
    var onIncoming: (StreamHandle) -> Void = { _ in }

    init(_ configuration: EndpointConfiguration, _ loop: EventLoop) {
        var configuration = configuration
        configuration.epoch = EventLoop.epoch()
        self.loop = loop
        driver = EngineDriver(
            endpoint: Endpoint(
                configuration: configuration, seed: SystemRandom.key(), at: loop.now()), loop: loop)
        driver.delegate = self
    }

    func handle(_ event: EndpointEvent) {
        switch event {
        case .incoming(let stream, _, _): onIncoming(stream)
        case .answered(_, let status): answers.append(status)
        case .activity(let stream): pumps[ObjectIdentifier(stream)]?.activity()
        default: break
        }
    }

    func uplinkFailed(_ number: UplinkNumber, _ error: SystemError) { failures.append(number) }

    func pump(_ stream: StreamHandle, _ socket: StreamSocket) {
        let key = ObjectIdentifier(stream)
        let pump = Pump(socket: socket, handle: stream, driver: driver) { [unowned self] end in
            self.ends.append(end)
            self.pumps[key] = nil
        }
        pumps[key] = pump
        pump.start()
    }
}

/// Writes `total` bytes of a known pattern into a socket, then finishes; counts and checks what
/// comes back.
private final class Peer {
    let socket: StreamSocket
    private var toSend: Int
    private var sent = 0
    var received = 0, wrong = 0, ended = false
    private let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 16)

    init(_ socket: StreamSocket, send: Int) {
        self.socket = socket
        toSend = send
        socket.watch.onReadable(for: self) { $0.read() }
        socket.watch.onWritable(for: self) { $0.write() }
        socket.watch.wantsRead = true
        socket.watch.wantsWrite = true
    }
    deinit { piece.deallocate() }

    private func byte(_ at: Int) -> UInt8 { UInt8(truncatingIfNeeded: at &* 31 ^ at >> 8) }

    private func write() {
        while sent < toSend {
            let n = min(piece.count, toSend - sent)
            for i in 0..<n { piece[i] = byte(sent + i) }
            guard
                case .bytes(let taken) = socket.write(UnsafeRawBufferPointer(rebasing: piece[..<n])),
                taken > 0
            else { return }
            sent += taken
        }
        socket.watch.wantsWrite = false
        socket.finishWriting()
    }

    private func read() {
        switch socket.read(into: piece) {
        case .bytes(let n):
            for i in 0..<n where piece[i] != byte(received + i) { wrong += 1 }
            received += n
        case .blocked: break
        case .end, .failed: ended = true; socket.watch.wantsRead = false
        }
    }
}

@Suite struct EngineDriverTests {
    /// What a session that ends brings about is handed out a little at a time: handlers that take
    /// long do not keep the loop.
    @Test func eventsLeaveOthersTheirTurn() throws {
        final class Slow: EngineDelegate {
            var handled = 0
            func handle(_ event: EndpointEvent) {
                handled += 1
                usleep(300)
            }
        }
        let loop = try EventLoop(), slow = Slow(), streams = 300
        let endpoint = Endpoint(
            configuration: EndpointConfiguration(
                role: .proxy(
                    concentrator: [SocketAddress("127.0.0.1:9")!],
                    publicKey: StaticKeyPair(privateKey: SystemRandom.key()).publicKey,
                    preSharedKey: nil),
                identity: StaticKeyPair(privateKey: SystemRandom.key())),
            seed: SystemRandom.key(), at: loop.now())
        let driver = EngineDriver(endpoint: endpoint, loop: loop)
        driver.delegate = slow
        let target = Target(host: .name("example.org"), port: 1)
        let held = (0..<streams).map { _ in endpoint.open(target, at: loop.now()) }
        endpoint.shutDown(at: loop.now())
        var most = 0, before = 0
        loop.afterEvents {
            most = max(most, slow.handled - before)
            before = slow.handled
        }
        #expect(loop.run(until: .seconds(20)) { slow.handled >= streams })
        // Twice a turn, until the next look at the clock.
        #expect(most <= 40, "\(most) in one turn")
        withExtendedLifetime(held) {}
    }

    private func tunnel(_ loop: EventLoop) throws -> (proxy: EndOfTunnel, concentrator: EndOfTunnel)
    {
        let proxyKeys = StaticKeyPair(privateKey: SystemRandom.key()),
            keys = StaticKeyPair(privateKey: SystemRandom.key())
        let server = try DatagramSocket(
            .listen(SocketAddress(IPAddress(v4: 0x7f00_0001), port: 0)),
            loop: loop)
        let concentrator = EndOfTunnel(
            .init(
                role: .concentrator(users: [.init(name: "test", publicKey: proxyKeys.publicKey)]),
                identity: keys), loop)
        let proxy = EndOfTunnel(
            .init(
                role: .proxy(
                    concentrator: [server.localAddress], publicKey: keys.publicKey,
                    preSharedKey: nil),
                identity: proxyKeys), loop)
        concentrator.driver.addListenSocket(server)
        for number in 0..<2 {
            let socket = try DatagramSocket(
                .source(IPAddress(v4: 0x7f00_0002 + UInt32(number)), device: nil), loop: loop)
            proxy.driver.addUplink(
                Uplink(number: UplinkNumber(number), name: "uplink\(number)"), socket: socket)
        }
        return (proxy, concentrator)
    }

    @Test func bytesPassBothWaysAndAnUplinkMayGo() throws {
        let loop = try EventLoop()
        let (proxy, concentrator) = try tunnel(loop)
        let total = 3 << 20
        let (application, atProxy) = try connectedPair(loop),
            (destination, atConcentrator) = try connectedPair(loop)
        var isAnswered = false
        concentrator.onIncoming = { stream in
            stream.answer(with: .connected, at: loop.now())
            concentrator.pump(stream, atConcentrator)
            isAnswered = true
        }
        let stream = proxy.driver.endpoint.open(
            Target(host: .name("test.example"), port: 80), at: loop.now())
        proxy.pump(stream, atProxy)
        let a = Peer(application, send: total), b = Peer(destination, send: total)
        #expect(loop.run(until: .seconds(20)) { a.received > 200_000 })
        #expect(isAnswered)
        proxy.driver.removeUplink(0)
        #expect(
            loop.run(until: .seconds(30)) { a.ended && b.ended },
            "\(a.received) and \(b.received) of \(total)")
        #expect(a.received == total && b.received == total && a.wrong == 0 && b.wrong == 0)
        _ = loop.run(until: .seconds(2)) { proxy.ends.count == 1 && concentrator.ends.count == 1 }
        #expect(proxy.ends == [.finished] && concentrator.ends == [.finished])
    }

    /// Three hundred handlers of half a millisecond are ready at once: a request made in the first
    /// one is at the other end long before the last one runs.
    @Test func datagramsPassManyReadyHandlers() throws {
        let loop = try EventLoop()
        let (proxy, concentrator) = try tunnel(loop)
        #expect(
            loop.run(until: .seconds(10)) {
                proxy.driver.endpoint.report(at: loop.now()).sessions.count == 1
                    && concentrator.driver.endpoint.report(at: loop.now()).sessions.count == 1
            })
        _ = loop.run(until: .milliseconds(100)) { false }
        var ran = 0, ranAtArrival: Int?, stream: StreamHandle?
        concentrator.onIncoming = { _ in ranAtArrival = ran }
        let timers = (0..<300).map { _ in
            loop.timer {
                ran += 1
                if stream == nil {
                    stream = proxy.driver.endpoint.open(
                        Target(host: .name("test.example"), port: 80), at: loop.now())
                }
                let end = loop.now() + .microseconds(500)
                while loop.now() < end {}
            }
        }
        let at = loop.now() + .milliseconds(1)
        for timer in timers { timer.arm(at: at) }
        #expect(loop.run(until: .seconds(20)) { ran == timers.count && ranAtArrival != nil })
        #expect((ranAtArrival ?? .max) < 150, "\(ranAtArrival ?? -1) of 300 had run")
        withExtendedLifetime((stream, timers)) {}
    }

    @Test func anIdleTunnelSleeps() throws {
        let loop = try EventLoop()
        let (proxy, concentrator) = try tunnel(loop)
        _ = loop.run(until: .milliseconds(700)) { false }
        #expect(proxy.driver.endpoint.report(at: loop.now()).sessions.count == 1)
        var iterations = 0
        loop.afterEvents { iterations += 1 }
        _ = loop.run(until: .milliseconds(500)) { false }
        #expect(iterations < 100, "\(iterations) iterations in half a second without traffic")
        withExtendedLifetime((proxy, concentrator)) {}
    }
}
