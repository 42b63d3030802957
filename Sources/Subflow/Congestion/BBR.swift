import Measures

/// BBR: paces at the measured bottleneck rate and keeps about one bandwidth-delay product in flight
/// (Cardwell et al., ACM Queue 2016; draft-ietf-ccwg-bbr for the gains and the short ProbeRTT).
///
/// It fills no queue deeper than it needs, so that the data of a full-mode connection does not
/// stand behind a cellular modem's two seconds of buffer, and random loss does not slow it down.
/// Loss above `lossTolerated` of a round is taken as a full queue and bounds what may be in flight.
final class BBR: CongestionController {
    enum Phase { case startup, drain, probeBandwidth, probeRTT }

    static let startupGain = 2.77  // 4 ln 2, draft section 5.6.1
    static let drainGain = 0.5
    static let windowGain = 2.0
    /// No more stands in the path's queue than this, however long its round trip: what is lost with
    /// another path, and a caller's voice, wait behind it.
    static let queueCeiling = Interval.milliseconds(20)
    /// One phase up, one down, then cruise, each a minimum round trip long.
    static let cycleGains: [Double] = [1.25, 0.8, 1, 1, 1, 1, 1, 1]
    static let minimumRTTWindow = Interval.seconds(5)
    static let probeRTTLength = Interval.milliseconds(200)
    static let probeRTTGain = 0.75
    /// So many rounds in a row, each twice as long as an empty path's or longer, ask for the path's
    /// own round trip at once: either a queue stands, or the path has become longer. So does the
    /// time of so many with nothing else: through a queue of seconds three rounds take long.
    static let longRounds = 3
    /// A probe is followed by so many times its length without another: with a long round trip it
    /// takes two of them, and little is sent meanwhile.
    static let probeRTTPause: Int64 = 4
    /// The bandwidth filter remembers this many rounds.
    static let filterRounds: UInt64 = 10
    /// Share of a round's segments; two standard deviations more must be lost, since three of a
    /// small round's twenty may be chance.
    static let lossTolerated = 0.08
    /// Startup ends after this many rounds without a quarter more bandwidth, or with this many
    /// acknowledgements in a row whose segments stood in a queue (RFC 9406 takes eight, too).
    static let fullPipeRounds = 3
    static let queuedInARow = 8
    /// Fewer lost segments in a round don't end startup, whatever their share (draft section
    /// 5.3.1.3).
    static let startupLosses = 6

    private(set) var phase = Phase.startup
    private var rounds: UInt64 = 0
    /// Rounds in a row that were longer than an empty path's, and since when all round trips were.
    private var longRounds = 0
    private var longSince = Instant.distantFuture
    /// Bounds what is in flight where the path was found longer, doubled from round to round: it
    /// may have been a queue. `.max` where nothing is to be found out.
    private var trialBound = Int.max
    private var bandwidth = MaximumFilter()
    private var fullBandwidth = Rate.zero
    private var flatRounds = 0
    /// Acknowledgements in a row whose segments stood in a queue.
    private var queued = 0
    private var minimumRTT = Interval.max
    private var minimumRTTAt = Instant.zero
    /// The greatest rates of this round and of the last that were not the application's.
    private var roundRate = Rate.zero, lastRoundRate = Rate.zero
    private var probe = RTTProbe()
    /// No probe of the round trip begins before this.
    private var nextProbeAt = Instant.zero
    private var cycle = 2
    /// On the way up: the rate when it began, and what may stand in the queue meanwhile.
    private var rateBefore = Rate.zero
    private var upCeiling = BBR.queueCeiling
    private var cycleStart = Instant.zero
    private var restoresWindow = 0
    /// Bounds what is in flight after heavy loss; `.max` where nothing says so.
    private var inFlightBound = Int.max
    private var lostInRound = 0
    private var deliveredInRound = 0
    /// Acknowledgements come in clumps: how much more than the rate explains arrived at once,
    /// lately.
    private var clumpStart = Instant.zero
    private var clumpBytes = 0
    private var extra = 0
    private var extraRound: UInt64 = 0

    override var minimumWindow: Int { 4 &* segmentSize }
    override var governsRecovery: Bool { true }
    override var isInSlowStart: Bool { phase == .startup }
    override var expectedRate: Rate { phase == .startup ? .zero : bandwidth.best }

    /// The bottleneck's rate as far as it is known; zero before the first sample.
    var estimate: Rate { bandwidth.best }

    override func restart() {
        super.restart()
        phase = .startup
        bandwidth = MaximumFilter()
        fullBandwidth = .zero
        flatRounds = 0
        minimumRTT = .max
        roundRate = .zero
        lastRoundRate = .zero
        forgetLongRounds()
        trialBound = .max
        inFlightBound = .max
        extra = 0
    }

    private func forgetLongRounds() {
        longRounds = 0
        longSince = .distantFuture
    }

    private func product(_ gain: Double) -> Int {
        guard minimumRTT != .max, bandwidth.best > .zero else { return initialWindow }
        return bandwidth.best.product(gain, minimumRTT)
    }

    override func acknowledged(_ sample: borrowing AcknowledgementSample) {
        deliveredInRound &+= sample.bytes
        lostInRound &+= sample.lost
        if sample.startsRound { beginRound(sample) }
        let rate = sample.deliveryRate
        // What arrives during a probe of the round trip is limited by that.
        let isLimited = sample.isApplicationLimited || phase == .probeRTT
        if rate > .zero, !isLimited || rate >= bandwidth.best {
            bandwidth.update(rate, round: rounds, window: Self.filterRounds)
            roundRate = max(roundRate, rate)
        }
        measureClumps(sample)
        let expired = trackRTT(sample)
        if sample.startsRound { judgeLoss(sample); judgeStartup(sample) }
        advancePhase(sample, rttExpired: expired)
        setWindow(sample)
        setPacing()
    }

    private func beginRound(_ sample: borrowing AcknowledgementSample) {
        let rtt = sample.rtt
        rounds &+= 1
        if phase != .probeRTT {
            lastRoundRate = roundRate
            roundRate = .zero
        }
        guard rtt > .zero, minimumRTT != .max else { return }
        longRounds = isLong(rtt, besides: minimumRTT) ? longRounds &+ 1 : 0
        if trialBound != .max { continueTrial(sample) }
    }

    /// The longer path shows whether it is one by what more in flight does to its round trip. While
    /// the application sends little, others make it longer, and its rate is not the line's.
    private func continueTrial(_ sample: borrowing AcknowledgementSample) {
        if phase != .probeRTT, sample.deliveryRate > .zero,
            sample.rtt > minimumRTT + max(minimumRTT / 2, Self.queueCeiling)
        {
            if sample.isApplicationLimited { return }
            trialBound = .max
            if sample.deliveryRate < bandwidth.best { replaceBandwidth(sample.deliveryRate) }
        } else if sample.isWindowLimited {
            trialBound = trialBound &+ min(trialBound, Int.max &- trialBound)
            if trialBound > product(Self.windowGain) &+ extra { trialBound = .max }
        }
    }

    private func replaceBandwidth(_ rate: Rate) {
        bandwidth = MaximumFilter()
        bandwidth.update(rate, round: rounds, window: Self.filterRounds)
        extra = 0
    }

    /// Whether what took `rtt` stood in a queue, where an empty path takes `minimum`.
    private func isLong(_ rtt: Interval, besides minimum: Interval) -> Bool {
        rtt >= (minimum + Self.queueCeiling) * 2
    }

    /// Whether the path's own round trip has not shown for too long.
    private func trackRTT(_ sample: borrowing AcknowledgementSample) -> Bool {
        let now = sample.now, rtt = sample.rtt
        if rtt > .zero, rtt <= minimumRTT {
            minimumRTT = rtt
            minimumRTTAt = now
        } else if rtt > .zero, rtt <= minimumRTT + minimumRTT / 32 {
            // The queue was as good as empty by itself, as after every probe for bandwidth.
            minimumRTTAt = now
        }
        if rtt > .zero {
            queued = rtt > minimumRTT + max(minimumRTT / 4, Self.queueCeiling) ? queued &+ 1 : 0
            // The pipe is full, whether or not the application could fill it for a whole round. The
            // first flight may have been one burst, of which every link makes a queue.
            if phase == .startup, rounds < 2 { queued = 0 }
            if phase == .startup, queued >= Self.queuedInARow { flatRounds = Self.fullPipeRounds }
        }
        guard rtt > .zero else { return false }
        if !isLong(rtt, besides: minimumRTT) {
            longSince = .distantFuture
        } else if longSince == .distantFuture {
            longSince = now
        }
        return now >= nextProbeAt
            && (now > minimumRTTAt + Self.minimumRTTWindow || longRounds >= Self.longRounds
                || now >= longSince + (minimumRTT + Self.queueCeiling)
                    * (2 * Int64(Self.longRounds)))
    }

    private func measureClumps(_ sample: borrowing AcknowledgementSample) {
        guard phase != .startup else { clumpStart = sample.now; return }
        let expected = bandwidth.best.bytes(in: sample.now - clumpStart)
        if clumpBytes <= expected {
            clumpStart = sample.now
            clumpBytes = 0
        }
        clumpBytes &+= sample.bytes
        let over = min(clumpBytes &- bandwidth.best.bytes(in: sample.now - clumpStart), window)
        if over >= extra || rounds > extraRound &+ Self.filterRounds {
            extra = max(0, over)
            extraRound = rounds
        }
    }

    private func judgeLoss(_ sample: borrowing AcknowledgementSample) {
        let total = Double(deliveredInRound &+ lostInRound) / Double(segmentSize)
        let lost = Double(lostInRound) / Double(segmentSize)
        let tolerated = Self.lossTolerated * total
        if lost > tolerated + 2 * tolerated.squareRoot(),
            phase != .startup || lost >= Double(Self.startupLosses)
        {
            inFlightBound = max(min(sample.priorInFlight, product(1.25)), minimumWindow)
            if phase == .startup { flatRounds = Self.fullPipeRounds }
        } else if inFlightBound != .max, sample.isWindowLimited {
            inFlightBound &+= max(inFlightBound / 4, segmentSize)
            if inFlightBound > product(Self.windowGain) &+ extra { inFlightBound = .max }
        }
        lostInRound = 0
        deliveredInRound = 0
    }

    private func judgeStartup(_ sample: borrowing AcknowledgementSample) {
        guard phase == .startup, !sample.isApplicationLimited else { return }
        if bandwidth.best.bytesPerSecond >= fullBandwidth.bytesPerSecond &* 5 / 4 {
            fullBandwidth = bandwidth.best
            flatRounds = 0
        } else {
            flatRounds += 1
        }
    }

    private func advancePhase(_ sample: borrowing AcknowledgementSample, rttExpired: Bool) {
        let now = sample.now
        if phase == .startup, flatRounds >= Self.fullPipeRounds {
            phase = .drain
            forgetLongRounds()  // the search's own queue
        }
        if phase == .drain, sample.inFlight <= product(1) { enterProbeBandwidth(now) }
        if phase == .probeBandwidth { advanceCycle(sample) }
        if rttExpired, phase == .probeBandwidth || phase == .drain { beginProbeRTT(sample) }
        if phase == .probeRTT {
            if probe.wasLong { probe.lower(to: windowOfProbe(sample.deliveryRate), sample) }
            if probe.ends(with: sample) { endProbeRTT(now) }
        }
    }

    /// The path's own round trip is looked for by what empties the queue. How much that is follows
    /// from what arrives now and from the round trip known till now. Taken from the greatest rate
    /// of the filter, or from the round trip through the queue, it would leave the queue as it is,
    /// and the path would be taken for a longer one that holds more, again and again.
    private func beginProbeRTT(_ sample: borrowing AcknowledgementSample) {
        let wasLong = isLong(sample.rtt, besides: minimumRTT)
        // Behind an outage nothing is known of what the queue gives; another acknowledgement tells.
        if wasLong, sample.deliveryRate == .zero { return }
        // What the application or a bound after losses held back is not what the line carries.
        let isHeldBack = sample.isApplicationLimited || inFlightBound != .max
        var rate = isHeldBack ? bandwidth.best : min(max(roundRate, lastRoundRate), bandwidth.best)
        // Behind a long queue the last two rounds may have begun before the line became slower.
        if wasLong { rate = min(sample.deliveryRate, bandwidth.best) }
        let most = windowOfProbe(rate)
        let isApplication = sample.isApplicationLimited, inFlight = sample.inFlight
        forgetLongRounds()
        guard sample.inFlight > most else {
            // So little is in flight anyhow: the path's own round trip shows by itself.
            if wasLong { trialBound = max(2 &* sample.inFlight, initialWindow) }
            minimumRTT = sample.rtt
            minimumRTTAt = sample.now
            return
        }
        probe = RTTProbe(
            window: most, wasLong: wasLong,
            isHeldBack: isApplication && inFlight < product(0.5),
            before: (window: window, rate: rate, rtt: sample.rtt), at: sample.now)
        phase = .probeRTT
    }

    private func windowOfProbe(_ rate: Rate) -> Int {
        max(rate.product(Self.probeRTTGain, minimumRTT), minimumWindow)
    }

    /// Either a queue stood, and what arrived through it was all that the line carries; or the path
    /// has become longer, which tells nothing of its rate.
    private func endProbeRTT(_ now: Instant) {
        let known = minimumRTT
        minimumRTT = probe.rtt
        minimumRTTAt = now
        let queue = probe.before.rtt - probe.rtt
        if probe.wasLong, queue > max(Self.queueCeiling, probe.rtt / 2) {
            // An application's rate is the line's where a queue stood, unless others filled it.
            let least = probe.isHeldBack ? bandwidth.best.scaled(by: 0.25) : .zero
            let rate = max(probe.drainRate, least)
            if rate < bandwidth.best { replaceBandwidth(rate) }
            window = max(window, min(probe.before.window, product(1)))
        } else {
            if isLong(probe.rtt, besides: known) {
                trialBound = max(probe.before.window, minimumWindow)
            }
            window = max(window, probe.before.window)
        }
        forgetLongRounds()
        nextProbeAt = now + (now - probe.began) * Self.probeRTTPause
        enterProbeBandwidth(now)
    }

    private func enterProbeBandwidth(_ now: Instant) {
        phase = .probeBandwidth
        // Not all flows of one bottleneck at the same step: the cycle starts where the clock says.
        cycle = 2 + Int(truncatingIfNeeded: (now.nanoseconds >> 16) % 6)
        cycleStart = now
        upCeiling = Self.queueCeiling
    }

    private func advanceCycle(_ sample: borrowing AcknowledgementSample) {
        let now = sample.now, inFlight = sample.inFlight
        let elapsed = now - cycleStart, gain = Self.cycleGains[cycle]
        let lost = sample.lost, isLimited = sample.isApplicationLimited
        let isFull = lost > 0 || isLimited
        let done: Bool
        if gain > 1 {
            // Up until the queue shows, but not for ever: the window may not let so much out.
            done =
                elapsed > minimumRTT
                && (isFull || inFlight >= product(gain) || elapsed > minimumRTT * 3)
        } else if gain < 1 {
            // Down until the queue is gone that the way up has built (draft section 5.3.3.5): ended
            // by time, each cycle would leave some of it. Where no more than the least window
            // flies, none is seen.
            done =
                inFlight <= max(product(1), minimumWindow)
                || elapsed > minimumRTT * 4 + Self.queueCeiling * 5
        } else {
            done = elapsed > minimumRTT
        }
        guard done else { return }
        if gain > 1, !isFull, goesOnUp(sample) {
            upCeiling = max(min(upCeiling * 2, minimumRTT / 4), Self.queueCeiling)
        } else {
            cycle = (cycle + 1) % Self.cycleGains.count
            upCeiling = Self.queueCeiling
        }
        rateBefore = bandwidth.best
        cycleStart = now
    }

    /// Whether more arrived on the way up, and no queue is seen: there is still more to be had.
    private func goesOnUp(_ sample: borrowing AcknowledgementSample) -> Bool {
        let rtt = sample.rtt
        return bandwidth.best.bytesPerSecond >= rateBefore.bytesPerSecond / 32 &* 33
            && rtt > .zero && rtt <= minimumRTT + max(minimumRTT / 8, Self.queueCeiling)
    }

    private func setWindow(_ sample: borrowing AcknowledgementSample) {
        // Three segments of slack: delayed acknowledgements and bursts of the pacer.
        var target = product(Self.startupGain)
        if phase != .startup {
            let ceiling =
                phase == .probeBandwidth && Self.cycleGains[cycle] > 1
                ? upCeiling : Self.queueCeiling
            let queued = max(2 &* segmentSize, bandwidth.best.bytes(in: ceiling))
            target = min(product(Self.windowGain), product(1) &+ queued)
        }
        target = target &+ extra
        target = min(max(target, minimumWindow), inFlightBound, trialBound)
        if phase == .probeRTT {
            window = max(minimumWindow, min(window, probe.window))
            return
        }
        if restoresWindow > 0 {
            // After a time-out the first acknowledgement says that the path is back.
            window = max(window, min(restoresWindow, target))
            restoresWindow = 0
        }
        if phase == .startup, flatRounds < Self.fullPipeRounds {
            if window < target || bandwidth.best == .zero { window &+= sample.bytes }
        } else {
            window = min(window &+ sample.bytes, target)
        }
        window = max(window, minimumWindow)
    }

    private func setPacing() {
        let gain: Double
        switch phase {
        case .startup: gain = Self.startupGain
        case .drain: gain = Self.drainGain
        case .probeBandwidth: gain = Self.cycleGains[cycle]
        case .probeRTT: gain = 1
        }
        guard bandwidth.best > .zero else { return }
        if pacingRate == .zero, minimumRTT != .max {
            // Draft section 5.6.2 (BBRInitPacingRate): before the pipe was ever full the pace is at
            // least that of the initial window. A first sample of one byte, the dial's status,
            // would pace at bytes a second.
            pacingRate = Rate(bytes: initialWindow, in: minimumRTT).scaled(by: Self.startupGain)
        }
        let rate = bandwidth.best.scaled(by: gain)
        // In startup the pace only rises: one late acknowledgement must not stall the search.
        if phase != .startup || rate > pacingRate { pacingRate = rate }
    }

    override func congestionEvent(inFlight: Int, at now: Instant) {}

    override func timedOut(inFlight: Int, at now: Instant) {
        restoresWindow = max(restoresWindow, window)
        window = segmentSize
    }

    override func resumed(after pause: Interval, timeout: Interval, at now: Instant) {
        // The model keeps what it knows; the pacer spreads the first window.
    }

    override func undo() {
        if restoresWindow > 0 { window = max(window, restoresWindow); restoresWindow = 0 }
    }
}

/// The greatest of the samples of the last rounds, with three kept (Kathleen Nichols' windowed
/// filter).
struct MaximumFilter {
    private var samples = InlineArray<3, (rate: Rate, round: UInt64)>(repeating: (.zero, 0))
    var best: Rate { samples[0].rate }

    mutating func update(_ rate: Rate, round: UInt64, window: UInt64) {
        if rate >= samples[0].rate || round &- samples[2].round > window {
            for i in 0..<3 { samples[i] = (rate, round) }
            return
        }
        if rate >= samples[1].rate {
            samples[1] = (rate, round); samples[2] = (rate, round)
        } else if rate >= samples[2].rate {
            samples[2] = (rate, round)
        }
        let age = round &- samples[0].round
        if age > window {
            samples[0] = samples[1]
            samples[1] = samples[2]
            samples[2] = (rate, round)
            if round &- samples[0].round > window {
                samples[0] = samples[1]
                samples[1] = samples[2]
            }
        } else if samples[1].round == samples[0].round, age > window / 4 {
            samples[1] = (rate, round)
            samples[2] = (rate, round)
        } else if samples[2].round == samples[1].round, age > window / 2 {
            samples[2] = (rate, round)
        }
    }
}
