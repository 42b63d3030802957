import Glibc
import Measures

/// One connection to the status page: a request, then its reply or a stream of events.
///
/// Whoever answers may keep it: it says by `isOver` that nobody is there any more.
public final class StatusExchange {
    private enum State {
        case head, body(StatusRequest)
        /// The request is here, its answer is not.
        case asked(isHead: Bool)
        case replying, streaming, over
    }

    private let socket: StreamSocket
    private let loop: EventLoop
    private let limit: Interval
    private weak var page: StatusPage?
    private var state = State.head
    private var input: [UInt8] = []
    /// How far `input` was searched for the head's end, and where the line begins that stands
    /// there.
    private var searched = 0, lineStart = 0
    private var output: [UInt8] = []
    /// Bytes of `output` that the kernel has taken.
    private var sent = 0
    private var timer: LoopTimer?

    /// Of a stream, in the kernel: what it holds more than this is ours, and counts.
    private static let streamBuffer: Int32 = 64 << 10
    /// A stream whose reader answers nothing for so long is dead, milliseconds.
    private static let streamSilence: Int32 = 30_000

    init(_ socket: StreamSocket, loop: EventLoop, limit: Interval, page: StatusPage) {
        self.socket = socket
        self.loop = loop
        self.limit = limit
        self.page = page
        timer = loop.timer(for: self) { $0.leave() }
        timer?.arm(after: limit)
        socket.watch.onReadable(for: self) { $0.read() }
        socket.watch.onWritable(for: self) { $0.write() }
        socket.watch.wantsRead = true
    }

    /// Nobody is at the other end any more.
    public var isOver: Bool { if case .over = state { true } else { false } }

    func close() {
        state = .over
        timer = nil
        output = []
        sent = 0
        input = []
        socket.close()
    }

    private func leave() {
        guard !isOver else { return }
        close()
        page?.ended(self)
    }

    // MARK: The answer

    /// Answers the request; nothing where that was done, or nobody waits for it any more.
    public func reply(_ reply: StatusReply) {
        guard case .asked(let isHead) = state else { return }
        state = .replying
        output = reply.bytes(isHead: isHead)
        write()
    }

    /// Answers with a stream, which begins with `events`. `farewell` is the last event of the
    /// stream that makes room for it, where there are too many.
    public func stream(_ events: [UInt8], farewell: [UInt8]) {
        guard case .asked(isHead: false) = state else {
            reply(StatusReply(.notAllowed, "A stream is for GET."))
            return
        }
        state = .streaming
        timer?.cancel()
        var size = Self.streamBuffer, silence = Self.streamSilence
        let length = socklen_t(MemoryLayout<Int32>.size)
        setsockopt(socket.descriptor, SOL_SOCKET, SO_SNDBUF, &size, length)
        setsockopt(socket.descriptor, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, &silence, length)
        output = StatusReply.ofStream
        page?.becameStream(self, farewell: farewell)
        send(events)
    }

    /// Sends more of a stream; it ends where its reader has left too much of it untaken.
    public func send(_ events: [UInt8]) {
        guard case .streaming = state else { return }
        guard output.count - sent + events.count <= StatusPage.maximumUnsent else {
            leave()
            return
        }
        output += events
        write()
    }

    func endStream(with events: [UInt8]) {
        guard case .streaming = state else { return }
        state = .replying
        output += events
        timer?.arm(after: limit)
        write()
    }

    // MARK: The socket

    private func read() {
        let result = withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { room in
            let result = socket.read(into: room)
            if case .bytes(let n) = result {
                switch state {
                case .head, .body: input += room[..<n]
                // What comes behind the request is read, so that closing does not reset the reply.
                case .asked, .replying, .streaming, .over: break
                }
            }
            return result
        }
        switch (result, state) {
        case (.blocked, _): return
        case (.end, .replying) where sent < output.count: socket.watch.wantsRead = false
        case (.end, .asked): socket.watch.wantsRead = false
        case (.end, _), (.failed, _): leave()
        case (.bytes, _): take()
        }
    }

    /// Looks at what has come of the request.
    private func take() {
        if case .head = state {
            guard let end = endOfHead() else {
                if input.count > StatusPage.maximumHead { asked(nil) }
                return
            }
            let head = Array(input[..<end.head])
            input.removeFirst(end.body)
            guard end.body <= StatusPage.maximumHead + 2, let request = StatusRequest(head: head)
            else {
                asked(nil)
                return
            }
            guard request.bodyLength <= StatusPage.maximumBody else {
                state = .asked(isHead: false)
                reply(StatusReply(.tooLarge, "More than \(StatusPage.maximumBody) bytes."))
                return
            }
            state = .body(request)
        }
        if case .body(var request) = state, input.count >= request.bodyLength {
            request.body = Array(input[..<request.bodyLength])
            asked(request)
        }
    }

    private func asked(_ request: StatusRequest?) {
        state = .asked(isHead: request?.method == "HEAD")
        input = []
        if let page { page.asked(request, by: self) } else { leave() }
    }

    /// Where the head's empty line begins, and where the body does; nil where it has not come.
    private func endOfHead() -> (head: Int, body: Int)? {
        let newline = UInt8(ascii: "\n"), ending = UInt8(ascii: "\r")
        while searched < input.count {
            defer { searched += 1 }
            guard input[searched] == newline else { continue }
            let length = searched - lineStart
            if length == 0 || (length == 1 && input[lineStart] == ending) {
                return (lineStart, searched + 1)
            }
            lineStart = searched + 1
        }
        return nil
    }

    private func write() {
        guard sent < output.count else { return }
        let result = output.withUnsafeBytes {
            socket.write(UnsafeRawBufferPointer(rebasing: $0[sent...]))
        }
        switch result {
        case .bytes(let n): sent += n
        case .blocked: break
        case .failed: leave(); return
        }
        socket.watch.wantsWrite = sent < output.count
        switch state {
        case .streaming: forgetSent()
        // The client ends it, or the time does.
        case .replying where sent == output.count: socket.finishWriting()
        default: break
        }
    }

    /// Of a stream nothing is kept that was sent.
    private func forgetSent() {
        if sent == output.count {
            output.removeAll(keepingCapacity: output.capacity <= 16 << 10)
        } else if sent > output.count / 2 {
            output.removeFirst(sent)
        } else {
            return
        }
        sent = 0
    }
}
