import Crypto
import Measures
import Testing

@Suite struct HelloKeysTests {
    private let key = (0..<32).map { UInt8($0) }.withUnsafeBytes { Key32($0) }
    private let cookie = (16..<32).map { UInt8($0) }.withUnsafeBytes { Bytes16($0) }
    private let nonce = (32..<44).map { UInt8($0) }

    private func bytes(_ value: Bytes16) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }

    /// The vector of docs/wire.md, made with Python's hmac and cryptography.
    @Test func theVectorOfTheDocument() {
        let keys = HelloKeys(concentrator: key)
        let message = (0..<141).map { UInt8($0) }
        let mac1 = message.withUnsafeBytes { keys.mac1($0) }
        #expect(bytes(mac1) == hex("4897fc87de1125a80f6af6b5d577f114"))
        let mac2 = (message + bytes(mac1)).withUnsafeBytes {
            MessageAuthentication(key: cookie)($0)
        }
        #expect(bytes(mac2) == hex("347961a543b06f329e00ea4285019d93"))
        let sealed = nonce.withUnsafeBytes { keys.seal(cookie: cookie, nonce: $0, mac1: mac1) }
        #expect(sealed == hex("99f3b05ba9d5ee78821bf8d674901c47aec3839d20d51af1bbd7978908ce156f"))
    }

    @Test func aCookieIsForItsHelloOnly() {
        let keys = HelloKeys(concentrator: key), mine = Bytes16(a: 1, b: 2)
        let sealed = nonce.withUnsafeBytes { keys.seal(cookie: cookie, nonce: $0, mac1: mine) }
        func open(_ sealed: [UInt8], _ mac1: Bytes16) -> Bytes16? {
            sealed.withUnsafeBytes { s in
                nonce.withUnsafeBytes { keys.open(cookie: s, nonce: $0, mac1: mac1) }
            }
        }
        #expect(open(sealed, mine) == cookie)
        #expect(open(sealed, Bytes16(a: 1, b: 3)) == nil)
        #expect(open(Array(sealed.dropLast()), mine) == nil)
        for i in sealed.indices {
            var bad = sealed
            bad[i] ^= 1
            #expect(open(bad, mine) == nil)
        }
    }
}
