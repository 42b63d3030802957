import History
import Shell
import Tunnel

/// What `/metrics` says, for Prometheus.
enum Metrics {
    /// What of the past is in it, as a value.
    struct Past: Sendable {
        var totals: [UsageLedger.Source: UsageLedger.Volume]
        var handoverPauses: Histogram
        var counts: [Event.Kind: Int]
        /// Nil where no history is written.
        var isWritable: Bool?

        init(_ recorder: Recorder) {
            totals = recorder.usage.allTotals
            handoverPauses = recorder.handoverPauses
            counts = recorder.counts
            isWritable = recorder.writer.map { !$0.isFailing }
        }
    }

    static func text(_ document: StatusDocument, _ past: Past) -> String {
        let status = document.status
        var out = MetricText(prefix: "braid_")
        out.add(
            "build_info", .gauge, "1, with the version and the part of this process.",
            [.init(["version": document.version, "role": status.role], 1)])
        out.add(
            "up_seconds", .gauge, "Time since the process began.", [.init(status.uptimeSeconds)])
        out.add("sessions", .gauge, "Sessions that are open.", [.init(status.sessions.count)])
        out.add("connections", .gauge, "Connections served now.", [.init(status.connections)])
        out.add(
            "datagrams_dropped_total", .counter,
            "Datagrams that came in and were not authentic, or not understood.",
            [.init(status.datagramsDropped)])
        out.add(
            "loop_longest_turn_seconds", .gauge,
            "Longest turn of the loop in the last one to two minutes.",
            [.init(status.longestTurnSeconds ?? 0)])
        addUplinks(status, &out)
        addPaths(status, &out)
        addUsage(status, past, &out)
        addHistograms(status, past, &out)
        addHistory(past, &out)
        addCounters(status, &out)
        return out.text
    }

    private static func addUplinks(_ status: ServerStatus, _ out: inout MetricText) {
        out.add(
            "uplink_present", .gauge, "Whether the system shows the uplink.",
            status.uplinks.map { .init(["uplink": $0.name], $0.isPresent ? 1 : 0) })
        out.add(
            "uplink_usable", .gauge, "Whether a path of the uplink works.",
            status.uplinks.map { uplink in
                let works = status.sessions.contains { session in
                    session.paths.contains { $0.uplink == uplink.name && $0.health == "usable" }
                }
                return .init(["uplink": uplink.name], works ? 1 : 0)
            })
    }

    private static func addPaths(_ status: ServerStatus, _ out: inout MetricText) {
        func add(
            _ name: String, _ kind: MetricText.Kind, _ help: String,
            _ value: (ServerStatus.Path) -> Double
        ) {
            out.add(
                name, kind, help,
                status.sessions.flatMap { session in
                    session.paths.map { path in
                        MetricText.Sample(
                            [
                                "session": "\(session.number)", "user": session.user,
                                "path": "\(path.number)", "uplink": path.uplink
                            ], value(path))
                    }
                })
        }
        add("path_usable", .gauge, "Whether the path works.") { $0.health == "usable" ? 1 : 0 }
        add("path_rtt_seconds", .gauge, "Smoothed round trip (RFC 6298); 0 before the first.") {
            $0.rttMilliseconds / 1_000
        }
        add("path_loss_ratio", .gauge, "Share of the path's datagrams that were lost of late.") {
            $0.loss
        }
        add("path_sent_bytes_total", .counter, "UDP payloads sent since the path was opened.") {
            Double($0.bytesSent)
        }
        add(
            "path_received_bytes_total", .counter,
            "UDP payloads received since the path was opened."
        ) { Double($0.bytesReceived) }
    }

    /// Those that outlive sessions, and processes where a history is kept.
    private static func addUsage(
        _ status: ServerStatus, _ past: Past, _ out: inout MetricText
    ) {
        let totals = past.totals.sorted { $0.key < $1.key }
        func samples(
            ofUsers: Bool, _ value: (UsageLedger.Volume) -> Int
        ) -> [MetricText.Sample] {
            totals.filter { ($0.key.user != nil) == ofUsers }.map { source, volume in
                let value = value(volume)
                return source.user.map {
                    .init(["user": $0, "path": source.uplink], value)
                } ?? .init(["uplink": source.uplink], value)
            }
        }
        let what = "with IP and UDP headers, over all sessions and, with a history, processes."
        out.add(
            "uplink_sent_bytes_total", .counter, "Bytes sent by the uplink \(what)",
            samples(ofUsers: false, \.sent))
        out.add(
            "uplink_received_bytes_total", .counter, "Bytes received by the uplink \(what)",
            samples(ofUsers: false, \.received))
        out.add(
            "user_sent_bytes_total", .counter, "Bytes sent to the user on the path \(what)",
            samples(ofUsers: true, \.sent))
        out.add(
            "user_received_bytes_total", .counter,
            "Bytes received from the user on the path \(what)", samples(ofUsers: true, \.received))
        guard status.role == "concentrator" else { return }
        let users = Dictionary(grouping: status.sessions, by: \.user).sorted { $0.key < $1.key }
        out.add(
            "user_sessions", .gauge, "Sessions of the user.",
            users.map { .init(["user": $0.key], $0.value.count) })
        out.add(
            "user_connections", .gauge, "Connections of the user.",
            users.map { user in
                .init(["user": user.key], user.value.reduce(0) { $0 + $1.connections })
            })
    }

    private static func addHistograms(
        _ status: ServerStatus, _ past: Past, _ out: inout MetricText
    ) {
        out.add(
            "handover_pause_seconds",
            "How long connections and calls stood still when their uplink went.",
            [(labels: [:], histogram: past.handoverPauses)])
        out.add(
            "round_trip_seconds", "Round trips of probes, by uplink (a concentrator knows none).",
            status.roundTrips.map { trips in
                var histogram = Histogram(bounds: RoundTripCounts.bounds.map(\.seconds))
                histogram.add(counts: trips.counts, sum: trips.sumSeconds)
                return (labels: ["uplink": trips.uplink], histogram: histogram)
            })
    }

    private static func addHistory(_ past: Past, _ out: inout MetricText) {
        out.add(
            "events_total", .counter, "What happened, by kind (braid events).",
            Event.Kind.allCases.map { .init(["kind": $0.rawValue], past.counts[$0] ?? 0) })
        guard let isWritable = past.isWritable else { return }
        out.add(
            "history_writable", .gauge, "Whether the history's file could be written of late.",
            [.init(isWritable ? 1 : 0)])
    }

    /// Whatever else the server counts; a name may come with labels, and several times.
    private static func addCounters(_ status: ServerStatus, _ out: inout MetricText) {
        var order: [String] = [], families: [String: [MetricText.Sample]] = [:]
        for counter in status.counters {
            let name = String(counter.name.prefix { $0 != "{" })
            let labels = counter.name.dropFirst(name.count).dropFirst().dropLast()
            if families[name] == nil { order.append(name) }
            families[name, default: []].append(.init(written: labels, counter.value))
        }
        for name in order {
            out.add(
                name, name.hasSuffix("_total") ? .counter : .gauge,
                MetricHelp.text(name), families[name] ?? [])
        }
    }
}
