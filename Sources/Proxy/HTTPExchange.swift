import Dialogue
import Shell
import Wire

/// One request of an application and its response under way: what of each has passed, and what the
/// next bytes mean. It moves bytes between the two sides and returns what its owner is to do.
struct HTTPExchange {
    let request: HTTPRequest
    /// Whether the stream served a request before: the origin may be closing it just now.
    let isOnUsedStream: Bool
    private var headSent = 0
    private var requestBody: HTTPBodyReader
    /// Bytes at the front of what is unread known to belong to the request's body.
    private var approvedUp = 0
    /// Some of the body has left: the request can't be made anew elsewhere.
    private(set) var hasSentBody = false
    private var responses: HTTPResponseReader
    /// The response's head as far as it arrived.
    private var gathered: [UInt8] = []
    private(set) var response: HTTPResponse?
    private var responseBody = HTTPBodyReader(.untilClose)
    /// Bytes at the front of the stream known to belong to the response's body.
    private(set) var approvedDown = 0
    /// Bytes of a response's body that are looked at ahead of passing them on.
    static let maximumLook = 256 << 10
    private(set) var clientSawBytes = false

    init(_ request: HTTPRequest, isOnUsedStream: Bool) {
        self.request = request
        self.isOnUsedStream = isOnUsedStream
        requestBody = HTTPBodyReader(request.body)
        responses = HTTPResponseReader(HTTPResponseContext(request))
    }

    var requestIsSent: Bool {
        headSent == request.head.count && requestBody.isFinished && approvedUp == 0
    }
    var responseIsPassedOn: Bool {
        response != nil && responseBody.isFinished && approvedDown == 0
    }
    /// The application saw nothing, and nothing came: the origin closed a connection that it took
    /// for idle.
    var isUntouched: Bool { isOnUsedStream && gathered.isEmpty && !clientSawBytes }

    /// Another stream takes the request from its beginning.
    mutating func beginAnew() { headSent = 0 }

    // MARK: The request

    /// What came of sending.
    enum Sending {
        /// All that could be sent is; there may be more later. `hasMoved`: some of the body.
        case waits(hasMoved: Bool)
        /// The application has ended in the middle of its request.
        case endedEarly
        /// Its body is not chunked as it must be.
        case malformed
    }

    /// Puts the head and what is at hand of the body into the stream.
    mutating func send(
        _ unread: inout UnreadBytes, to stream: any Outbound, clientEnded: Bool
    ) -> Sending {
        if headSent < request.head.count {
            headSent += request.head.withUnsafeBytes {
                stream.write(UnsafeRawBufferPointer(rebasing: $0[headSent...]))
            }
            guard headSent == request.head.count else { return .waits(hasMoved: false) }
        }
        var hasMoved = false
        while !requestIsSent {
            if approvedUp == 0 {
                guard unread.count > 0 else {
                    return clientEnded ? .endedEarly : .waits(hasMoved: hasMoved)
                }
                guard let n = unread.withBytes({ try? requestBody.read($0) }) else {
                    return .malformed
                }
                approvedUp = n
            }
            let taken = unread.withBytes {
                stream.write(UnsafeRawBufferPointer(rebasing: $0[..<approvedUp]))
            }
            guard taken > 0 else { return .waits(hasMoved: hasMoved) }
            hasMoved = true
            hasSentBody = true
            unread.consume(taken)
            approvedUp -= taken
        }
        return .waits(hasMoved: hasMoved)
    }

    // MARK: The response

    /// What came of reading the response's head.
    enum Head {
        /// Nothing has come.
        case waits
        /// The origin closed before it was complete.
        case ended
        /// Some of it came, or all: then there is a `response`.
        case goesOn
        /// Something for the application that is not the response yet: it is to be written at once.
        case interim
        /// 101: from here on both sides speak something else, the application from this head on.
        case switches([UInt8])
        /// The origin does not speak HTTP.
        case refused(HTTPRefusal)
    }

    /// Reads more of the response's head; what is for the application goes to the end of
    /// `outgoing`.
    mutating func readHead(from stream: any Outbound, into outgoing: inout [UInt8]) -> Head {
        let piece = stream.readable.first
        guard !piece.isEmpty else {
            return stream.isReadFinished || stream.hasFailed ? .ended : .waits
        }
        let before = gathered.count
        gathered.append(contentsOf: piece.prefix(HTTPLimit.head + 1))
        let reading = gathered.withUnsafeBytes { responses.read($0) }
        switch reading {
        case .needMore:
            stream.consume(gathered.count - before)
            return .goesOn
        case .interim(let head, let length):
            stream.consume(length - before)
            gathered = []
            clientSawBytes = clientSawBytes || !head.isEmpty
            outgoing += head
            return .interim
        case .switching(let head, let length):
            stream.consume(length - before)
            return .switches(head)
        case .final(let response, let length):
            stream.consume(length - before)
            gathered = []
            clientSawBytes = true
            outgoing += response.head
            responseBody = HTTPBodyReader(response.body)
            self.response = response
            return .goesOn
        case .refused(let error):
            return .refused(error.refusal)
        }
    }

    /// What came of passing the response's body on.
    enum Passing {
        case waitsForOrigin
        case waitsForClient
        /// It is over before its end, or one side is: a body that is cut short must not look whole.
        case isCut
    }

    /// Passes on what has come of the response's body, straight from the stream into the socket, up
    /// to about `maximum` bytes; `moved`: how many.
    mutating func passBody(
        from stream: any Outbound, to socket: StreamSocket, maximum: Int
    ) -> (outcome: Passing, moved: Int) {
        var moved = 0
        while !responseIsPassedOn {
            let piece = stream.readable.first
            guard !piece.isEmpty else {
                if stream.hasFailed { return (.isCut, moved) }
                guard stream.isReadFinished else { return (.waitsForOrigin, moved) }
                guard responseBody.mayEndHere, response?.body == .untilClose else {
                    return (.isCut, moved)
                }
                responseBody = HTTPBodyReader(.none)
                return (.waitsForOrigin, moved)
            }
            guard moved < maximum else { return (.waitsForClient, moved) }
            if approvedDown == 0 {
                // A ring full of the smallest chunks takes long to look through at once.
                let next = UnsafeRawBufferPointer(rebasing: piece.prefix(Self.maximumLook))
                guard let n = try? responseBody.read(next) else { return (.isCut, moved) }
                approvedDown = n
            }
            let length = min(approvedDown, piece.count)
            switch socket.write(UnsafeRawBufferPointer(rebasing: piece[..<length])) {
            case .bytes(let n):
                stream.consume(n)
                approvedDown -= n
                moved += n
                if n < length { return (.waitsForClient, moved) }
            case .blocked: return (.waitsForClient, moved)
            case .failed: return (.isCut, moved)
            }
        }
        return (.waitsForOrigin, moved)
    }
}

/// What an application has sent, and nobody has used yet.
struct UnreadBytes {
    private var bytes: [UInt8]
    private var used = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var count: Int { bytes.count - used }
    /// A copy of them.
    var copy: [UInt8] { Array(bytes[used...]) }

    func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        bytes.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[used...])) }
    }

    /// The first `count` are used.
    mutating func consume(_ count: Int) {
        used += count
        if used == bytes.count { self = UnreadBytes([]) }
    }

    /// More has come.
    mutating func append(_ more: Slice<UnsafeMutableRawBufferPointer>) {
        if used > 0 {
            bytes.removeFirst(used)
            used = 0
        }
        bytes.append(contentsOf: more)
    }
}
