import Measures

/// The receiving end of a call: frames come when they come and are played one after the other, 20
/// ms each.
///
/// Playing begins once `depth` of sound waits. Where the next frame isn't there in time, silence is
/// played in its place and everything later is later by as much; in the next pauses of the speech,
/// quiet frames are left out until the buffer holds no more than `depth` again, so that the call is
/// in time again. (`Playout` counts silence alone, in streams whose content nobody hears.)
struct VoicePlayer {
    /// Samples in a frame.
    static let frame = Speech.sampleRate / 50
    static let period = Interval.milliseconds(20)
    static let depth = Playout().buffer
    /// A frame none of whose samples is louder may be left out: 1 % of full scale.
    static let quiet: Int16 = 327

    /// What is heard, from `began` on.
    private(set) var played: [Int16] = []
    private(set) var began: Instant
    /// Where silence was played for want of a frame.
    private(set) var silences: [(at: Instant, length: Interval)] = []
    /// How long each played frame had waited in the buffer, in order of playing.
    private(set) var waits: [ReceptionLog.Sample] = []

    /// The frames of `samples`, which arrived at `arrivals`.
    init(_ samples: [Int16], arrivals: [Instant], until end: Instant) {
        let frames = samples.count / Self.frame
        precondition(arrivals.count <= frames)
        guard let first = arrivals.first else { began = end; return }
        began = first + Self.depth
        var now = began, next = 0, arrived = 0
        let kept = Int(Self.depth.nanoseconds / Self.period.nanoseconds)
        while now < end, next < frames {
            while arrived < arrivals.count, arrivals[arrived] <= now { arrived += 1 }
            while arrived - next > kept + 1, Self.isQuiet(samples, next) { next += 1 }
            if next < arrived {
                played += samples[next * Self.frame..<(next + 1) * Self.frame]
                waits.append(.init(at: now, delay: now - arrivals[next]))
                next += 1
            } else {
                played += [Int16](repeating: 0, count: Self.frame)
                silence(at: now)
            }
            now += Self.period
        }
    }

    /// The frames of `samples`, a datagram each; nil: it was lost. A call's player waits for none:
    /// it stays as late as it began, and what is not there in time is silence.
    init(_ samples: [Int16], datagrams: [Instant?], until end: Instant) {
        let frames = samples.count / Self.frame
        guard let first = datagrams.first, let first else { began = end; return }
        began = first + Self.depth
        for number in 0..<frames {
            let now = began + Self.period * Int64(number)
            guard now < end else { return }
            if number < datagrams.count, let arrival = datagrams[number], arrival <= now {
                played += samples[number * Self.frame..<(number + 1) * Self.frame]
                waits.append(.init(at: now, delay: now - arrival))
            } else {
                played += [Int16](repeating: 0, count: Self.frame)
                silence(at: now)
            }
        }
    }

    private mutating func silence(at now: Instant) {
        if let last = silences.last, last.at + last.length == now {
            silences[silences.count - 1].length += Self.period
        } else {
            silences.append((now, Self.period))
        }
    }

    private static func isQuiet(_ samples: [Int16], _ number: Int) -> Bool {
        samples[number * frame..<(number + 1) * frame].allSatisfy {
            $0.magnitude <= quiet.magnitude
        }
    }

    /// All silence that was inserted.
    var silence: Interval { silences.reduce(.zero) { $0 + $1.length } }
    /// When, after `moment`, the buffer is as deep as before: what is heard is as late as the link
    /// makes it, and no later. Nil: not until the end.
    func inTimeAgain(after moment: Instant) -> Instant? {
        let maximum = Self.depth + Self.period * 2
        guard let last = waits.last(where: { $0.at > moment && $0.delay > maximum }) else {
            return moment
        }
        return waits.first { $0.at > last.at }?.at
    }
}
