import CDatagram
import Glibc
import Measures

/// The processes of one service that live at once: this one, those that it follows and that serve
/// what they have to its end, and perhaps one that follows this one.
///
/// Each has a life-line, a pair of sockets: one end is its own, the other end its followers'.
/// Whoever dies, however it dies, is heard of: its followers read the end of its life-line, and it
/// reads the end of its own where no follower is left. By it followers say what the older ones are
/// to do.
public final class Lineage {
    /// Numbers of generations: 0 up to here.
    public static let generations = 4
    /// Older processes that go on beside the newest one; of more, the oldest ends what it has.
    static let maximumOlder = 2

    /// What a follower says, a byte each.
    public enum Word: UInt8, Sendable {
        /// End what you have.
        case end = 0x65
        /// Read your configuration: somebody may be no user any more.
        case reload = 0x72
        /// The service ends in order: when its process is gone, nothing is to be taken back.
        case stop = 0x73
    }

    /// What a process that starts is told: its generation, and the older ones' life-lines.
    public struct Place: Sendable {
        /// Of the process that starts.
        public var generation: Int
        var older: [(generation: Int, lifeline: Int32)]
    }

    private struct Older {
        let generation: Int
        let socket: StreamSocket
    }
    private enum Following {
        /// The newest: its followers' end of the life-line is kept here.
        case no(handed: Int32)
        case yes
        /// The service has ended in order.
        case over
    }

    /// This process's number among those that live.
    public let generation: Int
    /// One of the older ones has ended.
    public var onOlderEnded: (() -> Void)?
    /// All that followed this one have ended, and said nothing before.
    public var onAlone: (() -> Void)?
    /// A follower wants something.
    public var onWord: ((Word) -> Void)?
    private let loop: EventLoop
    /// The oldest first.
    private var older: [Older] = []
    private var own: StreamSocket?
    private var following = Following.over

    /// Takes what the process that this one follows has handed over (`Succession.begin`). Without
    /// descriptors left it has no life-line, and none can follow.
    public convenience init(loop: EventLoop) {
        self.init(loop: loop, InheritedSockets.takeRelatives())
    }

    init(loop: EventLoop, _ relatives: Place?) {
        self.loop = loop
        generation = relatives?.generation ?? 0
        for item in relatives?.older ?? [] { watch(item.generation, item.lifeline) }
        renew()
    }

    deinit { if case .no(let handed) = following { Glibc.close(handed) } }

    /// The generations of the older ones that live, the oldest first.
    public var olderGenerations: [Int] { older.map(\.generation) }

    private func watch(_ generation: Int, _ lifeline: Int32) {
        setNonBlocking(lifeline)
        let socket = StreamSocket(loop: loop, descriptor: lifeline)
        older.append(Older(generation: generation, socket: socket))
        socket.watch.onReadable(for: self) { $0.readOlder(generation) }
        socket.watch.wantsRead = true
    }

    private func readOlder(_ generation: Int) {
        guard let i = older.firstIndex(where: { $0.generation == generation }) else { return }
        switch Self.read(older[i].socket) {
        case .word, .nothing: return
        case .end:
            older.remove(at: i).socket.close()
            onOlderEnded?()
        }
    }

    // MARK: Those that follow

    /// What the next process is to be told; nil where there is no number or descriptor for it.
    public var next: Place? {
        guard case .no(let handed) = following else { return nil }
        let taken = olderGenerations + [generation]
        let free = (1..<Self.generations).map { (generation + $0) % Self.generations }
            .first { !taken.contains($0) }
        guard let free else { return nil }
        var place = Place(generation: free, older: [])
        for item in older {
            place.older.append((generation: item.generation, lifeline: item.socket.descriptor))
        }
        place.older.append((generation: generation, lifeline: handed))
        return place
    }

    /// A process follows that has this one's life-line.
    public func followed() {
        guard case .no(let handed) = following else { return }
        Glibc.close(handed)
        following = .yes
        own?.watch.wantsRead = true
    }

    /// Nobody follows any more, or yet: a life-line for whoever will.
    public func renew() {
        if case .no(let handed) = following { Glibc.close(handed) }
        own?.close()
        own = nil
        following = .over
        var pair: (Int32, Int32) = (-1, -1)
        guard braid_socket_pair(&pair.0, &pair.1) == 0 else { return }
        setNonBlocking(pair.0)
        let socket = StreamSocket(loop: loop, descriptor: pair.0)
        socket.watch.onReadable(for: self) { $0.readOwn() }
        own = socket
        following = .no(handed: pair.1)
    }

    private func readOwn() {
        while let own {
            switch Self.read(own) {
            case .nothing: return
            case .word(let byte):
                guard let word = Word(rawValue: byte) else { continue }
                if word == .stop { following = .over }
                onWord?(word)
            case .end:
                own.watch.wantsRead = false
                if case .yes = following { onAlone?() }
                return
            }
        }
    }

    // MARK: Those before

    /// Says it to all older ones, or to none where they are gone.
    public func tellOlder(_ word: Word) { for item in older { say(word, to: item) } }

    /// This one serves: of the older ones not more than may be go on.
    public func endTooOld() {
        for item in older.dropLast(Self.maximumOlder) { say(.end, to: item) }
    }

    private func say(_ word: Word, to older: Older) { _ = older.socket.write([word.rawValue]) }

    // MARK: Bytes

    private enum Read { case nothing, word(UInt8), end }

    private static func read(_ socket: StreamSocket) -> Read {
        withUnsafeTemporaryAllocation(byteCount: 1, alignment: 1) { room in
            switch socket.read(into: room) {
            case .blocked: .nothing
            case .bytes: .word(room[0])
            case .end, .failed: .end
            }
        }
    }
}
