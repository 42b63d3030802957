import CDatagram
import Glibc
import Measures

/// The UDP sockets of associations: at the proxy towards applications, at the concentrator towards
/// the world. One for a process; its buffers serve every socket, in batches.
///
/// What is posted leaves when the loop's turn ends, or when there is enough of it. What the kernel
/// has no room for is dropped, as any datagram may be.
public final class RelaySockets {
    /// Datagrams since the start.
    public struct Statistics: Sendable {
        /// Taken by the kernel, and handed over by it.
        public var sent = 0, received = 0
        /// The kernel had no room, or would not send it there.
        public var dropped = 0
        public init() {}
    }

    /// Of all sockets.
    public private(set) var statistics = Statistics()
    let loop: EventLoop
    private let exchange = DatagramExchange()
    private let sender: OpaquePointer
    private let arena = UnsafeMutableRawPointer.allocate(
        byteCount: RelaySockets.arenaBytes, alignment: 64)
    private var used = 0
    private var socket: RelaySocket?
    /// Of the loop, counted.
    fileprivate private(set) var turn = 0

    private static let slots = 64
    /// What one batch holds: a SOCKS header and the longest UDP payload fit, and dozens of usual
    /// datagrams.
    private static let arenaBytes = 256 << 10
    /// Rounds of reception for one socket in one turn, of 16 messages each.
    private static let receiveRounds = 4
    /// Datagrams of one user's sockets in one turn, after which each further one has only a few
    /// messages of it: whoever floods a thousand ports does not hold up the turn of all others.
    static let datagramsPerTurn = 256
    /// The few.
    static let fewMessages = 4

    /// After the engine's driver, so that what its turn brings leaves in it.
    public init(loop: EventLoop) {
        self.loop = loop
        guard let sender = braid_sender_create(UInt32(Self.slots)) else {
            fatalError("no memory for datagrams")
        }
        self.sender = sender
        loop.afterEvents { [weak self] in
            self?.flush()
            self?.turn &+= 1
        }
    }

    deinit {
        braid_sender_free(sender)
        arena.deallocate()
    }

    /// Hands over what has come, valid during the call; what is left comes with the next turn.
    /// `share`: of the user whose socket it is; nil: nobody's, who has a whole turn.
    public func receive(
        _ socket: RelaySocket, of share: RelayShare? = nil,
        _ take: (_ datagram: UnsafeRawBufferPointer, SocketAddress) -> Void
    ) {
        for _ in 0..<Self.receiveRounds where socket.isOpen {
            let isLast = share.map { $0.received(in: turn) >= Self.datagramsPerTurn } ?? false
            let more = exchange.receive(
                from: socket.datagrams,
                maximum: isLast ? Self.fewMessages : DatagramExchange.receiveSlots
            ) { datagram, from, _ in
                statistics.received += 1
                share?.note()
                take(UnsafeRawBufferPointer(datagram), from)
            }
            if !more || isLast { return }
        }
    }

    /// The same with the address each was sent to, where the socket is bound to every address.
    public func receive(
        _ socket: RelaySocket,
        _ take: (_ datagram: UnsafeRawBufferPointer, SocketAddress, _ local: IPAddress?) -> Void
    ) {
        for _ in 0..<Self.receiveRounds where socket.isOpen {
            let more = exchange.receive(from: socket.datagrams) { datagram, from, local in
                statistics.received += 1
                take(
                    UnsafeRawBufferPointer(datagram), from,
                    local.address.isUnspecified ? nil : local.address)
            }
            if !more { return }
        }
    }

    /// The same for datagrams of programs that know nothing of the proxy, with where they were sent
    /// to.
    public func receiveCaptured(
        _ socket: RelaySocket,
        _ take: (_ datagram: UnsafeRawBufferPointer, _ from: SocketAddress, _ to: SocketAddress) ->
            Void
    ) {
        for _ in 0..<Self.receiveRounds where socket.isOpen {
            let more = exchange.receive(from: socket.datagrams) { datagram, from, destination in
                statistics.received += 1
                take(UnsafeRawBufferPointer(datagram), from, destination)
            }
            if !more { return }
        }
    }

    /// Sends `head` and `payload` as one datagram with the end of the turn; `local`: the address it
    /// leaves from, where the socket is bound to every address.
    public func post(
        _ head: [UInt8], _ payload: UnsafeRawBufferPointer, to remote: SocketAddress,
        from local: IPAddress? = nil, through socket: RelaySocket
    ) {
        let length = head.count + payload.count
        guard socket.isOpen, length <= Self.arenaBytes else { statistics.dropped += 1; return }
        if self.socket !== socket || used + length > Self.arenaBytes { flush() }
        self.socket = socket
        let start = arena + used
        head.withUnsafeBytes {
            if let from = $0.baseAddress { start.copyMemory(from: from, byteCount: $0.count) }
        }
        if let from = payload.baseAddress {
            (start + head.count).copyMemory(from: from, byteCount: payload.count)
        }
        var outgoing = braid_outgoing(
            bytes: UnsafePointer(start.assumingMemoryBound(to: UInt8.self)),
            length: UInt32(length), segment: 0, has_local: local == nil ? 0 : 1,
            remote: braid_address(remote), local: local.map { braid_address($0) } ?? braid_address()
        )
        used += length
        _ = braid_sender_add(sender, &outgoing)
        if Int(braid_sender_count(sender)) == Self.slots { flush() }
    }

    /// Sends what was posted.
    public func flush() {
        let count = Int(braid_sender_count(sender))
        guard count > 0 else { return }
        defer {
            braid_sender_clear(sender)
            used = 0
            socket = nil
        }
        guard let socket, socket.isOpen else { statistics.dropped += count; return }
        var i = 0, retries = 0
        while i < count {
            let n = Int(braid_send(sender, socket.datagrams.descriptor, UInt32(i), .max))
            if n > 0 {
                i += n
                statistics.sent += n
                continue
            }
            // An earlier ICMP error, or a signal: asking clears it. Not for ever.
            if n == -Int(ECONNREFUSED) || n == -Int(EINTR), retries < 4 { retries += 1; continue }
            if n == -Int(EAGAIN) || n == -Int(ENOBUFS) {
                statistics.dropped += count - i
                return
            }
            // This one can't go there; the next one may.
            statistics.dropped += 1
            i += 1
            retries = 0
        }
    }
}

/// What the sockets of one user have received in the turn of the loop.
public final class RelayShare {
    private var turn: Int?
    private var count = 0
    public init() {}

    fileprivate func received(in turn: Int) -> Int {
        if self.turn != turn {
            self.turn = turn
            count = 0
        }
        return count
    }
    fileprivate func note() { count += 1 }
}
