import Buffers
import Measures
import Testing

@testable import Wire

@Suite struct OptionTests {
    @Test func everyVectorIsThere() { #expect(OptionVector.all.count == 35) }

    @Test(arguments: OptionVector.all) func aVectorReadsAndWritesTheSame(
        _ vector: OptionVector
    ) throws {
        let options = try SegmentOptions(vector.bytes, flags: vector.flags)
        #expect(options.present.rawValue.nonzeroBitCount == 1)
        #expect(hex(options.tightBytes) == hex(vector.bytes))
        #expect(options.octets() == (vector.bytes.count + 3) & ~3)
        #expect(options.octets(SegmentOptions.multipath) == options.octets())
    }

    @Test(arguments: OptionVector.all) func everyPrefixIsRefused(_ vector: OptionVector) {
        for n in 1..<vector.bytes.count {
            #expect(throws: WireError.self) {
                try SegmentOptions(Array(vector.bytes[..<n]), flags: vector.flags)
            }
            // The same bytes with a length that agrees with them: a form that does not exist, or
            // another one that does.
            var shortened = Array(vector.bytes[..<n])
            guard n >= 2 else { continue }
            shortened[1] = UInt8(n)
            if let options = try? SegmentOptions(shortened, flags: vector.flags) {
                #expect(hex(options.tightBytes) == hex(shortened))
            }
        }
    }

    @Test func fieldsOfMPCapable() throws {
        var option = try OptionVector.named("capable-syn").multipathCapable
        #expect(
            option.version == 1 && option.hmacSHA256 && option.senderKey == nil
                && !option.checksumRequired)
        option = try OptionVector.named("capable-data-checksum").multipathCapable
        #expect(option.checksumRequired && option.senderKey == 0x0001_0203_0405_0607)
        #expect(
            option.receiverKey == 0xa0a1_a2a3_a4a5_a6a7 && option.dataLength == 5
                && option.checksum == 0x2fe5)
    }

    @Test func fieldsOfMPJoin() throws {
        let syn = try OptionVector.named("join-syn").join
        #expect(
            syn.backup && syn.addressID.value == 1
                && syn.form == .syn(token: 0xebae_b334, nonce: 0x1122_3344))
        let answer = try OptionVector.named("join-syn-ack").join
        #expect(
            !answer.backup
                && answer.form == .synAck(hmac: 0xe584_b0ec_47b5_ad3a, nonce: 0x5566_7788))
        let ack = try OptionVector.named("join-ack").join
        #expect(
            ack.form
                == .ack(MPJoin.HMAC160(0x5c70_32b6_784d_f0c9, 0x56a9_0c9f_aadd_3750, 0x9877_98bf)))
    }

    @Test func fieldsOfDSS() throws {
        let all = try OptionVector.named("dss-all").dss
        #expect(
            all.acknowledgement == DataSequence(0x4cce_3af5_47bc_c32a)
                && all.acknowledgementWidth == .eight)
        let mapping = try #require(all.mapping)
        #expect(
            mapping.dataSequence == DataSequence(0xe3db_22c6_785a_0d46)
                && mapping.subflowSequence == 1)
        #expect(mapping.length == 5 && mapping.checksum == 0x2fe5)
        let fin = try OptionVector.named("dss-data-fin").dss
        #expect(fin.dataFin && fin.mapping?.subflowSequence == 0 && fin.mapping?.length == 1)
        let narrow = try OptionVector.named("dss-ack-4-map-4").dss
        #expect(
            narrow.acknowledgement == DataSequence(0x47bc_c32a) && narrow.mapping?.width == .four)
    }

    @Test func fieldsOfAddressesAndSignals() throws {
        let v4 = try OptionVector.named("add-v4-port").addAddress
        #expect(v4.id.value == 5 && v4.address == IPAddress(v4: 0xc000_0205) && v4.port == 4430)
        #expect(v4.hmac == 0x7cd9_4624_4b24_bf98 && !v4.isEcho)
        let echo = try OptionVector.named("add-v6-port-echo").addAddress
        #expect(echo.isEcho && echo.hmac == nil && echo.address == IPAddress("2001:db8::9"))
        let removed = try OptionVector.named("remove-eight").removeAddress
        #expect(removed.count == 8 && removed[0].value == 1 && removed[7].value == 8)
        #expect(try OptionVector.named("remove-one-echo").removeAddress.isEcho)
        #expect(try OptionVector.named("priority-backup").priority.backup)
        #expect(
            try OptionVector.named("fail").fail.dataSequence == DataSequence(0xe3db_22c6_785a_0d46))
        #expect(try OptionVector.named("fast-close").fastClose.receiverKey == 0xa0a1_a2a3_a4a5_a6a7)
        let reset = try OptionVector.named("reset-transient").reset
        #expect(reset.transient && reset.reason == MPReset.middleboxInterference)
    }

    @Test func formsThatDoNotBelongToTheSegmentAreRefused() {
        let wrong: [(hex: String, flags: ControlBits)] = [
            ("1e040101", .ack), ("1e0c0101a0a1a2a3a4a5a6a7", .ack),
            ("1e0c1101ebaeb33411223344", .ack),
            ("1e1801010001020304050607a0a1a2a3a4a5a6a700052fe5", [.syn, .ack]), ("1e048002", .ack),
            ("1e034041", .ack), ("1e0c400102030405060708" + "09", .ack)
        ]
        for (hex, flags) in wrong {
            #expect(throws: WireError.self) { try SegmentOptions(unhex(hex), flags: flags) }
        }
    }

    /// RFC 8684 section 3.1: with flag B the length may be another one, and the option is ignored,
    /// not the segment.
    @Test func anExtendedMPCapableIsReadAsFarAsItIsKnown() throws {
        let option = try SegmentOptions(unhex("1e080141 aabbccdd"), flags: .syn).multipathCapable
        #expect(option.extensible && option.hmacSHA256 && option.senderKey == nil)
        #expect(throws: WireError.self) {
            try SegmentOptions(unhex("1e080101 aabbccdd"), flags: .syn)
        }
    }

    @Test func unknownOptionsAreSkipped() throws {
        // An experimental option, an unknown MPTCP subtype, an MSS of a wrong length, then a real
        // one, end, rubbish.
        let options = try SegmentOptions(
            unhex("fd04abcd 1e05f00000 020305 01 1e0350 00 ff"), flags: .ack)
        #expect(options.present == .priority)
    }

    @Test func aWindowScaleAbove14CountsAs14() throws {
        #expect(try SegmentOptions(unhex("03030f"), flags: .syn).windowScale == 14)
    }

    @Test func checksumOfTheMapping() {
        for split in 0...5 {
            let sum = Pieces.of(Array("hello".utf8), splitAt: split) {
                DSS.checksum(
                    dataSequence: 0xe3db_22c6_785a_0d46, subflowSequence: 1, length: 5, payload: $0)
            }
            #expect(sum == 0x2fe5)
        }
    }

    @Test func checksumsAddUpHoweverTheBytesAreSplit() {
        var random = SeededRandom(seed: 7)
        for _ in 0..<200 {
            let data = random.bytes(random.below(300))
            var expected: UInt32 = 0
            for i in data.indices { expected += UInt32(data[i]) << (i & 1 == 0 ? 8 : 0) }
            while expected > 0xffff { expected = expected & 0xffff + expected >> 16 }
            let sum = Pieces.of(data, splitAt: random.below(data.count + 1)) { pieces in
                var sum = InternetChecksum()
                sum.add(pieces)
                return sum.value
            }
            #expect(sum == ~UInt16(expected))
        }
    }

    @Test func checksumUpdatesIncrementally() {
        // RFC 1624 section 4.
        #expect(InternetChecksum.updated(0xdd2f, from: 0x5555, to: 0x3285) == 0x0000)
    }
}
