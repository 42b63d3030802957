import Measures
import Subflow
import Testing
import Wire

/// RFC 9293 section 3.10.7.4, RFC 7323, RFC 5681 section 4.2. The peer's numbers wrap within each
/// test.
@Suite struct ReceiveTests {
    @Test func overlaps() {
        let s = Script()
        s.inject("A", seq: 1, ack: 1, length: 100)
        s.inject("A", seq: 51, ack: 1, length: 100)
        #expect(s.arrival.text == 50..<100 && s.subflow.receiveNext == Script.remoteISS + 151)
        s.inject("A", seq: 201, ack: 1, length: 100)
        s.inject("A", seq: 181, ack: 1, length: 50)
        #expect(s.arrival.text == 0..<20)
        s.inject("A", seq: 251, ack: 1, length: 100)
        #expect(s.arrival.text == 50..<100)
        s.inject("A", seq: 201, ack: 1, length: 50)
        #expect(s.arrival.text.isEmpty)
        s.inject("A", seq: 141, ack: 1, length: 40)
        #expect(s.arrival.text == 10..<40 && s.subflow.receiveNext == Script.remoteISS + 351)
        #expect(s.out() == ["A seq=1 ack=351 sack=201-251"] && !s.subflow.hasReceiveGap)
    }

    @Test func outsideTheWindow() {
        let s = Script()
        s.window = 1000
        s.inject("A", seq: 5000, ack: 1, length: 10)
        #expect(s.arrival.isUnacceptable && s.out() == ["A seq=1 ack=1"])
        s.inject("A", seq: 501, ack: 1, length: 1000)
        #expect(s.arrival.text == 0..<500)
        s.inject("A", seq: 1, ack: 1, length: 2000)
        #expect(s.arrival.text == 0..<500 && s.subflow.receiveNext == Script.remoteISS + 1001)
    }

    @Test func zeroWindowStillTakesAcknowledgements() {
        let s = Script()
        s.toSend = 100
        _ = s.out()
        s.window = 0
        s.inject("A", seq: 1, ack: 101, length: 10)
        #expect(
            s.arrival.text.isEmpty && s.arrival.newlyDelivered == 100
                && s.out() == ["A seq=101 ack=1"])
    }

    /// A slow link's segments are acknowledged each.
    @Test func sparseSegmentsAreAcknowledgedEach() {
        let s = Script()
        for i in 0..<20 {
            s.inject("A", seq: 1 + 1000 * i, ack: 1, length: 1000)
            #expect(s.out() == ["A seq=1 ack=\(1001 + 1000 * i)"])
            s.wait(3)
        }
    }

    @Test func acknowledgementsAreDelayedAfterTheStart() {
        let s = Script()
        for i in 0..<16 {
            s.inject("A", seq: 1 + 1000 * i, ack: 1, length: 1000)
            #expect(s.out().count == 1)
        }
        s.inject("A", seq: 16_001, ack: 1, length: 1000)
        #expect(s.out() == [] && s.subflow.deadline == s.now + .milliseconds(25))
        s.inject("A", seq: 17_001, ack: 1, length: 1000)
        #expect(s.out() == ["A seq=1 ack=18001"])
        s.wait(3)
        s.inject("A", seq: 18_001, ack: 1, length: 10)
        #expect(s.out() == [])
        s.wait(25)
        #expect(s.out() == ["A seq=1 ack=18011"])
        s.inject("A", seq: 18_011, ack: 1, length: 10)
        s.toSend = 5
        #expect(s.out() == ["data seq=1 ack=18021 len=5"])
        s.wait(25)
        #expect(s.out() == [])
    }

    @Test func oneBatchOneACK() {
        let s = Script()
        for i in 0..<40 { s.inject("A", seq: 1 + 1000 * i, ack: 1, length: 1000) }
        #expect(s.out() == ["A seq=1 ack=40001"])
    }

    @Test func oldTimestampsAreRefused() {
        var c = Script.plain
        c.timestamps = true
        let s = Script(c, established: false)
        _ = s.out()
        #expect(s.last.options.present.contains(.timestamps))
        s.inject("SA", seq: 0, ack: 1, timestamp: 100)
        #expect(
            s.out() == ["A seq=1 ack=1"] && s.last.options.timestamps.echo == 100
                && s.subflow.sendSegmentSize == 988)
        s.inject("A", seq: 1, ack: 1, length: 10, timestamp: 101)
        #expect(s.arrival.text == 0..<10)
        _ = s.out()
        s.inject("A", seq: 11, ack: 1, length: 10, timestamp: 50)
        #expect(
            s.arrival.isUnacceptable && s.out() == ["A seq=1 ack=11"]
                && s.last.options.timestamps.echo == 101)
        s.inject("A", seq: 11, ack: 1, length: 10)
        #expect(s.arrival.isUnacceptable)
    }

    /// Whatever arrives: no trap, no endless turn, a deadline in the future (checked in `out`).
    @Test func anythingMayArrive() {
        for seed in UInt64(1)...80 {
            var random = SeededRandom(seed: seed)
            var c = PipeTests.configuration(&random)
            c.earlyData = random.chance(0.5)
            let s =
                random.chance(0.5)
                ? Script(c, established: false) : Script(accepting: c, length: 100)
            for _ in 0..<150 {
                let near = { (around: SubflowSequence, base: SubflowSequence) in
                    base.distance(to: around)
                        + (random.chance(0.7)
                            ? Int(random.next() % 5000) - 2500 : Int(random.next() % (1 << 32)))
                }
                let seq = near(s.subflow.receiveNext, Script.remoteISS)
                let ack = near(s.subflow.sendUnacknowledged, Script.localISS)
                let kinds = [
                    "A", "A", "A", "A", "", "S", "SA", "FA", "F", "R",
                    "RA"
                ].randomElement(using: &random)!
                var blocks: [Range<Int>] = []
                for _ in 0..<random.next() % 5 {
                    let start = near(s.subflow.sendUnacknowledged, Script.localISS)
                    blocks.append(start..<start + Int(random.next() % 3000))
                }
                s.window = Int(random.next() % 100_000)
                s.inject(
                    random.chance(0.95) ? "A" : kinds,
                    seq: random.chance(0.5)
                        ? Script.remoteISS.distance(to: s.subflow.receiveNext) : seq,
                    ack: ack, length: Int(random.next() % 2000),
                    window: UInt16(truncatingIfNeeded: random.next()),
                    sack: blocks,
                    timestamp: random.chance(0.5)
                        ? UInt32(truncatingIfNeeded: random.next()) : nil)
                if random.chance(0.3) { s.toSend += Int(random.next() % 5000) }
                if random.chance(0.01) { s.subflow.close(); s.toSend = 0 }
                #expect(s.out().last != "endless")
                s.wait(Int64(random.next() % 100))
                #expect(s.out().last != "endless")
            }
        }
    }
}
