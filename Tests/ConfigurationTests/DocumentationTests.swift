import Foundation
import Testing

@testable import Configuration

/// docs/operations.md tells the defaults that hold, and its example files are right.
@Suite struct DocumentationTests {
    private let text: String

    init() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        text = try String(
            contentsOf: root.appendingPathComponent("docs/operations.md"), encoding: .utf8)
    }

    @Test func defaultsInTheTable() {
        let rows: [(key: String, value: String)] = [
            ("`listen` (proxy)", "`\(Defaults.proxyListen)`"),
            ("`listen` (concentrator)", "`\(Defaults.concentratorListen)`"),
            ("`mode`", "`\(Defaults.mode.rawValue)`"), ("`open`", "`\(Defaults.open.rawValue)`"),
            ("`patience`", "\(Int(Defaults.backlogTime.seconds)) s"),
            ("`dial_timeout`", "\(Int(Defaults.dialTimeout.seconds)) s"),
            ("`log_level`", "`\(Defaults.logLevel.rawValue)`"),
            ("`log_format`", "`\(Defaults.logFormat.rawValue)`"),
            ("`history.size`", "\(Defaults.historySize.bytes >> 20) MiB"),
            ("`history.keep_events`", "\(Int(Defaults.historyEvents.seconds / 86_400))d"),
            ("`history.keep_hours`", "\(Int(Defaults.historyHours.seconds / 86_400))d"),
            ("`history.keep_days`", "\(Int(Defaults.historyDays.seconds / 86_400))d"),
            ("`congestion`", "`\(Defaults.congestion.rawValue)`"),
            (
                "`limits.connections`",
                "\(Defaults.proxyConnections) (proxy), \(Defaults.concentratorConnections) (concentrator)"
            ),
            ("`limits.connections_per_user`", "\(Defaults.connectionsPerUser)"),
            ("`limits.half_open_per_user`", "\(Defaults.halfOpenPerUser)"),
            ("`limits.sessions_per_user`", "\(Defaults.sessionsPerUser)"),
            ("`limits.dials`", "\(Defaults.dials)"),
            ("`limits.dials_per_user`", "\(Defaults.dialsPerUser)"),
            ("`limits.lookups`", "\(Defaults.lookUps)"),
            ("`limits.lookups_per_user`", "\(Defaults.lookUpsPerUser)"),
            ("`limits.flows_per_user`", "\(Defaults.flowsPerUser)"),
            ("`limits.associations_per_user`", "\(Defaults.associationsPerUser)"),
            ("`limits.datagrams_per_user`", "\(Defaults.datagramsPerUser)"),
            ("`limits.questions_per_user`", "\(Defaults.questionsPerUser)"),
            ("`without_session`", "`\(Defaults.withoutSession.rawValue)`"),
            ("`udp_filtering`", "`\(Defaults.udpFiltering.rawValue)`"),
            ("`limits.send_buffer`", "\(Defaults.sendBuffer.bytes >> 20) MiB"),
            ("`limits.receive_window`", "\(Defaults.receiveWindow.bytes >> 20) MiB"),
            ("`limits.session`", "\(Int(Defaults.sessionSilence.seconds / 3600)) h"),
            ("`limits.drain`", "\(Int(Defaults.drain.seconds)) s"),
            ("`limits.dialogue`", "\(Int(Defaults.dialogue.seconds)) s"),
            ("`limits.idle_body`", "\(Int(Defaults.idleBody.seconds)) s"),
            ("`limits.unauthenticated`", "\(Defaults.unauthenticated)")
        ]
        for row in rows {
            #expect(text.contains("| \(row.key) | \(row.value) |"), "\(row.key) is \(row.value)")
        }
    }

    @Test func everyKeyIsExplained() {
        for key in ProxyKey.allCases.map(\.rawValue) + ConcentratorKey.allCases.map(\.rawValue)
            + LimitKey.allCases.map({ "limits.\($0.rawValue)" })
            + HistoryKey.allCases.map({ "history.\($0.rawValue)" })
            + UplinkKey.allCases.map(\.rawValue) + RuleKey.allCases.map(\.rawValue)
            + StatusKey.allCases.map({ "status.\($0.rawValue)" })
            + ConcentratorAddressKey.allCases.map(\.rawValue) + UserKey.allCases.map(\.rawValue)
        where key != "limits" {
            #expect(text.contains("\(key):") || text.contains("`\(key)`"), "\(key) stands nowhere")
        }
    }

    @Test func exampleFilesAreRight() throws {
        let examples = text.components(separatedBy: "```yaml\n").dropFirst().map {
            $0.components(separatedBy: "```")[0]
        }
        #expect(examples.count >= 3)
        for example in examples {
            let scratch = Scratch()
            // A section of a proxy's file stands alone.
            let isWhole = example.contains("private_key_file:")
            let kind: ConfigurationKind = example.contains("users:") ? .concentrator : .proxy
            scratch.write("# none\n", to: "blocked.txt")
            for (number, name) in ["proxy.key", "concentrator.key", "shared.key", "bob.psk"]
                .enumerated()
            {
                scratch.key(UInt8(number + 20), in: name)
            }
            var number: UInt8 = 2
            var file = example.replacing("/etc/braid/", with: "")
            while let place = file.firstRange(of: "\"...\"") {
                file.replaceSubrange(place, with: "\"\(Scratch.publicKey(number))\"")
                number += 1
            }
            #expect(scratch.sentences(kind, isWhole ? file : goodProxy + file) == [])
        }
    }
}
