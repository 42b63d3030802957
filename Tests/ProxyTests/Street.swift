import Buffers
import Concentrator
import Crypto
import Dialogue
import Glibc
import Logging
import Measures
import Rules
import Shell
import Wire

@testable import Proxy

/// A proxy, a concentrator and an origin on the loopback in one loop, with real sockets between
/// them.
final class Street {
    let loop: EventLoop
    let proxy: ProxyServer
    let concentrator: ConcentratorServer
    private var origins: [StreamListener] = []
    private var guests: [Guest] = []

    init(
        credentials: Credentials? = nil, denies: Bool = false, open: OpenPolicy = .auto,
        maximumClients: Int = 20_000, clients: ClientLimits = ClientLimits(),
        secondListener: Bool = false,
        dialTimeout: Interval = .seconds(3), names: NameSettings = NameSettings(),
        nameServers: String = "/etc/resolv.conf", hasNames: Bool = true, loop: EventLoop? = nil,
        rules: RuleSet = RuleSet(), withoutSession: WithoutSession = .refuse
    ) throws {
        let loop = try loop ?? EventLoop()
        self.loop = loop
        let proxyKey = StaticKeyPair(privateKey: SystemRandom.key()),
            concentratorKey = StaticKeyPair(privateKey: SystemRandom.key())
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        var there = ConcentratorSettings(
            identity: concentratorKey, listen: [SocketAddress("127.0.0.1:0")!],
            users: [.init(name: "alice", publicKey: proxyKey.publicKey)])
        there.egress.rules.deniesPrivate = denies
        there.dialTimeout = dialTimeout
        there.resolverConfiguration = nameServers
        if !hasNames { there.usersWithoutNames = ["alice"] }
        concentrator = try ConcentratorServer(there, loop: loop, log: log)
        let listener = try ProxyListener(
            address: SocketAddress("127.0.0.1:0")!, credentials: credentials)
        let port = concentrator.listen[0].port
        var here = ProxySettings(
            identity: proxyKey,
            concentrator: [Target(host: .address(IPAddress("127.0.0.1")!), port: port)],
            concentratorKey: concentratorKey.publicKey, listeners: [listener])
        if secondListener {
            here.listeners.append(try ProxyListener(address: SocketAddress("127.0.0.1:0")!))
        }
        here.maximumClients = maximumClients
        here.clients = clients
        here.uplinks = [.init(.source(Subnet("127.0.0.1")!))]
        here.open = open
        here.names = names
        here.rules = rules
        here.withoutSession = withoutSession
        proxy = try ProxyServer(here, loop: loop, log: log)
    }

    /// Clients keep their server until they have left.
    deinit {
        for _ in 0..<2 { proxy.stop(); concentrator.stop() }
    }

    /// A server that answers what it reads: `script` gets everything read so far, and returns what
    /// to send, once it knows, and whether to close behind it. Returns its port.
    func origin(
        _ script: @escaping (_ read: [UInt8], _ ended: Bool) -> (send: [UInt8], close: Bool)?
    ) throws -> UInt16 {
        let listener = try StreamListener(
            SocketAddress("127.0.0.1:0")!,
            loop: loop
        ) { [weak self] socket, _ in
            self?.guests.append(Guest(socket, script))
        }
        origins.append(listener)
        return listener.address.port
    }

    /// A port nobody listens on.
    func closedPort() throws -> UInt16 {
        let listener = try StreamListener(SocketAddress("127.0.0.1:0")!, loop: loop) { _, _ in }
        defer { listener.close() }
        return listener.address.port
    }

    /// An application's connection to the proxy.
    func application(on listener: Int = 0) throws -> Application { try Application(self, listener) }

    /// Sends `bytes` on a connection of its own and returns what came back until the proxy closed.
    func ask(_ bytes: [UInt8]) throws -> [UInt8] {
        let application = try application()
        application.send(bytes)
        application.wait { application.isEnded }
        return application.received
    }
    func ask(_ text: String) throws -> String {
        String(decoding: try ask(Array(text.utf8)), as: UTF8.self)
    }
}

/// One connection at an origin.
private final class Guest {
    private let socket: StreamSocket
    private let script: ([UInt8], Bool) -> (send: [UInt8], close: Bool)?
    private var read: [UInt8] = []
    private var pending: [UInt8] = []
    private var closes = false

    init(
        _ socket: StreamSocket, _ script: @escaping ([UInt8], Bool) -> (send: [UInt8], close: Bool)?
    ) {
        self.socket = socket
        self.script = script
        socket.watch.onReadable(for: self) { $0.readable() }
        socket.watch.onWritable(for: self) { $0.flush() }
        socket.watch.wantsRead = true
    }

    private func readable() {
        var ended = false
        withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 1) { space in
            switch socket.read(into: space) {
            case .bytes(let n): read.append(contentsOf: space[..<n])
            case .end: ended = true; socket.watch.wantsRead = false
            case .blocked: break
            case .failed: socket.close()
            }
        }
        guard let answer = script(read, ended) else { return }
        read = []
        pending += answer.send
        closes = answer.close
        flush()
    }

    private func flush() {
        switch socket.write(pending) {
        case .bytes(let n): pending.removeFirst(n)
        case .blocked: break
        case .failed: socket.close(); return
        }
        socket.watch.wantsWrite = !pending.isEmpty
        if pending.isEmpty, closes { socket.close() }
    }
}

final class Application {
    private let street: Street
    private var socket: StreamSocket?
    private var attempt: StreamSocket.Attempt?
    private(set) var received: [UInt8] = []
    private(set) var isEnded = false
    private(set) var wasReset = false
    private var pending: [UInt8] = []
    /// Bytes after which it reads no more.
    var readsUpTo = Int.max
    var text: String { String(decoding: received, as: UTF8.self) }

    init(_ street: Street, _ listener: Int) throws {
        self.street = street
        attempt = StreamSocket.connect(
            to: street.proxy.listen[listener],
            loop: street.loop
        ) { [weak self] result in
            guard let self else { return }
            guard case .success(let socket) = result else { self.isEnded = true; return }
            self.socket = socket
            socket.watch.onReadable(for: self) { $0.read() }
            socket.watch.onWritable(for: self) { $0.flush() }
            socket.watch.wantsRead = true
        }
        wait { self.socket != nil || self.isEnded }
    }

    func send(_ bytes: [UInt8]) { pending += bytes; flush() }
    func send(_ text: String) { send(Array(text.utf8)) }
    func finish() { wait { self.pending.isEmpty }; socket?.finishWriting() }
    /// Closes with RST.
    func reset() { socket?.reset(); socket = nil; isEnded = true }
    /// Closes as the end of a process does: with RST where something is unread.
    func close() { socket?.close(); socket = nil; isEnded = true }
    var isAlive: Bool { socket != nil && !isEnded }
    /// Closes at once, with what was sent out of the way.
    func leave(resetting: Bool) {
        wait { self.pending.isEmpty }
        if resetting { socket?.reset() } else { socket?.close() }
    }

    /// Lets the loop run until `condition` holds, for 10 s at most.
    @discardableResult func wait(_ condition: () -> Bool) -> Bool {
        street.loop.run(until: .seconds(10), condition)
    }
    /// Lets the loop run a few times.
    func wait(turns: Int) {
        for _ in 0..<turns { _ = street.loop.run(until: .milliseconds(1)) { false } }
    }
    /// Waits for `count` bytes and takes them.
    func expect(_ count: Int) -> [UInt8] {
        wait { self.received.count >= count || self.isEnded }
        let out = Array(received.prefix(count))
        received.removeFirst(out.count)
        return out
    }

    private func flush() {
        guard let socket else { return }
        switch socket.write(pending) {
        case .bytes(let n): pending.removeFirst(n)
        case .blocked: break
        case .failed(let code):
            pending = []
            // Said once: what is read next has an ordinary end.
            guard code == ECONNRESET else { break }
            (isEnded, wasReset) = (true, true)
            socket.watch.wantsRead = false
        }
        socket.watch.wantsWrite = !pending.isEmpty
    }

    private func read() {
        withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 1) { space in
            switch socket!.read(into: space) {
            case .bytes(let n):
                received.append(contentsOf: space[..<n])
                if received.count >= readsUpTo { socket!.watch.wantsRead = false }
            case .end: isEnded = true; socket!.watch.wantsRead = false
            case .blocked: break
            case .failed: isEnded = true; wasReset = true; socket!.watch.wantsRead = false
            }
        }
    }
}
