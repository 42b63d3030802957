import Measures
import Simulator

/// One order to a running lab: `wifi rate 2M`, `cellular down-delay 80ms`, `wifi silent on`,
/// `wifi link down`, `wifi loss 1%`, `wifi queue 64k`, `cellular radio 5s/2s`, `status`.
public enum ControlLine: Equatable, Sendable {
    /// One property of a link's direction, and its new value.
    public enum Change: Equatable, Sendable {
        case rate(Rate), delay(Interval), queueBytes(Int), queueTime(Interval), loss(Double)
    }
    /// Nil as direction: both.
    case change(uplink: String, LinkEmulator.Direction?, Change)
    case silent(uplink: String, Bool)
    case link(uplink: String, isUp: Bool)
    /// Sleeps after `idle` without packets, takes `wake` to wake; nil: never sleeps.
    case radio(uplink: String, idle: Interval, wake: Interval)
    case radioOff(uplink: String)
    case status

    /// What a line may say, for the answer to one that can't be read.
    public static let usage = """
        status | UPLINK silent on|off | UPLINK link up|down | UPLINK radio IDLE/WAKE|off | \
        UPLINK [up-|down-]rate 8M | …delay 15ms | …queue 200ms|64k | …loss 1%
        """

    /// Nil for anything that is not an order.
    public init?(_ line: some StringProtocol) {
        let words = line.split(whereSeparator: \.isWhitespace).map { String($0) }
        if words == ["status"] { self = .status; return }
        guard words.count == 3 else { return nil }
        let uplink = words[0], value = words[2]
        switch (words[1], value) {
        case ("silent", "on"): self = .silent(uplink: uplink, true)
        case ("silent", "off"): self = .silent(uplink: uplink, false)
        case ("link", "up"): self = .link(uplink: uplink, isUp: true)
        case ("link", "down"): self = .link(uplink: uplink, isUp: false)
        case ("radio", "off"): self = .radioOff(uplink: uplink)
        case ("radio", _):
            let parts = value.split(separator: "/", omittingEmptySubsequences: false)
            guard parts.count == 2,
                let idle = Interval(text: parts[0]),
                let wake = Interval(text: parts[1])
            else { return nil }
            self = .radio(uplink: uplink, idle: idle, wake: wake)
        default:
            var what = words[1], direction: LinkEmulator.Direction?
            if what.hasPrefix("up-") { direction = .up; what.removeFirst(3) }
            if what.hasPrefix("down-"), direction == nil { direction = .down; what.removeFirst(5) }
            guard let change = ControlLine.change(what, value) else { return nil }
            self = .change(uplink: uplink, direction, change)
        }
    }

    private static func change(_ what: String, _ value: String) -> Change? {
        switch what {
        case "rate": return Rate(bits: value).map { .rate($0) }
        case "delay": return Interval(text: value).map { .delay($0) }
        case "loss":
            let isPercent = value.hasSuffix("%")
            guard let number = plainNumber(isPercent ? String(value.dropLast()) : value) else {
                return nil
            }
            let share = isPercent ? number / 100 : number
            return share <= 1 ? .loss(share) : nil
        case "queue":
            if let time = Interval(text: value), value != "0" { return .queueTime(time) }
            let units: [Character: Double] = ["k": 1024, "M": 1_048_576]
            let unit = value.last.flatMap { units[$0] }
            guard let number = plainNumber(unit == nil ? value : String(value.dropLast())) else {
                return nil
            }
            let bytes = number * (unit ?? 1)
            return bytes <= 1e9 ? .queueBytes(Int(bytes)) : nil
        default: return nil
        }
    }
}

extension Lab {
    /// Does what the line says; the answer, `ok` or `error: …`, or the status as one line of JSON.
    public func obey(_ line: some StringProtocol) -> String {
        guard let order = ControlLine(line) else {
            return "error: can't read \"\(line)\"; it may be: \(ControlLine.usage)"
        }
        func number(_ uplink: String) throws -> Int {
            guard let found = plans.firstIndex(where: { $0.name == uplink }) else {
                throw LabError(
                    "there is no uplink \"\(uplink)\";"
                        + " there are \(plans.map(\.name).joined(separator: ", "))")
            }
            return found
        }
        do {
            switch order {
            case .status: return status
            case .silent(let uplink, true): silence(try number(uplink))
            case .silent(let uplink, false), .link(let uplink, isUp: true):
                try restore(try number(uplink))
            case .link(let uplink, isUp: false): try takeDown(try number(uplink))
            case .radio(let uplink, let idle, let wake):
                emulator.setRadio(try number(uplink), (idle, wake))
            case .radioOff(let uplink): emulator.setRadio(try number(uplink), nil)
            case .change(let uplink, let direction, let change):
                emulator.change(try number(uplink), direction) { $0.apply(change) }
            }
            return "ok"
        } catch { return "error: \(error)" }
    }

    /// Counters of every uplink and direction as one line of JSON.
    private var status: String {
        let uplinks = plans.enumerated().map { number, plan in
            let sides = [("up", LinkEmulator.Direction.up), ("down", .down)].map {
                name, direction in
                let s = emulator.statistics(number, direction)
                return """
                    "\(name)":{"packets":\(s.packetsDelivered),"bytes":\(s.bytesDelivered),"dropped_queue":\(s.droppedQueue),\
                    "dropped_loss":\(s.droppedLoss),"dropped_outage":\(s.droppedOutage),"deepest_queue":\(s.deepestQueue)}
                    """
            }
            return "\"\(plan.name)\":{\(sides.joined(separator: ","))}"
        }
        return "{\(uplinks.joined(separator: ","))}"
    }
}

extension LinkConditions {
    mutating func apply(_ change: ControlLine.Change) {
        switch change {
        case .rate(let new): rate = new
        case .delay(let new): delay = new
        case .queueBytes(let bytes): queueLimit = bytes
        case .queueTime(let time): queueLimit = max(rate?.bytes(in: time) ?? 1 << 30, 4 * 1500)
        case .loss(let share): loss = share > 0 ? .random(share) : .none
        }
    }
}
