import Buffers
import Crypto
import Measures
import Multipath
import Subflow
import Wire

/// Sessions, paths and connections of one process, as a pure state machine over datagrams.
///
/// The turn of the loop: `receive` for every datagram, drain `nextEvent()` and read and write
/// streams, `advance(to:)`, `transmit(into:at:)` until it says that nothing is left, drain
/// `nextEvent()` again, arm a timer at `deadline`.
///
/// This file is its face. `Hellos` and `Handshake` open sessions, `Receive` finds the session of a
/// datagram, `Transmit` takes turns among those that have something to send, `Sharing` keeps the
/// users' limits, `Reconfiguration` changes what it runs with. All else is the `Session`'s.
public final class Endpoint {
    /// Sees every segment inside the tunnel: its payload, and between which addresses.
    public typealias PacketTrace = (
        _ segment: borrowing Segment, _ payload: Pieces, _ from: SocketAddress,
        _ to: SocketAddress, _ at: Instant
    ) -> Void
    /// Sees each record with address signals: path, packet number, and whether one of them says
    /// that a path is closed.
    public typealias SignalObserver = (_ path: PathID, _ number: UInt64, _ removes: Bool) -> Void

    /// Takes a datagram of an association: at the proxy for the application, from `target`; at the
    /// concentrator for `target`. The bytes are valid during the call.
    public typealias DatagramReceiver = (
        _ on: StreamHandle, _ target: Target, _ payload: UnsafeRawBufferPointer
    ) -> Void

    /// What sessions share: queues, deadlines, chance, configuration.
    let host: SessionHost
    var sessions = SessionTable()
    /// Sessions that have ended, with streams that have not failed yet.
    var ending: [Session] = []
    /// What connections may hold; at a proxy all of it is for its own.
    let memory: MemoryBudget
    let ownMemory: MemoryShare
    /// Of sessions that begin, and of connections that have none of their own.
    var mode: HandoverMode
    /// Unix time at `Instant.zero` in nanoseconds, by the latest word of the shell.
    var epoch: UInt64

    // The proxy's end.
    let initiator: SessionInitiator?
    var currentSession: Session?
    // The concentrator's end.
    let listener: HelloListener?
    var users = UserTable()

    /// `seed`: 32 unpredictable bytes, from which all its randomness comes, keys included; `now` is
    /// the first instant it hears of.
    public init(configuration: EndpointConfiguration, seed: Key32, at now: Instant) {
        let configuration = configuration.inSession
        host = SessionHost(configuration: configuration, seed: seed)
        mode = host.modeByUse?.mode ?? configuration.mode
        epoch = configuration.epoch
        memory = MemoryBudget(limit: configuration.memory)
        ownMemory = MemoryShare(of: memory, isOnlyOne: true)
        switch configuration.role {
        case .proxy(let addresses, let key, let shared):
            host.proxy.remotes = addresses
            initiator = SessionInitiator(
                remoteKey: key, preSharedKey: shared ?? .zero,
                instance: HelloPayload.instance(
                    drawn: host.random.next(), machine: configuration.machine))
            listener = nil
        case .concentrator(let list):
            initiator = nil
            let streams = min(configuration.maximumConnections, Limits.reservedStreams)
            host.streams.reserve(streams)
            host.deadlines.reserve(streams: streams)
            listener = HelloListener(
                gate: HelloGate(
                    publicKey: configuration.identity.publicKey, random: &host.random, at: now))
            for user in list { admit(user, at: now) }
        }
    }

    deinit { host.removeStreams() }

    /// It begins sessions.
    public var isProxy: Bool { initiator != nil }
    var hasUplinks: Bool { host.proxy.uplinks.contains { $0.isUp } }
    /// As given, with what only sealed segments have switched on.
    public var configuration: EndpointConfiguration { host.configuration }

    /// Called with every segment sent or received inside the tunnel (`--pcap`); nil costs nothing.
    public var packetTrace: PacketTrace? {
        get { host.observers.packetTrace }
        set { host.observers.packetTrace = newValue }
    }
    /// Called before a record with address signals is sealed. For experiments and tests that lose
    /// signals; nil costs nothing.
    public var signalCarried: SignalObserver? {
        get { host.observers.signalCarried }
        set { host.observers.signalCarried = newValue }
    }

    /// Called with every datagram that arrives, within `receive`, `advance` and `transmit`: it must
    /// not call the endpoint.
    public var datagramArrived: DatagramReceiver? {
        get { host.observers.datagramArrived }
        set { host.observers.datagramArrived = newValue }
    }

    // MARK: Uplinks (proxy)

    /// Adds an uplink, or says that one is back: its paths are opened (again) and living
    /// connections join.
    public func addUplink(_ uplink: Uplink, at now: Instant) {
        precondition(isProxy)
        if let i = host.proxy.uplinks.firstIndex(where: { $0.uplink.number == uplink.number }) {
            if host.proxy.uplinks[i].isUp {
                closePaths(uplink: uplink.number, at: now)
            }
            host.proxy.uplinks[i] = UplinkState(uplink: uplink)
        } else {
            host.proxy.uplinks.append(UplinkState(uplink: uplink))
        }
        currentSession?.use.noteMove(at: now)
        openPaths(uplink: uplink, at: now)
        if currentSession?.needsHandshake(at: now) == true { beginHandshake(at: now) }
        if currentSession == nil || handshake != nil { handshakeOn(uplink, at: now) }
    }

    /// The interface or address went away.
    public func removeUplink(_ number: UplinkNumber, at now: Instant) {
        guard let i = host.proxy.uplinks.firstIndex(where: { $0.uplink.number == number }) else {
            return
        }
        host.proxy.uplinks.remove(at: i)
        closePaths(uplink: number, at: now)
    }

    /// Sending through the uplink failed with an error that says the path is gone. It is tried
    /// again after growing time-outs, since no event may tell that it works again.
    public func uplinkFailed(_ number: UplinkNumber, at now: Instant) {
        guard let i = host.proxy.uplinks.firstIndex(where: { $0.uplink.number == number }),
            host.proxy.uplinks[i].isUp
        else { return }
        host.proxy.uplinks[i].fail(at: now)
        closePaths(uplink: number, at: now)
    }

    /// In the session that is asked for new connections, and in those that it has replaced.
    func openPaths(uplink: Uplink, at now: Instant) {
        for case let session? in sessions {
            session.notifyingAll(at: now) { session.openPaths(uplink: uplink, at: now) }
        }
    }
    private func closePaths(uplink: UplinkNumber, at now: Instant) {
        for case let session? in sessions {
            session.notifyingAll(at: now) { session.closePaths(uplink: uplink, at: now) }
        }
    }

    /// An uplink that failed may work again (a route came back): it is tried at once. Nothing
    /// happens where it works.
    public func retryUplink(_ number: UplinkNumber, at now: Instant) {
        guard let i = host.proxy.uplinks.firstIndex(where: { $0.uplink.number == number }),
            !host.proxy.uplinks[i].isUp
        else { return }
        host.proxy.uplinks[i].retryAt = now
        retryUplinks(at: now)
    }

    /// The concentrator's addresses, in order of preference, replacing those of the configuration:
    /// its name was resolved (again). Empty at first where a name is not known yet. Living paths
    /// stay as they are.
    public func setConcentrator(_ addresses: [SocketAddress], at now: Instant) {
        precondition(isProxy)
        guard addresses != host.proxy.remotes else { return }
        host.proxy.remotes = addresses
        for item in host.proxy.uplinks where item.isUp { openPaths(uplink: item.uplink, at: now) }
        // Whoever waits for an answer asks the new addresses at once, whatever the time-out was for
        // the old.
        if handshake != nil {
            handshake?.count = 0
            repeatHandshake(at: now)
        } else if currentSession == nil, hasUplinks {
            beginHandshake(at: now)
        }
    }

    // MARK: Datagrams and time

    /// Unix time in nanoseconds, as the system believes at `now`. It may be wrong, and be set right
    /// later: asked for in every turn, so that each attempt has the present one.
    public func setWallClock(_ nanoseconds: UInt64, at now: Instant) {
        epoch = nanoseconds &- UInt64(bitPattern: now.nanoseconds)
    }
    func wallClock(at now: Instant) -> UInt64 { epoch &+ UInt64(bitPattern: now.nanoseconds) }

    /// Takes one datagram, opening it in place. `local`: the address it came to, where the socket
    /// serves several.
    public func receive(
        _ datagram: UnsafeMutableRawBufferPointer, from remote: SocketAddress,
        local: IPAddress,
        uplink: UplinkNumber, at now: Instant
    ) {
        let source = PathAddress(remote: remote, local: local, uplink: uplink)
        guard let header = DatagramHeader(UnsafeRawBufferPointer(datagram)) else {
            host.counters.malformed += 1
            return
        }
        switch header.kind {
        case .record:
            receiveRecord(header, datagram, from: source, at: now)
        case .hello:
            guard !isProxy else { host.counters.malformed += 1; return }
            receiveHello(datagram, from: source, at: now)
        case .welcome:
            guard isProxy else { host.counters.malformed += 1; return }
            receiveWelcome(header, datagram, from: source, at: now)
        case .cookie:
            guard isProxy else { host.counters.malformed += 1; return }
            receiveCookie(datagram, from: source, at: now)
        }
    }

    /// Whether records of several sessions have arrived lately: then each waits for the others'.
    public func servesSeveral(at now: Instant) -> Bool { sessions.mix.isMixed(at: now) }

    /// The next event in order, nil where there is none; what the owner does with one may bring
    /// more.
    public func nextEvent() -> EndpointEvent? {
        if let event = host.work.events.popFirst() { return event }
        while let stream = host.work.activity.popFirst() {
            if !stream.progress.isReleased { return .activity(stream) }
        }
        return nil
    }
}

/// One uplink and whether it works.
struct UplinkState {
    var uplink: Uplink
    var isUp = true
    var retryAt = Instant.distantFuture
    /// In a row, without an answer between them.
    private var failures = Backoff()
    /// A failed uplink is tried again after the first, doubled up to the second.
    private static let firstRetry = Interval.milliseconds(200), maximumRetry = Interval.seconds(5)

    init(uplink: Uplink) { self.uplink = uplink }

    mutating func fail(at now: Instant) {
        isUp = false
        retryAt = now + failures.wait(Self.firstRetry, maximum: Self.maximumRetry)
        failures.failed()
    }
    mutating func retry() { isUp = true; retryAt = .distantFuture }
    /// A path through it was answered.
    mutating func answered() { failures.reset() }
}
