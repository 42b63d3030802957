import Buffers
import Measures
import Subflow
import Testing
import Wire

@testable import Multipath

/// Requirements of RFC 8684 on raw IP that no transfer between two well-behaved ends touches
/// (docs/deviations.md names them).
@Suite struct RequirementTests {
    private func established(_ adjust: (inout ConnectionConfiguration) -> Void = { _ in }) -> Pair {
        let pair = Pair(framing: .rawIP, adjust: adjust)
        pair.open()
        pair.run(for: .milliseconds(100))
        _ = pair.write(pair.initiator, from: 0, upTo: 1000)
        pair.run(for: .milliseconds(200))
        #expect(pair.read(pair.listener, from: 0) == 1000)
        return pair
    }

    private func resets(_ pair: Pair, toListener: Bool) -> [Pair.Flight] {
        pair.log.filter { $0.toListener == toListener && $0.segment.flags.contains(.rst) }
    }

    // MARK: Section 3: validity checks come before MPTCP signals

    @Test func aFastCloseOutsideTheWindowIsIgnored() throws {
        let pair = established()
        var forged = try #require(pair.last(toListener: true))
        forged.segment.flags = [.rst, .ack]
        forged.segment.options.present = .fastClose
        forged.segment.options.fastClose.receiverKey = pair.listener.localKey
        forged.payload = []
        let right = forged.segment.sequence
        forged.segment.sequence = right + 0x4000_0000
        pair.inject(forged)
        #expect(pair.listener.error == nil)
        forged.segment.sequence = right + 1000
        pair.inject(forged)
        #expect(pair.listener.error == .peerAborted)
    }

    @Test func aBlindSegmentDoesNotEndMPTCP() throws {
        let pair = Pair(framing: .rawIP)
        pair.open()
        pair.run(for: .milliseconds(16))  // the SYN/ACK is under way, the listener has no keys yet
        var forged = try #require(pair.last(toListener: true))
        forged.segment.flags = .ack
        forged.segment.options.present = []
        forged.segment.sequence += 0x4000_0000
        pair.inject(forged)
        #expect(!pair.listener.isPlain)
        pair.run(for: .milliseconds(200))
        // An infinite mapping from somewhere else.
        forged.segment = try #require(pair.last(toListener: true)).segment
        forged.segment.sequence += 0x4000_0000
        forged.segment.options.dss = DSS()
        forged.segment.options.dss.mapping = DSS.Mapping()
        forged.segment.options.present = .dss
        forged.payload = [1]
        pair.inject(forged)
        #expect(!pair.listener.isPlain && !pair.initiator.isPlain)
    }

    @Test func aKeyFromABlindAnswerIsNotLearnt() throws {
        let pair = Pair(framing: .rawIP)
        pair.open()
        pair.run(for: .milliseconds(1))
        let syn = try #require(pair.last(toListener: true))
        var forged = syn
        forged.toListener = false
        forged.segment.sourcePort = syn.segment.destinationPort
        forged.segment.destinationPort = syn.segment.sourcePort
        forged.segment.flags = [.syn, .ack]
        forged.segment.sequence = SubflowSequence(77)
        forged.segment.acknowledgement = syn.segment.sequence + 2
        forged.segment.options.multipathCapable.senderKey = 0xbad
        pair.inject(forged)
        #expect(pair.initiator.remoteKey == nil)
        pair.run(for: .milliseconds(200))
        #expect(pair.initiator.remoteKey == pair.listener.localKey)
    }

    /// At most two acknowledgements in a row for the sake of signals alone.
    @Test func signalsComeTwoByTwo() {
        let pair = established()
        let start = pair.log.count
        for i in 1...5 {
            pair.initiator.announce(
                IPAddress(v4: 0xc000_0200 + UInt32(i)), port: nil, id: AddressID(UInt8(i)),
                at: pair.now)
        }
        func announced() -> Int {
            pair.log[start...].filter {
                $0.toListener && $0.segment.options.present.contains(.addAddress)
            }.count
        }
        pair.run(for: .milliseconds(10))
        #expect(announced() == 2)
        pair.run(for: .milliseconds(400))
        #expect(announced() == 5)
    }

    // MARK: Section 3.1

    @Test func keysThatAreNotOursMeanPlainTCP() {
        let pair = Pair(framing: .rawIP)
        pair.change = { flight in
            if flight.segment.options.multipathCapable.receiverKey != nil, flight.toListener {
                flight.segment.options.multipathCapable.receiverKey = 1
            }
        }
        pair.open()
        pair.run(for: .milliseconds(100))
        _ = pair.write(pair.initiator, from: 0, upTo: 5000)
        pair.run(for: .seconds(2))
        #expect(pair.listener.isPlain && pair.initiator.isPlain)
        #expect(pair.read(pair.listener, from: 0) == 5000)
    }

    @Test func aListenerJoinsOnlyAfterADSS() {
        let pair = Pair(framing: .rawIP)
        pair.open()
        pair.run(for: .milliseconds(100))
        #expect(pair.listener.remoteKey != nil && !pair.listener.canJoin)
        _ = pair.write(pair.initiator, from: 0, upTo: 10)
        pair.run(for: .milliseconds(100))
        #expect(pair.listener.canJoin)
    }

    // MARK: Section 3.2

    @Test func anAnswerWithoutMPJoinIsReset() {
        let pair = established()
        pair.change = {
            if !$0.toListener, $0.path == 1 { $0.segment.options.present.remove(.join) }
        }
        #expect(pair.join(path: 1))
        pair.run(for: .milliseconds(300))
        let reset = resets(pair, toListener: true)
        #expect(
            reset.count == 1
                && reset.first?.segment.options.reset.reason == MPReset.multipathSpecific)
        #expect(pair.initiator.livingSubflows == 1 && pair.initiator.error == nil)
    }

    @Test func aThirdPacketWithoutMPJoinIsReset() {
        let pair = established()
        pair.change = {
            if $0.toListener, $0.path == 1, !$0.segment.flags.contains(.syn) {
                $0.segment.options.present = []
            }
        }
        #expect(pair.join(path: 1))
        pair.run(for: .milliseconds(300))
        #expect(!resets(pair, toListener: false).isEmpty)
        #expect(pair.listener.livingSubflows == 1 && pair.listener.error == nil)
    }

    /// Who knows the token alone brings no data in.
    @Test func dataBeforeTheProofIsNotTaken() throws {
        let pair = established()
        pair.filter = { !($0.toListener && $0.path == 1 && !$0.segment.flags.contains(.syn)) }
        #expect(pair.join(path: 1))
        pair.run(for: .milliseconds(120))
        let answer = try #require(
            pair.last(toListener: false, path: 1) { $0.segment.flags.contains(.syn) })
        var forged = try #require(pair.last(toListener: true, path: 1))
        forged.segment.flags = .ack
        forged.segment.sequence = answer.segment.acknowledgement
        forged.segment.acknowledgement = answer.segment.sequence + 1
        forged.segment.options.present = .dss
        forged.segment.options.dss = DSS()
        var mapping = DSS.Mapping()
        mapping.dataSequence = DataSequence(0xe3db_22c6_785a_0d45) + 1001
        mapping.subflowSequence = 1
        mapping.length = 4
        forged.segment.options.dss.mapping = mapping
        forged.payload = [6, 6, 6, 6]
        pair.inject(forged)
        #expect(pair.listener.readable.count == 0)
    }

    // MARK: Section 3.3

    @Test(arguments: [true, false]) func aChecksumThatIsNotAsAgreedResetsTheSubflow(
        _ isAgreed: Bool
    ) {
        let pair = established { $0.requiresChecksum = isAgreed }
        pair.change = { flight in
            guard flight.toListener, flight.segment.options.present.contains(.dss) else { return }
            flight.segment.options.dss.mapping?.checksum = isAgreed ? nil : 0x1234
        }
        _ = pair.write(pair.initiator, from: 1000, upTo: 1010)
        pair.run(for: .milliseconds(100))
        #expect(
            resets(pair, toListener: false).first?.segment.options.reset.reason
                == MPReset.multipathSpecific)
        #expect(pair.listener.readable.count == 0)
    }

    @Test func aWindowWithoutADataAcknowledgementIsNoWindow() throws {
        let pair = Pair(framing: .rawIP)
        pair.change = { if !$0.toListener { $0.segment.window = 0 } }
        pair.open()
        pair.run(for: .milliseconds(100))
        let start = pair.log.count
        _ = pair.write(pair.initiator, from: 0, upTo: 10_000)
        pair.run(for: .milliseconds(1))
        #expect(pair.log[start...].allSatisfy { $0.payload.isEmpty })
        var forged = try #require(pair.last(toListener: false))
        forged.segment.flags = .ack
        forged.segment.sequence += 1
        forged.segment.acknowledgement = try #require(pair.last(toListener: true)).segment.sequence
        forged.segment.window = 100
        forged.segment.options.present = .priority
        pair.inject(forged)
        pair.run(for: .milliseconds(1))
        #expect(pair.log[start...].allSatisfy { $0.payload.isEmpty })
    }

    /// A subflow whose window is small (a middlebox's) carries no more than it takes.
    @Test func aSubflowsOwnWindowIsObeyed() {
        let pair = established()
        #expect(pair.join(path: 1))
        pair.run(for: .milliseconds(300))
        pair.change = { if !$0.toListener, $0.path == 1 { $0.segment.window = 6 } }  // 3,072 bytes
        var written = 1000
        var acknowledged = SubflowSequence(0), most = 0, port: UInt16 = 0
        pair.filter = { flight in
            guard flight.path == 1 else { return true }
            port = flight.port
            if flight.toListener, flight.payload.count > 0 {
                most = max(
                    most, acknowledged.distance(to: flight.segment.sequence + flight.payload.count))
            } else if !flight.toListener {
                acknowledged = flight.segment.acknowledgement
            }
            return true
        }
        pair.initiator.setHealth(.suspect, path: 0, at: pair.now)  // all of it goes on path 1
        pair.listener.setHealth(.suspect, path: 0, at: pair.now)
        pair.run(for: .milliseconds(300))
        most = 0
        for _ in 0..<100 {
            written = pair.write(pair.initiator, from: written, upTo: 400_000)
            pair.run(for: .milliseconds(20))
            _ = pair.read(pair.listener, from: 1000)
        }
        #expect(port != 0 && most > 0 && most <= 3072 + 2 * 1400)
    }

    /// Section 3.3.1: of what came twice, ahead of a hole, the first copy counts.
    @Test func theFirstCopyStays() {
        var receiver = DataReceiver(limit: 1 << 16)
        func place(_ bytes: [UInt8], _ offset: UInt64) {
            bytes.withUnsafeBytes { _ = receiver.place($0, at: offset) }
        }
        place([2, 2], 4)
        place([3], 8)
        place([9, 9, 9, 9, 9, 9, 9], 3)
        place([8, 8, 8, 8], 0)
        place([7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7], 0)
        #expect(
            Array(receiver.ring.pieces(from: 0, count: 11).first) == [
                8, 8, 8, 9, 2, 2, 9, 9, 3, 9, 7
            ])
    }

    /// Section 3.3.3: the last subflow is not closed while there is something to send, though the
    /// peer closed it.
    @Test func aFINDoesNotEndTheLastSubflow() {
        let pair = established()
        pair.initiator.leave(path: 0, at: pair.now)
        pair.run(for: .milliseconds(200))
        #expect(pair.log.contains { $0.toListener && $0.segment.flags.contains(.fin) })
        #expect(transferred(pair, 50_000) == 50_000)
    }

    private func transferred(_ pair: Pair, _ bytes: Int) -> Int? {
        var written = 0, read: Int? = 0
        for _ in 0..<50 {
            written = pair.write(pair.listener, from: written, upTo: bytes)
            pair.run(for: .milliseconds(40))
            read = read.flatMap { pair.read(pair.initiator, from: $0) }
        }
        return read
    }

    // MARK: Sections 3.4, 3.5, 3.6

    /// Text that was under way when its subflow's address was taken back is not taken, and is no
    /// mistake of the peer's: the subflow may hear it before its reset has left.
    @Test func textBehindARemovedAddressIsNoError() throws {
        let pair = established()
        #expect(pair.join(path: 1))
        pair.run(for: .milliseconds(300))
        let end = pair.write(pair.initiator, from: 1000, upTo: 200_000)
        pair.run(for: .milliseconds(60))
        var removal = try #require(pair.last(toListener: true) { !$0.payload.isEmpty })
        removal.segment.options.present.insert(.removeAddress)
        removal.segment.options.removeAddress = RemoveAddress()
        removal.segment.options.removeAddress.append(AddressID(1))
        let text = try #require(
            pair.last(toListener: true, path: 1) { !$0.payload.isEmpty })
        pair.inject(removal)
        pair.inject(text)
        #expect(pair.listener.statistics.dssErrors == 0)
        pair.run(for: .seconds(5))
        #expect(resets(pair, toListener: false).contains { $0.path == 1 })
        #expect(pair.read(pair.listener, from: 1000) == end)
    }

    @Test func anAddressIDIsTakenBackBeforeItMeansAnotherAddress() {
        let pair = established()
        pair.initiator.announce(
            IPAddress(v4: 0xc000_0201), port: nil, id: AddressID(3), at: pair.now)
        pair.run(for: .milliseconds(100))
        pair.initiator.announce(
            IPAddress(v4: 0xc000_0201), port: 99, id: AddressID(3), at: pair.now)
        pair.run(for: .milliseconds(100))
        #expect(!pair.log.contains { $0.segment.options.present.contains(.removeAddress) })
        pair.initiator.announce(
            IPAddress(v4: 0xc000_0202), port: nil, id: AddressID(3), at: pair.now)
        pair.run(for: .milliseconds(200))
        var heard: [PeerAddressSignal] = []
        while let signal = pair.listener.takeAddressSignal() { heard.append(signal) }
        #expect(
            heard.suffix(2) == [
                .removed(id: AddressID(3)),
                .added(id: AddressID(3), address: IPAddress(v4: 0xc000_0202), port: nil)
            ])
    }

    @Test(arguments: [true, false]) func aFastCloseIsAnsweredByResets(_ isReset: Bool) throws {
        let pair = established()
        #expect(pair.join(path: 1))
        pair.run(for: .milliseconds(300))
        var close = try #require(pair.last(toListener: true))
        close.segment.sequence += close.payload.count
        close.segment.flags = isReset ? [.rst, .ack] : .ack
        close.segment.options.present = .fastClose
        close.segment.options.fastClose.receiverKey = pair.listener.localKey
        close.payload = []
        pair.filter = { _ in false }
        pair.inject(close)
        pair.run(for: .milliseconds(10))
        #expect(pair.listener.error == .peerAborted && pair.listener.isOver)
        // Option A: on every subflow. Option R: on the others.
        #expect(Set(resets(pair, toListener: false).map(\.path)) == (isReset ? [1] : [0, 1]))
    }

    /// Section 4: a reset ends its subflow only. Another one may come for a while, even where it
    /// was the last.
    @Test(arguments: [true, false]) func aResetOfTheLastSubflowLeavesTimeForAnother(
        _ joins: Bool
    ) throws {
        let pair = established()
        pair.initiator.setHealth(.lost, path: 0, at: pair.now)
        var reset = try #require(pair.last(toListener: true))
        reset.segment.sequence += reset.payload.count
        reset.segment.flags = [.rst, .ack]
        reset.segment.options.present = []
        reset.payload = []
        pair.inject(reset)
        #expect(pair.listener.livingSubflows == 0 && pair.listener.error == nil)
        pair.run(for: .seconds(2))
        if joins { #expect(pair.join(path: 1)) }
        pair.run(for: .seconds(20))
        #expect(pair.listener.error == (joins ? nil : .peerAborted))
        #expect(pair.listener.livingSubflows == (joins ? 1 : 0))
    }

    @Test func aResetThatAsksForAnotherSubflowSaysSo() {
        for reason in 0...6 as ClosedRange<UInt8> {
            #expect(
                MPReset.isTransient(reason)
                    == [
                        MPReset.lackOfResources, MPReset.tooMuchOutstandingData,
                        MPReset.unacceptablePerformance
                    ].contains(reason))
        }
    }

    // MARK: Section 3.7

    /// Behind an infinite mapping only the subflow's acknowledgements count.
    @Test func afterAnInfiniteMappingADataAcknowledgementIsNothing() throws {
        let pair = established { $0.requiresChecksum = true }
        var fail = try #require(pair.last(toListener: false))
        fail.segment.options.fail.dataSequence = DataSequence(0xe3db_22c6_785a_0d45) + 1001
        fail.segment.options.present.insert(.fail)
        fail.payload = []
        pair.inject(fail)
        pair.filter = { $0.toListener }
        _ = pair.write(pair.initiator, from: 1000, upTo: 6000)
        pair.run(for: .milliseconds(30))
        #expect(pair.initiator.statistics.failsReceived == 1 && pair.initiator.wantsSubflow)
        var answer = fail  // acknowledges everything at data level, and nothing of the subflow
        answer.segment.options.present = .dss
        answer.segment.options.dss = DSS()
        answer.segment.options.dss.acknowledgement = DataSequence(0xe3db_22c6_785a_0d45) + 6001
        pair.inject(answer)
        #expect(pair.initiator.wantsSubflow)
    }

    @Test func dataAcknowledgedWithoutDSSResetsAJoinedSubflow() {
        let pair = established()
        pair.change = { flight in
            guard flight.path == 1, flight.segment.options.present.isDisjoint(with: .join) else {
                return
            }
            flight.segment.options.present = []
        }
        #expect(pair.join(path: 1))
        pair.run(for: .milliseconds(300))
        pair.initiator.setHealth(.suspect, path: 0, at: pair.now)
        _ = pair.write(pair.initiator, from: 1000, upTo: 1010)
        pair.run(for: .milliseconds(60))
        // The listener's TCP would have taken it, mapping or not.
        var bare = pair.last(toListener: false, path: 1)!
        bare.segment.flags = .ack
        bare.segment.options.present = []
        let data = pair.last(toListener: true, path: 1) { !$0.payload.isEmpty }!
        bare.segment.acknowledgement = data.segment.sequence + 10
        bare.payload = []
        pair.inject(bare)
        pair.run(for: .milliseconds(10))
        #expect(
            resets(pair, toListener: true).first?.segment.options.reset.reason
                == MPReset.middleboxInterference)
    }

    @Test func aListenerFallsBackWhenItsDataIsAcknowledgedWithoutDSS() {
        let pair = Pair(framing: .rawIP)
        pair.change = { flight in  // nothing but the handshake gets through
            if flight.segment.options.present.isDisjoint(with: .multipathCapable) {
                flight.segment.options.present.remove(.dss)
            }
        }
        pair.open()
        pair.run(for: .milliseconds(100))
        _ = pair.write(pair.listener, from: 0, upTo: 3000)
        pair.run(for: .seconds(1))
        #expect(pair.listener.isPlain)
        _ = pair.write(pair.listener, from: 3000, upTo: 6000)
        pair.run(for: .seconds(1))
        #expect(pair.initiator.isPlain && pair.read(pair.initiator, from: 0) == 6000)
        // What it sends then begins with an infinite mapping (stripped here).
        #expect(
            pair.log.contains {
                !$0.toListener && $0.segment.options.present.contains(.dss)
                    && $0.segment.options.dss.mapping?.length == 0
            })
    }

    /// One subflow, but the changed data is not the next: there is no place from which it could be
    /// plain TCP.
    @Test func failedDataAheadOfAHoleResetsTheSubflow() {
        let pair = established { $0.requiresChecksum = true }
        var data = 0
        pair.filter = { flight in
            if flight.toListener, !flight.payload.isEmpty { data += 1 }
            return !(flight.toListener && data == 1)
        }
        pair.change = { if $0.toListener, data == 2, !$0.payload.isEmpty { $0.payload[0] ^= 1 } }
        _ = pair.write(pair.initiator, from: 1000, upTo: 6000)
        pair.run(for: .milliseconds(40))
        let reset = resets(pair, toListener: false).first
        #expect(reset?.segment.options.present.contains(.fail) == true)
        #expect(
            reset?.segment.options.fail.dataSequence == DataSequence(0xe3db_22c6_785a_0d45) + 1001
                + 1400)
        #expect(pair.listener.readable.count == 0)
    }

    @Test func textThatStaysWithoutAMappingResetsTheSubflow() {
        let pair = established()
        #expect(pair.join(path: 1))
        pair.run(for: .milliseconds(300))
        pair.change = { flight in
            guard flight.toListener, flight.path == 0 else { return }
            flight.segment.options.present.subtract(SegmentOptions.multipath)
        }
        _ = pair.write(pair.initiator, from: 1000, upTo: 200_000)
        pair.run(for: .seconds(8))
        #expect(
            resets(pair, toListener: false).first?.segment.options.reset.reason
                == MPReset.middleboxInterference)
        #expect(pair.read(pair.listener, from: 1000) == 200_000)
    }

    /// A position that no window reaches is none, however far it is: neither text is taken there
    /// nor an end, and the honest end is still heard. What such a number asks for in memory once
    /// kept the receiver in a loop without an end.
    @Test(arguments: [Framing.sealed, .rawIP])
    func whatIsMappedBeyondAllWindowsIsNotTaken(_ framing: Framing) throws {
        for bit in 21..<64 {
            for extra in [-1400, -1, 0, 1] {
                let pair = Pair(framing: framing)
                pair.open()
                _ = pair.write(pair.initiator, from: 0, upTo: 1000)
                pair.run(for: .milliseconds(200))
                #expect(pair.read(pair.listener, from: 0) == 1000)
                let distance = Int(bitPattern: 1 << UInt(bit)) &+ extra
                var forged = try #require(pair.last(toListener: true))
                forged.payload = [UInt8](repeating: 7, count: 1400)
                forged.segment.flags = .ack
                forged.segment.sequence = try #require(pair.log.first).segment.sequence + 1001
                var mapping = DSS.Mapping()
                mapping.dataSequence = try #require(pair.listener.peer.firstSequence) + distance
                mapping.subflowSequence = 1001
                forged.segment.options.dss = DSS()
                forged.segment.options.present = .dss
                // By itself, by a mapping that is kept, and with an end.
                for (length, isEnd) in [(1400, false), (2800, false), (2801, true)]
                    as [(UInt16, Bool)]
                {
                    mapping.length = length
                    forged.segment.options.dss.mapping = mapping
                    forged.segment.options.dss.dataFin = isEnd
                    // a peer's own words, near enough to be true one day
                    if isEnd, bit <= 32 { continue }
                    pair.inject(forged)
                    #expect(pair.listener.statistics.bytesReceived == 1000)
                }
                pair.run(for: .milliseconds(500))
                #expect(!pair.listener.isReadFinished)
                guard bit > 32 else { continue }
                pair.initiator.finishWriting(at: pair.now)
                pair.run(for: .milliseconds(500))
                #expect(pair.listener.isReadFinished, "2^\(bit) + \(extra)")
            }
        }
    }

    /// Flag B, or no algorithm we know.
    @Test(arguments: [true, false]) func anOfferWithoutWhatWeKnowMeansPlainTCP(_ isExtended: Bool) {
        let pair = Pair(framing: .rawIP)
        pair.change = { flight in
            guard flight.toListener else { return }
            if isExtended {
                flight.segment.options.multipathCapable.extensible = true
            } else {
                flight.segment.options.multipathCapable.hmacSHA256 = false
            }
        }
        pair.open()
        pair.run(for: .milliseconds(100))
        #expect(pair.listener.isPlain && pair.initiator.isPlain)
    }

    @Test func aNewerVersionIsAnsweredWithOurs() {
        let pair = Pair(framing: .rawIP)
        pair.change = {
            if $0.segment.flags == .syn { $0.segment.options.multipathCapable.version = 2 }
        }
        pair.open()
        pair.run(for: .milliseconds(100))
        #expect(pair.listener.remoteKey != nil && !pair.listener.isPlain)
    }
}
