import Measures

/// RFC 5681 with HyStart++ in the first slow start.
final class NewReno: CongestionController {
    private var slowStart = HyStart()
    private var acknowledgedBytes = 0

    override func acknowledged(_ sample: borrowing AcknowledgementSample) {
        guard sample.isWindowLimited else { return }
        if isInSlowStart {
            if threshold != .max {
                window = min(window &+ sample.bytes, max(threshold, window)); return
            }
            let (bytes, ends) = slowStart.growth(for: sample)
            window &+= bytes
            if ends { threshold = window }
            return
        }
        acknowledgedBytes &+= sample.bytes
        if acknowledgedBytes >= window {
            acknowledgedBytes &-= window
            window &+= segmentSize
        }
    }

    override func congestionEvent(inFlight: Int, at now: Instant) {
        threshold = max(window / 2, minimumWindow)
        window = threshold
        acknowledgedBytes = 0
    }

    override func timedOut(inFlight: Int, at now: Instant) {
        threshold = max(window / 2, minimumWindow)
        window = segmentSize
        acknowledgedBytes = 0
    }
}
