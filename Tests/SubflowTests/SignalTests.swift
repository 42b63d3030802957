import Measures
import Subflow
import Testing
import Wire

/// RFC 8684 section 3: a duplicate acknowledgement that carries an MPTCP signal is no sign of
/// congestion.
@Suite struct SignalTests {
    @Test(arguments: [true, false]) func anAcknowledgementForTheSakeOfASignalIsNoLoss(
        _ hasSignal: Bool
    ) {
        var c = Script.plain
        c.selectiveAcknowledgement = false
        let s = Script(c)
        s.toSend = 5000
        _ = s.out()
        s.wait(100)
        for _ in 0..<4 {
            var segment = Segment()
            segment.sourcePort = 443
            segment.destinationPort = 1000
            segment.sequence = Script.remoteISS + 1
            segment.acknowledgement = Script.localISS + 1
            segment.window = 16_000
            segment.flags = .ack
            segment.options.present = hasSignal ? [.dss, .addAddress] : .dss
            _ = s.subflow.receive(
                segment, payloadLength: 0, textIsUsable: true, receiveWindow: s.window, at: s.now)
        }
        #expect(s.out() == (hasSignal ? [] : ["data seq=1 ack=1 len=1000"]))
    }
}
