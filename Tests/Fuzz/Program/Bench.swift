import Buffers
import Glibc
import Measures

/// Two ends and what is under way between them. An input drives them; then faults end; then time
/// alone goes by.
protocol Bench: AnyObject {
    var now: Instant { get set }
    /// When an end wants to be called next.
    var deadline: Instant { get }
    /// Nothing was forged or changed on its way: what one side reads is what the other one wrote.
    var isHonest: Bool { get }
    /// Something waits to be delivered.
    var isUnderWay: Bool { get }

    func step(_ input: inout Input)
    /// Both ends do what is due at `now` and say what they have to say.
    func turn()
    func deliverAll()
    func loseAll()
    /// Faults have ended: paths work again.
    func restore()
    /// What owners do as time goes by: open subflows where none is left, read what there is.
    func attend()
    /// What was written, has not arrived, and has no reason not to.
    var missing: String? { get }
}

extension Bench {
    func run(_ input: inout Input, steps maximum: Int, alone: Int) {
        var steps = 0
        while !input.isEmpty, steps < maximum {
            steps += 1
            step(&input)
            turn()
        }
        if isHonest { recover() }
        // Whatever happened: with time alone both ends come to rest and never spin.
        for _ in 0..<alone {
            let next = deadline
            guard next < .distantFuture else { break }
            now = max(now, next)
            turn()
            loseAll()
            check(deadline > now, "a deadline in the past after a whole turn")
        }
    }

    /// With nothing lost any more all that was written arrives.
    private func recover() {
        restore()
        for _ in 0..<Self.maximumRounds {
            attend()
            if missing == nil { return }
            turn()
            if isUnderWay {
                deliverAll()
                now += .milliseconds(5)
            } else {
                now = max(now + .microseconds(1), min(deadline, now + .seconds(30)))
            }
        }
        if let missing { fail("\(missing), although nothing is lost any more") }
    }
    private static var maximumRounds: Int { 1_000 }
}

/// One direction of a stream. Every byte's value follows from where it stands, so two counts say
/// all.
struct Writing {
    /// A prime period: bytes a power of two apart differ.
    private static let period = 65_521
    nonisolated(unsafe) private static let pattern: UnsafeMutableRawPointer = {
        let bytes = UnsafeMutableRawPointer.allocate(byteCount: 2 * period, alignment: 16)
        for i in 0..<(2 * period) {
            bytes.storeBytes(
                of: UInt8(truncatingIfNeeded: (i % period &* 2_654_435_761) >> 13), toByteOffset: i,
                as: UInt8.self)
        }
        return bytes
    }()

    /// Where in the pattern it begins; another place for every writing.
    let start: Int
    private(set) var written = 0, read = 0
    var isFinished = false

    /// Fills what the writer was given to write into.
    mutating func fill(_ space: UnsafeMutableRawBufferPointer) {
        var done = 0
        while done < space.count {
            let at = (start + written) % Self.period, n = min(space.count - done, Self.period)
            memcpy(space.baseAddress! + done, Self.pattern + at, n)
            done += n
            written += n
        }
    }

    /// There is another reader, which has read nothing yet.
    mutating func startAgain() { read = 0 }

    /// The reader takes the first `n` bytes of what it has.
    mutating func take(_ n: Int, of pieces: Pieces, checks: Bool) {
        if checks {
            check(
                read + pieces.count <= written,
                "\(read + pieces.count) bytes arrived, \(written) were written")
            let first = min(n, pieces.first.count)
            compare(UnsafeRawBufferPointer(rebasing: pieces.first[..<first]), at: read)
            compare(
                UnsafeRawBufferPointer(rebasing: pieces.second[..<(n - first)]), at: read + first)
        }
        read += n
    }

    private func compare(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        var done = 0
        while done < bytes.count {
            let at = (start + offset + done) % Self.period, n = min(bytes.count - done, Self.period)
            check(
                memcmp(bytes.baseAddress! + done, Self.pattern + at, n) == 0,
                "other bytes within \(n) from \(offset + done)")
            done += n
        }
    }
}
