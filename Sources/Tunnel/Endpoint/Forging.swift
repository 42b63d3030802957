import Buffers
import Crypto
import Multipath
import Wire

/// For the tests, benchmarks and fuzz targets of this package: a peer with the keys who keeps to no
/// rule.
extension Endpoint {
    /// A datagram with these frames, sealed as the first session's next record on `path`; nil where
    /// there is no such session or path.
    package func forge(_ frames: [UInt8], path id: PathID) -> [UInt8]? {
        guard let session = sessions.first(where: { $0 != nil }) ?? nil,
            let path = session.paths[id]
        else { return nil }
        return session.forge(frames, path, number: path.records.takeNumber())
    }
}

extension Session {
    fileprivate func forge(
        _ frames: [UInt8], _ path: Path, number: UInt64
    ) -> [UInt8] {
        let header = DatagramHeader(
            kind: .record, epoch: keys.current.epoch, path: path.id.octet,
            session: indices.remote,
            number: UInt32(truncatingIfNeeded: number & 0xff_ffff))
        var out = [UInt8](
            repeating: 0, count: DatagramHeader.size + frames.count + RecordCipher.tagBytes)
        out.withUnsafeMutableBytes { bytes in
            header.write(into: bytes.baseAddress!)
            frames.withUnsafeBytes { plain in
                _ = keys.current.seal(
                    path: UInt32(truncatingIfNeeded: path.id.number), packetNumber: number,
                    associated: UnsafeRawBufferPointer(rebasing: bytes[..<DatagramHeader.size]),
                    head: plain, payload: .empty, into: bytes.baseAddress! + DatagramHeader.size)
            }
        }
        return out
    }
}
