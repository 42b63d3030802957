import Crypto
import Glibc
import History
import Logging
import Measures
import Multipath
import Shell
import Tunnel
import Wire

/// A session that carries no application: to come in by an invitation, and to see whether the way
/// to the concentrator works. For the command line: it runs the loop itself.
public final class JoinClient: EngineDelegate {
    /// A path that a session has, as somebody who sets up a pair wants to see it.
    public struct Way: Equatable, Sendable {
        /// Its name, as the configuration knows it.
        public var uplink: String
        /// The concentrator's address.
        public var remote: String
        /// Smoothed round trip, in milliseconds.
        public var roundTrip: Double
        /// Whether answers came by it.
        public var works: Bool
        /// Bytes of the longest IP packet that has shown that it passes, as far as that is known; 0
        /// while not even 1,280 have.
        public var packetSize: Int
    }

    /// What came of saying a key.
    public enum Enrolled: Equatable, Sendable {
        /// The machine is this user now.
        case admitted(String)
        /// The concentrator has its reasons.
        case refused(EnrolmentAnswer.Outcome)
        /// It is older than invitations, or ended in the middle.
        case unanswered
    }

    /// What a path gives.
    public struct Measured: Equatable, Sendable {
        /// Address and port from which the concentrator sees this machine's datagrams come.
        public var seenAs: String
        /// To this machine and from it.
        public var downRate: Rate, upRate: Rate
        /// Share of datagrams that were lost lately, of the worse direction, 0 to 1.
        public var loss: Double
    }

    private let loop: EventLoop
    private let driver: EngineDriver
    private var uplinks: UplinkSet?
    private var addresses: ConcentratorAddresses?
    private var sessions = 0

    /// Begins to look for uplinks and to ask for a session. `settings`: whose key it is, and where
    /// the concentrator is; listeners and limits don't count.
    public init(
        _ settings: ProxySettings, loop: EventLoop, log: Logger = Logger(label: "join")
    ) throws(SystemError) {
        self.loop = loop
        let known = settings.concentrator.compactMap(\.socketAddress)
        var configuration = settings.endpoint(known, maximumClients: 16)
        configuration.epoch = EventLoop.epoch()
        let endpoint = Endpoint(
            configuration: configuration, seed: SystemRandom.key(), at: loop.now())
        driver = EngineDriver(endpoint: endpoint, loop: loop)
        driver.delegate = self
        let uplinks = try UplinkSet(
            settings, driver: driver, log: log, reports: ProxyReports(Recorder()))
        self.uplinks = uplinks
        addresses = try ConcentratorAddresses(settings.concentrator, loop: loop, log: log) {
            [weak self] in
            guard let self else { return }
            driver.endpoint.setConcentrator($0, at: self.loop.now())
            uplinks.setFamilies(of: $0)
        }
        uplinks.start(known)
        addresses?.start()
    }

    /// Whether a session opened within `limit`.
    public func waitForSession(_ limit: Interval) -> Bool {
        loop.run(until: limit) { self.sessions > 0 }
    }

    /// Whether there is an uplink at all, and an address of the concentrator.
    public var obstacle: String? {
        if uplinks?.hasAny != true { return "this machine has no interface with a default route" }
        return hasNoAddress ? "the concentrator's name does not resolve" : nil
    }

    /// The concentrator is given by names alone, and none of them has an address yet.
    public var hasNoAddress: Bool { addresses?.current.isEmpty == true }

    /// What is there of interfaces with a default route: nothing leaves by others.
    public var uplinkNames: [String] { uplinks?.knownNames ?? [] }

    /// The ways there are after `limit`, or once every uplink that is there has one that works.
    public func ways(_ limit: Interval) -> [Way] {
        let names = uplinkNames
        _ = loop.run(until: limit) {
            let working = Set(self.paths.filter(\.works).map(\.uplink))
            return !names.isEmpty && working.count >= names.count
        }
        return paths
    }

    /// What the concentrator says of its version; empty where it does not.
    public var concentratorVersion: String {
        driver.endpoint.report(at: loop.now()).sessions.last?.peerProgram ?? ""
    }

    /// The ways there are, once `time` has passed: paths have shown by then what size they take.
    public func ways(after time: Interval) -> [Way] {
        _ = loop.run(until: time) { false }
        return paths
    }

    private var paths: [Way] {
        driver.endpoint.report(at: loop.now()).sessions.flatMap(\.paths).map {
            Way(
                uplink: $0.uplink, remote: $0.remote, roundTrip: $0.smoothedRTT.milliseconds,
                works: $0.health == .usable, packetSize: $0.packetSize)
        }
    }

    /// Says the key by which this machine wants to be known.
    public func enrol(_ key: Key32, _ limit: Interval) -> Enrolled {
        let stream = EnrolmentStream(
            driver, EnrolmentRequest(publicKey: key.withBytes { Array($0) }))
        _ = loop.run(until: limit) { stream.answer != nil || stream.isOver }
        defer { stream.close() }
        guard let answer = stream.answer else { return .unanswered }
        return answer.outcome == .admitted ? .admitted(answer.name) : .refused(answer.outcome)
    }

    // MARK: The way's rate and memory

    /// What is measured of a session's only path, for each direction `limit` long at most and with
    /// `bytes` at most. Nil where the concentrator is older than that, or busy.
    public func measure(bytes: Int, _ limit: Interval) -> Measured? {
        let down = MeasurementStream(driver, MeasurementRequest(down: bytes))
        _ = loop.run(until: limit) { down.isOver }
        down.close()
        guard let first = down.answer, let downRate = down.rate else { return nil }
        let up = MeasurementStream(driver, MeasurementRequest(up: bytes))
        _ = loop.run(until: limit) { up.isOver }
        let path = driver.endpoint.report(at: loop.now()).sessions.last?.paths.first
        up.close()
        let again = MeasurementStream(driver, MeasurementRequest())
        _ = loop.run(until: limit) { again.isOver }
        again.close()
        return Measured(
            seenAs: first.address, downRate: downRate, upRate: up.rate ?? path?.sendRate ?? .zero,
            loss: max(path?.loss ?? 0, again.answer?.loss ?? 0))
    }

    /// How long each of them can be silent and still hears: nothing is sent by any for `time`, and
    /// then the concentrator's answer is waited for. Whether it came, for each; nil where it could
    /// not be asked.
    public static func hear(_ clients: [JoinClient], after time: Interval) -> [Bool?] {
        let request = MeasurementRequest(delay: Int(time.seconds.rounded(.up)))
        let streams = clients.map { MeasurementStream($0.driver, request) }
        for client in clients { _ = client.loop.run(until: .milliseconds(500)) { false } }
        // From here on no loop runs, so that nothing is sent; what comes waits in the sockets.
        // What comes before is about what was sent before.
        sleep(for: time - .milliseconds(1_000))
        for client in clients { client.driver.discardArrivals() }
        sleep(for: .milliseconds(2_500))
        let heard = clients.map { $0.driver.discardArrivals() }
        defer { for stream in streams { stream.close() } }
        return zip(streams, heard).map { stream, heard in stream.isRefused ? nil : heard }
    }

    private static func sleep(for time: Interval) {
        let end = EventLoop.monotonic() + time
        while case let left = end - EventLoop.monotonic(), left > .zero {
            poll(nil, 0, Int32(min(left.milliseconds.rounded(.up), 1_000)))
        }
    }

    /// Called by the driver for every event of the engine.
    public func handle(_ event: EndpointEvent) {
        switch event {
        case .activity(let handle): handle.owner?.activity()
        case .answered(let handle, let status): handle.owner?.answered(status)
        case .sessionOpened: sessions += 1
        case .sessionClosed: sessions -= 1
        default: break
        }
    }

    /// Tells the concentrator that it goes.
    public func end() {
        uplinks?.stop()
        addresses?.stop()
        driver.end()
    }
}

/// A stream to a target of the concentrator's own: a request goes, an answer comes, of which a
/// subclass knows the form.
private class RequestStream: StreamOwner {
    let driver: EngineDriver
    /// Until it is closed.
    private(set) var handle: StreamHandle?
    /// Nothing more will come of it.
    var isOver = false
    private(set) var isRefused = false

    init(_ driver: EngineDriver, _ target: Target, _ request: [UInt8]) {
        self.driver = driver
        let handle = driver.endpoint.open(target, at: driver.now)
        self.handle = handle
        handle.owner = self
        _ = request.withUnsafeBytes { handle.write($0, at: driver.now) }
    }

    func answered(_ status: DialStatus) {
        guard status != .connected else { return }
        isRefused = true
        isOver = true
    }

    func activity() {}

    func close() {
        guard let handle else { return }
        self.handle = nil
        EngineStream(handle, driver: driver).giveUp()
    }
}

/// The stream on which the way is measured.
private final class MeasurementStream: RequestStream {
    private let request: MeasurementRequest
    private(set) var answer: MeasurementAnswer?
    private let began: Instant
    /// From the first byte to the latest.
    private var firstAt: Instant?, lastAt: Instant?
    private var received = 0, toSend: Int

    init(_ driver: EngineDriver, _ request: MeasurementRequest) {
        self.request = request
        toSend = request.up
        began = driver.now
        super.init(driver, .measurement, request.bytes)
        send()
    }

    /// Of what has come; of what has gone, once all of it has arrived. Nil while it can't be told.
    var rate: Rate? {
        if request.up > 0 {
            guard answer != nil, let lastAt, lastAt > began else { return nil }
            return Rate(bytes: request.up, in: lastAt - began)
        }
        guard let firstAt, let lastAt, lastAt > firstAt else { return nil }
        return Rate(bytes: received, in: lastAt - firstAt)
    }

    override func activity() {
        guard let handle, !isOver else { return }
        send()
        let now = driver.now
        if answer == nil, let read = MeasurementAnswer.read(handle.readable.prefix(128).bytes) {
            answer = read.answer
            firstAt = now
            lastAt = now
            handle.consume(read.length, at: now)
        }
        if answer != nil, handle.readable.count > 0 {
            received += handle.readable.count
            lastAt = now
            handle.consume(handle.readable.count, at: now)
        }
        let isWhole = answer != nil && received >= request.down
        if isWhole || handle.error != nil || handle.isReadFinished { isOver = true }
    }

    private func send() {
        guard let handle else { return }
        toSend -= handle.writeZeros(toSend, at: driver.now)
    }
}

/// The stream on which an invited machine says its key.
private final class EnrolmentStream: RequestStream {
    private(set) var answer: EnrolmentAnswer?

    init(_ driver: EngineDriver, _ request: EnrolmentRequest) {
        super.init(driver, .enrolment, request.bytes)
    }

    override func activity() {
        guard let handle, answer == nil else { return }
        answer = EnrolmentAnswer.read(handle.readable.bytes)
        if answer == nil, handle.error != nil || handle.isReadFinished { isOver = true }
    }
}
