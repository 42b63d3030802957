import Buffers
import Measures
import Tunnel

/// A world's datagrams: off the links, and onto them.
extension World {
    /// Hands over what the links deliver at this moment; whether anything was.
    func deliver() -> Bool {
        var busy = false
        for i in lanes.indices {
            for (n, link) in lanes[i].ups.enumerated() {
                while let packet = link.deliver(at: now) {
                    addresses.arrived(from: lanes[i].publicAddress, bytes: packet.count)
                    arriving?(now, true, i, UnsafeRawBufferPointer(packet.bytes))
                    concentrator.receive(
                        packet.bytes, from: lanes[i].publicAddress, local: Self.server(n).address,
                        uplink: 0, at: now)
                    busy = true
                }
            }
            for (n, link) in lanes[i].downs.enumerated() {
                while let packet = link.deliver(at: now) {
                    addresses.reached(lanes[i].publicAddress)
                    arriving?(now, false, i, UnsafeRawBufferPointer(packet.bytes))
                    proxy.receive(
                        packet.bytes, from: Self.server(n),
                        local: IPAddress(v4: 0x0a00_0002 + UInt32(i) << 8),
                        uplink: UplinkNumber(i), at: now)
                    busy = true
                }
            }
        }
        return busy
    }

    private static func server(_ n: Int) -> SocketAddress {
        n == 0 ? concentratorAddress : secondAddress
    }

    /// Puts what one end sends onto the links; whether it sent anything.
    func transmit(fromProxy: Bool) -> Bool {
        let endpoint = fromProxy ? proxy : concentrator
        // Whoever drives an engine looks at its deadline alone.
        let isDue = endpoint.deadline <= now
        var sent = false, more = true, rounds = 0
        while more, failure == nil {
            more = endpoint.transmit(into: batch, at: now)
            for run in batch.runs {
                for i in 0..<run.datagrams {
                    let start = i * run.segmentSize
                    let bytes = UnsafeRawBufferPointer(
                        start: batch.arena + run.offset + start,
                        count: min(run.segmentSize, run.length - start))
                    send(bytes, fromProxy: fromProxy, run)
                    sent = true
                }
            }
            batch.removeAll()
            rounds += 1
            if rounds > 10_000 { failure = "transmit never ends" }
        }
        if sent, !isDue {
            failure =
                "the \(fromProxy ? "proxy" : "concentrator") sends what its deadline did not tell"
        }
        return sent
    }

    private func send(_ bytes: UnsafeRawBufferPointer, fromProxy: Bool, _ run: DatagramBatch.Run) {
        nonces.sent(bytes, to: fromProxy ? 1 : 0)
        if bytes.count > Self.datagramLimit {
            failure = "a datagram of \(bytes.count) bytes where \(Self.datagramLimit) fit"
        }
        let uplink: Int
        if fromProxy {
            uplink = run.uplink.value
            guard
                run.remote == Self.concentratorAddress
                    || (run.remote == Self.secondAddress && options.second != nil),
                lanes.indices.contains(uplink)
            else {
                failure = "the proxy sends to \(run.remote) through uplink \(uplink)"
                return
            }
        } else {
            addresses.sent(to: run.remote, bytes: bytes.count)
            guard let found = lanes.firstIndex(where: { $0.publicAddress == run.remote }) else {
                // An old address of an uplink whose NAT forgot it; or somebody who should get no
                // answer.
                if !wasPublic(run.remote) {
                    failure = "the concentrator answers a stranger at \(run.remote)"
                }
                return
            }
            uplink = found
        }
        trace.add(bytes, lane: uplink * 2 + (fromProxy ? 0 : 1), at: now)
        observer?(now, fromProxy, uplink, bytes)
        if lanes[uplink].isDown { return }
        if let loses, loses(now, fromProxy, uplink, bytes) { return }
        let smallLoss = fromProxy ? lanes[uplink].smallLossUp : lanes[uplink].smallLossDown
        if smallLoss > 0, bytes.count < Self.smallDatagram, random.chance(smallLoss) { return }
        let n = (fromProxy ? run.remote.address : run.local) == Self.secondAddress.address ? 1 : 0
        guard let packet = pool.packet(copying: bytes) else {
            failure = "packet pool exhausted"; return
        }
        (fromProxy ? lanes[uplink].ups[n] : lanes[uplink].downs[n]).offer(
            packet,
            lineBytes: bytes.count
                + Self.headerBytes,
            at: now)
    }

    /// Public addresses differ in the port from rebinding to rebinding, and never are those of
    /// strangers.
    private func wasPublic(_ address: SocketAddress) -> Bool {
        lanes.contains { $0.publicAddress.address == address.address }
            || formerAddresses.contains(address.address)
    }
}
