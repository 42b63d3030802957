import CDatagram
import Dialogue
import Glibc
import Measures

/// What a question to one server came to.
enum NameOutcome {
    case answer(DNSAnswer)
    /// A server of before 1999: to be asked again without EDNS (RFC 6891 section 7).
    case knowsNoExtension
    /// Nobody listens there.
    case failed
}

/// One question to one server over UDP.
final class NameDatagram {
    private let query: DNSQuery
    private let forwarder: NameForwarder
    private let descriptor: Int32
    private let watch: FileWatch
    private let done: (NameOutcome) -> Void
    private var isOpen = true

    /// Datagrams looked at in one turn of the loop: a forger's flood is dropped by the kernel.
    private static let maximumPerTurn = 16

    /// Sends; `done` is called from the loop, and never where the server is silent. Nil where it
    /// can't be sent.
    init?(
        _ query: DNSQuery, to server: NamePlace, _ forwarder: NameForwarder,
        done: @escaping (NameOutcome) -> Void
    ) {
        let fd = braid_socket_datagram(server.address.address.isIPv4 ? 1 : 0)
        guard fd >= 0 else { return nil }
        self.query = query
        self.forwarder = forwarder
        self.done = done
        descriptor = fd
        watch = forwarder.loop.watch(fd)
        // Connected: the kernel lets in what comes from that address and port, and chooses a port
        // of chance.
        var address = braid_address(server.address)
        let message = query.bytes
        guard fd < DescriptorLimit.forConnections, server.bind(fd),
            braid_connect(fd, &address) == 0,
            Glibc.send(fd, message, message.count, Int32(truncatingIfNeeded: MSG_NOSIGNAL))
                == message.count
        else {
            close()
            return nil
        }
        watch.onReadable(for: self) { $0.receive() }
        watch.wantsRead = true
    }

    deinit { close() }

    func close() {
        guard isOpen else { return }
        isOpen = false
        watch.cancel()
        Glibc.close(descriptor)
    }

    private func receive() {
        for _ in 0..<Self.maximumPerTurn where isOpen {
            let space = forwarder.scratch
            let n = recv(descriptor, space.baseAddress, space.count, 0)
            guard n >= 0 else {
                if errno == ECONNREFUSED || errno == EHOSTUNREACH { end(.failed) }
                return
            }
            if let outcome = judge(UnsafeRawBufferPointer(rebasing: space[..<n])) {
                end(outcome)
                return
            }
            forwarder.counters.wrong += 1
        }
    }

    private func judge(_ message: UnsafeRawBufferPointer) -> NameOutcome? {
        guard let header = DNSHeader(message), header.isResponse, header.id == query.id else {
            return nil
        }
        let isOld =
            query.extended != nil
            && (header.code == DNSCode.formatError || header.code == DNSCode.notImplemented)
        // Some repeat nothing of a message that they can't read.
        if isOld, header.counts.0 == 0 { return .knowsNoExtension }
        guard let answer = DNSAnswer(reading: message), answer.answers(query.question, id: query.id)
        else { return nil }
        return isOld ? .knowsNoExtension : .answer(answer)
    }

    private func end(_ outcome: NameOutcome) {
        close()
        done(outcome)
    }
}

/// One question to one server over TCP (RFC 7766).
final class NameStream {
    private let query: DNSQuery
    private let forwarder: NameForwarder
    private var done: ((DNSAnswer?) -> Void)?
    private var attempt: StreamSocket.Attempt?
    private var socket: StreamSocket?
    private var unsent: [UInt8]
    private var received: [UInt8] = []
    private var timer: LoopTimer?

    /// For the whole exchange.
    private static let limit = Interval.seconds(5)

    /// `done` is called once from the loop, with nil where there is no whole answer.
    init(
        _ query: DNSQuery, to server: NamePlace, _ forwarder: NameForwarder,
        done: @escaping (DNSAnswer?) -> Void
    ) {
        self.query = query
        self.forwarder = forwarder
        self.done = done
        unsent = DNSFraming.framed(query.bytes)
        timer = forwarder.loop.timer(for: self) { $0.end(nil) }
        timer?.arm(after: Self.limit)
        attempt = StreamSocket.connect(
            to: server.address, from: server.binding, loop: forwarder.loop
        ) { [weak self] in self?.connected($0) }
    }

    deinit { close() }

    func close() {
        done = nil
        timer = nil
        attempt?.cancel()
        attempt = nil
        socket?.close()
        socket = nil
    }

    private func connected(_ result: Result<StreamSocket, SystemError>) {
        attempt = nil
        guard case .success(let socket) = result, done != nil else { end(nil); return }
        self.socket = socket
        socket.watch.onReadable(for: self) { $0.read() }
        socket.watch.onWritable(for: self) { $0.write() }
        socket.watch.wantsRead = true
        write()
    }

    private func write() {
        guard let socket, !unsent.isEmpty else { return }
        switch socket.write(unsent) {
        case .bytes(let n): unsent.removeFirst(n)
        case .blocked: break
        case .failed: end(nil); return
        }
        socket.watch.wantsWrite = !unsent.isEmpty
    }

    private func read() {
        guard let socket else { return }
        switch socket.read(into: forwarder.scratch) {
        case .blocked: return
        case .end, .failed: end(nil); return
        case .bytes(let n): received += forwarder.scratch[..<n]
        }
        guard let message = DNSFraming.message(of: received[...]) else { return }
        let answer = message.withUnsafeBytes { DNSAnswer(reading: $0) }
        end(answer.flatMap { $0.answers(query.question, id: query.id) ? $0 : nil })
    }

    private func end(_ answer: DNSAnswer?) {
        guard let tell = done else { return }
        close()
        tell(answer)
    }
}
