import Measures

/// What each carrier moved in each of the last five minutes' seconds, and its round trip then.
///
/// A carrier is an uplink at a proxy and a user at a concentrator. It is kept whether somebody
/// looks or not, so that a page shows five minutes as soon as it is opened: 16 kB and some
/// microseconds a second.
struct Throughput {
    static let seconds = 300
    /// Carriers with a name of their own; what there is besides is put together.
    static let maximumSeries = 8
    static let others = "others"

    /// One second of a carrier.
    struct Second: Equatable {
        /// Bytes of UDP payloads: from the applications, and to them.
        var up = 0, down = 0
        /// The shortest of its paths; nil where none was measured.
        var rtt: Interval?
    }

    /// The totals of one source of bytes (a path, or a session), which may begin anew.
    struct Reading: Equatable {
        /// The same for the same source as long as it lives; small.
        var key: Int
        var series: String
        var up: Int, down: Int
        var rtt: Interval?
    }

    struct Series {
        let name: String
        /// Behind `next` the oldest; nil: nothing is known of that second.
        fileprivate(set) var ring: [Second?] = Array(repeating: nil, count: Throughput.seconds)
        fileprivate var present = Second()
        fileprivate var isPresent = false
    }

    private(set) var series: [Series] = []
    /// Where in the rings the next second goes.
    private var next = 0
    /// The totals as they were last seen, by the readings' keys.
    private var totals: [(up: Int, down: Int)?] = []

    /// Takes what is known `elapsed` after the last time; whole seconds that were missed stay
    /// unknown.
    mutating func take(_ readings: [Reading], elapsed: Interval) {
        let span = max(elapsed.seconds, 0.001)
        let missed = min(Int(max(span - 0.5, 0)), Self.seconds)
        if span >= 1.5 { for _ in 0..<missed { advance(nil) } }
        for i in series.indices { series[i].present = Second(); series[i].isPresent = false }
        for reading in readings { add(reading, per: span) }
        advance(())
    }

    private mutating func add(_ reading: Reading, per span: Double) {
        while totals.count <= reading.key { totals.append(nil) }
        let before = totals[reading.key]
        totals[reading.key] = (reading.up, reading.down)
        let i = index(of: reading.series)
        series[i].isPresent = true
        if let rtt = reading.rtt {
            series[i].present.rtt = min(series[i].present.rtt ?? rtt, rtt)
        }
        // What was there before this was looked at for the first time belongs to no second.
        guard let before else { return }
        func moved(_ now: Int, _ before: Int) -> Int {
            Int((Double(now >= before ? now - before : now) / span).rounded())
        }
        series[i].present.up += moved(reading.up, before.up)
        series[i].present.down += moved(reading.down, before.down)
    }

    /// The next second of every series: what is present, or unknown.
    private mutating func advance(_ known: Void?) {
        for i in series.indices {
            series[i].ring[next] = known != nil && series[i].isPresent ? series[i].present : nil
        }
        next = (next + 1) % Self.seconds
    }

    private mutating func index(of name: String) -> Int {
        if let i = series.firstIndex(where: { $0.name == name }) { return i }
        if series.count < Self.maximumSeries {
            series.append(Series(name: name))
            return series.count - 1
        }
        // One that nobody has seen for five minutes makes room.
        if let i = series.firstIndex(where: { series in
            !series.isPresent && series.name != Self.others && series.ring.allSatisfy { $0 == nil }
        }) {
            series[i] = Series(name: name)
            return i
        }
        if let i = series.firstIndex(where: { $0.name == Self.others }) { return i }
        series.append(Series(name: Self.others))
        return series.count - 1
    }

    /// The seconds of one series, the oldest first.
    func seconds(of i: Int) -> [Second?] {
        Array(series[i].ring[next...] + series[i].ring[..<next])
    }

    /// The latest second of one series.
    func latest(of i: Int) -> Second? {
        series[i].ring[(next + Self.seconds - 1) % Self.seconds]
    }
}
