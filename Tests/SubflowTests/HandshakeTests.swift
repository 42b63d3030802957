import Measures
import Subflow
import Testing
import Wire

/// RFC 9293 sections 3.5 and 3.10.7.
@Suite struct HandshakeTests {
    @Test func activeOpen() {
        let s = Script(established: false)
        #expect(s.out() == ["S seq=0"])
        #expect(s.last.options.present == [.maximumSegmentSize, .windowScale, .sackPermitted])
        #expect(
            s.subflow.state == .synSent && !s.subflow.isEstablished && !s.subflow.synAcknowledged)
        s.wait(30)
        s.inject("SA", seq: 0, ack: 1)
        #expect(
            s.arrival.established && s.subflow.state == .established && s.subflow.synAcknowledged)
        #expect(s.out() == ["A seq=1 ack=1"])
        #expect(s.subflow.smoothedRTT == .milliseconds(30) && s.subflow.hasRTTSample)
        #expect(s.subflow.peerWindow == 16_000)  // a SYN's window is not scaled
        s.inject("A", seq: 1, ack: 1)
        #expect(s.subflow.peerWindow == 64_000)
    }

    @Test func passiveOpen() {
        let s = Script(accepting: Script.plain)
        #expect(s.out() == ["SA seq=0 ack=1"])
        #expect(s.subflow.state == .synReceived)
        s.wait(20)
        s.inject("A", seq: 1, ack: 1)
        #expect(s.arrival.established && s.subflow.isEstablished && s.out() == [])
    }

    @Test func simultaneousOpen() {
        let s = Script(established: false)
        #expect(s.out() == ["S seq=0"])
        s.inject("S", seq: 0)
        #expect(s.subflow.state == .synReceived)
        #expect(s.out() == ["SA seq=0 ack=1"])
        s.inject("SA", seq: 0, ack: 1)
        #expect(s.arrival.established && s.subflow.state == .established)
    }

    @Test func lostSYNIsRepeatedWithBackoff() {
        let s = Script(established: false)
        _ = s.out()
        for (n, wait) in [1000, 2000, 4000].enumerated() {
            s.wait(Int64(wait) - 1)
            #expect(s.out() == [])
            s.wait(1)
            #expect(s.out() == ["S seq=0"] && s.subflow.backoffs == n + 1)
        }
        s.inject("SA", seq: 0, ack: 1)
        // Karn: no sample from a repeated SYN; RFC 6298 section 5.7.
        #expect(
            !s.subflow.hasRTTSample && s.subflow.retransmissionTimeout == .seconds(3)
                && s.subflow.isEstablished)
    }

    @Test func knownPathRepeatsSooner() {
        let known = PathEstimate(
            smoothedRTT: .milliseconds(30), rttVariation: .milliseconds(5),
            minimumRTT: .milliseconds(25))
        let s = Script(established: false, estimate: known)
        _ = s.out()
        s.wait(200)
        #expect(s.out() == ["S seq=0"])
    }

    @Test func repeatedSYNDrawsTheSYNACKAgain() {
        let s = Script(accepting: Script.plain)
        _ = s.out()
        s.inject("S", seq: 0)
        #expect(s.out() == ["SA seq=0 ack=1"])
        s.wait(1000)
        #expect(s.out() == ["SA seq=0 ack=1"])
        s.inject("A", seq: 1, ack: 1)
        #expect(s.arrival.established)
    }

    @Test func repeatedSYNACKDrawsAnACK() {
        let s = Script()
        s.inject("SA", seq: 0, ack: 1)
        #expect(s.arrival.isUnacceptable && s.out() == ["A seq=1 ack=1"])
    }

    @Test func refused() {
        let s = Script(established: false)
        _ = s.out()
        s.inject("R", seq: 0)
        #expect(s.subflow.state == .synSent)  // without an ACK anybody could send it
        s.inject("RA", seq: 0, ack: 1)
        #expect(s.arrival.wasReset && s.subflow.state == .closed && s.subflow.failure == .reset)
    }

    @Test func wrongAcknowledgementIsReset() {
        let s = Script(established: false)
        _ = s.out()
        s.inject("SA", seq: 0, ack: 2)
        #expect(s.subflow.state == .synSent && s.out() == ["R seq=2"])
        let passive = Script(accepting: Script.plain)
        _ = passive.out()
        passive.inject("A", seq: 1, ack: 7)
        #expect(passive.subflow.state == .synReceived && passive.out() == ["R seq=7"])
        passive.inject("R", seq: 1)
        #expect(passive.subflow.state == .closed)
    }

    @Test func missingOptionsAreNotUsed() {
        let s = Script(established: false)
        _ = s.out()
        s.inject("SA", seq: 0, ack: 1, options: false)
        #expect(s.subflow.sendSegmentSize == 536)
        _ = s.out()
        s.inject("A", seq: 101, ack: 1, length: 100, window: 1000)
        #expect(
            s.subflow.peerWindow == 1000 && s.out() == ["A seq=1 ack=1"] && s.last.window == 65_535)
    }

    // MARK: Early data

    static var early: SubflowConfiguration {
        var c = Script.plain
        c.earlyData = true
        c.windowScope = .connection
        return c
    }

    @Test func dataRidesOnTheSYNAndFollowsIt() {
        let s = Script(Self.early, established: false)
        s.toSend = 1500
        #expect(s.out() == ["S+data seq=0 len=1000", "data seq=1001 len=500"])
        #expect(
            s.subflow.outstanding(0).length == 1000 && s.subflow.outstanding(1).streamOffset == 1000
        )
        s.wait(50)
        s.inject("SA", seq: 0, ack: 1501, length: 300)
        #expect(
            s.arrival.text == 0..<300 && s.arrival.newlyDelivered == 1500 && s.arrival.established)
        #expect(s.out() == ["A seq=1501 ack=301"])
    }

    @Test func repeatedSYNCarriesTheSameData() {
        let s = Script(Self.early, established: false)
        s.toSend = 700
        #expect(s.out() == ["S+data seq=0 len=700"])
        s.wait(1000)
        #expect(s.out() == ["S+data seq=0 len=700"])
        s.inject("SA", seq: 0, ack: 701)
        #expect(!s.subflow.hasUnacknowledged)
    }

    @Test func earlyDataThatWasIgnoredGoesAgain() {
        let s = Script(Self.early, established: false)
        s.toSend = 700
        _ = s.out()
        s.wait(50)
        s.inject("SA", seq: 0, ack: 1)
        #expect(s.subflow.outstanding(0).length == 700 && !s.subflow.outstanding(0).isSYN)
        #expect(
            s.out() == ["data seq=1 ack=1 len=700"] && s.subflow.smoothedRTT == .milliseconds(50))
    }

    @Test func listenerAnswersAtOnce() {
        let s = Script(accepting: Self.early, length: 700)
        s.toSend = 2500
        #expect(
            s.out() == [
                "SA+data seq=0 ack=701 len=1000", "data seq=1001 ack=701 len=1000",
                "data seq=2001 ack=701 len=500"
            ])
        // Early text before the handshake is done has no ACK bit.
        s.inject("", seq: 701, length: 200)
        #expect(s.arrival.text == 0..<200 && s.subflow.state == .synReceived)
        #expect(s.out() == ["A seq=2501 ack=901"])
        s.inject("A", seq: 901, ack: 2501)
        #expect(s.arrival.established && s.arrival.newlyDelivered == 2500)
    }

    /// The SYN comes a second time, and so the SYN/ACK goes a second time, ahead of the answer to
    /// the first one: what followed that is under way.
    @Test func aRepeatedSYNACKLosesNothing() {
        let s = Script(accepting: Self.early, length: 700)
        s.toSend = 2500
        #expect(s.out().count == 3)
        s.wait(60)
        s.inject("S", seq: 0)
        _ = s.out()
        s.wait(40)
        s.inject("A", seq: 701, ack: 1001)
        #expect(s.arrival.established && s.out() == [])
        s.wait(10)
        s.inject("A", seq: 701, ack: 2501)
        #expect(!s.subflow.hasUnacknowledged && s.out() == [])
    }

    @Test func earlyDataStaysWithinTheInitialWindow() {
        let s = Script(Self.early, established: false)
        s.toSend = 50_000
        #expect(s.out().count == 10 && s.subflow.bytesInFlight == 10_000)
    }
}
