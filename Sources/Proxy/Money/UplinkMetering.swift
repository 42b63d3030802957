import Glibc
import History
import Logging
import Measures
import Multipath
import Shell
import Tunnel

/// Counts what uplinks with a price or an allowance carry, and sees to what follows from that: what
/// the scheduler is told of their cost, what becomes of one whose allowance is used up, what is
/// said.
///
/// Counted is every datagram of the tunnel that the kernel took or handed over on the uplink, with
/// its IP and UDP headers, both ways, after every turn of the loop.
final class UplinkMetering {
    /// What follows for an uplink.
    struct Consequence: Equatable {
        var cost = PathCosts.Cost.usual
        /// Not used at all.
        var isStopped = false
        /// At most so much; nil: no limit.
        var limit: Rate?
    }

    private struct Socket {
        var socket: DatagramSocket
        var name: String
        var seen = 0
    }

    /// What the settings say of money.
    private struct Plan: Equatable {
        var policy: CostPolicy
        /// By uplink.
        var tariffs: [String: Tariff] = [:]
        /// Uplinks that cost more than the cheapest one.
        var dear: Set<String> = []

        init(_ settings: ProxySettings) {
            policy = settings.cost
            let cheapest = settings.uplinks.map { $0.tariff?.price?.amount ?? 0 }.min() ?? 0
            for choice in settings.uplinks {
                let name = choice.selector.description
                tariffs[name] = choice.tariff
                if choice.tariff?.price?.amount ?? 0 > cheapest { dear.insert(name) }
            }
        }
    }

    /// A clock that is adjusted by more seconds between two looks was set.
    private static let clockTolerance: Int64 = 60
    /// How often time is looked at, and what was counted is written though it is little.
    private static let interval = Interval.seconds(1)
    /// A file that can't be written now and then is told of seldom.
    private var notices = NoticeLimit()

    private var plan: Plan
    private let path: String
    /// Opened once an uplink is counted; where that fails, tried again when time is looked at.
    private var file: UsageFile?
    /// The last write failed: the next one is tried when time is looked at, not in each turn.
    private var isFailing = false
    /// Seconds of the wall clock beside the loop's when the calendar was last looked at for an
    /// uplink.
    private var clockOffsets: [String: Int64] = [:]
    /// Uplinks that have come to another stage since anything followed from it.
    private var crossed: Set<String> = []
    private let driver: EngineDriver
    private let recorder: Recorder
    private let log: Logger
    private var meters: [String: UplinkMeter] = [:]
    private var consequences: [String: Consequence] = [:]
    /// By uplink number.
    private var sockets = UplinkTable<Socket>(count: UplinkNumbers.maximum)
    private var timer: LoopTimer?
    private let nameOf: (UplinkNumber) -> String?
    private let changed: (String, Consequence) -> Void

    /// `nameOf`: the name of an uplink's number; `changed` is called when something else follows
    /// for an uplink, from here on. A file that can't be had is a warning.
    init(
        _ settings: ProxySettings, driver: EngineDriver, recorder: Recorder, log: Logger,
        nameOf: @escaping (UplinkNumber) -> String?,
        changed: @escaping (String, Consequence) -> Void
    ) {
        self.driver = driver
        path = settings.usageFile
        self.recorder = recorder
        self.log = log
        self.nameOf = nameOf
        self.changed = changed
        plan = Plan(settings)
        open()
        for name in plan.tariffs.keys.sorted() { begin(name) }
        timer = driver.loop.timer(for: self) { $0.look() }
        driver.loop.afterEvents { [weak self] in self?.turn() }
        look()
    }

    // MARK: Settings

    /// Opens the file, where there is anything to keep and it is not open yet.
    private func open() {
        guard file == nil, !plan.tariffs.isEmpty else { return }
        StatePath.prepare(path, owner: Privileges.next?.number)
        guard let opened = try? UsageFile(path: path) else { return noteWriting(false) }
        file = opened
        guard opened.isDamaged else { return }
        log.warning(
            "a line of the usage file can't be read: what it counted begins at 0",
            metadata: ["file": "\(path)"])
    }

    /// Goes on with other prices, allowances and policy. What an uplink has carried before it was
    /// counted does not count.
    func apply(_ settings: ProxySettings) {
        let old = plan, next = Plan(settings)
        guard next != old else { return }
        count()
        plan = next
        open()
        for name in meters.keys.sorted() where next.tariffs[name] == nil {
            save(name)
            meters[name] = nil
            clockOffsets[name] = nil
            for number in sockets.indices where sockets[number]?.name == name {
                sockets[number]?.socket.carried = nil
            }
        }
        for name in next.tariffs.keys.sorted() where next.tariffs[name] != old.tariffs[name] {
            let isNew = meters[name] == nil
            begin(name)
            if isNew { passOver(name) }
        }
        for name in consequences.keys.sorted() where meters[name] == nil {
            conclude(name)
            consequences[name] = nil
        }
        look()
    }

    /// Counts for the uplink by its present tariff, from what the file knows or what
    /// was counted by another one.
    private func begin(_ name: String) {
        guard let tariff = plan.tariffs[name] else { return }
        var meter = meters[name] ?? UplinkMeter(tariff, file?.read(name) ?? UsageFile.Record())
        meter.tariff = tariff
        // What was told of another allowance may not have been of this one.
        if meter.saved.told > meter.stage.rawValue {
            let known = meter
            let record = file?.change(name) {
                $0.told = min($0.told, known.stage(of: $0.bytes).rawValue)
            }
            if let record { meter.note(told: record.told) }
        }
        meters[name] = meter
    }

    /// What the uplink's sockets have carried until now is nobody's to count.
    private func passOver(_ name: String) {
        for number in sockets.indices where nameOf(number) == name {
            sockets[number] = driver.socket(number).map {
                watch($0, name, seen: Self.total($0))
            }
        }
    }

    /// Counts what the socket moves with each message, too: a turn may move more than a killed
    /// process may lose.
    private func watch(_ socket: DatagramSocket, _ name: String, seen: Int) -> Socket {
        socket.carried = { [weak self] in self?.count() }
        return Socket(socket: socket, name: name, seen: seen)
    }

    /// What follows for an uplink now.
    private func consequence(for name: String) -> Consequence {
        consequences[name] ?? Consequence()
    }

    /// What is used of each uplink that is counted; nil for others.
    func used(by name: String) -> (bytes: Int, allowance: Int?, spent: Double?, currency: String?)?
    {
        meters[name].map {
            ($0.used, $0.tariff.allowance?.bytes, $0.spent, $0.tariff.price?.currency)
        }
    }

    /// Somebody knows better what was used in this period, such as the provider. Nil, or why it
    /// can't be set.
    func set(_ bytes: Int, of name: String) -> String? {
        count()
        guard var meter = meters[name] else {
            if meters.isEmpty { return "no uplink has a price or an allowance" }
            return "\(name) has neither a price nor an allowance, only "
                + meters.keys.sorted().joined(separator: ", ")
        }
        guard bytes <= UsageFile.maximumBytes else { return "no uplink has carried so much" }
        let day = Self.today.day
        let record = file?.change(name) { record in
            record = UsageFile.Record(bytes: bytes, period: Self.period(meter.tariff, day))
        }
        guard let record else { return "\(path) can't be written" }
        meter.count(-meter.unsaved)
        meter.saved(as: record)
        meters[name] = meter
        log.notice("usage was set", metadata: ["uplink": "\(name)", "bytes": "\(bytes)"])
        tell(name)
        conclude(name)
        return nil
    }

    /// The end: what was counted is written.
    func stop() {
        count()
        for name in meters.keys.sorted() { save(name) }
        timer = nil
    }

    // MARK: Counting

    /// After every turn of the loop.
    private func turn() {
        count()
        guard !crossed.isEmpty else { return }
        let names = crossed.sorted()
        crossed = []
        // The engine has had its turn of this iteration.
        driver.loop.turnAgain()
        for name in names {
            save(name)
            tell(name)
            conclude(name)
        }
    }

    /// What the sockets have moved since it was last asked for; in the middle of a turn nothing
    /// follows from it. A socket that was replaced in the turn is still asked once.
    private func count() {
        guard !meters.isEmpty else { return }
        for number in sockets.indices {
            let now = driver.socket(number)
            if let known = sockets[number] {
                let total = Self.total(known.socket)
                if total != known.seen {
                    add(total - known.seen, to: known.name)
                    sockets[number]?.seen = total
                }
                if known.socket === now { continue }
                known.socket.carried = nil
                sockets[number] = nil
            }
            guard let now, let name = nameOf(number), meters[name] != nil else { continue }
            let total = Self.total(now)
            sockets[number] = watch(now, name, seen: total)
            if total > 0 { add(total, to: name) }
        }
    }

    /// IP packets' bytes, both ways.
    private static func total(_ socket: DatagramSocket) -> Int {
        let s = socket.statistics
        let header = socket.localAddress.address.isIPv4 ? 28 : 48
        return s.bytesSent &+ s.bytesReceived &+ header &* (s.datagramsSent &+ s.datagramsReceived)
    }

    private func add(_ bytes: Int, to name: String) {
        guard let before = meters[name]?.stage else { return }
        meters[name]?.count(bytes)
        if meters[name]?.isWorthSaving == true, !isFailing { save(name) }
        if meters[name]?.stage != before { crossed.insert(name) }
    }

    private func save(_ name: String) {
        guard var meter = meters[name] else { return }
        let period = Self.period(meter.tariff, Self.today.day), change = clockChange(name)
        guard meter.isUnsaved(in: period) else { return }
        let unsaved = meter
        let record = file?.change(name) { unsaved.save(into: &$0, period: period, by: change) }
        noteWriting(record != nil)
        if let record { meter.saved(as: record) } else { meter.goOn(in: period, by: change) }
        meters[name] = meter
    }

    /// A file that can't be written is told of once, and that it can be again.
    private func noteWriting(_ isDone: Bool) {
        guard isFailing == isDone else { return }
        isFailing = !isDone
        guard notices.pass(at: driver.now) != nil else { return }
        log.warning(
            isDone
                ? "what uplinks have used is written again"
                : "what uplinks have used can't be written: it counts on, and is lost with the process",
            metadata: ["file": "\(path)"])
    }

    // MARK: What follows

    /// Time goes by: what is unsaved is written, periods begin.
    private func look() {
        open()
        for name in meters.keys.sorted() {
            let before = meters[name]?.saved.period
            save(name)
            if let now = meters[name]?.saved.period, let before, before != 0, now > before {
                recorder.note(.note, uplink: name, detail: "\(name)'s allowance begins anew")
                log.notice("an allowance begins anew", metadata: ["uplink": "\(name)"])
            }
            tell(name)
            conclude(name)
        }
        if meters.isEmpty { timer?.cancel() } else { timer?.arm(after: Self.interval) }
    }

    /// Says that 80 or 100 % of an allowance are used, once in a period, whichever process finds
    /// it.
    private func tell(_ name: String) {
        guard let meter = meters[name], let allowance = meter.tariff.allowance,
            meter.stage.rawValue > meter.saved.told
        else { return }
        let stage = meter.stage
        // Where it can't be noted, the next process tells it again.
        let record = file?.change(name) { $0.told = max($0.told, stage.rawValue) }
        var told = meter
        told.note(told: record?.told ?? stage.rawValue)
        meters[name] = told
        let next =
            switch (stage, meter.tariff.onEmpty) {
            case (.empty, .backup): "; it carries what no other uplink can"
            case (.empty, .stop): "; it is not used until the next period"
            case (.empty, .slow(let rate)):
                "; it goes on at \(rate.bytesPerSecond * 8 / 1000) kbit/s"
            default: ""
            }
        let sentence =
            "\(name) has used \(stage.rawValue) % of its allowance of "
            + "\(allowance.bytes / 1_000_000) MB\(next)"
        recorder.note(.note, uplink: name, detail: sentence)
        log.warning(
            "\(sentence)", metadata: ["uplink": "\(name)", "used_bytes": "\(meter.used)"])
    }

    private func conclude(_ name: String) {
        var next = Consequence()
        if let meter = meters[name], plan.policy != .ignore, plan.dear.contains(name) {
            next.cost =
                plan.policy == .cap && meter.isAhead(of: Self.share(meter.tariff)) ? .spent : .dear
        }
        if let meter = meters[name], meter.stage == .empty {
            switch meter.tariff.onEmpty {
            case .backup: next.cost = .spent
            case .stop: next.isStopped = true
            case .slow(let rate): next.limit = rate
            }
        }
        guard next != consequence(for: name) else { return }
        consequences[name] = next
        changed(name, next)
    }

    // MARK: The calendar

    /// Whether the clock was set since this was last asked for the uplink.
    private func clockChange(_ name: String) -> ClockChange {
        let now = Int64(time(nil)) &- driver.now.nanoseconds / 1_000_000_000
        defer { clockOffsets[name] = now }
        guard let before = clockOffsets[name] else { return .unknown }
        return abs(now &- before) > Self.clockTolerance ? .set : .passed
    }

    /// The local day since 1970, and how much of it has gone by, 0 to 1.
    private static var today: (day: Int, part: Double) {
        var seconds = time(nil), local = tm()
        localtime_r(&seconds, &local)
        let date = CalendarDate(
            Int(local.tm_year) + 1900, Int(local.tm_mon) + 1, Int(local.tm_mday))
        let second = Int(local.tm_hour) * 3600 + Int(local.tm_min) * 60 + Int(local.tm_sec)
        return (date.day, Double(second) / 86_400)
    }

    /// What has a price alone is counted by the month.
    private static func period(_ tariff: Tariff, _ day: Int) -> Int {
        (tariff.allowance?.period ?? .month(from: 1)).start(of: day)
    }

    private static func share(_ tariff: Tariff) -> Double {
        let (day, part) = today, period = tariff.allowance?.period ?? .month(from: 1)
        let start = period.start(of: day)
        return (Double(day - start) + part) / Double(max(1, period.end(of: day) - start))
    }
}
