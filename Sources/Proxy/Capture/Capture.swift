import Dialogue
import Logging
import Measures
import Shell
import Tunnel
import Wire

/// What the proxy takes from programs that know nothing of it: their TCP connections and their
/// datagrams, with the destination they had.
final class Capture {
    /// Held until `close`.
    let server: ProxyServer
    let log: Logger
    /// What stands for a port in rules and for modes.
    let listener = ProxyListener.captured()
    var counters = Counters()
    private(set) var datagrams: CapturedDatagrams?
    private var installation: CaptureInstallation?
    /// Whether what is captured comes as it is, and not redirected.
    private let isTransparent: Bool
    private var listeners: [StreamListener] = []
    /// Where packets can't be given to the proxy as they are.
    private var names: [NameListener] = []
    /// Of connections whose SYN is held, or was let go on and has not arrived yet.
    private var dials: [CapturedEnds: CapturedDial] = [:]
    private var dialsBySource = Tally<IPAddress>()
    private var order = AgeOrder<CapturedEnds>()
    private var ipv6 = IPv6Reachability()
    private var notices = NoticeLimit()
    /// Another process has it: what lives here goes on.
    private(set) var isHandedOver = false
    /// Processes that this one follows live: addresses are kept for their connections, too.
    private var hasOlder = false

    struct Counters {
        var connections = 0, refused = 0, ownDestinations = 0, retransmitted = 0, overflow = 0
        var bound = 0
    }

    /// Where programs ask for names; the proxy answers itself.
    static let namePort: UInt16 = 53
    /// Connections that wait for a dial at once: the concentrator dials 512 of one user. Beyond,
    /// the oldest is given up. Of one source no more than a part, so that a port scan is in
    /// nobody's way.
    private static let maximumDials = 480
    private static let maximumDialsOfSource = 360

    /// Opens the sockets, and sets the rules by which everything comes to them; where the process
    /// before hands its capture over, with `takeOver`.
    init(_ plan: CapturePlan, _ server: ProxyServer, log: Logger) throws(SystemError) {
        self.server = server
        self.log = log
        isTransparent = try CaptureInstallation.hasTransparency(plan, log: log)
        var ports = CapturePorts()
        ports.tcp4 = try listen(isTransparent ? "127.0.0.1" : "0.0.0.0")
        // Without IPv6 there is none to capture.
        ports.tcp6 = try? listen(isTransparent ? "::1" : "::")
        if plan.udp, !isTransparent {
            ports.udp4 = try listenForNames(.unspecifiedV4)
            ports.udp6 = try? listenForNames(.unspecifiedV6)
        } else if plan.udp {
            let datagrams = try CapturedDatagrams(self)
            self.datagrams = datagrams
            (ports.udp4, ports.udp6) = (datagrams.port4, datagrams.port6)
        }
        let installation = try CaptureInstallation(
            plan, ports: ports, isTransparent: isTransparent, from: InheritedSockets.takeCapture(),
            loop: server.loop, log: log)
        self.installation = installation
        installation.isUsed = { [weak self] in
            self?.hasOlder == true || self?.isUsed($0) == true
        }
        installation.queue?.start { [weak self] in self?.held($0) }
    }

    // MARK: Another process

    /// Lets the one that is about to start take everything over. `generation`: this one's.
    func offer(_ generation: Int) throws(SystemError) -> CaptureOffer? {
        let own = CapturedElsewhere(
            generation: generation, port4: datagrams?.port4, port6: datagrams?.port6,
            clients: datagrams?.clients ?? [])
        return try installation?.offer(own)
    }

    /// It did not come to it.
    func resume() { installation?.resume() }

    /// It has everything that begins from now on. Who is on the way to this one's ports arrives.
    func handedOver() {
        isHandedOver = true
        for dial in Array(dials.values) where dial.isHeld { dial.cut() }
        installation?.handedOver()
    }

    /// Takes over what the process before has offered; false where there was nothing.
    func takeOver() throws(SystemError) -> Bool {
        guard let installation, !installation.isInstalled else { return false }
        hasOlder = true
        try installation.takeOver()
        return true
    }

    /// Of the older processes these live, by their generations.
    func follows(_ older: [Int]) {
        hasOlder = !older.isEmpty
        installation?.keepElsewhere(older)
    }

    /// Flows of datagrams that another process has left to this one, and that are in use.
    var carriedOn: Int { isHandedOver ? datagrams?.countUsed ?? 0 : 0 }

    /// No new connections; the living ones go on.
    func stopAccepting() {
        guard !isHandedOver else { return }
        installation?.endNew()
        for dial in Array(dials.values) { dial.cut() }
        datagrams?.stopAccepting()
    }

    /// The rules are taken away, or left as a kill switch; what lives is cut.
    func close() {
        installation?.close()
        installation = nil
        listeners.forEach { $0.close() }
        listeners = []
        names.forEach { $0.close() }
        names = []
        for dial in Array(dials.values) { dial.cut() }
        datagrams?.close()
        datagrams = nil
    }

    /// There is no session, and it is known why.
    func unreachable(_ status: DialStatus) {
        for dial in Array(dials.values) { dial.unreachable(status) }
    }

    /// Whether a captured destination leads back to Braid itself.
    func isOwn(_ destination: SocketAddress) -> Bool {
        destination.address.isLoopback || server.session.isConcentrator(destination.address)
            || listeners.contains { $0.address == destination }
    }

    /// Whether nothing that is captured can have gone there, so that nothing answers from there:
    /// this machine, its networks, the loopback, multicast.
    func isOutside(_ address: IPAddress) -> Bool {
        server.names.isThisMachine(address) || installation?.leavesAlone(address.unmapped) == true
    }

    /// Whether a program has a captured connection from this address.
    private func isUsed(_ address: IPAddress) -> Bool {
        dialsBySource[address] > 0 || datagrams?.isUsed(address) == true
            || server.clients.hasCaptured(from: address)
    }

    /// For the status page.
    var status: [ServerStatus.Counter] {
        [
            .init("captured_connections_total", counters.connections),
            .init("captured_refused_total", counters.refused),
            .init("captured_own_destination_total", counters.ownDestinations),
            .init("captured_bound_refused_total", counters.bound),
            .init("captured_held", dials.count),
            .init("captured_held_overflow_total", counters.overflow),
            .init("captured_associations", datagrams?.count ?? 0),
            .init("captured_datagrams_refused_total", datagrams?.refused ?? 0)
        ]
    }

    // MARK: Connections

    private func listen(_ address: String) throws(SystemError) -> UInt16 {
        guard let address = IPAddress(address) else { preconditionFailure("an address") }
        let listener = try StreamListener(
            SocketAddress(address, port: 0), loop: server.loop, log: log,
            destinations: isTransparent ? .others : .redirected
        ) { [weak self] socket, from in self?.accepted(socket, from) }
        listener.makeRoom = { [weak server] in server?.makeRoom() == true }
        listeners.append(listener)
        return listener.address.port
    }

    private func listenForNames(_ address: IPAddress) throws(SystemError) -> UInt16 {
        let listener = try NameListener(
            SocketAddress(address, port: 0), server.names, server.relaySockets, isCaptured: true)
        names.append(listener)
        return listener.address.port
    }

    private func accepted(_ socket: StreamSocket, _ from: SocketAddress) {
        // Whoever was not redirected came to a port of Braid's own.
        guard let destination = socket.destination,
            isTransparent || destination != socket.localAddress
        else { socket.reset(); return }
        let dial = dials[CapturedEnds(source: from, destination: destination)]
        // It was judged when its SYN was held.
        guard dial != nil || !isOwn(destination) else {
            counters.ownDestinations += 1
            socket.reset()
            return
        }
        counters.connections += 1
        guard destination.port != Self.namePort else {
            server.names.serve(socket, from: from)
            return
        }
        let target = Target(host: .address(destination.address), port: destination.port)
        server.captured(socket, to: target, listener, after: dial)
    }

    // MARK: Held SYNs

    /// A program connects: the dial begins, and its answer is the program's.
    private func held(_ packet: HeldPacket) {
        let ends = CapturedEnds(source: packet.source, destination: packet.destination)
        if let dial = dials[ends] {
            counters.retransmitted += 1
            dial.repeated(packet)
            return
        }
        guard !isOwn(packet.destination) else {
            counters.ownDestinations += 1
            judge(packet, .refuse)
            return
        }
        if let interface = packet.interface,
            SocketOwner.isBound(
                local: packet.source, remote: packet.destination, leavingBy: interface)
        {
            refuseBound(packet)
            return
        }
        // A name is in the first bytes, which come when the connection stands.
        if packet.destination.port == Self.namePort
            || server.needsName(ends.target, from: ends.flowOrigin(listener)) == .beforeDial
        {
            judge(packet, .accept)
            return
        }
        if !packet.destination.address.isIPv4, ipv6.isAbsent(at: server.loop.now()) {
            counters.refused += 1
            judge(packet, .noRoute)
            return
        }
        guard dialsBySource[packet.source.address] < Self.maximumDialsOfSource else {
            overflowed(packet.source.address)
            judge(packet, .drop)
            return
        }
        makeRoom()
        let number = order.add(ends, count: dials.count) { [dials] in
            dials[$0.key]?.number == $0.number
        }
        let dial = CapturedDial(ends, packet, self, number: number)
        dials[ends] = dial
        dialsBySource.add(packet.source.address)
        dial.start()
    }

    /// The one that waits for longest is likeliest to be for nobody: who opens connections in many
    /// names to where nobody answers keeps nobody else out.
    private func makeRoom() {
        guard dials.count >= Self.maximumDials else { return }
        let oldest = order.popFirst { [dials] in dials[$0.key]?.number == $0.number }
        guard let oldest, let dial = dials[oldest] else { return }
        overflowed(oldest.source.address)
        dial.cut()
    }

    private func overflowed(_ source: IPAddress) {
        counters.overflow += 1
        if let silent = notices.pass(at: server.loop.now()) {
            log.notice(
                "too many captured connections wait for their dial: a SYN is dropped",
                metadata: ["from": "\(source)", "not_logged_before": "\(silent)"])
        }
    }

    /// A socket that is bound to an interface hears nothing of the proxy's.
    private func refuseBound(_ packet: HeldPacket) {
        counters.bound += 1
        if let silent = notices.pass(at: server.loop.now()) {
            log.notice(
                """
                a program's socket is bound to an interface and can't be captured: it is refused (a user of \
                capture.exclude_users may)
                """,
                metadata: ["to": "\(packet.destination)", "not_logged_before": "\(silent)"])
        }
        judge(packet, .prohibited)
    }

    func judge(_ packet: HeldPacket, _ verdict: PacketQueue.Verdict) {
        installation?.queue?.judge(packet, verdict)
    }

    /// The concentrator's dial for a captured connection has ended.
    func note(_ status: DialStatus, of ends: CapturedEnds) {
        if !ends.destination.address.isIPv4 { ipv6.note(status, at: server.loop.now()) }
    }

    func forget(_ ends: CapturedEnds) {
        guard dials.removeValue(forKey: ends) != nil else { return }
        dialsBySource.remove(ends.source.address)
    }
}

/// Both ends of a captured connection, as the program sees them.
struct CapturedEnds: Hashable {
    var source, destination: SocketAddress

    /// Where the program connects to.
    var target: Target { Target(host: .address(destination.address), port: destination.port) }

    /// As rules see it.
    func flowOrigin(_ listener: ProxyListener) -> FlowOrigin {
        FlowOrigin(
            entry: listener.entry, address: source.address, mode: listener.mode,
            user: { [self] in SocketOwner.user(local: source, remote: destination) })
    }
}
