import Logging
import Measures
import Tunnel
import Wire

/// `--pcap`: what travels inside the tunnel as raw-IP segments, in a file that Wireshark opens.
public final class SegmentCapture {
    private let writer: CaptureWriter
    private let record: UnsafeMutableRawBufferPointer

    /// Records every segment `endpoint` sends or receives from now on.
    public init(path: String, endpoint: Endpoint, loop: EventLoop) throws(SystemError) {
        let writer = try CaptureWriter(path: path, loop: loop)
        let record = UnsafeMutableRawBufferPointer.allocate(byteCount: CaptureFile.mostOctets(payloadLength: 1 << 16), alignment: 8)
        self.writer = writer
        self.record = record
        CaptureFile.header.withUnsafeBytes { writer.append($0) }
        let epoch = EventLoop.epoch()
        endpoint.capture = { [unowned self] segment, payload, from, to, at in
            let time = epoch &+ UInt64(bitPattern: at.nanoseconds)
            guard let n = CaptureFile.write(segment, payload: payload, from: from.address, to: to.address, at: time,
                                            into: self.record.baseAddress!, capacity: self.record.count) else { return }
            self.writer.append(UnsafeRawBufferPointer(rebasing: self.record[..<n]))
        }
    }

    deinit { record.deallocate() }

    /// Writes what is buffered and ends the capture.
    public func close(_ endpoint: Endpoint) {
        endpoint.capture = nil
        writer.close()
    }
}
