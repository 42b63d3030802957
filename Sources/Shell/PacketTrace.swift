import Logging
import Measures
import Tunnel
import Wire

/// `--pcap`: what travels inside the tunnel as raw-IP segments, in a file that Wireshark opens.
public final class PacketTrace {
    private let writer: PcapWriter
    private var recorder = PcapRecorder()

    /// Records every segment `endpoint` sends or receives from now on.
    public init(path: String, endpoint: Endpoint, loop: EventLoop) throws(SystemError) {
        let writer = try PcapWriter(path: path, follows: Succession.isUnderWay, loop: loop)
        self.writer = writer
        PcapFile.header.withUnsafeBytes { writer.append($0) }
        let epoch = EventLoop.epoch()
        // Kept by the endpoint until `close`.
        endpoint.packetTrace = { [self] segment, payload, from, to, at in
            let time = epoch &+ UInt64(bitPattern: at.nanoseconds)
            self.recorder.record(
                segment, payload: payload, from: from.address, to: to.address, at: time
            ) {
                writer.append($0)
            }
        }
    }

    /// Writes what is buffered and ends the file.
    public func close(_ endpoint: Endpoint) {
        endpoint.packetTrace = nil
        recorder.finish(at: EventLoop.wallClock()) { writer.append($0) }
        writer.close()
    }
}
