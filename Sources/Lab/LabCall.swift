import CLab
import Glibc
import Measures
import Simulator

/// A call through the proxy: an association that a client of the lab asks for, and a server that
/// answers whoever sends to it.
final class LabCall {
    let client: DatagramEnd, server: DatagramEnd
    private let up: CallDirection, down: CallDirection
    /// The association lives as long as this connection.
    private let control: Int32

    static let port: UInt16 = 7001

    init(_ plan: CallPlan, _ lab: Lab, seed: UInt64) throws {
        up = CallDirection(plan, key: seed ^ 0x6361_6c6c)
        down = CallDirection(plan, key: ~(seed ^ 0x6361_6c6c))
        let socks = try SocksConnection(lab, .associate)
        control = socks.descriptor
        let relay = try socks.finish()
        let target = SocketAddress(Lab.originAddress, port: Self.port)
        // Reserved, not a fragment (RFC 1928 section 7).
        let header: [UInt8] = [0, 0, 0] + SocksConnection.bytes(of: target)
        client = DatagramEnd(
            try lab.datagramSocket(on: .client), sends: up, gets: down, header: header, to: relay)
        server = DatagramEnd(
            try lab.datagramSocket(on: .server), sends: down, gets: up, header: [], to: nil)
        let bound = withSocketAddress(target) { bind(server.descriptor, $0, $1) }
        guard bound == 0 else {
            throw LabError("the server can't bind: \(String(cString: strerror(errno)))")
        }
        up.begin(at: plan.begins)
    }

    deinit { close(control) }

    var record: CallRecord { CallRecord(up: up.log, down: down.log) }
    var failure: String? {
        client.failure.map { "caller: \($0)" } ?? server.failure.map { "called: \($0)" }
    }
}

/// One end of a call: a UDP socket. Instants are the trial's, not the clock's.
final class DatagramEnd: TrialEnd {
    let descriptor: Int32
    private let outgoing: CallDirection, incoming: CallDirection
    /// In front of what is sent, and as long in front of what comes.
    private let header: Int
    /// The next datagram, its header included.
    private let datagram: UnsafeMutableRawBufferPointer
    private let arrival = UnsafeMutableRawBufferPointer.allocate(byteCount: 2_048, alignment: 8)
    /// Where it sends; nil: to whoever sends first.
    private var peer: SocketAddress?
    private var wrong: String?

    init(
        _ descriptor: Int32, sends outgoing: CallDirection, gets incoming: CallDirection,
        header: [UInt8], to peer: SocketAddress?
    ) {
        self.descriptor = descriptor
        self.outgoing = outgoing
        self.incoming = incoming
        self.header = header.count
        self.peer = peer
        datagram = .allocate(byteCount: header.count + outgoing.plan.size, alignment: 8)
        datagram.copyBytes(from: header)
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    }

    deinit {
        close(descriptor)
        datagram.deallocate()
        arrival.deallocate()
    }

    var failure: String? { wrong ?? incoming.failure }
    var polled: pollfd { pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0) }
    func deadline(after now: Instant) -> Instant { outgoing.nextDue }

    func turn(at now: Instant) {
        receive(at: now)
        while let peer, outgoing.nextDue <= now {
            outgoing.writeNext(into: UnsafeMutableRawBufferPointer(rebasing: datagram[header...]))
            // What the socket does not take is lost, and will be missed.
            _ = withSocketAddress(peer) {
                sendto(descriptor, datagram.baseAddress, datagram.count, 0, $0, $1)
            }
        }
    }

    private func receive(at now: Instant) {
        while failure == nil {
            var from = sockaddr_in(), size = socklen_t(MemoryLayout<sockaddr_in>.size)
            let n = withUnsafeMutablePointer(to: &from) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    recvfrom(descriptor, arrival.baseAddress, arrival.count, 0, $0, &size)
                }
            }
            if n < 0 {
                if errno == EINTR { continue }
                if errno != EAGAIN {
                    wrong = "receiving failed: \(String(cString: strerror(errno)))"
                }
                return
            }
            guard n >= header else { wrong = "a datagram of \(n) bytes"; return }
            incoming.arrived(
                UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(arrival)[header..<n]),
                at: now)
            guard peer == nil else { continue }
            peer = SocketAddress(
                IPAddress(v4: UInt32(bigEndian: from.sin_addr.s_addr)),
                port: UInt16(bigEndian: from.sin_port))
            outgoing.begin(at: now)
        }
    }
}
