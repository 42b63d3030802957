import Buffers
import Dialogue
import Measures
import Shell
import Tunnel
import Wire

/// A connection that leaves from this machine: dialled, then a socket with a ring of bytes each
/// way.
final class DirectStream: Outbound {
    private enum State {
        case dialling
        case connected(StreamSocket)
        /// Closed, by us or by them.
        case over(hasFailed: Bool)
    }
    /// Bytes kept of each direction.
    private static let ringLimit = 256 << 10
    private static let maximumRead = 64 << 10
    /// How long what an application wrote before it left may take.
    private static let lingerTime = Interval.seconds(60)

    var dialler: HTTPRefusal.Dialler { .proxy }

    private let dials: DirectDials
    private weak var owner: (any StreamOwner)?
    private var state = State.dialling
    private var dial: Dial?
    private var up: ByteRing
    private var down: ByteRing
    private var isFinishing = false
    private var sawEnd = false
    /// Runs while its owner is yet to be told of a failure.
    private var news: LoopTimer?
    /// Runs while it lingers.
    private var timer: LoopTimer?

    /// `source`: who takes turns with others; `address`: where the application is.
    init(
        to target: Target, from localBinding: LocalBinding, for owner: any StreamOwner,
        address: IPAddress, source: Source, _ dials: DirectDials
    ) {
        self.dials = dials
        self.owner = owner
        up = ByteRing(limit: Self.ringLimit, share: dials.memory)
        down = ByteRing(limit: Self.ringLimit, share: dials.memory)
        dials.counters.begun += 1
        dials.counters.living += 1
        dial = Dial(
            target, user: "\(source)", dials.context(for: address), from: localBinding
        ) { [weak self] in self?.dialled($0) }
    }

    deinit { dials.counters.living -= 1 }

    private func dialled(_ outcome: Dial.Outcome) {
        dial = nil
        guard case .dialling = state else { return }
        switch outcome {
        case .failed(let status):
            dials.counters.failed += 1
            state = .over(hasFailed: true)
            owner?.answered(status)
        case .connected(let socket, _):
            state = .connected(socket)
            socket.watch.onReadable(for: self) { $0.receive() }
            socket.watch.onWritable(for: self) {
                $0.send(); $0.tell()
            }
            socket.onDeath(for: self) { stream, _ in
                stream.fail(); stream.tell()
            }
            socket.watch.wantsRead = true
            send()
            // Whoever is told may end the stream.
            owner?.answered(.connected)
        }
    }

    private func tell() { owner?.activity() }

    /// Whoever is writing just now is told when that is over.
    private func tellLater() {
        guard owner != nil else { return }
        let news = dials.driver.loop.timer(for: self) { $0.tell() }
        news.arm(after: .zero)
        self.news = news
    }

    // MARK: Application to socket

    func writeSpace(_ wanted: Int) -> UnsafeMutableRawBufferPointer { up.appendSpace(wanted) }

    func commitWrite(_ n: Int) {
        up.commit(n)
        send()
    }

    func write(_ bytes: UnsafeRawBufferPointer) -> Int {
        let taken = up.append(bytes)
        send()
        return taken
    }

    func finishWriting() {
        isFinishing = true
        send()
    }

    private func send() {
        guard case .connected(let socket) = state else { return }
        while up.count > 0 {
            switch socket.write(up.pieces(from: up.base, count: up.count)) {
            case .bytes(let n):
                up.discard(to: up.base + UInt64(n))
                continue
            case .blocked: break
            case .failed:
                fail()
                tellLater()
                return
            }
            break
        }
        socket.watch.wantsWrite = up.count > 0
        if up.count == 0 {
            giveBack(&up)
            if isFinishing { socket.finishWriting() }
            if timer != nil { end(); return }
        }
        watchForDeath(socket)
    }

    // MARK: Socket to application

    var readable: Pieces { down.pieces(from: down.base, count: down.count) }

    func consume(_ n: Int) {
        down.discard(to: down.base + UInt64(n))
        if down.count == 0 { giveBack(&down) }
        guard case .connected(let socket) = state, !sawEnd else { return }
        socket.watch.wantsRead = true
        watchForDeath(socket)
    }

    private func receive() {
        guard case .connected(let socket) = state, !sawEnd else { return }
        var moved = 0
        let limit = max(Self.maximumRead, allowance / 2)
        while moved < limit {
            let space = down.appendSpace(min(Self.maximumRead, limit - moved))
            if space.isEmpty { socket.watch.wantsRead = false; break }
            let result = socket.read(into: space)
            if case .bytes(let n) = result {
                down.commit(n)
                moved += n
                if n == space.count { continue }
            }
            switch result {
            case .bytes, .blocked: break
            case .end:
                sawEnd = true
                socket.watch.wantsRead = false
            case .failed: fail()
            }
            break
        }
        watchForDeath(socket)
        self.moved(moved)
        tell()
    }

    var isReadFinished: Bool { sawEnd && down.count == 0 }

    var hasFailed: Bool { if case .over(hasFailed: true) = state { true } else { false } }

    /// Memory stays with a busy stream as long as there is enough of it for others.
    private func giveBack(_ ring: inout ByteRing) {
        if dials.memory.free < dials.memory.budget.limit / 2 { ring.releaseIfEmpty() }
    }

    private func watchForDeath(_ socket: StreamSocket) {
        let isUnwatched = !socket.watch.wantsRead && !socket.watch.wantsWrite
        if let watch = socket.deathWatch, watch.isNeeded != isUnwatched {
            watch.isNeeded = isUnwatched
        }
    }

    // MARK: The end

    private func fail() {
        if case .connected(let socket) = state { socket.reset() }
        state = .over(hasFailed: true)
        stopLingering()
    }

    /// Everything was said.
    private func end() {
        if case .connected(let socket) = state { socket.close() }
        state = .over(hasFailed: false)
        stopLingering()
    }

    private func stopLingering() {
        guard timer != nil else { return }
        timer = nil
        dials.lingered(self)
    }

    func abort() {
        dial?.cancel()
        dial = nil
        fail()
    }

    var allowance: Int { dials.driver.allowance }
    func moved(_ n: Int) { dials.driver.allowance -= n }
    func forgetOwner() { owner = nil }

    func giveUp() {
        owner = nil
        // What comes back has nobody to go to any more.
        if isReadFinished { finishWriting(); release() } else { abort() }
    }

    func release() {
        owner = nil
        guard case .connected(let socket) = state else { abort(); return }
        guard up.count > 0 else { end(); return }
        socket.watch.wantsRead = false
        let timer = dials.driver.loop.timer(for: self) { $0.abort() }
        timer.arm(after: Self.lingerTime)
        self.timer = timer
        dials.linger(self)
    }
}
