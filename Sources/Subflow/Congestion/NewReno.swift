import Measures

/// RFC 5681 with HyStart++ in the first slow start.
final class NewReno: CongestionController {
    private var hyStart = HyStart()
    private var acknowledgedBytes = 0

    override func acknowledged(_ sample: borrowing AcknowledgementSample) {
        guard sample.isWindowLimited else { return }
        if isInSlowStart {
            slowStart(&hyStart, sample)
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
