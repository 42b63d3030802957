import Crypto
import Measures
import Multipath
import Subflow
import Testing
import Wire

@Suite struct ConnectionTests {
    static let framings: [Framing] = [.sealed, .rawIP]

    /// Moves `bytes` from one side to the other, calling `step` every 20 ms of virtual time.
    func transfer(
        _ pair: Pair, bytes: Int, upload: Bool, within limit: Interval,
        step: (Pair) -> Void = { _ in }
    ) -> Int? {
        let from = upload ? pair.initiator : pair.listener,
            to = upload ? pair.listener : pair.initiator
        var written = 0, read = 0
        let end = pair.now + limit
        while pair.now < end {
            written = pair.write(from, from: written, upTo: bytes)
            if written == bytes { from.finishWriting(at: pair.now) }
            pair.run(for: .milliseconds(20))
            step(pair)
            guard let r = pair.read(to, from: read) else { return nil }
            read = r
            if read == bytes, to.isReadFinished { return read }
        }
        return read
    }

    @Test(arguments: framings) func handshakeCarriesKeysAndTokens(
        _ framing: Framing
    ) {
        let pair = Pair(framing: framing)
        pair.open()
        pair.run(for: .milliseconds(200))
        #expect(pair.initiator.remoteKey == 0xa0a1_a2a3_a4a5_a6a7)
        #expect(pair.listener.remoteKey == 0x0001_0203_0405_0607)
        #expect(pair.initiator.localToken == 0x8a85_1ff8)
        #expect(pair.initiator.takeEvents().contains(.established))
        #expect(pair.log[0].segment.options.multipathCapable.senderKey == nil)
    }

    @Test(arguments: framings) func everyByteArrivesOnce(_ framing: Framing) {
        for upload in [true, false] {
            let pair = Pair(framing: framing)
            pair.open()
            if !upload { pair.run(for: .milliseconds(100)) }
            #expect(transfer(pair, bytes: 700_000, upload: upload, within: .seconds(20)) == 700_000)
        }
    }

    @Test(arguments: framings) func joinProvesItselfAndCarriesData(
        _ framing: Framing
    ) {
        // In turn, since on links without a rate the faster path alone is always the better choice.
        let pair = Pair(framing: framing, scheduler: .roundRobin)
        pair.open()
        pair.run(for: .milliseconds(100))
        #expect(pair.join(path: 1))
        #expect(transfer(pair, bytes: 3_000_000, upload: false, within: .seconds(20)) == 3_000_000)
        let joins = pair.log.filter { $0.segment.options.present.contains(.join) }
            .map(\.segment.options.join.form)
        // The vectors of RFC 8684's arithmetic for these keys and nonces.
        #expect(joins.contains(.synAck(hmac: 0xe584_b0ec_47b5_ad3a, nonce: 0x5566_7788)))
        #expect(
            joins.contains(
                .ack(MPJoin.HMAC160(0x5c70_32b6_784d_f0c9, 0x56a9_0c9f_aadd_3750, 0x9877_98bf))))
        #expect(pair.listener.statistics.hmacFailures == 0)
        #expect(pair.listener.pathTotals(1).sent > 0)
    }

    @Test(arguments: framings) func bothEndsCloseOrderly(_ framing: Framing) {
        let pair = Pair(framing: framing)
        pair.open()
        pair.run(for: .milliseconds(100))
        pair.join(path: 1)
        _ = pair.write(pair.initiator, from: 0, upTo: 10_000)
        pair.initiator.finishWriting(at: pair.now)
        pair.run(for: .milliseconds(300))
        #expect(pair.read(pair.listener, from: 0) == 10_000)
        #expect(pair.listener.isReadFinished)
        #expect(pair.initiator.isWriteFinished)
        // Half-closed: the other direction still works.
        #expect(transfer(pair, bytes: 50_000, upload: false, within: .seconds(5)) == 50_000)
        pair.run(for: .seconds(10))
        #expect(pair.initiator.isOver && pair.listener.isOver)
        #expect(pair.initiator.error == nil && pair.listener.error == nil)
    }

    @Test(arguments: framings) func aLostPathsDataGoesOnTheOther(
        _ framing: Framing
    ) {
        for upload in [true, false] {
            let pair = Pair(framing: framing)
            pair.open()
            pair.run(for: .milliseconds(100))
            pair.join(path: 1)
            var rounds = 0
            let moved = transfer(pair, bytes: 4_000_000, upload: upload, within: .seconds(30)) {
                p in
                rounds += 1
                if rounds == 8 {
                    p.filter = { $0.path != 0 }
                    p.initiator.setHealth(.lost, path: 0, at: p.now)
                    p.listener.setHealth(.lost, path: 0, at: p.now)
                }
            }
            #expect(moved == 4_000_000)
        }
    }

    /// Nobody says that the path is gone: the timeout moves the data (RFC 8684 section 3.3.6).
    @Test(arguments: framings) func aSilentPathsDataGoesOnTheOther(
        _ framing: Framing
    ) {
        let pair = Pair(framing: framing)
        pair.open()
        pair.run(for: .milliseconds(100))
        pair.join(path: 1)
        var rounds = 0
        let moved = transfer(pair, bytes: 4_000_000, upload: false, within: .seconds(60)) { p in
            rounds += 1
            if rounds == 8 { p.filter = { $0.path != 0 } }
            if rounds == 100 { p.filter = { _ in true } }
        }
        #expect(moved == 4_000_000)
    }

    @Test(arguments: framings) func backupCarriesNothingUntilNeeded(
        _ framing: Framing
    ) {
        let pair = Pair(framing: framing)
        pair.open()
        pair.run(for: .milliseconds(100))
        pair.join(path: 1, backup: true)
        pair.run(for: .milliseconds(200))
        var rounds = 0
        let moved = transfer(pair, bytes: 3_000_000, upload: false, within: .seconds(30)) { p in
            rounds += 1
            if rounds == 5 {
                #expect(p.listener.pathTotals(1).sent == 0)
                p.filter = { $0.path != 0 }
                p.initiator.setHealth(.lost, path: 0, at: p.now)
                p.listener.setHealth(.lost, path: 0, at: p.now)
            }
        }
        #expect(moved == 3_000_000)
        #expect(pair.listener.pathTotals(1).sent > 0)
    }

    @Test(arguments: framings) func priorityChangesWhileLiving(
        _ framing: Framing
    ) {
        let pair = Pair(framing: framing)
        pair.open()
        pair.run(for: .milliseconds(100))
        pair.join(path: 1)
        pair.run(for: .milliseconds(300))
        pair.initiator.setBackup(true, path: 0, at: pair.now)
        pair.run(for: .milliseconds(100))
        let before = pair.listener.pathTotals(0).sent
        #expect(transfer(pair, bytes: 200_000, upload: false, within: .seconds(10)) == 200_000)
        #expect(pair.listener.pathTotals(0).sent == before)
    }

    /// Nothing confirms MP_PRIO: in a session the next segments say it as well.
    @Test func aPriorityThatIsLostIsSaidAgain() {
        let pair = Pair(framing: .sealed)
        pair.open()
        pair.run(for: .milliseconds(100))
        pair.join(path: 1)
        pair.run(for: .milliseconds(300))
        var lost = 0
        pair.filter = {
            guard $0.toListener, $0.segment.options.present.contains(.priority), lost == 0 else {
                return true
            }
            lost += 1
            return false
        }
        pair.initiator.setBackup(true, path: 0, at: pair.now)
        pair.run(for: .milliseconds(100))
        #expect(lost == 1)
        // What it acknowledges of this says it again; from then on path 0 carries nothing.
        var rounds = 0, before = 0
        let moved = transfer(pair, bytes: 3_000_000, upload: false, within: .seconds(30)) { pair in
            rounds += 1
            if rounds == 20 { before = pair.listener.pathTotals(0).sent }
        }
        #expect(moved == 3_000_000 && rounds > 30)
        #expect(pair.listener.pathTotals(0).sent == before)
    }

    /// The reader stops: the sender stops within the window, and goes on when it reads again.
    @Test(arguments: framings) func aSlowReaderStopsTheSender(
        _ framing: Framing
    ) {
        let pair = Pair(framing: framing)
        pair.open()
        pair.run(for: .milliseconds(100))
        var written = 0, read = 0
        for _ in 0..<200 {
            written = pair.write(pair.listener, from: written, upTo: 30_000_000)
            pair.run(for: .milliseconds(20))
        }
        #expect(written < 20_000_000)
        // A window update that is lost must not hang the connection.
        pair.filter = { $0.toListener == false }
        read = pair.read(pair.initiator, from: read) ?? -1
        pair.run(for: .milliseconds(50))
        pair.filter = { _ in true }
        for _ in 0..<2000 where read >= 0 && read < 30_000_000 {
            written = pair.write(pair.listener, from: written, upTo: 30_000_000)
            pair.run(for: .milliseconds(20))
            read = pair.read(pair.initiator, from: read) ?? -1
        }
        #expect(read == 30_000_000)
    }

    @Test(arguments: framings) func fastCloseNeedsTheKey(_ framing: Framing) {
        let pair = Pair(framing: framing)
        pair.open()
        pair.run(for: .milliseconds(200))
        var forged = pair.log.last { $0.toListener }!.segment
        forged.flags = [.rst, .ack]
        forged.options.present = [.fastClose]
        forged.options.fastClose.receiverKey = 42
        pair.listener.receive(
            forged, payload: UnsafeRawBufferPointer(start: nil, count: 0),
            subflow: 0, at: pair.now)
        #expect(pair.listener.error == nil)
        pair.initiator.abort(at: pair.now)
        pair.run(for: .milliseconds(200))
        #expect(pair.listener.error == .peerAborted)
        #expect(pair.initiator.isOver && pair.listener.isOver)
    }

    @Test func aJoinWithAnUnknownTokenIsRefused() {
        let pair = Pair(framing: .rawIP)
        pair.open()
        pair.run(for: .milliseconds(100))
        var syn = Segment()
        syn.flags = .syn
        syn.options.present = .join
        syn.options.join.form = .syn(token: 1, nonce: 2)
        #expect(
            pair.listener.acceptJoin(
                syn, payload: UnsafeRawBufferPointer(start: nil, count: 0), path: 1,
                initialSequence: SubflowSequence(1), nonce: 3,
                estimate: nil, at: pair.now) == nil)
    }

    /// In a session the request rides on the SYN and the answer comes one round trip later.
    @Test func earlyDataTakesOneRoundTrip() {
        let pair = Pair(framing: .sealed)
        pair.open()
        _ = pair.write(pair.initiator, from: 0, upTo: 300)
        pair.run(for: .milliseconds(16))
        #expect(pair.read(pair.listener, from: 0) == 300)
        _ = pair.write(pair.listener, from: 0, upTo: 1000)
        pair.run(for: .milliseconds(15))
        #expect(pair.read(pair.initiator, from: 0) == 1000)
        #expect(pair.log[0].segment.options.dss.mapping?.subflowSequence == 1)
        pair.run(for: .seconds(1))
        #expect(pair.listener.remoteKey == 0x0001_0203_0405_0607)
        #expect(pair.initiator.statistics.dssErrors == 0 && pair.listener.statistics.dssErrors == 0)
    }

    /// Single mode: break before make. The joining SYN carries what the lost subflow owed.
    @Test func fastJoinCarriesDataOnItsSYN() {
        let pair = Pair(framing: .sealed)
        pair.open()
        pair.run(for: .milliseconds(200))
        pair.filter = { $0.path != 0 }
        _ = pair.write(pair.initiator, from: 0, upTo: 900)
        pair.run(for: .milliseconds(10))
        pair.initiator.setHealth(.lost, path: 0, at: pair.now)
        pair.listener.setHealth(.lost, path: 0, at: pair.now)
        _ = pair.write(pair.listener, from: 0, upTo: 700)
        #expect(pair.join(path: 1))
        pair.run(for: .milliseconds(51))
        #expect(pair.read(pair.listener, from: 0) == 900)
        pair.run(for: .milliseconds(50))
        #expect(pair.read(pair.initiator, from: 0) == 700)
    }

    /// Acknowledgements that died with a path are said again over the other one: nothing goes twice
    /// that arrived.
    @Test func aLostPathHasALastWord() throws {
        let pair = Pair(
            framing: .sealed, delays: [.milliseconds(15), .milliseconds(15)], scheduler: .roundRobin
        )
        pair.open()
        pair.run(for: .milliseconds(100))
        #expect(pair.join(path: 1))
        pair.run(for: .milliseconds(100))
        _ = pair.write(pair.listener, from: 0, upTo: 8_000)
        // All of it arrives; what the initiator says of it over path 0 does not.
        pair.filter = { !($0.path == 0 && $0.toListener) }
        pair.run(for: .milliseconds(16))
        pair.initiator.setHealth(.lost, path: 0, at: pair.now)
        let said = pair.log.count
        pair.run(for: .milliseconds(16))
        let word = try #require(
            pair.log[said...].first { $0.toListener && $0.path == 1 && $0.port == 5000 })
        #expect(word.segment.flags.contains(.ack) && word.payload.isEmpty)
        pair.listener.setHealth(.lost, path: 0, at: pair.now)
        #expect(!pair.initiator.hasSubflow(path: 0))
        #expect(pair.read(pair.initiator, from: 0) == 8_000)
        pair.run(for: .milliseconds(100))
        #expect(pair.listener.statistics.bytesReinjected == 0)
    }

    /// The path of an upload ends: what had time to arrive is not what goes first over the other
    /// one.
    @Test func whatMayHaveArrivedGoesLast() throws {
        let pair = Pair(framing: .sealed, delays: [.milliseconds(15), .milliseconds(50)])
        pair.open()
        pair.run(for: .milliseconds(100))
        var written = pair.write(pair.initiator, from: 0, upTo: 4_000)
        pair.run(for: .milliseconds(12))
        written = pair.write(pair.initiator, from: written, upTo: 8_000)
        pair.run(for: .milliseconds(5))
        // The first 4,000 bytes arrived 2 ms ago, the acknowledgement is lost as are the others.
        pair.filter = { $0.path != 0 && $0.toListener || $0.path == 1 }
        pair.initiator.setHealth(.lost, path: 0, at: pair.now)
        let said = pair.log.count
        #expect(pair.join(path: 1))
        pair.run(for: .milliseconds(1))
        let first = try #require(pair.log[said...].first { $0.path == 1 && !$0.payload.isEmpty })
        #expect(first.payload[0] == Pair.byte(4_000))
    }
}
