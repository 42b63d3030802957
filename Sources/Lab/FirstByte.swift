import CLab
import Glibc
import Measures
import Multipath
import Simulator

/// Small objects over new connections, one after the other: how long from `connect` to the first
/// byte. The proxy answers at once (`open: fast`), as it does for host names; what a resolver takes
/// is left out.
struct FirstByte {
    var mode: HandoverMode

    private static let count = 20
    private static let pause = Interval.milliseconds(150)
    private static let requestSize = 100, objectSize = 1_000

    /// Milliseconds, the median of twenty.
    func measure(folder: String?, signals: Int32) throws -> Double {
        let lab = try Lab([.wifi(), .cellular()])
        defer { lab.endChildren() }
        let listener = try LabListener(lab)
        let pair = try LabPair(.init(mode: mode.rawValue, open: "fast", folder: folder), lab)
        try pair.start(interruptedBy: signals)
        sleepFor(.seconds(1))
        var times: [Double] = []
        for _ in 0..<Self.count {
            times.append(try once(lab, listener).milliseconds)
            sleepFor(Self.pause)
        }
        return times.sorted()[Self.count / 2]
    }

    private func once(_ lab: Lab, _ listener: LabListener) throws -> Interval {
        let begin = Instant.monotonic
        let socks = try SocksConnection(lab)
        defer { close(socks.descriptor) }
        try socks.finish()
        var piece = [UInt8](repeating: 1, count: max(Self.requestSize, Self.objectSize))
        _ = piece[..<Self.requestSize].withUnsafeBytes { writeAll(socks.descriptor, $0) }
        let server = try listener.accept()
        defer { close(server) }
        var asked = 0
        while asked < Self.requestSize {
            let n = read(server, &piece, Self.requestSize - asked)
            guard n > 0 else { throw LabError("a request did not arrive whole") }
            asked += n
        }
        _ = piece[..<Self.objectSize].withUnsafeBytes { writeAll(server, $0) }
        guard read(socks.descriptor, &piece, 1) == 1 else {
            throw LabError("an object did not arrive")
        }
        return .monotonic - begin
    }

    private func sleepFor(_ interval: Interval) { usleep(UInt32(interval.nanoseconds / 1000)) }

    /// The same in the simulator.
    func simulate(seed: UInt64) -> Double? {
        let streams = (0..<Self.count).map { i in
            StreamPlan(
                at: HandoverTrial.start + (Self.pause + .milliseconds(35)) * Int64(i),
                initiator: .requests(
                    count: 1, size: Self.requestSize, responseSize: Self.objectSize),
                listener: .responses(count: 1, size: Self.objectSize, requestSize: Self.requestSize)
            )
        }
        var options = World.Options()
        options.mode = mode
        let uplinks = [UplinkPlan(.wifi), UplinkPlan(.cellular, isBackup: mode != .full)]
        let world = World(
            Scenario(uplinks: uplinks, streams: streams), seed: seed, options: options)
        world.run(until: HandoverTrial.start + .seconds(10), mayStop: true)
        let times = world.streams.compactMap { stream in
            stream.initiator.log.first.map { ($0 - stream.plan.at).milliseconds }
        }.sorted()
        return times.count == Self.count ? times[Self.count / 2] : nil
    }
}
