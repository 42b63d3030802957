import Crypto
import Measures
import Testing

@testable import Concentrator

@Suite struct UnknownKeysTests {
    private func key(_ byte: UInt8) -> Key32 {
        [UInt8](repeating: byte, count: 32).withUnsafeBytes { Key32($0) }
    }
    private let remote = SocketAddress(IPAddress(v4: 0xc633_6401), port: 9)

    @Test func theLatestAreShownFirst() {
        var keys = UnknownKeys()
        for i in 0...UnknownKeys.maximum {
            keys.note(key(UInt8(i)), remote, at: .zero + .seconds(Int64(i)))
        }
        let shown = keys.list(at: .zero + .seconds(20))
        // The first of all has made place.
        #expect(shown.map(\.publicKey) == (1...8).reversed().map { key(UInt8($0)).base64 })
        #expect(shown.first?.secondsAgo == 12 && shown.last?.secondsAgo == 19)
    }

    @Test func aKeyIsShownOnce() {
        var keys = UnknownKeys()
        keys.note(key(1), remote, at: .zero)
        keys.note(key(2), remote, at: .zero + .seconds(1))
        keys.note(key(1), remote, at: .zero + .seconds(2))
        #expect(keys.list(at: .zero).map(\.publicKey) == [key(1).base64, key(2).base64])
    }

    @Test func theLatestInvitationsAreRemembered() {
        var keys = UnknownKeys()
        let maximum = ConcentratorSettings.maximumFormerInvitations
        func former(_ n: Int) -> Key32 {
            ([UInt8(n >> 8), UInt8(n & 255)] + [UInt8](repeating: 7, count: 30))
                .withUnsafeBytes { Key32($0) }
        }
        keys.end(invitations: (0..<maximum).map(former))
        // What is told again counts once, and as the latest.
        keys.end(invitations: [former(0)])
        keys.end(invitations: [former(maximum)])
        #expect(keys.isFormerInvitation(former(0)) && keys.isFormerInvitation(former(2)))
        #expect(keys.isFormerInvitation(former(maximum)) && !keys.isFormerInvitation(former(1)))
    }

    @Test func usersAreUnknownNoMore() {
        var keys = UnknownKeys()
        keys.note(key(1), remote, at: .zero)
        keys.note(key(2), remote, at: .zero)
        keys.forget([key(2), key(3)])
        #expect(keys.list(at: .zero).map(\.publicKey) == [key(1).base64])
    }
}
