import Glibc
import History
import Logging
import Measures
import Multipath
import Shell
import Tunnel

/// Counts what uplinks with a price or an allowance carry, and sees to what follows from that: what
/// the scheduler is told of their cost, what becomes of one whose allowance is used up, what is said.
///
/// Counted is every datagram of the tunnel that the kernel took or handed over on the uplink, with its
/// IP and UDP headers, both ways, after every turn of the loop.
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

    /// How often time is looked at, and what was counted is written though it is little.
    private static let interval = Interval.seconds(1)
    /// A file that can't be written is told of seldom.
    private var notices = NoticeLimit()

    private let policy: CostPolicy
    private let dear: Set<String>
    private let file: UsageFile
    private let driver: EngineDriver
    private let recorder: Recorder
    private let log: Logger
    private var meters: [String: UplinkMeter]
    private var consequences: [String: Consequence] = [:]
    /// By uplink number.
    private var sockets = UplinkTable<Socket>(count: UplinkNumbers.maximum)
    private var timer: LoopTimer?
    private let nameOf: (UplinkNumber) -> String?
    /// Called when something else follows for an uplink.
    var changed: ((String, Consequence) -> Void)?

    /// Nil where no uplink has a price or an allowance. `nameOf`: the name of an uplink's number.
    init?(
        _ settings: ProxySettings, driver: EngineDriver, recorder: Recorder, log: Logger,
        nameOf: @escaping (UplinkNumber) -> String?
    ) throws(SystemError) {
        let tariffs = settings.uplinks.compactMap { choice in
            choice.tariff.map { (choice.selector.description, $0) }
        }
        guard !tariffs.isEmpty else { return nil }
        StatePath.prepare(settings.usageFile)
        file = try UsageFile(path: settings.usageFile)
        if file.isDamaged {
            log.warning(
                "a line of the usage file can't be read: what it counted begins at 0",
                metadata: ["file": "\(settings.usageFile)"])
        }
        policy = settings.cost
        let cheapest = settings.uplinks.map { $0.tariff?.price?.amount ?? 0 }.min() ?? 0
        dear = Set(
            settings.uplinks.filter { $0.tariff?.price?.amount ?? 0 > cheapest }
                .map(\.selector.description))
        self.driver = driver
        self.recorder = recorder
        self.log = log
        self.nameOf = nameOf
        meters = [:]
        for (name, tariff) in tariffs {
            meters[name] = UplinkMeter(tariff, file.read(name) ?? UsageFile.Record())
        }
        timer = driver.loop.timer(for: self) { $0.look() }
        driver.loop.afterEvents { [weak self] in self?.count() }
        look()
    }

    /// What follows for an uplink now.
    func consequence(for name: String) -> Consequence { consequences[name] ?? Consequence() }

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
        guard var meter = meters[name] else {
            return "\(name) has neither a price nor an allowance, only "
                + meters.keys.sorted().joined(separator: ", ")
        }
        count()
        let day = Self.today.day
        let record = file.change(name) { record in
            record.bytes = bytes
            record.period = Self.period(meter.tariff, day)
            record.told = 0
        }
        guard let record else { return "\(file.path) can't be written" }
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

    /// After every turn of the loop. A socket that was replaced in the turn is still asked once.
    private func count() {
        for number in sockets.indices {
            let now = driver.socket(number)
            if let known = sockets[number] {
                let total = Self.total(known.socket)
                if total != known.seen {
                    add(total - known.seen, to: known.name)
                    sockets[number]?.seen = total
                }
                if known.socket === now { continue }
                sockets[number] = nil
            }
            guard let now, let name = nameOf(number), meters[name] != nil else { continue }
            sockets[number] = Socket(socket: now, name: name, seen: 0)
            let total = Self.total(now)
            if total > 0 { add(total, to: name) }
            sockets[number]?.seen = total
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
        if meters[name]?.isWorthSaving == true { save(name) }
        guard let stage = meters[name]?.stage, stage != before else { return }
        save(name)
        tell(name)
        conclude(name)
    }

    private func save(_ name: String) {
        guard var meter = meters[name] else { return }
        let period = Self.period(meter.tariff, Self.today.day)
        guard meter.unsaved != 0 || period != meter.saved.period else { return }
        let unsaved = meter
        guard let record = file.change(name, { unsaved.save(into: &$0, period: period) }) else {
            if let silent = notices.pass(at: driver.now) {
                log.warning(
                    "what uplinks have used can't be written",
                    metadata: ["file": "\(file.path)", "not_logged_before": "\(silent)"])
            }
            return
        }
        meter.saved(as: record)
        meters[name] = meter
    }

    // MARK: What follows

    /// Time goes by: what is unsaved is written, periods begin.
    private func look() {
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
        timer?.arm(after: Self.interval)
    }

    /// Says that 80 or 100 % of an allowance are used, once in a period, whichever process finds it.
    private func tell(_ name: String) {
        guard let meter = meters[name], let allowance = meter.tariff.allowance,
            meter.stage.rawValue > meter.saved.told
        else { return }
        let stage = meter.stage
        guard let record = file.change(name, { $0.told = max($0.told, stage.rawValue) }) else {
            return
        }
        var told = meter
        told.note(told: record.told)
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
        guard let meter = meters[name] else { return }
        var next = Consequence()
        if policy != .ignore, dear.contains(name) {
            next.cost =
                policy == .cap && meter.isAhead(of: Self.share(meter.tariff)) ? .spent : .dear
        }
        if meter.stage == .empty {
            switch meter.tariff.onEmpty {
            case .backup: next.cost = .spent
            case .stop: next.isStopped = true
            case .slow(let rate): next.limit = rate
            }
        }
        guard next != consequence(for: name) else { return }
        consequences[name] = next
        changed?(name, next)
    }

    // MARK: The calendar

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
