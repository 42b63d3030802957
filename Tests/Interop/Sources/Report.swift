import Crypto
import Glibc
import Measures
import Multipath

/// `mptcp-peer`: Braid's engine as a host of its own, for tests against other implementations of
/// MPTCP.
@main struct Program {
    static func main() {
        do {
            let words = Array(CommandLine.arguments.dropFirst())
            if words.contains("--help") || words.contains("-h") {
                print(Arguments.usage)
                exit(0)
            }
            let arguments = try Arguments(words)
            if !arguments.pairs.isEmpty {
                let relay = try Relay(arguments)
                say("ready\n")
                relay.run()
                exit(0)
            }
            let peer = try Peer(arguments)
            say("ready\n")
            peer.run()
            print(report(peer, arguments))
            exit(peer.error == nil ? 0 : 1)
        } catch let complaint as Complaint {
            say("mptcp-peer: \(complaint.text) (mptcp-peer --help tells more)\n")
        } catch {
            say("mptcp-peer: \(error)\n")
        }
        exit(2)
    }

    private static func say(_ text: String) {
        var text = text
        text.withUTF8 { _ = write(2, $0.baseAddress, $0.count) }
    }

    private static func report(_ peer: Peer, _ arguments: Arguments) -> String {
        let application = peer.application
        let hashes = application.hashes()
        var fields: [(String, String)] = [
            ("error", peer.error.map(quoted) ?? "null"),
            ("sent", object([("bytes", "\(application.sent)"), ("sha256", quoted(hashes.sent))])),
            (
                "received",
                object([("bytes", "\(application.received)"), ("sha256", quoted(hashes.received))])
            ),
            ("refused", "\(peer.refused)"), ("badPackets", "\(peer.badPackets)"),
            ("mangled", "[" + peer.mangled.map(String.init).joined(separator: ", ") + "]"),
            ("heard", "[" + peer.heard.map(quoted).joined(separator: ", ") + "]")
        ]
        guard let connection = peer.connection else { return object(fields) }
        if let began = peer.began {
            let seconds = { (at: Instant?) in at.map { "\(($0 - began).seconds)" } ?? "null" }
            fields += [
                ("readSeconds", seconds(application.readFinishedAt)),
                ("writeSeconds", seconds(application.writeFinishedAt))
            ]
        }
        let s = connection.statistics
        fields += [
            ("readFinished", "\(connection.isReadFinished)"),
            ("writeFinished", "\(connection.isWriteFinished)"),
            ("plain", "\(connection.isPlain)"), ("checksums", "\(connection.usesChecksums)"),
            ("deniedJoins", "\(connection.peerDeniesInitialJoins)"),
            ("localKey", "\(connection.localKey)"), ("localToken", "\(connection.localToken)"),
            ("localIDSN", "\(MultipathHash.initialDataSequence(of: connection.localKey))")
        ]
        if let key = connection.remoteKey {
            fields += [
                ("remoteKey", "\(key)"), ("remoteToken", "\(MultipathHash.token(of: key))"),
                ("remoteIDSN", "\(MultipathHash.initialDataSequence(of: key))")
            ]
        }
        fields.append(
            (
                "counters",
                object([
                    ("bytesSent", "\(s.bytesSent)"), ("bytesReceived", "\(s.bytesReceived)"),
                    ("bytesReinjected", "\(s.bytesReinjected)"),
                    ("duplicateBytes", "\(s.duplicateBytesReceived)"),
                    ("joinsAccepted", "\(s.joinsAccepted)"), ("joinsRefused", "\(s.joinsRefused)"),
                    ("dssErrors", "\(s.dssErrors)"),
                    ("segmentsDeclined", "\(s.segmentsDeclined)"),
                    ("hmacFailures", "\(s.hmacFailures)"),
                    ("checksumFailures", "\(s.checksumFailures)"), ("failsSent", "\(s.failsSent)"),
                    ("failsReceived", "\(s.failsReceived)"),
                    ("infiniteMappings", "\(s.infiniteMappings)"),
                    ("fallbacks", "\(s.fallbacks)")
                ])
            ))
        let subflows = peer.links.map { link in
            object([
                ("local", quoted("\(link.local)")), ("remote", quoted("\(link.remote)")),
                ("opener", "\(link.isOpener)"), ("segmentsIn", "\(link.segmentsIn)"),
                ("segmentsOut", "\(link.segmentsOut)"), ("bytesIn", "\(link.bytesIn)"),
                ("bytesOut", "\(link.bytesOut)"), ("reset", "\(link.wasReset)"),
                ("ended", "\(link.ended)")
            ])
        }
        fields.append(("subflows", "[" + subflows.joined(separator: ", ") + "]"))
        return object(fields)
    }

    private static func object(_ fields: [(String, String)]) -> String {
        "{" + fields.map { "\(quoted($0.0)): \($0.1)" }.joined(separator: ", ") + "}"
    }

    private static func quoted(_ text: String) -> String {
        "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
    }
}
