import CLab
import Crypto
import Glibc
import Measures

/// What a download turned out to be.
struct DemoRecord {
    /// A stretch between two things that happened to WiFi.
    struct Phase {
        var name: String
        var start: Interval
        var end: Interval
        /// Bytes each uplink delivered to the client meanwhile, headers included.
        var bytes: [Int]
    }
    var phases: [Phase] = []
    var bytes = 0
    var duration = Interval.zero
    var firstByte: Interval?
    /// The longest time between two deliveries to the application, and when it began.
    var longestGap = Interval.zero
    var gapStart = Interval.zero
    /// When WiFi was lost, and the longest time between two deliveries that overlaps the second
    /// after that.
    var lostAt: Interval?
    var handoverGap = Interval.zero
    var hash = ""
    var expectedHash = ""
    var curlStatus: Int32 = 0
    var isVerified: Bool { curlStatus == 0 && hash == expectedHash }
}

/// The download itself: curl's bytes are hashed as they come, WiFi is taken away on time, and the
/// screen is drawn ten times a second.
final class DemoDownload {
    enum Result { case finished(DemoRecord), interrupted }

    let screen: DemoScreen
    private let options: Demo.Options
    private let lab: Lab
    private let signals: Int32
    private let hash = RunningSHA256()
    private var record = DemoRecord()
    private var start = Instant.zero
    private var lastDelivery = Instant.zero
    private var phaseStart = Interval.zero
    private var phaseCounters: [Int] = []
    /// What is to happen, in order.
    private var agenda: [(at: Interval, does: () throws -> Void)] = []

    private static let wifi = 0

    init(_ options: Demo.Options, _ lab: Lab, _ signals: Int32) throws {
        self.options = options
        self.lab = lab
        self.signals = signals
        screen = DemoScreen(options)
        record.expectedHash = Origin.hash(count: options.size)
        if options.loss != .none {
            agenda.append((options.lossAt, { [weak self] in try self?.lose() }))
            if let back = options.returnAfter {
                agenda.append((options.lossAt + back, { [weak self] in try self?.bringBack() }))
            }
        }
    }

    func run() throws -> Result {
        var ends: [Int32] = [0, 0]
        try checked(braid_lab_pipe(&ends), "a pipe")
        let output = ends[0]
        defer { close(output) }
        phaseCounters = counters()
        start = .monotonic
        lastDelivery = start
        let curl = try lab.start(
            "curl", LabPair.curl(size: options.size), on: .client,
            output: ends[1], errors: 2)
        close(ends[1])
        screen.begin(counters: phaseCounters)
        var nextTick = start + DemoScreen.tick, isOpen = true
        while isOpen {
            var due = nextTick
            if let first = agenda.first { due = min(due, start + first.at) }
            var polled = [output, signals].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            let wait = Int32(max(0, (due - .monotonic).nanoseconds + 999_999) / 1_000_000)
            if poll(&polled, 2, wait) > 0 {
                if polled[1].revents != 0 { screen.leave(); return .interrupted }
                if polled[0].revents != 0 { isOpen = take(output) }
            }
            let elapsed = Instant.monotonic - start
            if let first = agenda.first, elapsed >= first.at {
                agenda.removeFirst()
                try first.does()
            }
            if .monotonic >= nextTick || !isOpen {
                nextTick += DemoScreen.tick
                screen.draw(elapsed: elapsed, counters: counters(), bytes: record.bytes)
            }
            if elapsed > timeLimit {
                throw LabError("the download came to no end in \(timeLimit.text)")
            }
        }
        curl.wait()
        finish(curl.status ?? 1)
        return .finished(record)
    }

    /// Long enough for the slower link alone, with a minute for what nobody thought of.
    private var timeLimit: Interval {
        let slowest = min(options.wifi.rate, options.cellular.rate)
        return options.lossAt + (options.returnAfter ?? .zero) + slowest.time(for: 2 * options.size)
            + .seconds(60)
    }

    /// Bytes from curl; false at their end.
    private func take(_ descriptor: Int32) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: 64 << 10, alignment: 8) { buffer in
            let n = read(descriptor, buffer.baseAddress, buffer.count)
            if n < 0, errno == EINTR { return true }
            guard n > 0 else { return false }
            let now = Instant.monotonic
            hash.add(UnsafeRawBufferPointer(rebasing: buffer[..<n]))
            if record.bytes == 0 {
                record.firstByte = now - start
            } else if now - lastDelivery > record.longestGap {
                record.longestGap = now - lastDelivery
                record.gapStart = lastDelivery - start
            }
            if let lost = record.lostAt, now - start >= lost,
                lastDelivery - start <= lost + .seconds(1)
            {
                record.handoverGap = max(record.handoverGap, now - lastDelivery)
            }
            lastDelivery = now
            record.bytes += n
            return true
        }
    }

    private func lose() throws {
        endPhase("before")
        if options.loss == .visible { try lab.takeDown(Self.wifi) } else { lab.silence(Self.wifi) }
        record.lostAt = Instant.monotonic - start
        screen.note(
            Instant.monotonic - start,
            options.loss == .visible ? "WiFi's interface went down" : "WiFi went silent",
            isLoss: true)
    }

    private func bringBack() throws {
        endPhase("without WiFi")
        try lab.restore(Self.wifi)
        screen.note(Instant.monotonic - start, "WiFi is back", isLoss: false)
    }

    private func finish(_ status: Int32) {
        record.curlStatus = status
        record.duration = lastDelivery - start
        record.hash = hash.finish()
        let names = ["the whole time", "without WiFi", "WiFi back"]
        endPhase(names[record.phases.count])
    }

    private func endPhase(_ name: String) {
        let now = Instant.monotonic - start, current = counters()
        record.phases.append(
            .init(
                name: name, start: phaseStart, end: now,
                bytes: zip(current, phaseCounters).map { $0 - $1 }))
        phaseStart = now
        phaseCounters = current
    }

    /// Bytes each uplink has delivered to the client so far.
    private func counters() -> [Int] {
        lab.plans.indices.map { lab.emulator.statistics($0, .down).bytesDelivered }
    }
}
