import CDatagram
import Glibc
import Measures

/// Another process of this program, started by this one to follow it: it gets the sockets that are
/// listened on, and says when it serves them.
public final class Successor {
    /// How it went.
    public enum Outcome: Equatable, Sendable {
        /// It serves; its process number. `isAware`: it knows of the others that live (`Lineage`),
        /// as older versions do not. `hasCapture`: it has taken the capture over that was offered.
        case ready(pid_t, isAware: Bool, hasCapture: Bool)
        /// It ended before, with this exit code; nil where it took too long, and was ended.
        case failed(Int32?)
    }

    /// Older versions say `ready` and no more.
    static let word = Array("ready aware\n".utf8)
    /// To those who have offered a capture alone.
    static let captureWord = Array("ready aware capture\n".utf8)
    /// For a start: lists of rules, name servers.
    private static let limit = Interval.seconds(30)
    /// The path of this program, as it was when this process began: another version may stand there
    /// now.
    public static let program: String? = {
        var path = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &path, path.count - 1)
        guard count > 0 else { return nil }
        return String(decoding: path[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }()

    private let process: pid_t
    private let channel: StreamSocket
    private var timer: LoopTimer?
    private var done: ((Outcome) -> Void)?

    /// Starts it with the arguments of this process, and its environment but for `variables`.
    /// `sockets`, life-lines and `capture`'s claim stay this process's, too. `done` is called once,
    /// from the loop, while this is kept.
    public init(
        _ sockets: [Int32], _ place: Lineage.Place, variables: [String: String] = [:],
        capture: CaptureOffer? = nil, loop: EventLoop, done: @escaping (Outcome) -> Void
    ) throws(SystemError) {
        guard let program = Self.program else {
            throw SystemError("find this program", code: ENOENT)
        }
        var pair: (Int32, Int32) = (-1, -1)
        let made = braid_socket_pair(&pair.0, &pair.1)
        guard made == 0 else { throw SystemError("make a way to another process", code: -made) }
        defer { Glibc.close(pair.1) }
        do throws(SystemError) {
            process = try Self.start(program, pair.1, sockets, place, variables, capture)
        } catch {
            Glibc.close(pair.0)
            throw error
        }
        setNonBlocking(pair.0)
        channel = StreamSocket(loop: loop, descriptor: pair.0)
        self.done = done
        timer = loop.timer(for: self) { $0.end(.failed(nil)) }
        timer?.arm(after: Self.limit)
        channel.watch.onReadable(for: self) { $0.read() }
        channel.watch.wantsRead = true
    }

    /// `descriptors` are 3 and those behind it there.
    private static func start(
        _ program: String, _ channel: Int32, _ sockets: [Int32], _ place: Lineage.Place,
        _ variables: [String: String], _ capture: CaptureOffer?
    ) throws(SystemError) -> pid_t {
        let descriptors =
            [channel] + sockets + place.older.map(\.lifeline) + (capture.map { [$0.claim] } ?? [])
        // Out of the way of the numbers they will have.
        let above = InheritedSockets.first + Int32(descriptors.count)
        var copies: [Int32] = []
        defer { copies.forEach { Glibc.close($0) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for (number, descriptor) in descriptors.enumerated() {
            let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, above)
            guard copy >= 0 else { throw SystemError("hand a socket over", code: errno) }
            copies.append(copy)
            posix_spawn_file_actions_adddup2(
                &actions, copy, InheritedSockets.first + Int32(number))
        }
        var arguments = CommandLine.arguments.map { strdup($0) } + [nil]
        var environment =
            environment(sockets: sockets.count, place, variables, capture).map { strdup($0) } + [
                nil
            ]
        defer { (arguments + environment).forEach { free($0) } }
        var process = pid_t()
        let code = posix_spawn(&process, program, &actions, nil, &arguments, &environment)
        guard code == 0 else { throw SystemError("start \(program)", code: code) }
        return process
    }

    /// This process's own, but for what was meant for it alone.
    private static func environment(
        sockets: Int, _ place: Lineage.Place, _ variables: [String: String],
        _ capture: CaptureOffer?
    ) -> [String] {
        let own =
            [
                "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", InheritedSockets.variable,
                InheritedSockets.generationVariable, InheritedSockets.captureVariable
            ] + variables.keys
        let generations = [place.generation] + place.older.map(\.generation)
        var all: [String] = []
        var place = environ
        while let entry = place.pointee {
            let text = String(cString: entry)
            if !own.contains(where: { text.hasPrefix($0 + "=") }) { all.append(text) }
            place += 1
        }
        return all + variables.map { "\($0)=\($1)" } + [
            "\(InheritedSockets.variable)=\(sockets)",
            InheritedSockets.generationVariable + "="
                + generations.map(String.init).joined(separator: " ")
        ] + (capture.map { ["\(InheritedSockets.captureVariable)=\($0.words)"] } ?? [])
    }

    private func read() {
        var isAware = false, hasCapture = false
        let result = withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { room in
            let result = channel.read(into: room)
            if case .bytes(let n) = result {
                hasCapture = room[..<n].elementsEqual(Self.captureWord)
                isAware = hasCapture || room[..<n].elementsEqual(Self.word)
            }
            return result
        }
        switch result {
        case .blocked: return
        case .bytes: end(.ready(process, isAware: isAware, hasCapture: hasCapture))
        case .end, .failed:
            var status: Int32 = 0
            // It has closed the way by ending; one that did not end is ended, so that nothing
            // waits.
            kill(process, SIGKILL)
            let isOver = waitpid(process, &status, 0) == process
            end(.failed(isOver && status & 0x7f == 0 ? status >> 8 & 0xff : 128))
        }
    }

    /// It is wanted no more: it is killed, and `done` told that it has failed.
    public func cancel() { end(.failed(nil)) }

    private func end(_ outcome: Outcome) {
        guard let done else { return }
        self.done = nil
        timer?.cancel()
        channel.close()
        if outcome == .failed(nil) {
            kill(process, SIGKILL)
            var status: Int32 = 0
            waitpid(process, &status, 0)
        }
        done(outcome)
    }
}
