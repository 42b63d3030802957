import Crypto
import Foundation
import Testing

/// One handshake of Tests/Vectors/noise-ikpsk2.txt: its fields by name.
private let vectors: [[String: String]] = {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent()
        .appendingPathComponent("Vectors/noise-ikpsk2.txt")
    let text = (try? String(contentsOf: file, encoding: .utf8)) ?? ""
    let blocks = text.components(separatedBy: "\n\n").filter { $0.contains("handshake=") }
    return blocks.map { block in
        Dictionary(
            uniqueKeysWithValues: block.split(separator: "\n")
                .filter { $0.contains("=") && !$0.hasPrefix("#") }.map {
                    let parts = $0.split(
                        separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                    return (String(parts[0]), String(parts[1]))
                })
    }
}()

private struct Pair {
    var initiator: NoiseHandshake
    var responder: NoiseHandshake

    init(_ v: [String: String], secret: String? = nil) {
        let server = StaticKeyPair(privateKey: key(v["resp_static"]!))
        initiator = .initiator(
            local: StaticKeyPair(privateKey: key(v["init_static"]!)),
            remote: server.publicKey,
            prologue: hex(v["prologue"] ?? ""), preSharedKey: key(v["preshared_key"]!),
            ephemeral: key(v["gen_init_ephemeral"]!))
        responder = .responder(local: server, prologue: hex(v["prologue"] ?? ""))
        responder.prepare(
            preSharedKey: secret.map(key) ?? key(v["preshared_key"]!),
            ephemeral: key(v["gen_resp_ephemeral"]!))
    }
}

@Suite struct NoiseTests {
    @Test func vectorsArePresent() { #expect(vectors.count == 4) }

    @Test(arguments: vectors) func everyMessageOfTheVector(_ v: [String: String]) throws {
        var pair = Pair(v)
        let first = try pair.initiator.writeMessage(payload: hex(v["msg_0_payload"]!))
        #expect(first == hex(v["msg_0_ciphertext"]!))
        #expect(
            try first.withUnsafeBytes { try pair.responder.readMessage($0) }
                == hex(v["msg_0_payload"]!))
        #expect(
            pair.responder.remoteStatic
                == StaticKeyPair(privateKey: key(v["init_static"]!)).publicKey)
        let second = try pair.responder.writeMessage(payload: hex(v["msg_1_payload"]!))
        #expect(second == hex(v["msg_1_ciphertext"]!))
        #expect(
            try second.withUnsafeBytes { try pair.initiator.readMessage($0) }
                == hex(v["msg_1_payload"]!))
        #expect(pair.initiator.handshakeHash == pair.responder.handshakeHash)

        let client = pair.initiator.split(), server = pair.responder.split()
        #expect(client.send == server.receive && client.receive == server.send)
        for (name, sender, receiver) in [
            ("msg_2", client.send, server.receive),
            ("msg_3", server.send, client.receive)
        ] {
            let plain = hex(v["\(name)_payload"]!), sealed = hex(v["\(name)_ciphertext"]!)
            #expect(
                plain.withUnsafeBytes {
                    NoiseCipher.seal(key: sender, nonce: 0, associated: nil, $0)
                } == sealed)
            #expect(
                sealed.withUnsafeBytes {
                    NoiseCipher.open(key: receiver, nonce: 0, associated: nil, $0)
                } == plain)
        }
    }

    @Test func everyChangedByteAndEveryPrefixIsRefused() throws {
        var pair = Pair(vectors[1])
        let first = try pair.initiator.writeMessage(payload: Array("hello".utf8))
        for i in first.indices {
            var bad = first
            bad[i] ^= 1
            // The highest bit of an X25519 key is ignored, so there the hash has to notice; bit 0
            // is always seen.
            #expect(throws: NoiseError.self) {
                try bad.withUnsafeBytes { try pair.responder.readMessage($0) }
            }
            let prefix = Array(first[..<i])
            let expected: NoiseError = i < NoiseHandshake.overhead1 ? .tooShort : .notAuthentic
            #expect(throws: expected) {
                try prefix.withUnsafeBytes { try pair.responder.readMessage($0) }
            }
        }
        var top = first
        top[31] ^= 0x80
        #expect(throws: NoiseError.notAuthentic) {
            try top.withUnsafeBytes { try pair.responder.readMessage($0) }
        }
        // After all that the true message is still taken.
        #expect(
            try first.withUnsafeBytes { try pair.responder.readMessage($0) } == Array("hello".utf8))

        let second = try pair.responder.writeMessage(payload: [7])
        for i in second.indices {
            var bad = second
            bad[i] ^= 1
            #expect(throws: NoiseError.self) {
                try bad.withUnsafeBytes { try pair.initiator.readMessage($0) }
            }
        }
        #expect(try second.withUnsafeBytes { try pair.initiator.readMessage($0) } == [7])
    }

    @Test func preSharedKeyMayBeSetBetweenTheMessages() throws {
        let v = vectors[0]
        var pair = Pair(v, secret: String(repeating: "00", count: 32))
        let first = try pair.initiator.writeMessage(payload: [])
        _ = try first.withUnsafeBytes { try pair.responder.readMessage($0) }
        var wrong = pair.responder
        let forged = try wrong.writeMessage(payload: [])
        #expect(throws: NoiseError.notAuthentic) {
            try forged.withUnsafeBytes { try pair.initiator.readMessage($0) }
        }
        pair.responder.prepare(
            preSharedKey: key(v["preshared_key"]!), ephemeral: key(v["gen_resp_ephemeral"]!))
        let second = try pair.responder.writeMessage(payload: [])
        #expect(try second.withUnsafeBytes { try pair.initiator.readMessage($0) } == [])
        #expect(pair.initiator.split().send == pair.responder.split().receive)
    }

    // Points of small order on Curve25519 (Bernstein's list): every product is zero.
    @Test(arguments: [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
    ]) func weakKeysAreRefused(_ point: String) throws {
        var pair = Pair(vectors[0])
        let message = hex(point) + [UInt8](repeating: 0, count: 64)
        #expect(throws: NoiseError.weakKey) {
            try message.withUnsafeBytes { try pair.responder.readMessage($0) }
        }
        var toWeak = NoiseHandshake.initiator(
            local: StaticKeyPair(privateKey: key(vectors[0]["init_static"]!)), remote: key(point),
            prologue: [], preSharedKey: .zero, ephemeral: key(vectors[0]["gen_init_ephemeral"]!))
        #expect(throws: NoiseError.weakKey) { try toWeak.writeMessage(payload: []) }
    }

    @Test func turnsAreKept() throws {
        var pair = Pair(vectors[0])
        #expect(throws: NoiseError.outOfOrder) { try pair.responder.writeMessage(payload: []) }
        let first = try pair.initiator.writeMessage(payload: [])
        #expect(throws: NoiseError.outOfOrder) { try pair.initiator.writeMessage(payload: []) }
        _ = try first.withUnsafeBytes { try pair.responder.readMessage($0) }
        #expect(throws: NoiseError.outOfOrder) {
            try first.withUnsafeBytes { try pair.responder.readMessage($0) }
        }
    }
}
