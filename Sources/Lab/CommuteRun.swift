import CLab
import Glibc
import Measures
import Multipath
import Simulator

/// A commute on real sockets: coverage of both uplinks comes and goes as in the simulator's trace,
/// while a download and a call go through the real programs.
final class CommuteRun {
    private let commute: Commute
    private let lab: Lab
    private let pair: LabPair
    private let listener: LabListener
    private let packets = PacketLog()
    private let signals: Int32

    /// `folder`: where logs and captures stay; nil: nowhere. `signals` interrupts it.
    init(_ choice: Commutes.Choice, _ commute: Commute, folder: String?, signals: Int32) throws {
        self.commute = commute
        self.signals = signals
        let uplinks = commute.scenario.uplinks
        lab = try Lab(
            [Lab.Plan.wifi().with(uplinks[0]), Lab.Plan.cellular().with(uplinks[1])],
            seed: commute.seed)
        listener = try LabListener(lab)
        var settings = LabPair.Settings(mode: choice.mode, folder: folder)
        settings.cellularKeys = choice.cellularKeys
        settings.more = choice.more
        pair = try LabPair(settings, lab)
    }

    deinit {
        lab.emulator.observe(nil)
        lab.endChildren()
    }

    /// What went wrong is a sentence with the programs' last lines.
    func run() throws -> Commute.Outcome {
        do { return try attempt() } catch let error as LabError {
            throw LabError(([error.description] + pair.lastWords()).joined(separator: "\n"))
        }
    }

    private func attempt() throws -> Commute.Outcome {
        let scenario = commute.scenario
        // As the model of the radios has it: what the phone sends, and what reaches it.
        lab.emulator.observe(
            { [packets] at, uplink, direction, bytes in
                guard direction == .up else { return }
                packets.append(.init(at: at, uplink: uplink, isUp: true, bytes: bytes))
            },
            arrivals: { [packets] at, uplink, direction, bytes in
                guard direction == .down else { return }
                packets.append(.init(at: at, uplink: uplink, isUp: false, bytes: bytes))
            })
        try pair.start(interruptedBy: signals)
        if let radio = scenario.uplinks[1].radio {
            lab.emulator.setRadio(1, (radio.sleepsAfter, radio.wakeTime))
        }
        try TrialLoop.wait(.seconds(2), interruptedBy: signals)
        let before: Interval = Commute.begins - Instant.zero
        let zero: Instant = .monotonic - before
        let call = try scenario.call.map { try LabCall($0, lab, seed: commute.seed) }
        let stream = try LabStream(
            scenario.streams[0], seed: commute.seed, lab, listener, buffer: SocketBuffer(),
            zero: zero)
        let callEnds: [any TrialEnd] = call.map { [$0.client, $0.server] } ?? []
        try TrialLoop(signals: signals, zero: zero).run(
            callEnds + [stream.server, stream.client], until: .zero + commute.length, agenda)
        lab.emulator.observe(nil)
        var trace = PacketTrace()
        for packet in packets.all where packet.at >= zero {
            let at: Instant = .zero + (packet.at - zero)
            trace.note(
                .init(at: at, radio: packet.uplink, bytes: packet.bytes, isUp: packet.isUp))
        }
        return commute.outcome(
            stream.client.log, trace, call: call?.record,
            failure: stream.failure ?? call?.failure)
    }

    private var agenda: [TrialLoop.Item] {
        let lab = lab
        return commute.scenario.faults.map { fault in
            .init(at: fault.at) { try lab.apply(fault) }
        }
    }
}

extension Lab {
    /// Does what the simulator's world would: those that a commute's trace has.
    fileprivate func apply(_ fault: Fault) throws {
        let number = fault.uplink
        switch fault.change {
        case .removed: try takeDown(number)
        case .returned: try restore(number)
        case .roam: try renumber(number)
        case .outage(.none, _): emulator.change(number) { $0.outage = .none }
        case .outage: silence(number)
        case .conditions(let up, let down):
            for (direction, new) in [(LinkEmulator.Direction.up, up), (.down, down)] {
                emulator.change(number, direction) { conditions in
                    let outage = conditions.outage
                    conditions = new
                    conditions.outage = outage
                }
            }
        default: throw LabError("the lab has no \(fault.change)")
        }
    }
}
