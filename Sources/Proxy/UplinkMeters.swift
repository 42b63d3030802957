import History
import Shell

/// What the sockets of uplinks have moved: as the kernel took it and handed it over, so that
/// handshakes and probes count, too.
struct UplinkMeters {
    private struct Meter {
        let socket: DatagramSocket
        let uplink: String
        var counted = DatagramSocket.Statistics()
    }
    /// Of open sockets, and of those closed since the last look.
    private var meters: [Meter] = []
    /// IP and UDP headers of a datagram.
    private static let headerV4 = 20 + 8, headerV6 = 40 + 8

    /// A socket of the uplink is used from now on.
    mutating func add(_ socket: DatagramSocket, of uplink: String) {
        meters.append(Meter(socket: socket, uplink: uplink))
    }

    /// Hands over what was moved since the last call; `open` are the sockets that go on, others are
    /// forgotten.
    mutating func collect(
        open: [DatagramSocket], _ count: (String, UsageLedger.Volume) -> Void
    ) {
        for place in meters.indices {
            let meter = meters[place], now = meter.socket.statistics, was = meter.counted
            meters[place].counted = now
            let header = meter.socket.isIPv4 ? Self.headerV4 : Self.headerV6
            let volume = UsageLedger.Volume(
                sent: now.bytesSent - was.bytesSent
                    + (now.datagramsSent - was.datagramsSent) * header,
                received: now.bytesReceived - was.bytesReceived
                    + (now.datagramsReceived - was.datagramsReceived) * header)
            if volume.total > 0 { count(meter.uplink, volume) }
        }
        meters.removeAll { meter in !open.contains { $0 === meter.socket } }
    }
}
