import Measures
import Multipath
import Simulator
import Testing

/// A backup radio that nobody needs is left asleep: its path sends keepalives and nothing else.
@Suite struct IdleBackupTests {
    private static let applications: [(String, HandoverTrial.Application)] = [
        ("download", .download), ("upload", .upload), ("stream", .paperStream),
        ("voice", .paperVoice)
    ]

    /// Datagrams on the cellular link, counted from 8 s after the application's beginning, when
    /// the path is known, to a loss that is far away.
    @Test(arguments: [HandoverMode.backup, .single], applications.map(\.0))
    func nothingButKeepalives(mode: HandoverMode, name: String) {
        let application = Self.applications.first { $0.0 == name }!.1
        var trial = HandoverTrial(application, mode, .visible, seed: 3)
        trial.lossAfter = .seconds(100)
        trial.tail = .milliseconds(1)
        trial.cellular.radio = .init(sleepsAfter: .seconds(3), wakeTime: .seconds(2))
        var times: [Double] = []
        let from = HandoverTrial.start + .seconds(8)
        _ = trial.run { world in
            let before = world.observer
            world.observer = { now, fromProxy, uplink, bytes in
                before?(now, fromProxy, uplink, bytes)
                if uplink == 1, now >= from, now < trial.lossAt {
                    times.append(Double(now.nanoseconds) / 1e9)
                }
            }
        }
        // A keepalive every 20 s is a question and an answer.
        #expect(times.count <= 2 * 5, "\(name), \(mode): \(times.count) datagrams: \(times)")
    }
}
