import CLab
import Glibc
import Measures
import Simulator

/// One trial on real sockets: a lab of its own, proxy and concentrator as processes, an application
/// through the proxy's SOCKS port. Both ends of the application live in this process, so that one
/// clock times both.
final class HandoverRun {
    private let trial: HandoverTrial
    private let lab: Lab
    private let pair: LabPair
    private let listener: LabListener
    private let packets = PacketLog()
    private let signals: Int32
    private let folder: String?
    private let buffer = SocketBuffer()
    private var idle: [Int32] = []
    /// What the clock showed at the trial's time zero.
    private var zero = Instant.zero

    /// `folder`: where logs and captures stay; nil: nowhere. `signals` interrupts it.
    init(_ trial: HandoverTrial, folder: String?, signals: Int32, open: String = "auto") throws {
        self.trial = trial
        self.signals = signals
        self.folder = folder
        lab = try Lab(
            [Lab.Plan.wifi().with(trial.wifi), Lab.Plan.cellular().with(trial.cellular)],
            seed: trial.seed)
        listener = try LabListener(lab)
        pair = try LabPair(.init(mode: trial.mode.rawValue, open: open, folder: folder), lab)
    }

    deinit {
        for descriptor in idle { close(descriptor) }
        lab.emulator.observe(nil)
        lab.endChildren()
    }

    /// What went wrong is a sentence with the programs' last lines.
    func run() throws -> HandoverRecord {
        do { return try attempt() } catch let error as LabError {
            throw LabError(([error.description] + pair.lastWords()).joined(separator: "\n"))
        }
    }

    private func attempt() throws -> HandoverRecord {
        lab.emulator.observe { [packets] in
            packets.append(.init(at: $0, uplink: $1, isUp: $2 == .up, bytes: $3))
        }
        try pair.start(interruptedBy: signals)
        if let radio = trial.cellular.radio {
            lab.emulator.setRadio(
                HandoverTrial.Link.cellular.rawValue, (radio.sleepsAfter, radio.wakeTime))
        }
        try openIdle()
        // Both paths are open and what the beginning cost is over; an asleep radio sleeps.
        let calm = Interval.seconds(1) + (trial.cellular.radio?.sleepsAfter ?? .zero)
        try wait(until: .monotonic + calm)
        zero = .monotonic - (HandoverTrial.start - .zero)
        let call = try trial.scenario.call.map { try LabCall($0, lab, seed: trial.seed) }
        let stream = try trial.application == .nothing ? nil : connect()
        let callEnds: [any TrialEnd] = call.map { [$0.client, $0.server] } ?? []
        try transfer(callEnds + (stream.map { [$0.server, $0.client] } ?? []))
        lab.emulator.observe(nil)
        let client = stream?.client.log ?? .init(), server = stream?.server.log ?? .init()
        let received = trial.isUpload ? server : client
        if let folder { keep(folder, received) }
        let failure =
            stream?.client.failure.map { "client: \($0)" }
            ?? stream?.server.failure.map { "origin: \($0)" }
            ?? call?.failure ?? stream.flatMap { _ in silence(received) }
        return HandoverRecord(
            trial: trial, received: received, sent: trial.isUpload ? client : server,
            call: call?.record, traffic: traffic(), failure: failure)
    }

    private var now: Instant { .zero + (.monotonic - zero) }

    /// A stream that was never heard of again.
    private func silence(_ received: ReceptionLog) -> String? {
        guard case .constantRate(_, let period, _) = trial.scenario.streams[0].listener,
            period > .seconds(1)
        else {
            let end = trial.lossAt + trial.tail
            return received.last ?? .zero < end - .seconds(1)
                ? "no byte in the last second" : nil
        }
        return nil
    }

    // MARK: The application

    private func connect() throws -> (client: SocketEnd, server: SocketEnd) {
        let plan = trial.scenario.streams[0]
        let socks = try SocksConnection(lab)
        let up = StreamPattern(key: trial.seed), down = StreamPattern(key: ~trial.seed)
        let client = SocketEnd(
            socks.descriptor, sends: plan.initiator, up, gets: plan.listener, down,
            buffer: buffer)
        _ = fcntl(socks.descriptor, F_SETFL, 0)
        let server = SocketEnd(
            try listener.accept(), sends: plan.listener, down, gets: plan.initiator, up,
            buffer: buffer)
        server.join(client)
        client.join(server)
        server.begin(at: now)
        server.turn(at: now)
        try socks.finish()
        _ = fcntl(socks.descriptor, F_SETFL, O_NONBLOCK)
        client.begin(at: now)
        client.turn(at: now)
        return (client, server)
    }

    /// Connections that stay open and do nothing: a byte each way.
    private func openIdle() throws {
        let asked = try (0..<trial.idleStreams).map { _ in try SocksConnection(lab) }
        idle += asked.map(\.descriptor)
        for connection in asked {
            let accepted = try listener.accept()
            idle.append(accepted)
            writeAll(accepted, "o")
            writeAll(connection.descriptor, "i")
        }
        for connection in asked { try connection.finish() }
    }

    private func transfer(_ ends: [any TrialEnd]) throws {
        let end = trial.lossAt + trial.tail
        let lab = lab, number = trial.lost.rawValue, isVisible = trial.loss == .visible
        var agenda: [(at: Instant, does: () throws -> Void)] = [
            (
                trial.lossAt,
                {
                    if isVisible { try lab.takeDown(number) } else { lab.silence(number) }
                }
            )
        ]
        if let back = trial.returnAt { agenda.append((back, { try lab.restore(number) })) }
        var tasks: [SideTask] = []
        defer { for task in tasks { task.wait() } }
        while now < end, ends.allSatisfy({ $0.failure == nil }) {
            if let first = agenda.first, first.at <= now {
                // The kernel takes its time to take an interface down; the application doesn't wait
                // for it.
                tasks.append(try SideTask(first.does))
                agenda.removeFirst()
            }
            var polled =
                [pollfd(fd: signals, events: Int16(POLLIN), revents: 0)] + ends.map(\.polled)
            let before = now
            let due = ends.reduce(min(agenda.first?.at ?? end, end)) {
                min($0, $1.deadline(after: before))
            }
            _ = braid_lab_wait(&polled, UInt32(polled.count), max(0, (due - before).nanoseconds))
            if polled[0].revents != 0 { throw LabInterruption() }
            // Whatever woke us: the instant is taken after it.
            let after = now
            for end in ends { end.turn(at: after) }
        }
        for task in tasks { if let failure = task.wait() { throw failure } }
    }

    private func wait(until instant: Instant) throws {
        var polled = pollfd(fd: signals, events: Int16(POLLIN), revents: 0)
        while Instant.monotonic < instant {
            _ = braid_lab_wait(&polled, 1, max(0, (instant - .monotonic).nanoseconds))
            if polled.revents != 0 { throw LabInterruption() }
        }
    }

    /// `packets.csv` and `arrivals.csv`, in milliseconds since the planned loss.
    private func keep(_ folder: String, _ received: ReceptionLog) {
        func milliseconds(_ at: Instant) -> Double {
            Double((at - trial.lossAt).nanoseconds / 1000) / 1000
        }
        var text = "ms,uplink,direction,bytes\n"
        for packet in packets.all {
            text +=
                "\(milliseconds(.zero + (packet.at - zero))),\(lab.plans[packet.uplink].name),"
                + "\(packet.isUp ? "up" : "down"),\(packet.bytes)\n"
        }
        writeFile("\(folder)/packets.csv", text)
        text = "ms,total\n"
        for arrival in received.arrivals {
            text += "\(milliseconds(arrival.at)),\(arrival.total)\n"
        }
        writeFile("\(folder)/arrivals.csv", text)
    }

    /// The packets as the trial counts them.
    private func traffic() -> TrafficCount {
        let count = TrafficCount(trial)
        for packet in packets.all {
            count.note(
                .zero + (packet.at - zero), fromProxy: packet.isUp, uplink: packet.uplink,
                bytes: packet.bytes - PacketLog.headerBytes)
        }
        return count
    }
}

/// One end of an application whose turn comes when its descriptor is ready or its time has come.
protocol TrialEnd: AnyObject {
    /// What ended it; nil while all is right.
    var failure: String? { get }
    var polled: pollfd { get }
    /// When time alone gives it something to do.
    func deadline(after now: Instant) -> Instant
    func turn(at now: Instant)
}

/// Every packet that was handed to an uplink. Written by the emulator's thread while it observes,
/// read after.
final class PacketLog {
    struct Entry {
        var at: Instant
        var uplink: Int
        var isUp: Bool
        /// With its IPv4 and UDP headers.
        var bytes: Int
    }
    static let headerBytes = 28
    private(set) var all: [Entry] = []
    init() { all.reserveCapacity(1 << 16) }
    func append(_ entry: Entry) { all.append(entry) }
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
