import Buffers
import CDatagram
import Glibc
import Logging
import Measures
import Multipath
import Tunnel
import Wire

/// What the engine's driver tells its owner.
public protocol EngineDelegate: AnyObject {
    /// One of the engine's events, in order; called within the turn. The handler may call the
    /// endpoint.
    func handle(_ event: EndpointEvent)
    /// Sending through the uplink failed with an error of the uplink; the engine knows. Said once,
    /// until sending works again.
    func uplinkFailed(_ number: UplinkNumber, _ error: SystemError)
}

extension EngineDelegate {
    /// For those that have no uplinks to lose.
    public func uplinkFailed(_ number: UplinkNumber, _ error: SystemError) {}
}

/// Drives an `Endpoint` with the sockets and the clock of the real world.
///
/// The turn of the loop: handlers of ready sockets drain them into the engine; after the last one
/// of an iteration `turn()` hands out events, lets time pass, sends what is due and arms the one
/// timer at the engine's next deadline. Work in a turn is bounded; what is left over asks for
/// another one.
public final class EngineDriver {
    /// The engine. Its operations may be called from any handler of the loop: what they make due is
    /// in its deadline, which is looked at after every iteration.
    public let endpoint: Endpoint
    /// Where sockets and the one timer of the engine are registered.
    public let loop: EventLoop
    /// Told of every event of the engine, in order, from the loop.
    public weak var delegate: (any EngineDelegate)?

    private struct Slot {
        var socket: DatagramSocket
        var hasFailed = false
        /// The iteration of the loop in which it was last drained.
        var drainedIn = 0
        /// What it may carry; nil: whatever comes.
        var limit: UplinkLimit?
    }
    private var slots = UplinkTable<Slot>()
    private let exchange = DatagramExchange()
    private let batch = DatagramBatch(receiverBits: DatagramHeader.receiverBits)
    private var timer: LoopTimer?
    private var packetTrace: PacketTrace?
    private var isDue = true
    private var iteration = 1
    private var isStopped = false
    /// What the sockets of applications may still move before the next turn, bytes; each may move a
    /// little whatever it says.
    public var allowance = 0
    private var clockWatch: ClockWatch?
    /// Called once, within the turn, when a datagram has come or gone; whoever wants to hear of the
    /// next one sets it again.
    public var trafficBegan: (() -> Void)?

    /// Rounds of `receive` for one socket in one turn (each up to 16 messages of 64 kB).
    private static let receiveRounds = 4
    /// Events handed out in one turn, for how long, and how many go between two looks at the clock.
    /// The end of a session is an event for each of its connections, and a closed socket; others
    /// wait for a few of them at a time.
    private static let maximumEvents = 4096
    private static let eventTime = Interval.milliseconds(2)
    private static let eventsPerLook = 16
    /// Batches sent in one turn.
    private static let maximumBatches = 16
    /// What one turn moves about, bytes: of datagrams received, of datagrams sent, and from and to
    /// the sockets of applications each. A turn is what anybody's small request waits for: a third
    /// of a millisecond each here.
    static let bytesPerTurn = 256 << 10
    /// While several sessions have something to say: a turn is what each waits for several times in
    /// a request, and shorter ones cost a tenth more processor time a byte.
    static let sharedBytesPerTurn = 64 << 10
    /// At a proxy, where nobody waits but its own user: fewer and larger writes.
    static let proxysBytesPerTurn = 1 << 20
    private var bytesPerTurn: Int
    /// Numbers that uplinks may have: 0 up to here. The proxy's numbering keeps to far fewer.
    public static let maximumUplinks = 256

    /// One driver for each engine and loop; it registers its hook with the loop.
    public init(endpoint: Endpoint, loop: EventLoop) {
        self.endpoint = endpoint
        self.loop = loop
        bytesPerTurn = endpoint.isProxy ? Self.proxysBytesPerTurn : Self.bytesPerTurn
        allowance = bytesPerTurn
        endpoint.datagramArrived = { stream, target, payload in
            stream.owner?.datagram(payload, target)
        }
        timer = loop.timer(for: self) { $0.isDue = true }
        loop.afterEvents { [weak self] in
            guard let self else { return }
            defer { self.iteration &+= 1 }
            self.allowance = self.bytesPerTurn
            guard !self.isStopped else { return }
            // Behind thousands of applications' sockets datagrams don't wait for the last of them.
            if self.loop.dispatchWasCut { self.drainAll() }
            if self.isDue { self.turn() } else { self.turnIfDue() }
        }
        clockWatch = ClockWatch(loop: loop) { [weak self] in self?.isDue = true }
        loop.turnAgain()
    }

    /// The loop's clock (`EventLoop.now`).
    public var now: Instant { loop.now() }

    // MARK: Sockets

    /// Proxy: a socket for an uplink, which the engine may use from now on. A number in use is
    /// replaced; one out of range is refused.
    public func addUplink(_ uplink: Uplink, socket: DatagramSocket) {
        guard (0..<Self.maximumUplinks).contains(uplink.number.value) else {
            socket.close()
            return
        }
        removeUplink(uplink.number)
        attach(socket, uplink.number)
        endpoint.addUplink(uplink, at: now)
    }

    /// Proxy: the uplink is gone.
    public func removeUplink(_ number: UplinkNumber) {
        guard detach(number) else { return }
        endpoint.removeUplink(number, at: now)
    }

    /// Proxy: the uplink's part is another, while its connections live.
    public func setUplinkRole(_ number: UplinkNumber, isBackup: Bool, isWarm: Bool? = nil) {
        endpoint.setUplinkRole(
            number, isBackup: isBackup, isWarm: isWarm, at: now)
    }

    /// Proxy: what the uplink costs beside others is another thing now.
    public func setUplinkCost(_ number: UplinkNumber, _ cost: PathCosts.Cost) {
        endpoint.setUplinkCost(number, cost, at: now)
    }

    /// Proxy: the uplink carries at most `rate` from now on, both directions together; nil:
    /// whatever it takes. What comes in is read no faster, and the other end's congestion control
    /// sees a slow path.
    public func limitUplink(_ number: UplinkNumber, to rate: Rate?) {
        guard let slot = slots[number], slot.limit?.rate != rate else { return }
        slots[number]?.limit = rate.map { rate in
            UplinkLimit(
                rate, since: now, carried: slot.socket.bytesCarried,
                timer: loop.timer(for: self) { driver in
                    driver.socket(number)?.watch.wantsRead = true
                })
        }
        slot.socket.limitBuffers(to: rate)
        slot.socket.watch.wantsRead = true
    }

    /// Proxy: an uplink that failed may work again.
    public func retryUplink(_ number: UplinkNumber) {
        endpoint.retryUplink(number, at: now)
    }

    /// Concentrator: a socket for all sessions; its uplink number.
    @discardableResult public func addListenSocket(_ socket: DatagramSocket) -> UplinkNumber {
        let number = slots.unused
        attach(socket, number)
        return number
    }

    /// The socket of an uplink, for status.
    public func socket(_ number: UplinkNumber) -> DatagramSocket? {
        slots[number]?.socket
    }

    /// Forgets what waits in the sockets, for whoever lets the loop rest and wants to know only
    /// whether something came. Whether there was anything.
    @discardableResult public func discardArrivals() -> Bool {
        var found = false
        for number in slots.indices {
            if let socket = slots[number]?.socket, braid_discard(socket.descriptor) != 0 {
                found = true
            }
        }
        return found
    }

    private func attach(_ socket: DatagramSocket, _ number: UplinkNumber) {
        slots[number] = Slot(socket: socket)
        socket.watch.onReadable(for: self) { $0.drain(number) }
        socket.watch.onWritable(for: self) { driver in
            guard let socket = driver.socket(number) else { return }
            driver.note(driver.exchange.sendWaiting(through: socket), number)
        }
        socket.watch.wantsRead = true
    }

    private func detach(_ number: UplinkNumber) -> Bool {
        guard let socket = socket(number) else { return false }
        slots[number] = nil
        socket.close()
        return true
    }

    // MARK: The turn

    /// Records every segment that is sent or received from now on in a pcap file.
    public func record(to path: String) throws(SystemError) {
        packetTrace = try PacketTrace(path: path, endpoint: endpoint, loop: loop)
    }

    /// The end of the process: the sessions' close frames are sent in one more turn, then there are
    /// no more.
    /// `isFollowed`: by a process that has the same sockets.
    public func end(isFollowed: Bool = false) {
        endpoint.shutDown(isFollowed: isFollowed, at: now)
        turn()
        isStopped = true
        timer?.cancel()
        clockWatch = nil
        for number in slots.indices { _ = detach(number) }
        packetTrace?.close(endpoint)
    }

    /// Those that had no turn in this iteration: each socket has one share of it.
    private func drainAll() {
        for number in slots.indices {
            guard let slot = slots[number], slot.drainedIn != iteration,
                slot.socket.watch.wantsRead
            else { continue }
            drain(number)
        }
    }

    private func drain(_ number: UplinkNumber) {
        guard let socket = socket(number) else { return }
        slots[number]?.drainedIn = iteration
        let rounds: Int
        switch slots[number]?.limit?.admits(socket.bytesCarried, at: loop.now()) {
        case nil:
            // One message at a time where each is counted: as many in all.
            rounds =
                Self.receiveRounds * (socket.carried == nil ? 1 : DatagramExchange.receiveSlots)
        case .now?: rounds = 1
        case .later(let wait)?:
            socket.watch.wantsRead = false
            slots[number]?.limit?.timer?.arm(after: wait)
            return
        }
        isDue = true
        let now = loop.now(), endpoint = endpoint
        var datagrams = 0, handshakes = 0
        defer {
            if datagrams > 0 { tellTraffic() }
            loop.record.datagrams += datagrams
            loop.record.handshakes += handshakes
        }
        let before = socket.statistics.bytesReceived
        for _ in 0..<rounds
        where socket.statistics.bytesReceived - before < bytesPerTurn {
            let more = exchange.receive(from: socket) { datagram, from, local in
                datagrams += 1
                if DatagramHeader.isOfHandshake(datagram) { handshakes += 1 }
                endpoint.receive(
                    datagram, from: from, local: local.address, uplink: number,
                    at: now)
            }
            if !more { return }
        }
    }

    /// After an iteration that brought no datagram: a handler may have called the engine.
    private func turnIfDue() {
        let deadline = endpoint.deadline
        if deadline <= now { turn() } else { timer?.arm(at: deadline) }
    }

    private func turn() {
        // First what the sockets brought: its handlers read, write and open streams at times of
        // their own.
        var isLeft = handOutEvents()
        // Then one instant for all the rest: what is due at it is done before the engine names its
        // next deadline.
        let now = loop.now()
        endpoint.setWallClock(EventLoop.wallClock(), at: now)
        endpoint.advance(to: now)
        isDue = isLeft
        if sendBatches(at: now) { isDue = true }
        // What time brought about; a handler that changes something asks for another turn.
        isLeft = handOutEvents()
        if isLeft { isDue = true }
        arm(now)
        guard !endpoint.isProxy else { return }
        bytesPerTurn = endpoint.servesSeveral(at: now) ? Self.sharedBytesPerTurn : Self.bytesPerTurn
    }

    /// Whether there may be more.
    private func handOutEvents() -> Bool {
        let end = loop.now() + Self.eventTime
        for number in 1...Self.maximumEvents {
            // Each pump moves a little even so: thousands of them are not one turn's work.
            if allowance <= -bytesPerTurn { return true }
            if number % Self.eventsPerLook == 0, loop.now() >= end { return true }
            guard let event = endpoint.nextEvent() else { return false }
            delegate?.handle(event)
        }
        return true
    }

    @inline(__always) private func tellTraffic() {
        guard let tell = trafficBegan else { return }
        trafficBegan = nil
        tell()
    }

    /// Whether there is more.
    private func sendBatches(at now: Instant) -> Bool {
        var bytes = 0
        for _ in 0..<Self.maximumBatches where bytes < bytesPerTurn {
            let more = endpoint.transmit(into: batch, at: now)
            if !batch.isEmpty {
                tellTraffic()
                loop.record.datagramsSent += batch.runs.reduce(0) { $0 + $1.datagrams }
                for i in 0..<batch.runs.count { bytes += batch.runs[i].length }
                for number in slots.indices {
                    guard let socket = slots[number]?.socket else { continue }
                    note(exchange.send(batch, uplink: number, through: socket), number)
                }
                batch.removeAll()
            }
            if !more { return false }
        }
        return true
    }

    private func note(_ result: DatagramExchange.SendResult, _ number: UplinkNumber) {
        for item in exchange.takeTooLong() {
            endpoint.datagramTooLong(
                item.bytes, uplink: number, remote: item.remote, at: loop.now())
            isDue = true
        }
        switch result {
        case .sent:
            if slots[number]?.hasFailed == true { slots[number]?.hasFailed = false }
        case .uplinkFailed(let code):
            endpoint.uplinkFailed(number, at: loop.now())
            isDue = true
            guard slots[number]?.hasFailed == false else { return }
            slots[number]?.hasFailed = true
            delegate?.uplinkFailed(number, SystemError("send through uplink \(number)", code: code))
        }
    }

    private func arm(_ now: Instant) {
        let deadline = endpoint.deadline
        if isDue || deadline <= now { isDue = true; loop.turnAgain(); timer?.cancel(); return }
        timer?.arm(at: deadline)  // does nothing where it is armed so already
    }
}
