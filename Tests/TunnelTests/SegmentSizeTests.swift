import Buffers
import Crypto
import Measures
import Multipath
import Testing
import Wire

@testable import Tunnel

/// A segment is as long as its datagram takes, whatever its head says: it is measured before TCP
/// counts it, and never cut behind TCP's back.
@Suite struct SegmentSizeTests {
    /// Sent and counted at the proxy: segments by the observer of what goes into the tunnel, and by
    /// TCP.
    @Test(arguments: 1...6 as ClosedRange<UInt64>) func whatLeavesIsWhatTCPCounts(_ seed: UInt64) {
        let world = World(seed: seed, uplinks: 1)
        world.up[0].loss = seed < 3 ? 0 : 0.02
        var sent = 0, longest = 0, longestDatagram = 0
        world.filter = { _, _, bytes in
            longestDatagram = max(longestDatagram, bytes.count)
            return true
        }
        world.proxy.packetTrace = { segment, payload, _, to, _ in
            if to.port == SealedSegment.listenerPort { sent += 1 }
            longest = max(longest, payload.count)
        }
        let client = world.open(port: 2, sending: 600_000)
        var counted = 0
        let isDone = world.run(.seconds(60)) {
            if let tcp = client.stream.connection.subflow(0) {
                counted = tcp.statistics.segmentsSent
                if counted != sent { return true }
            }
            return client.isDone
        }
        #expect(isDone && counted == sent, "TCP counts \(counted) segments, \(sent) left")
        #expect(longest > 1_300 && longestDatagram == 1_472)
    }
}
