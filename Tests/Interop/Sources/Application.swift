import Crypto
import Measures
import Multipath

/// What the peer writes and reads, by its pattern; hashes both.
struct Application {
    let arguments: Arguments
    private(set) var sent = 0, received = 0
    private let sentHash = RunningSHA256(), receivedHash = RunningSHA256()
    private var content: SeededRandom
    private(set) var isFinished = false
    private(set) var sawEnd = false
    var wantsFinish = false
    private(set) var readFinishedAt: Instant?, writeFinishedAt: Instant?

    init(_ arguments: Arguments) {
        self.arguments = arguments
        content = SeededRandom(seed: arguments.seed ^ 0x5eed)
    }

    /// One turn of reading and writing; `began`: when the handshake was done.
    mutating func turn(_ connection: Connection, began: Instant, at now: Instant) {
        guard connection.error == nil else { return }
        read(connection, began: began, at: now)
        if !isFinished { write(connection, at: now) }
        if isFinished, connection.isWriteFinished, writeFinishedAt == nil { writeFinishedAt = now }
        if connection.isReadFinished, !sawEnd {
            sawEnd = true
            readFinishedAt = now
            write(connection, at: now)
        }
    }

    /// When `turn` has something to do again although nothing arrived.
    func deadline(began: Instant, at now: Instant) -> Instant {
        let start = began + interval(arguments.readAfter)
        if now < start { return start }
        return arguments.readRate == nil ? .distantFuture : now + .milliseconds(20)
    }

    private mutating func read(_ connection: Connection, began: Instant, at now: Instant) {
        var allowed = Int.max
        let start = began + interval(arguments.readAfter)
        if now < start { allowed = 0 }
        if let rate = arguments.readRate {
            allowed = max(0, Int(Double(rate) * (now - start).seconds) - received)
        }
        let echoes = arguments.pattern == .echo && !arguments.isClient
        while allowed > 0 {
            let pieces = connection.readable
            let n = min(allowed, pieces.first.count)
            guard n > 0 else { break }
            // At a rate it reads in steps of ten milliseconds, not byte by byte whenever a packet
            // wakes it.
            if let rate = arguments.readRate, n < pieces.first.count, n < rate / 100 { break }
            var bytes = UnsafeRawBufferPointer(rebasing: pieces.first[0..<n])
            if echoes {
                let written = connection.write(bytes, at: now)
                guard written > 0 else { break }
                bytes = UnsafeRawBufferPointer(rebasing: bytes[0..<written])
                sentHash.add(bytes)
                sent += written
            }
            receivedHash.add(bytes)
            received += bytes.count
            allowed -= bytes.count
            connection.consume(bytes.count, at: now)
        }
    }

    private mutating func write(_ connection: Connection, at now: Instant) {
        switch arguments.pattern {
        case .echo where arguments.isClient, .source: produce(connection, at: now)
        case .halfClose: if sawEnd { produce(connection, at: now) }
        case .echo, .sink, .idle:
            if sawEnd || wantsFinish { finish(connection, at: now) }
        }
    }

    private mutating func produce(_ connection: Connection, at now: Instant) {
        while sent < arguments.size {
            let space = connection.writeSpace(min(arguments.size - sent, 1 << 16))
            guard space.count > 0 else { return }
            for i in 0..<space.count {
                if (sent + i) & 7 == 0 { word = content.next() }
                space[i] = UInt8(truncatingIfNeeded: word >> UInt64(8 * ((sent + i) & 7)))
            }
            sentHash.add(UnsafeRawBufferPointer(space))
            sent += space.count
            connection.commitWrite(space.count, at: now)
        }
        finish(connection, at: now)
    }
    private var word: UInt64 = 0

    private mutating func finish(_ connection: Connection, at now: Instant) {
        guard !isFinished else { return }
        isFinished = true
        connection.finishWriting(at: now)
    }

    func hashes() -> (sent: String, received: String) { (sentHash.finish(), receivedHash.finish()) }
}
