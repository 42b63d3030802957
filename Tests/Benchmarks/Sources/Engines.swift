import Buffers
import CountedMalloc
import Crypto
import Measures
import Multipath
import Subflow
import Tunnel
import Wire

/// Segments and costs of a transfer in memory after it has warmed up.
private struct Cost {
    var segments = 0
    var time = 0.0
    var allocations = 0

    func figures(_ name: String) -> [Figure] {
        let n = Double(max(segments, 1))
        return [
            Figure(
                name: "\(name): whole engine, both ends, per data segment", value: time / n,
                unit: "ns"),
            Figure(
                name: "\(name): allocations per 1000 data segments",
                value: Double(allocations) * 1000 / n, unit: "", aim: "0")
        ]
    }
}

private let warmUp = 20_000, measured = 200_000
/// How far the virtual clock moves between turns: it is the round trip, too.
private let step = Interval.microseconds(200)

/// Two connections in memory, one path, bulk data one way: no session, no cipher, no kernel.
enum ConnectionBenchmark {
    static func run() -> [Figure] {
        var now = Instant.zero
        var configuration = ConnectionConfiguration()
        configuration.subflow.earlyData = true
        let a = Connection(role: .initiator, configuration: configuration, localKey: 1, at: now)
        let b = Connection(role: .listener, configuration: configuration, localKey: 2, at: now)
        let ends = (
            a: a.open(
                path: 0, localPort: 40_000, remotePort: 443, initialSequence: SubflowSequence(1),
                backup: false,
                estimate: nil, at: now), b: SubflowIndex?.none
        )
        var accepted = ends.b, out = OutgoingSegment()
        let flat = UnsafeMutableRawBufferPointer.allocate(byteCount: 2048, alignment: 64)
        defer { flat.deallocate() }
        var cost = Cost(), dataSegments = 0, start = 0.0, allocations: UInt = 0
        func carry(_ from: Connection, _ to: Connection) -> Int {
            var data = 0
            while from.nextSegment(at: now, into: &out) {
                let n = out.payload.first.count
                if let base = out.payload.first.baseAddress {
                    flat.baseAddress!.copyMemory(from: base, byteCount: n)
                }
                if let base = out.payload.second.baseAddress {
                    (flat.baseAddress! + n).copyMemory(
                        from: base, byteCount: out.payload.second.count)
                }
                let payload = UnsafeRawBufferPointer(
                    start: flat.baseAddress!, count: out.payload.count)
                if payload.count > 0 { data += 1 }
                if to === b, accepted == nil {
                    accepted = b.accept(
                        out.segment, payload: payload, path: 0,
                        initialSequence: SubflowSequence(9), estimate: nil, at: now)
                } else {
                    to.receive(
                        out.segment, payload: payload, subflow: to === a ? ends.a : accepted ?? 0,
                        at: now)
                }
            }
            return data
        }
        while dataSegments < warmUp + measured {
            if dataSegments >= warmUp, start == 0 {
                start = threadTime()
                allocations = counted_allocations()
                cost.segments = -dataSegments
            }
            now += step
            a.advance(to: now)
            b.advance(to: now)
            _ = a.takeEvents()
            _ = b.takeEvents()
            while case let space = a.writeSpace(1 << 16), space.count > 0 {
                a.commitWrite(space.count, at: now)
            }
            dataSegments += carry(a, b)
            if accepted != nil {
                while case let n = b.readable.count, n > 0 { b.consume(n, at: now) }
            }
            _ = carry(b, a)
            guard now < .zero + .seconds(600) else {
                return [
                    Figure(
                        name: "connection: stalled", value: Double(dataSegments), unit: "segments")
                ]
            }
        }
        cost.segments += dataSegments
        cost.time = threadTime() - start
        cost.allocations = Int(counted_allocations() - allocations)
        return cost.figures("connection")
    }
}

/// A proxy's and a concentrator's endpoint in memory, one uplink, one download: no kernel.
enum EndpointBenchmark {
    static func run() -> [Figure] {
        var now = Instant.zero
        func key(_ n: UInt8) -> Key32 {
            [UInt8](repeating: n, count: 32).withUnsafeBytes { Key32($0) }
        }
        let client = StaticKeyPair(privateKey: key(3)), server = StaticKeyPair(privateKey: key(5))
        let there = SocketAddress(IPAddress(v4: 0xcb00_7101), port: 443),
            here = SocketAddress(IPAddress(v4: 0xc633_6401), port: 5000)
        let proxy = Endpoint(
            configuration: EndpointConfiguration(
                role: .proxy(concentrator: [there], publicKey: server.publicKey, preSharedKey: nil),
                identity: client), seed: key(7), at: now)
        let concentrator = Endpoint(
            configuration: EndpointConfiguration(
                role: .concentrator(users: [.init(name: "user", publicKey: client.publicKey)]),
                identity: server), seed: key(8), at: now)
        proxy.addUplink(Uplink(number: 0, name: "memory"), at: now)
        let reader = proxy.open(Target(host: .name("benchmark"), port: 80), at: now)
        var writer: StreamHandle?
        let batch = DatagramBatch()
        var cost = Cost(), datagrams = 0, start = 0.0, allocations: UInt = 0
        func carry(fromProxy: Bool) -> Int {
            var count = 0, more = true
            let from = fromProxy ? proxy : concentrator, to = fromProxy ? concentrator : proxy
            while more {
                more = from.transmit(into: batch, at: now)
                for run in batch.runs {
                    for i in 0..<run.datagrams {
                        let offset = run.offset + i * run.segmentSize
                        let n = min(run.segmentSize, run.length - i * run.segmentSize)
                        to.receive(
                            UnsafeMutableRawBufferPointer(start: batch.arena + offset, count: n),
                            from: fromProxy ? here : there,
                            local: fromProxy ? there.address : here.address, uplink: 0, at: now)
                        if n > 1000 { count += 1 }
                    }
                }
                batch.removeAll()
            }
            return count
        }
        while datagrams < warmUp + measured {
            if datagrams >= warmUp, start == 0 {
                start = threadTime()
                allocations = counted_allocations()
                cost.segments = -datagrams
            }
            now += step
            proxy.advance(to: now)
            concentrator.advance(to: now)
            while proxy.nextEvent() != nil {}
            while let event = concentrator.nextEvent() {
                if case .incoming(let handle, _, _) = event {
                    writer = handle
                    handle.answer(with: .connected, at: now)
                }
            }
            if let writer {
                while case let space = writer.writeSpace(1 << 16), space.count > 0 {
                    writer.commitWrite(space.count, at: now)
                }
            }
            datagrams += carry(fromProxy: false)
            while case let n = reader.readable.count, n > 0 {
                reader.consume(n, at: now)
            }
            _ = carry(fromProxy: true)
            guard now < .zero + .seconds(600) else {
                return [
                    Figure(name: "endpoint: stalled", value: Double(datagrams), unit: "segments")
                ]
            }
        }
        cost.segments += datagrams
        cost.time = threadTime() - start
        cost.allocations = Int(counted_allocations() - allocations)
        return cost.figures("endpoint")
    }
}
