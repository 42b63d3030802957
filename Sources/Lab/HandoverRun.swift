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
        try TrialLoop.wait(calm, interruptedBy: signals)
        zero = .monotonic - (HandoverTrial.start - .zero)
        let call = try trial.scenario.call.map { try LabCall($0, lab, seed: trial.seed) }
        let stream =
            try trial.application == .nothing
            ? nil
            : LabStream(
                trial.scenario.streams[0], seed: trial.seed, lab, listener, buffer: buffer,
                zero: zero)
        let callEnds: [any TrialEnd] = call.map { [$0.client, $0.server] } ?? []
        try transfer(callEnds + (stream.map { [$0.server, $0.client] } ?? []))
        lab.emulator.observe(nil)
        let client = stream?.client.log ?? .init(), server = stream?.server.log ?? .init()
        let received = trial.isUpload ? server : client
        if let folder { keep(folder, received) }
        let failure =
            stream?.failure ?? call?.failure ?? stream.flatMap { _ in silence(received) }
        return HandoverRecord(
            trial: trial, received: received, sent: trial.isUpload ? client : server,
            call: call?.record, traffic: traffic(), failure: failure)
    }

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
        let lab = lab, number = trial.lost.rawValue, isVisible = trial.loss == .visible
        let underWay = trial.underWay
        var agenda: [TrialLoop.Item] = [
            .init(at: trial.lossAt) {
                if isVisible { try lab.takeDown(number, underWay) } else { lab.silence(number) }
            }
        ]
        if let back = trial.returnAt {
            agenda.append(.init(at: back) { try lab.restore(number) })
        }
        try TrialLoop(signals: signals, zero: zero)
            .run(ends, until: trial.lossAt + trial.tail, agenda)
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
