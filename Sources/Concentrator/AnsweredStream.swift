import Measures
import Shell
import Tunnel
import Wire

/// A stream that the concentrator answers by itself, of a target of its own (docs/wire.md).
class LocalStream: StreamOwner {
    let user: String
    /// Whoever does something later asks `isOver` first.
    let server: ConcentratorServer
    let handle: StreamHandle
    private(set) var isOver = false

    init(_ handle: StreamHandle, user: String, server: ConcentratorServer) {
        self.handle = handle
        self.user = user
        self.server = server
    }

    // MARK: A subclass's

    /// Something has come, or may go; called while the stream is open in both directions.
    func proceed() {}
    /// Nobody waits for an answer any more.
    func ended() {}

    // MARK: The stream

    func start() {
        handle.owner = self
        handle.answer(with: .connected, at: server.driver.now)
        activity()
    }

    /// A concentrator answers by itself.
    func answered(_ status: DialStatus) {}

    func activity() {
        guard !isOver else { return }
        if handle.error != nil || handle.isReadFinished { leave(); return }
        proceed()
    }

    func cut() {
        guard !isOver else { return }
        handle.abort(at: server.driver.now)
        leave()
    }

    private func leave() {
        isOver = true
        ended()
        handle.owner = nil
        handle.release(at: server.driver.now)
        server.left(self)
    }
}

/// One message comes, one goes back, and the stream ends. What is asked, and what is answered, a
/// subclass says.
class AnsweredStream: LocalStream {
    /// What has come so far.
    enum Reading {
        case incomplete
        /// It will never be one: the stream is cut.
        case wrong
        case whole([UInt8])
    }

    private var hasAsked = false

    // MARK: A subclass's

    func message(in bytes: [UInt8]) -> Reading { .wrong }
    /// Answers by `reply`, now or later.
    func ask(_ message: [UInt8]) {}

    // MARK: The stream

    override func proceed() {
        guard !hasAsked else {
            handle.consume(handle.readable.count, at: server.driver.now)
            return
        }
        let bytes = handle.readable.bytes
        switch message(in: bytes) {
        case .incomplete: return
        case .wrong: cut()
        case .whole(let message):
            hasAsked = true
            handle.consume(bytes.count, at: server.driver.now)
            ask(message)
        }
    }

    func reply(_ answer: [UInt8]) {
        guard !isOver else { return }
        let now = server.driver.now
        let taken = answer.withUnsafeBytes { handle.write($0, at: now) }
        // The send ring takes a message whole, unless memory has run out.
        guard taken == answer.count else { cut(); return }
        handle.finishWriting(at: now)
    }
}
