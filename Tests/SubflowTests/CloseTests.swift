import Measures
import Subflow
import Testing

/// RFC 9293 sections 3.6 and 3.10.7.4, RFC 5961.
@Suite struct CloseTests {
    @Test func activeClose() {
        let s = Script()
        s.subflow.close()
        #expect(s.out() == ["FA seq=1 ack=1"] && s.subflow.state == .finWait1)
        s.wait(100)
        s.inject("A", seq: 1, ack: 2)
        #expect(s.subflow.state == .finWait2 && s.subflow.finAcknowledged)
        s.inject("A", seq: 1, ack: 2, length: 10)
        #expect(s.arrival.text == 0..<10)  // half closed: the peer may go on
        _ = s.out()
        s.inject("FA", seq: 11, ack: 2)
        #expect(s.arrival.finished && s.subflow.state == .timeWait)
        #expect(s.out() == ["A seq=2 ack=12"])
        s.wait(100)
        s.inject("FA", seq: 11, ack: 2)
        #expect(s.out() == ["A seq=2 ack=12"] && s.subflow.state == .timeWait)
        s.wait(2000)
        #expect(
            s.subflow.state == .closed && s.subflow.failure == nil
                && s.subflow.deadline == .distantFuture)
    }

    @Test func passiveClose() {
        let s = Script()
        s.inject("FA", seq: 1, ack: 1, length: 5)
        #expect(s.arrival.text == 0..<5 && s.arrival.finished && s.subflow.state == .closeWait)
        s.toSend = 10
        #expect(s.out() == ["data seq=1 ack=7 len=10"])
        s.subflow.close()
        #expect(s.out() == ["FA seq=11 ack=7"] && s.subflow.state == .lastAck)
        s.inject("A", seq: 7, ack: 12)
        #expect(s.subflow.state == .closed && s.subflow.failure == nil)
    }

    /// Both sides have closed, so a reset is no error; but what it cut off must go again on another
    /// subflow.
    @Test func textCutOffByAResetAfterBothClosedIsKept() {
        let s = Script()
        s.inject("FA", seq: 1, ack: 1)
        s.toSend = 10
        _ = s.out()
        s.subflow.close()
        _ = s.out()
        #expect(s.subflow.state == .lastAck)
        s.inject("R", seq: 2)
        #expect(s.subflow.state == .closed && s.subflow.failure == nil && s.arrival.wasReset)
        #expect(s.subflow.outstandingCount > 0 && s.subflow.outstanding(0).length == 10)
    }

    @Test func simultaneousClose() {
        let s = Script()
        s.subflow.close()
        _ = s.out()
        s.inject("FA", seq: 1, ack: 1)
        #expect(s.subflow.state == .closing && s.out() == ["A seq=2 ack=2"])
        s.inject("A", seq: 2, ack: 2)
        #expect(s.subflow.state == .timeWait)
    }

    @Test func finAndItsACKInOne() {
        let s = Script()
        s.subflow.close()
        _ = s.out()
        s.inject("FA", seq: 1, ack: 2)
        #expect(s.subflow.state == .timeWait)
    }

    @Test func finIsRepeatedAndWaitsForData() {
        let s = Script()
        s.toSend = 500
        _ = s.out()
        s.subflow.close()
        #expect(s.out() == ["FA seq=501 ack=1"])
        s.inject("A", seq: 1, ack: 501)
        #expect(s.subflow.state == .finWait1)
        s.wait(400)
        #expect(s.out() == ["FA seq=501 ack=1"])
    }

    @Test func finAheadOfAGapWaits() {
        let s = Script()
        s.inject("FA", seq: 101, ack: 1, length: 100)
        #expect(!s.arrival.finished && s.arrival.text == 0..<100)
        #expect(s.out() == ["A seq=1 ack=1 sack=101-201"])
        s.inject("A", seq: 1, ack: 1, length: 100)
        #expect(s.arrival.finished && s.arrival.text == 0..<100)
        #expect(s.out() == ["A seq=1 ack=202"])
    }

    @Test func unmappedTextAndFINDoNotCount() {
        let s = Script()
        s.inject("FA", seq: 1, ack: 1, length: 5, usable: false)
        #expect(
            s.arrival.text.isEmpty && !s.arrival.finished
                && s.subflow.receiveNext == Script.remoteISS + 1)
    }

    @Test func abort() {
        let s = Script()
        s.subflow.abort()
        #expect(s.subflow.deadline <= s.now)
        #expect(s.out() == ["RA seq=1 ack=1"])
        #expect(s.subflow.state == .closed && s.subflow.failure == .aborted && s.out() == [])
    }

    @Test func closedAnswersWithReset() {
        let s = Script()
        s.subflow.abort()
        _ = s.out()
        s.inject("A", seq: 1, ack: 1, length: 3)
        #expect(s.out() == ["R seq=1"])
        s.inject("", seq: 1, length: 3)
        #expect(s.out() == ["RA seq=256 ack=4"])
        s.inject("R", seq: 1)
        #expect(s.out() == [])
    }

    // MARK: RFC 5961

    @Test func onlyAnExactResetResets() {
        let s = Script()
        s.inject("R", seq: 500)
        #expect(s.subflow.state == .established && s.out() == ["A seq=1 ack=1"])
        s.inject("R", seq: 200_000)
        #expect(s.subflow.state == .established && s.out() == [])
        s.inject("R", seq: 0)
        #expect(s.subflow.state == .established && s.out() == [])
        s.inject("R", seq: 1)
        #expect(s.subflow.state == .closed && s.arrival.wasReset && s.subflow.failure == .reset)
    }

    @Test func aSYNIsChallenged() {
        let s = Script()
        s.inject("S", seq: 5000)
        #expect(
            s.subflow.state == .established && s.arrival.isUnacceptable
                && s.out() == ["A seq=1 ack=1"])
    }

    @Test func acknowledgementsOfTheFutureAndThePast() {
        let s = Script()
        s.inject("A", seq: 1, ack: 2, length: 3)
        #expect(s.arrival.isUnacceptable && s.arrival.text.isEmpty && s.out() == ["A seq=1 ack=1"])
        s.inject("A", seq: 1, ack: -100_000, length: 3)
        #expect(s.arrival.isUnacceptable && s.out() == ["A seq=1 ack=1"])
    }

    @Test func challengesAreLimited() {
        let s = Script()
        var answers = 0
        for _ in 0..<100 { s.inject("R", seq: 500); answers += s.out().count }
        #expect(answers == 10)
        s.wait(1000)
        s.inject("R", seq: 500)
        #expect(s.out().count == 1)
    }

    @Test func aProbeIsAnswered() {
        let s = Script()
        s.inject("A", seq: 0, ack: 1)
        #expect(s.arrival.isUnacceptable && s.out() == ["A seq=1 ack=1"])
        s.subflow.requestProbe()
        #expect(s.out() == ["A seq=0 ack=1"])
    }
}
