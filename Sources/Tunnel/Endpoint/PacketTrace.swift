import Buffers
import Measures
import Multipath
import Wire

/// The addresses a packet trace shows: a path's own where they are known, made-up ones else, but
/// always the same pair for a path, so that a subflow stays one conversation.
extension Session {
    /// Not inlined: what is seldom done with the whole segment would have it copied each time.
    @inline(never)
    func trace(_ outgoing: inout OutgoingSegment, _ path: Path, at now: Instant) {
        traceOutgoing(outgoing.segment, outgoing.payload, path, at: now)
    }

    func traceOutgoing(
        _ segment: borrowing Segment, _ payload: Pieces, _ path: Path, at now: Instant
    ) {
        let (local, remote) = addresses(path)
        host.observers.packetTrace?(
            segment, payload, SocketAddress(local, port: segment.sourcePort),
            SocketAddress(remote, port: segment.destinationPort), now)
    }

    func traceIncoming(
        _ segment: borrowing Segment, _ payload: UnsafeRawBufferPointer, _ path: Path,
        at now: Instant
    ) {
        let (local, remote) = addresses(path)
        host.observers.packetTrace?(
            segment, Pieces(first: payload, second: Pieces.empty.second),
            SocketAddress(remote, port: segment.sourcePort),
            SocketAddress(local, port: segment.destinationPort), now)
    }

    private func addresses(_ path: Path) -> (local: IPAddress, remote: IPAddress) {
        if let known = path.traceAddresses { return known }
        let remote = path.remote.address
        var local = localAddress(path)
        if local == .unspecifiedV4 || local == .unspecifiedV6 || local.isIPv4 != remote.isIPv4 {
            // 10.0.path.1 or fd00::path, which no path of ours has by itself.
            local =
                remote.isIPv4
                ? IPAddress(v4: 0x0a00_0001 | UInt32(truncatingIfNeeded: path.id.number) << 8)
                : IPAddress(v6High: 0xfd00_0000_0000_0000, low: UInt64(path.id.octet) + 1)
        }
        path.traceAddresses = (local, remote)
        return (local, remote)
    }
}
