import Foundation
import Measures
import Multipath
import Tunnel

/// What a running proxy or concentrator says about itself, as `braid status --json` prints it.
struct StatusReport: Codable {
    struct Path: Codable {
        var number: Int
        var uplink: String
        var local: String
        var remote: String
        /// usable, suspect or lost.
        var health: String
        var backup: Bool
        var rttMilliseconds: Double?
        var minimumRTTMilliseconds: Double?
        /// Share of datagrams lost recently, 0 to 1.
        var loss: Double
        var sendBitsPerSecond: Int64
        var receiveBitsPerSecond: Int64
        var bytesSent: Int
        var bytesReceived: Int
    }
    struct Session: Codable {
        var number: Int
        var user: String
        var ageSeconds: Double
        var mode: String
        var connections: Int
        var paths: [Path]
    }
    /// proxy or concentrator.
    var role: String
    var version: String
    var pid: Int32
    var upSeconds: Double
    var connections: Int
    var datagramsDropped: Int
    var sessions: [Session]
}

extension StatusReport {
    init(_ report: EndpointReport, role: String, upFor: Interval) {
        self.role = role
        version = Braid.version
        pid = getpid()
        upSeconds = upFor.seconds
        connections = report.connections
        datagramsDropped = report.datagramsDropped
        sessions = report.sessions.map(Session.init)
    }

    /// With sorted keys, so that two reports can be compared line by line.
    var json: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        // Encoding fails for numbers that JSON has no form for; the engine's are finite.
        return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) + "\n" } ?? "{}\n"
    }

    init(json: String) throws {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        self = try decoder.decode(StatusReport.self, from: Data(json.utf8))
    }
}

extension StatusReport.Session {
    init(_ session: EndpointReport.Session) {
        number = session.number
        user = session.user
        ageSeconds = session.age.seconds
        mode = session.mode.rawValue
        connections = session.connections
        paths = session.paths.map(StatusReport.Path.init)
    }
}

extension StatusReport.Path {
    init(_ path: EndpointReport.Path) {
        number = path.number
        uplink = path.uplink
        local = path.local
        remote = path.remote
        health = "\(path.health)"
        backup = path.isBackup
        // Before the first answer there is no round trip to tell.
        rttMilliseconds = path.smoothedRTT > .zero ? path.smoothedRTT.milliseconds : nil
        minimumRTTMilliseconds = path.minimumRTT > .zero && path.minimumRTT < .max ? path.minimumRTT.milliseconds : nil
        loss = path.loss
        sendBitsPerSecond = path.sendRate.bytesPerSecond * 8
        receiveBitsPerSecond = path.receiveRate.bytesPerSecond * 8
        bytesSent = path.bytesSent
        bytesReceived = path.bytesReceived
    }
}
