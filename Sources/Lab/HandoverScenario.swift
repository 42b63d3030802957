import Measures
import Multipath
import Simulator

/// What is measured, on sockets and in the simulator alike: an application, a mode, a loss.
public struct HandoverScenario: Sendable {
    /// What runs while the uplink is lost.
    public enum Application: String, CaseIterable, Sendable {
        case download, upload, stream, voice
        /// The stream with a cellular radio that sleeps after 3 s and takes 2 s to wake.
        case streamAsleep = "stream-asleep"
        /// No loss: small objects over new connections.
        case firstByte = "first-byte"
        /// The datagrams that the handover of idle connections takes.
        case signaling
        /// Datagrams both ways: 50 a second of 172 bytes, and 1 Mbit/s of 1,200 bytes.
        case udpVoice = "udp-voice", udpVideo = "udp-video"
        /// `udpVoice` beside `download`.
        case udpBeside = "udp-voice-download"
    }

    /// What runs while the uplink is lost.
    public let application: Application
    /// The same as the simulator takes it.
    public let trial: HandoverTrial

    /// Open connections whose handover should cost no more than one's.
    static let many = 200
    /// How long after the loss the uplink returns, and how much longer is looked on.
    static let returnAfter = Interval.seconds(3)

    /// WiFi is lost, visibly, unless said otherwise.
    public init(
        _ application: Application, _ mode: HandoverMode, _ loss: HandoverTrial.Loss = .visible,
        lost: HandoverTrial.Link = .wifi, underWay: HandoverTrial.UnderWay = .lost
    ) {
        self.application = application
        let kind: HandoverTrial.Application =
            switch application {
            case .download, .udpBeside: .download
            case .udpVoice, .udpVideo: .nothing
            case .upload: .upload
            case .stream, .streamAsleep: .paperStream
            case .voice: .paperVoice
            case .firstByte, .signaling: .stream(chunk: 1, period: .seconds(3600))
            }
        var trial = HandoverTrial(kind, mode, loss)
        trial.lost = lost
        trial.underWay = underWay
        switch application {
        case .download, .upload, .stream: trial.returnAfter = Self.returnAfter
        case .udpVoice, .udpBeside:
            trial.call = .voice
            trial.returnAfter = Self.returnAfter
        case .udpVideo:
            trial.call = .video
            trial.returnAfter = Self.returnAfter
        case .streamAsleep:
            trial.cellular.radio = .init(sleepsAfter: .seconds(3), wakeTime: .seconds(2))
        case .signaling:
            trial.lossAfter = .seconds(2)
            trial.tail = .seconds(2)
        case .voice, .firstByte: break
        }
        self.trial = trial
    }

    /// All there are, in the order they are run.
    public static let all: [HandoverScenario] = Application.allCases.flatMap { application in
        HandoverMode.allCases.flatMap { mode -> [HandoverScenario] in
            switch application {
            case .firstByte, .signaling: return [HandoverScenario(application, mode)]
            case .streamAsleep:
                return HandoverTrial.Loss.allCases.map { HandoverScenario(application, mode, $0) }
            case .download, .upload, .stream, .voice, .udpVoice, .udpVideo, .udpBeside:
                return HandoverTrial.Loss.allCases.flatMap { loss in
                    HandoverTrial.Link.allCases.map {
                        HandoverScenario(application, mode, loss, lost: $0)
                    }
                }
            }
        }
    }

    /// The same where what was sent before a visible loss is lost, or arrives.
    public func with(_ underWay: HandoverTrial.UnderWay) -> HandoverScenario {
        guard trial.loss == .visible else { return self }
        return HandoverScenario(
            application, trial.mode, trial.loss, lost: trial.lost, underWay: underWay)
    }

    /// As in `download, full mode, wifi lost visible`.
    public var name: String {
        switch application {
        case .firstByte: "first-byte, \(trial.mode) mode"
        default:
            "\(application.rawValue), \(trial.mode) mode, \(trial.lost) lost, \(trial.loss)"
                + (trial.underWay == .arrives ? ", what was sent arrives" : "")
        }
    }

    var figures: [HandoverFigure] {
        // Single mode leaves the cellular link asleep: nothing is to be seen before WiFi goes.
        let asleep: [HandoverFigure] =
            trial.mode == .single ? [.sleepingPackets, .handshakePackets] : []
        switch application {
        case .download, .upload: return [.longestGap, .recovery, .timeToReturn] + asleep
        case .stream: return [.delayBefore, .extraDelay, .timeToReturn] + asleep
        case .streamAsleep: return [.delayBefore, .extraDelay]
        case .voice: return [.delayBefore, .extraDelay, .silenceDown, .silenceUp] + asleep
        case .udpVoice, .udpVideo, .udpBeside:
            return [.callDelayDown, .callDelayUp, .missedDown, .missedUp]
        case .firstByte: return [.firstByte]
        case .signaling: return [.signalsOfOne, .signalsOfMany]
        }
    }

    /// How long one repetition takes on sockets, with its lab.
    public var duration: Interval {
        switch application {
        case .firstByte: .seconds(9)
        case .signaling: .seconds(16)
        case .streamAsleep: .seconds(16)
        default: .seconds(2) + trial.lossAfter + trial.tail
        }
    }

    /// The trials of one repetition with the figures each of them gives.
    func trials(seed: UInt64) -> [(trial: HandoverTrial, figures: [HandoverFigure])] {
        var one = trial
        one.seed = seed
        guard application == .signaling else { return [(one, figures)] }
        var more = one
        more.idleStreams = Self.many - 1
        return [(one, [.signalsOfOne]), (more, [.signalsOfMany])]
    }

    // MARK: In the simulator

    /// The figures of one seed, in order; throws what went wrong.
    func simulate(seed: UInt64) throws -> [Double?] {
        if application == .firstByte { return [FirstByte(mode: trial.mode).simulate(seed: seed)] }
        return try trials(seed: seed).flatMap { trial, figures in
            let record = trial.run()
            if let failure = record.failure { throw LabError("simulated: \(failure)") }
            return figures.map { $0.value(record) }
        }
    }

    // MARK: On sockets

    /// The figures of one repetition, in order; throws what went wrong.
    func measure(seed: UInt64, folder: String?, signals: Int32) throws -> [Double?] {
        if application == .firstByte {
            return [try FirstByte(mode: trial.mode).measure(folder: folder, signals: signals)]
        }
        return try trials(seed: seed).enumerated().flatMap { number, part in
            let place = folder.map { number == 0 ? $0 : "\($0)-many" }
            let record = try HandoverRun(part.trial, folder: place, signals: signals).run()
            if let failure = record.failure { throw LabError(failure) }
            return part.figures.map { $0.value(record) }
        }
    }
}
