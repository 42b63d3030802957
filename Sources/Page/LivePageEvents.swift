import Glibc
import History
import Measures
import Shell
import Tunnel

/// What the stream of a page tells, as JSON: what it begins with, and each second.
extension LivePage {
    /// Everything a page needs to begin with: who this is, what may be changed, five minutes.
    func hello() -> [UInt8] {
        JSONText.object { json in
            json.field("role", source.role)
            json.field("version", source.version)
            json.field("now", milliseconds(loop.now()))
            json.field("targets", source.showsTargets)
            json.field("changes", source.setMode == nil ? "refused" : access.changes.rawValue)
            json.array("modes") { json in source.modes.forEach { json.value($0) } }
            json.array("series") { json in
                for i in throughput.series.indices { write(series: i, into: &json) }
            }
            json.array("events") { json in
                for entry in source.recorder.events.entries(limit: Self.firstEvents) {
                    json.object { Self.write(entry, into: &$0) }
                }
            }
        }
    }

    /// Of the past, for a page that begins.
    private static let firstEvents = 200

    static func write(_ entry: EventJournal.Entry, into json: inout JSONText) {
        json.field("number", Int(clamping: entry.sequence))
        json.field("at", Int(entry.event.time))
        json.field("kind", entry.event.kind.rawValue)
        json.field("text", Printable.text(entry.event.sentence))
        if let tone = EventTone(entry.event.kind) { json.field("tone", tone.rawValue) }
    }

    private func write(series i: Int, into json: inout JSONText) {
        let seconds = throughput.seconds(of: i)
        func list(
            _ key: StaticString, _ json: inout JSONText, _ value: (Throughput.Second) -> Double?
        ) {
            json.array(key) { json in
                for second in seconds {
                    if let number = second.flatMap(value) {
                        json.value(thousandths: number)
                    } else {
                        json.null()
                    }
                }
            }
        }
        json.object { json in
            json.field("name", throughput.series[i].name)
            list("up", &json) { Double($0.up) }
            list("down", &json) { Double($0.down) }
            list("rtt", &json) { $0.rtt?.milliseconds }
        }
    }

    /// The event of a second.
    func second() -> [UInt8] {
        let now = loop.now()
        var paths: [PathSnapshot] = []
        source.driver.endpoint.forEachPath(at: now) { path in
            if isProxy || paths.count < UplinkRows.maximum { paths.append(path) }
        }
        let mode = source.mode()
        let rows =
            isProxy
            ? UplinkRows.proxy(
                source.uplinks(), paths: paths, mode: mode?.present ?? mode?.choice ?? "",
                hasSession: !paths.isEmpty)
            : UplinkRows.concentrator(paths)
        return JSONText.event(
            "second",
            JSONText.object { json in
                json.field("now", milliseconds(now))
                if let mode {
                    json.field("mode", mode.choice)
                    if let present = mode.present { json.field("present", present) }
                    if let reason = mode.reason { json.field("follows", reason) }
                }
                json.field("session", !paths.isEmpty)
                json.array("series") { json in
                    for i in throughput.series.indices { write(latest: i, into: &json) }
                }
                json.array("uplinks") { json in
                    for row in rows { write(row, at: now, into: &json) }
                }
            })
    }

    private func write(latest i: Int, into json: inout JSONText) {
        json.object { json in
            json.field("name", throughput.series[i].name)
            guard let second = throughput.latest(of: i) else { return }
            json.field("up", second.up)
            json.field("down", second.down)
            if let rtt = second.rtt { json.field("rtt", thousandths: rtt.milliseconds) }
        }
    }

    private func write(_ row: UplinkRow, at now: Instant, into json: inout JSONText) {
        json.object { json in
            json.field("name", row.name)
            json.field("role", row.role.rawValue)
            json.field("state", row.state.rawValue)
            json.field("since", milliseconds(states.since(row, at: now)))
            if let reason = row.reason { json.field("reason", reason) }
            if let rtt = row.rtt { json.field("rtt", thousandths: rtt.milliseconds) }
            if let queue = row.queue { json.field("queue", thousandths: queue.milliseconds) }
            json.field("loss", thousandths: row.loss * 100)
            json.field("up", row.up)
            json.field("down", row.down)
            json.field("bytesUp", row.bytesUp)
            json.field("bytesDown", row.bytesDown)
            if isProxy { writeUsage(row, into: &json) }
        }
    }

    /// Bytes of IP packets of this day and this month, as far as they are counted.
    private func writeUsage(_ row: UplinkRow, into json: inout JSONText) {
        if let used = row.used { json.field("used", used) }
        if let allowance = row.allowance { json.field("allowance", allowance) }
        if let spent = row.spent { json.field("spent", spent) }
        let usage = source.recorder.usage, uplink = row.name
        guard usage.total(of: .init(uplink: uplink)).total > 0 else { return }
        let now = UsageHour(milliseconds: source.recorder.time)
        json.field("today", usage.volume(uplink: uplink, day: now.day).total)
        json.field("month", usage.volume(uplink: uplink, month: now.month).total)
    }

    /// Unix time of an instant of the loop's clock.
    private func milliseconds(_ instant: Instant) -> Int {
        let age = (loop.now() - instant).milliseconds
        return Int(EventLoop.wallClock() / 1_000_000) - Int(max(0, min(age, 1e13)))
    }
}

/// Whether an event is for the better or the worse; nil for what is neither.
enum EventTone: String {
    case good, bad, warn

    init?(_ kind: Event.Kind) {
        switch kind {
        case .uplinkVanished, .uplinkSilent, .uplinkLost, .uplinkFailed, .sessionClosed,
            .sessionSilent:
            self = .bad
        case .uplinkCarries, .sessionOpened, .sessionResumed, .sessionTakenOver: self = .good
        case .helloRefused, .strangerRefused, .limitMet: self = .warn
        default: return nil
        }
    }
}
