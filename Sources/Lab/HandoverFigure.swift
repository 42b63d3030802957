import Measures
import Multipath
import Simulator

/// One number of a handover, computed alike from a simulated and a measured record.
public enum HandoverFigure: String, CaseIterable, Sendable, Codable {
    case longestGap = "longest_gap"
    case recovery = "recovery"
    case timeToReturn = "time_to_return"
    case delayBefore = "delay_before"
    case extraDelay = "extra_delay"
    case silenceDown = "silence_down"
    case silenceUp = "silence_up"
    case sleepingPackets = "sleeping_packets"
    case handshakePackets = "handshake_packets"
    case firstByte = "first_byte"
    case signalsOfOne = "signals_of_one"
    case signalsOfMany = "signals_of_many"
    case callDelayDown = "call_delay_down"
    case callDelayUp = "call_delay_up"
    case missedDown = "missed_down"
    case missedUp = "missed_up"

    /// For a table.
    var label: String {
        switch self {
        case .longestGap: "longest gap"
        case .recovery: "80 % of the other link again"
        case .timeToReturn: "back: carries data after"
        case .delayBefore: "delay before the loss"
        case .extraDelay: "extra delay"
        case .silenceDown: "silence inserted, down"
        case .silenceUp: "silence inserted, up"
        case .sleepingPackets: "sleeping uplink before the loss"
        case .handshakePackets: "the same while the session began"
        case .firstByte: "connect to first byte, p50"
        case .signalsOfOne: "handover of 1 connection"
        case .signalsOfMany: "handover of \(HandoverScenario.many) connections"
        case .callDelayDown: "usual delay, down"
        case .callDelayUp: "usual delay, up"
        case .missedDown: "missed, down"
        case .missedUp: "missed, up"
        }
    }

    /// `ms` or `datagrams`.
    public var unit: String {
        switch self {
        case .sleepingPackets, .handshakePackets, .signalsOfOne, .signalsOfMany: "datagrams"
        default: "ms"
        }
    }

    /// Of a trial's record, in the figure's unit; nil where it never happened.
    func value(_ record: HandoverRecord) -> Double? {
        let trial = record.trial
        switch self {
        case .longestGap: return record.longestGap.milliseconds
        case .recovery: return record.recovery?.milliseconds
        case .timeToReturn: return record.timeToReturn?.milliseconds
        case .delayBefore: return record.delayBefore?.milliseconds
        case .extraDelay: return record.extraDelay?.milliseconds
        case .silenceDown:
            return Playout().silence(record.received.delays, from: trial.lossAt).milliseconds
        case .silenceUp:
            return Playout().silence(record.sent.delays, from: trial.lossAt).milliseconds
        case .sleepingPackets: return Double(record.traffic.before[1].reduce(0, +))
        case .handshakePackets: return Double(record.traffic.beforeStart[1].reduce(0, +))
        case .signalsOfOne, .signalsOfMany:
            return Double(record.traffic.after.reduce(0) { $0 + $1.reduce(0, +) })
        case .callDelayDown: return record.callDelay(\.down)?.milliseconds
        case .callDelayUp: return record.callDelay(\.up)?.milliseconds
        case .missedDown: return record.missed(\.down)?.milliseconds
        case .missedUp: return record.missed(\.up)?.milliseconds
        case .firstByte: return nil
        }
    }

    /// What it should be at most, somewhat above the aims of docs/design.md; nil where nothing is
    /// set.
    func bar(_ scenario: HandoverScenario) -> Double? {
        let isSilent = scenario.trial.loss == .silent, isFull = scenario.trial.mode == .full
        switch self {
        case .longestGap:
            switch (scenario.application, scenario.trial.lost) {
            case (.download, .wifi): return isSilent ? 170 : 150
            case (.upload, .wifi): return isSilent ? 170 : 120
            case (.download, .cellular), (.upload, .cellular): return isSilent ? 300 : 150
            default: return nil
            }
        case .recovery: return scenario.trial.lost == .wifi ? (isSilent ? 500 : 300) : nil
        case .timeToReturn: return scenario.trial.lost == .wifi ? 100 : nil
        case .delayBefore: return 18
        case .extraDelay:
            // A radio that sleeps takes 2 s to wake; full mode keeps it warm.
            if scenario.application == .streamAsleep { return isFull ? 90 : 2200 }
            return isFull ? 90 : !isSilent ? 120 : scenario.trial.mode == .backup ? 150 : 170
        case .sleepingPackets: return 0
        case .firstByte: return 35
        case .callDelayDown, .callDelayUp: return scenario.application == .udpBeside ? 25 : 17
        case .missedDown, .missedUp:
            switch (scenario.application, isSilent) {
            case (.udpVoice, false): return isFull ? 20 : 60
            case (.udpVoice, true): return isFull ? 20 : 200
            case (.udpVideo, false): return isFull ? 30 : 100
            case (.udpVideo, true): return isFull ? 150 : 250
            default: return nil
            }
        case .silenceDown, .silenceUp, .handshakePackets, .signalsOfOne, .signalsOfMany: return nil
        }
    }
}
