import CLab
import Glibc
import Measures
import Simulator

/// One end of an application whose turn comes when its descriptor is ready or its time has come.
protocol TrialEnd: AnyObject {
    /// What ended it; nil while all is right.
    var failure: String? { get }
    var polled: pollfd { get }
    /// When time alone gives it something to do.
    func deadline(after now: Instant) -> Instant
    func turn(at now: Instant)
}

/// The applications of a trial on sockets, in one thread, and what happens to the links meanwhile.
struct TrialLoop {
    /// What is done at an instant of the trial.
    struct Item {
        var at: Instant
        var does: () throws -> Void
        init(at: Instant, does: @escaping () throws -> Void) {
            self.at = at
            self.does = does
        }
    }

    /// Interrupts it.
    let signals: Int32
    /// What the clock showed at the trial's time zero.
    let zero: Instant
    var now: Instant { .zero + (.monotonic - zero) }

    /// Until so much time has gone by.
    static func wait(_ time: Interval, interruptedBy signals: Int32) throws {
        let end = Instant.monotonic + time
        var polled = pollfd(fd: signals, events: Int16(POLLIN), revents: 0)
        while Instant.monotonic < end {
            _ = braid_lab_wait(&polled, 1, max(0, (end - .monotonic).nanoseconds))
            if polled.revents != 0 { throw LabInterruption() }
        }
    }

    /// Runs until `end`, or until one of the ends fails. `agenda`: in the order of its instants.
    func run(_ ends: [any TrialEnd], until end: Instant, _ agenda: [Item]) throws {
        var agenda = agenda[...]
        var tasks: [SideTask] = []
        defer { for task in tasks { task.wait() } }
        while now < end, ends.allSatisfy({ $0.failure == nil }) {
            let due = now, items = agenda.prefix { $0.at <= due }
            if !items.isEmpty {
                // The kernel takes its time to take an interface down; the application doesn't wait
                // for it.
                tasks.append(try SideTask { for item in items { try item.does() } })
                agenda.removeFirst(items.count)
            }
            var polled =
                [pollfd(fd: signals, events: Int16(POLLIN), revents: 0)] + ends.map(\.polled)
            let before = now
            let next = ends.reduce(min(agenda.first?.at ?? end, end)) {
                min($0, $1.deadline(after: before))
            }
            _ = braid_lab_wait(&polled, UInt32(polled.count), max(0, (next - before).nanoseconds))
            if polled[0].revents != 0 { throw LabInterruption() }
            // Whatever woke us: the instant is taken after it.
            let after = now
            for end in ends { end.turn(at: after) }
        }
        for task in tasks { if let failure = task.wait() { throw failure } }
    }
}

/// A connection through the proxy, with both its ends in this process.
struct LabStream {
    let client: SocketEnd, server: SocketEnd

    /// Both begin with what `plan` has them send. `zero`: what the clock showed at the trial's time
    /// zero.
    init(
        _ plan: StreamPlan, seed: UInt64, _ lab: Lab, _ listener: LabListener,
        buffer: SocketBuffer, zero: Instant
    ) throws {
        func now() -> Instant { .zero + (.monotonic - zero) }
        let socks = try SocksConnection(lab)
        let up = StreamPattern(key: seed), down = StreamPattern(key: ~seed)
        client = SocketEnd(
            socks.descriptor, sends: plan.initiator, up, gets: plan.listener, down,
            buffer: buffer)
        _ = fcntl(socks.descriptor, F_SETFL, 0)
        server = SocketEnd(
            try listener.accept(), sends: plan.listener, down, gets: plan.initiator, up,
            buffer: buffer)
        server.join(client)
        client.join(server)
        server.begin(at: now())
        server.turn(at: now())
        try socks.finish()
        _ = fcntl(socks.descriptor, F_SETFL, O_NONBLOCK)
        client.begin(at: now())
        client.turn(at: now())
    }

    /// What went wrong at either end.
    var failure: String? {
        client.failure.map { "client: \($0)" } ?? server.failure.map { "origin: \($0)" }
    }
}

/// SIGINT, SIGTERM or SIGHUP came.
struct LabInterruption: Error {}

/// A piece of work on a thread of its own.
final class SideTask: @unchecked Sendable {
    // Safe to share: the thread writes `failure` before it ends, the others read it after joining
    // it.
    private let work: () throws -> Void
    private var failure: (any Error)?
    private var thread = pthread_t()
    private var isJoined = false

    init(_ work: @escaping () throws -> Void) throws {
        self.work = work
        let result = pthread_create(
            &thread, nil,
            { context in
                let task = Unmanaged<SideTask>.fromOpaque(context!).takeRetainedValue()
                do { try task.work() } catch { task.failure = error }
                return nil
            }, Unmanaged.passRetained(self).toOpaque())
        guard result == 0 else {
            throw LabError("can't start a thread: \(String(cString: strerror(result)))")
        }
    }

    /// Until it is done; why it failed.
    @discardableResult func wait() -> (any Error)? {
        if !isJoined { pthread_join(thread, nil) }
        isJoined = true
        return failure
    }
}
