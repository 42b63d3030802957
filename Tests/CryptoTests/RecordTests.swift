import Buffers
import Crypto
import Measures
import Testing

/// Seals three pieces from separate places; `inPlace` puts the head where the record will be.
private func seal(
    _ cipher: borrowing RecordCipher, path: UInt32, number: UInt64, associated: [UInt8],
    _ head: [UInt8], _ first: [UInt8],
    _ second: [UInt8], inPlace: Bool
) -> [UInt8] {
    var out = [UInt8](
        repeating: 0xee,
        count: head.count + first.count + second.count + RecordCipher.tagBytes + 8)
    let length = out.withUnsafeMutableBytes { out in
        if inPlace { out.copyBytes(from: head) }
        return associated.withUnsafeBytes { associated in
            head.withUnsafeBytes { head in
                first.withUnsafeBytes { first in
                    second.withUnsafeBytes { second in
                        cipher.seal(
                            path: path, packetNumber: number, associated: associated,
                            head: inPlace
                                ? UnsafeRawBufferPointer(rebasing: out[..<head.count])
                                : head,
                            payload: Pieces(first: first, second: second), into: out.baseAddress!)
                    }
                }
            }
        }
    }
    #expect(out[length...].allSatisfy { $0 == 0xee }, "written beyond the record")
    return Array(out[..<length])
}

private func open(
    _ cipher: borrowing RecordCipher, path: UInt32, number: UInt64, associated: [UInt8],
    _ record: [UInt8]
) -> [UInt8]? {
    var bytes = record
    let length = bytes.withUnsafeMutableBytes { record in
        associated.withUnsafeBytes {
            cipher.open(path: path, packetNumber: number, associated: $0, record: record)
        }
    }
    return length.map { Array(bytes[..<$0]) }
}

private func bytes(_ count: Int, _ random: inout SeededRandom) -> [UInt8] {
    (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
}

@Suite struct RecordTests {
    // RFC 8439 section 2.8.2: the nonce 07000000 40..47 is path 0x07000000 and number 0x40…47.
    @Test func chaCha20Poly1305OfRFC8439() {
        let cipher = RecordCipher(
            suite: .chaCha20Poly1305,
            key: key("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"))
        let text = Array(
            "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."
                .utf8)
        let sealed = seal(
            cipher, path: 0x0700_0000, number: 0x4041_4243_4445_4647,
            associated: hex("50515253c0c1c2c3c4c5c6c7"),
            Array(text[..<20]), Array(text[20..<21]), Array(text[21...]), inPlace: true)
        #expect(sealed.prefix(16) == hex("d31a8d34648e60db7b86afbc53ef7ec2")[...])
        #expect(sealed.suffix(16) == hex("1ae10b594f09e26a7e902ecbd0600691")[...])
    }

    // "The Galois/Counter Mode of Operation" (McGrew, Viega), test case 16.
    @Test(arguments: [RecordCipher.Implementation.fastest, .libcrypto])
    func aes256GCMTestCase16(_ implementation: RecordCipher.Implementation) {
        let cipher = RecordCipher(
            suite: .aes256GCM,
            key: key("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"),
            implementation: implementation)
        let text = hex(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
        )
        let associated = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
        let sealed = seal(
            cipher, path: 0xcafe_babe, number: 0xface_dbad_deca_f888, associated: associated,
            Array(text[..<12]), Array(text[12...]), [], inPlace: false)
        #expect(
            sealed
                == hex(
                    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
                        + "76fc6ece0f4e1768cddf8853bb2d551b"))
        #expect(
            open(
                cipher, path: 0xcafe_babe, number: 0xface_dbad_deca_f888, associated: associated,
                sealed) == text)
    }

    @Test func bothImplementationsAgreeOverRandomLengths() {
        var random = SeededRandom(seed: 2)
        for round in 0..<400 {
            let k = bytes(32, &random).withUnsafeBytes { Key32($0) }
            let fast = RecordCipher(suite: .aes256GCM, key: k),
                plain = RecordCipher(suite: .aes256GCM, key: k, implementation: .libcrypto)
            let plainIsAccelerated = plain.isAccelerated
            #expect(!plainIsAccelerated)
            for _ in 0..<5 {
                let total = Int.random(in: 0...2000, using: &random)
                let a = Int.random(in: 0...min(total, 80), using: &random),
                    b = Int.random(in: a...total, using: &random)
                let text = bytes(total, &random),
                    associated = bytes(Int.random(in: 0...24, using: &random), &random)
                let path = UInt32(truncatingIfNeeded: random.next()), number = random.next()
                let pieces = (Array(text[..<a]), Array(text[a..<b]), Array(text[b...]))
                let one = seal(
                    fast, path: path, number: number, associated: associated, pieces.0,
                    pieces.1, pieces.2, inPlace: round % 2 == 0)
                let two = seal(
                    plain, path: path, number: number, associated: associated, pieces.0,
                    pieces.1, pieces.2, inPlace: round % 2 == 1)
                #expect(one == two)
                #expect(
                    open(plain, path: path, number: number, associated: associated, one) == text)
                #expect(open(fast, path: path, number: number, associated: associated, two) == text)
            }
        }
    }

    @Test(arguments: [
        (CipherSuite.aes256GCM, RecordCipher.Implementation.fastest), (.aes256GCM, .libcrypto),
        (.chaCha20Poly1305, .fastest)
    ])
    func everySplitGivesTheSameRecord(
        _ suite: CipherSuite, _ implementation: RecordCipher.Implementation
    ) {
        var random = SeededRandom(seed: 3)
        let cipher = RecordCipher(
            suite: suite,
            key: bytes(32, &random).withUnsafeBytes { Key32($0) },
            implementation: implementation)
        for total in [0, 1, 15, 16, 17, 31, 63, 97] {
            let text = bytes(total, &random)
            let whole = seal(
                cipher, path: 1, number: 9, associated: [1, 2], text, [], [], inPlace: false)
            #expect(open(cipher, path: 1, number: 9, associated: [1, 2], whole) == text)
            for a in 0...total {
                for b in a...total {
                    #expect(
                        seal(
                            cipher, path: 1, number: 9, associated: [1, 2], Array(text[..<a]),
                            Array(text[a..<b]), Array(text[b...]),
                            inPlace: true) == whole)
                }
            }
        }
    }

    @Test(arguments: [
        (CipherSuite.aes256GCM, RecordCipher.Implementation.fastest), (.aes256GCM, .libcrypto),
        (.chaCha20Poly1305, .fastest)
    ])
    func anythingChangedIsRefused(
        _ suite: CipherSuite, _ implementation: RecordCipher.Implementation
    ) {
        var random = SeededRandom(seed: 4)
        let cipher = RecordCipher(
            suite: suite,
            key: bytes(32, &random).withUnsafeBytes { Key32($0) },
            implementation: implementation)
        let text = bytes(50, &random)
        let record = seal(
            cipher, path: 7, number: 3, associated: [9, 9], text, [], [], inPlace: false)
        for i in record.indices {
            for bit in 0..<8 {
                var bad = record
                bad[i] ^= 1 << UInt8(bit)
                #expect(open(cipher, path: 7, number: 3, associated: [9, 9], bad) == nil)
            }
            #expect(
                open(cipher, path: 7, number: 3, associated: [9, 9], Array(record[..<i])) == nil)
        }
        #expect(open(cipher, path: 6, number: 3, associated: [9, 9], record) == nil)
        #expect(open(cipher, path: 7, number: 4, associated: [9, 9], record) == nil)
        #expect(open(cipher, path: 7, number: 3, associated: [9, 8], record) == nil)
        #expect(open(cipher, path: 7, number: 3, associated: [9, 9], record) == text)
    }
}

@Suite struct ReplayWindowTests {
    /// Every number ever accepted; forgets nothing.
    private struct Naive {
        var seen = Set<UInt64>(), highest: UInt64 = 0
        func isFresh(_ n: UInt64) -> Bool {
            n > highest || (highest - n < ReplayWindow.width && !seen.contains(n))
        }
        mutating func accept(_ n: UInt64) -> Bool {
            guard isFresh(n) else { return false }
            seen.insert(n)
            highest = max(highest, n)
            return true
        }
    }

    @Test(arguments: 0..<40 as Range<UInt64>) func agreesWithTheNaiveModel(_ seed: UInt64) {
        var random = SeededRandom(seed: seed), window = ReplayWindow(), naive = Naive()
        // Some start near the end of the number space.
        var near: UInt64 =
            seed % 4 == 0
            ? .max - 40_000 : seed % 4 == 1 ? 0 : UInt64.random(in: 0...1 << 50, using: &random)
        for _ in 0..<4_000 {
            switch random.next() % 16 {
            case 0:
                near =
                    near.addingReportingOverflow(UInt64.random(in: 0...20_000, using: &random))
                        .overflow
                    ? .max : near &+ 64
            case 1: near &+= min(.max - near, UInt64.random(in: 8_000...8_400, using: &random))
            default: near &+= min(.max - near, random.next() % 3)
            }
            let back =
                random.next() % 4 == 0
                ? UInt64.random(in: 8_100...8_300, using: &random) : random.next() % 200
            let n = near >= back ? near - back : 0
            #expect(window.isFresh(n) == naive.isFresh(n))
            #expect(window.accept(n) == naive.accept(n))
            #expect(window.highest == naive.highest)
            #expect(!window.isFresh(n))
        }
    }

    @Test func edges() {
        var window = ReplayWindow()
        #expect(window.isFresh(0) && window.isFresh(1))
        #expect(window.accept(0) && !window.accept(0))
        #expect(window.accept(8_191) && window.accept(1) && !window.isFresh(0))
        #expect(window.accept(8_193) && !window.isFresh(1) && window.isFresh(2))
        #expect(window.accept(.max) && !window.accept(.max))
        #expect(window.accept(.max - 8_191) && !window.accept(.max - 8_192))
    }
}
