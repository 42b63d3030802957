import Crypto
import Foundation
import Measures
import Testing

@Suite struct KeyTests {
    @Test func base64AgreesWithFoundation() {
        var random = SeededRandom(seed: 1)
        for _ in 0..<500 {
            let bytes = (0..<32).map { _ in UInt8.random(in: 0...255, using: &random) }
            let k = bytes.withUnsafeBytes { Key32($0) }
            #expect(k.base64 == Data(bytes).base64EncodedString())
            #expect(Key32(base64: k.base64) == k)
        }
    }

    @Test func onlyTheOneFormIsRead() {
        let good = Key32.zero.base64
        #expect(good == String(repeating: "A", count: 43) + "=")
        for bad in [
            "", String(good.dropLast()), good + "=", String(repeating: "A", count: 42) + "B=",
            String(repeating: "A", count: 44), String(repeating: "A", count: 42) + "==",
            "*" + good.dropFirst(), " " + good.dropFirst(), "é" + good.dropFirst(2)
        ] {
            #expect(Key32(base64: bad) == nil, "\(bad)")
        }
    }

    @Test func equalityLooksAtEveryByte() {
        let k = key("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
        for i in 0..<32 {
            var other = k.bytes
            other[i] ^= 0x80
            #expect(other.withUnsafeBytes { Key32($0) } != k)
        }
        #expect(k == k.bytes.withUnsafeBytes { Key32($0) })
    }

    // RFC 7748 section 5.2, the iterated test after one step: scalar and point are both 9, the base
    // point.
    @Test func publicKeyOfRFC7748() {
        let nine = key("09" + String(repeating: "00", count: 31))
        #expect(
            StaticKeyPair(privateKey: nine).publicKey
                == key("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"))
    }
}

@Suite struct MultipathHashTests {
    let keyA: UInt64 = 0x0001_0203_0405_0607, keyB: UInt64 = 0xa0a1_a2a3_a4a5_a6a7

    @Test func tokensAndInitialSequences() {
        #expect(MultipathHash.token(of: keyA) == 0x8a85_1ff8)
        #expect(MultipathHash.initialDataSequence(of: keyA) == 0xe3db_22c6_785a_0d45)
        #expect(MultipathHash.token(of: keyB) == 0xebae_b334)
        #expect(MultipathHash.initialDataSequence(of: keyB) == 0x4cce_3af5_47bc_c329)
    }

    @Test func joins() {
        let answer = MultipathHash.join(keys: keyB, keyA, nonces: 0x5566_7788, 0x1122_3344)
        #expect(answer.0 == 0xe584_b0ec_47b5_ad3a)
        let third = MultipathHash.join(keys: keyA, keyB, nonces: 0x1122_3344, 0x5566_7788)
        #expect(third == (0x5c70_32b6_784d_f0c9, 0x56a9_0c9f_aadd_3750, 0x9877_98bf))
        #expect(MultipathHash.matches(third, third))
        #expect(!MultipathHash.matches(third, (third.0 ^ 1 << 63, third.1, third.2)))
        #expect(!MultipathHash.matches(third, (third.0, third.1 ^ 1, third.2)))
        #expect(!MultipathHash.matches(third, (third.0, third.1, third.2 ^ 1)))
    }

    @Test func addresses() {
        func hmac(
            _ sender: UInt64, _ receiver: UInt64, _ id: UInt8, _ address: String,
            _ port: UInt16 = 0
        ) -> UInt64 {
            hex(address).withUnsafeBytes {
                MultipathHash.addAddress(
                    senderKey: sender, receiverKey: receiver, id: id,
                    address: $0, port: port)
            }
        }
        #expect(hmac(keyB, keyA, 5, "c0000205") == 0xabd0_659a_b61b_0dec)
        #expect(hmac(keyB, keyA, 5, "c0000205", 4430) == 0x7cd9_4624_4b24_bf98)
        #expect(hmac(keyA, keyB, 9, "20010db8000000000000000000000009") == 0xf688_c636_0992_c4a7)
    }
}

@Suite struct KeyedRandomTests {
    @Test func sameSeedSameBytesHoweverTheyAreTaken() {
        var one = KeyedRandom(seed: .zero), other = KeyedRandom(seed: .zero)
        var whole = [UInt8](repeating: 0, count: 5_000), parts = whole
        whole.withUnsafeMutableBytes { one.fill($0) }
        parts.withUnsafeMutableBytes { bytes in
            var at = 0, n = 1
            while at < bytes.count {
                let size = min(n, bytes.count - at)
                other.fill(UnsafeMutableRawBufferPointer(rebasing: bytes[at..<(at + size)]))
                at += size
                n = n * 3 % 997
            }
        }
        #expect(whole == parts)
        #expect(
            Set(stride(from: 0, to: 4_992, by: 32).map { Array(whole[$0..<($0 + 32)]) }).count
                == 156)
    }

    // The first refill is ChaCha20 with a zero key and nonce (RFC 8439 appendix A.1, test vector
    // 1): its first 32 bytes are the next key, the rest is handed out.
    @Test func firstBytesAreTheKeyStream() {
        var random = KeyedRandom(seed: .zero)
        #expect(
            random.key().bytes
                == hex("da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"))
    }

    @Test func differentSeedsAndCopies() {
        var one = KeyedRandom(seed: .zero)
        var other = KeyedRandom(seed: key(String(repeating: "01", count: 32)))
        #expect(one.next() != other.next())
        var copy = one
        #expect(one.next() != copy.next())  // one stream: nothing is handed out twice
    }
}
