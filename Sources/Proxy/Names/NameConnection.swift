import Dialogue
import Measures
import Shell

/// A program's connection to a DNS port: questions behind their lengths, several at a time, and
/// their answers as they come (RFC 7766).
final class NameConnection {
    let client: SocketAddress
    /// Ascending in the order in which a service's connections begin.
    let number: UInt64
    private let socket: StreamSocket
    private weak var service: NameService?
    private var received: [UInt8] = []
    private var unsent: [UInt8] = []
    private var underWay = 0
    private var hasEnded = false
    private var isOver = false
    /// Something moved since the timer was set.
    private var hasMoved = false
    private var timer: LoopTimer?

    init(_ socket: StreamSocket, _ client: SocketAddress, number: UInt64, _ service: NameService) {
        self.socket = socket
        self.client = client
        self.number = number
        self.service = service
    }

    func start() {
        guard let service else { return }
        socket.watch.onReadable(for: self) { $0.read() }
        socket.watch.onWritable(for: self) { $0.write() }
        socket.watch.wantsRead = true
        timer = service.loop.timer(for: self) { $0.rested() }
        timer?.arm(after: NameLimit.idle)
    }

    func cut() {
        guard !isOver else { return }
        socket.reset()
        leave()
    }

    private func leave() {
        guard !isOver else { return }
        isOver = true
        timer = nil
        service?.left(self)
    }

    private func rested() {
        guard hasMoved || underWay > 0 && unsent.isEmpty else { cut(); return }
        hasMoved = false
        timer?.arm(after: NameLimit.idle)
    }

    private var takesMore: Bool {
        underWay < NameLimit.pipelined && unsent.count < NameLimit.unread
    }

    private func read() {
        guard !isOver else { return }
        let result = withUnsafeTemporaryAllocation(byteCount: 4_096, alignment: 8) { space in
            let result = socket.read(into: space)
            if case .bytes(let n) = result { received += space[..<n] }
            return result
        }
        switch result {
        case .blocked: return
        case .bytes: takeQuestions()
        case .end:
            hasEnded = true
            socket.watch.wantsRead = false
            closeWhenDone()
        case .failed: cut()
        }
    }

    /// As many as may be under way; the others wait in the socket, or here.
    private func takeQuestions() {
        var at = 0
        while takesMore, !isOver, let length = DNSFraming.length(of: received[at...]) {
            guard (DNSHeader.length...NameLimit.message).contains(length) else { cut(); return }
            guard let message = DNSFraming.message(of: received[at...]) else { break }
            at += DNSFraming.lengthBytes + length
            hasMoved = true
            ask(Array(message))
        }
        received.removeFirst(at)
        if !isOver { socket.watch.wantsRead = !hasEnded && takesMore }
    }

    private func ask(_ message: [UInt8]) {
        guard let service else { return }
        underWay += 1
        let place = Place(self)
        message.withUnsafeBytes {
            service.ask($0, from: .init(address: client, transport: .stream)) { place.answer($0) }
        }
    }

    /// A question that is under way until it is answered, or dropped.
    private final class Place {
        private weak var connection: NameConnection?
        init(_ connection: NameConnection) { self.connection = connection }
        deinit { connection?.ended(nil) }

        func answer(_ bytes: [UInt8]) {
            let connection = connection
            self.connection = nil
            connection?.ended(bytes)
        }
    }

    private func ended(_ answer: [UInt8]?) {
        underWay -= 1
        guard !isOver else { return }
        if let answer {
            hasMoved = true
            unsent += DNSFraming.framed(answer)
        }
        // Behind whoever is calling: a question may be answered from within.
        socket.watch.wantsWrite = true
    }

    private func write() {
        guard !isOver else { return }
        if !unsent.isEmpty {
            switch socket.write(unsent) {
            case .bytes(let n):
                unsent.removeFirst(n)
                hasMoved = hasMoved || n > 0
            case .blocked: break
            case .failed: cut(); return
            }
        }
        socket.watch.wantsWrite = !unsent.isEmpty
        if !hasEnded || !received.isEmpty { takeQuestions() }
        closeWhenDone()
    }

    private func closeWhenDone() {
        guard hasEnded, underWay == 0, unsent.isEmpty, !isOver else { return }
        socket.close()
        leave()
    }
}
