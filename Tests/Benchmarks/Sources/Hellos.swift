import Buffers
import Crypto
import Measures
import Tunnel
import Wire

/// What a datagram of each kind costs a concentrator, from `receive` to the answer in the batch:
/// what strangers send, beside a record of a user's. A thousand come in a tenth of a second, 10,000
/// a second.
enum HelloBenchmark {
    static func run() -> [Figure] {
        let kinds: [(name: String, make: (HelloFlood, Int) -> [UInt8])] = [
            ("record of an unknown session", { flood, i in flood.bytes(64, 0x40, i) }),
            ("record of a known session, not authentic", { flood, i in flood.forgedRecord(i) }),
            ("hello of random bytes", { flood, i in flood.bytes(HelloDatagram.size, 0x10, i) }),
            ("hello of random bytes, mac1 right, one address", { flood, i in flood.hello(i) }),
            (
                "hello of random bytes, mac1 right, many addresses",
                { flood, i in
                    flood.spread = true; return flood.hello(i)
                }
            )
        ]
        let record = Figure(
            name: "hellos: record, a probe and its answer", value: HelloFlood().recordCost() / 1000,
            unit: "us")
        return [record]
            + kinds.map { kind in
                let flood = HelloFlood()
                let datagrams = (0..<1000).map { kind.make(flood, $0) }
                let cost = flood.cost(of: datagrams)
                return Figure(name: "hellos: " + kind.name, value: cost / 1000, unit: "us")
            }
    }
}

/// A concentrator with one session, and somebody who sends it things.
private final class HelloFlood {
    var spread = false
    private var now = Instant.zero + .seconds(1)
    private let concentrator: Endpoint
    private let proxy: Endpoint
    private let batch = DatagramBatch()
    private var random = SeededRandom(seed: 9)
    private let keys: HelloKeys
    private var known: [UInt8] = []
    private static let there = SocketAddress(IPAddress(v4: 0xcb00_7101), port: 443)
    private static let here = SocketAddress(IPAddress(v4: 0xc633_6401), port: 5000)

    init() {
        func key(_ n: UInt8) -> Key32 {
            [UInt8](repeating: n, count: 32).withUnsafeBytes { Key32($0) }
        }
        let client = StaticKeyPair(privateKey: key(3)), server = StaticKeyPair(privateKey: key(5))
        keys = HelloKeys(concentrator: server.publicKey)
        proxy = Endpoint(
            configuration: EndpointConfiguration(
                role: .proxy(
                    concentrator: [Self.there], publicKey: server.publicKey, preSharedKey: nil),
                identity: client), seed: key(7), at: now)
        concentrator = Endpoint(
            configuration: EndpointConfiguration(
                role: .concentrator(users: [.init(name: "user", publicKey: client.publicKey)]),
                identity: server),
            seed: key(8), at: now)
        proxy.addUplink(Uplink(number: 0, name: "memory"), at: now)
        for _ in 0..<20 { turn(); now += .milliseconds(10) }
    }

    private func turn() {
        proxy.advance(to: now)
        for bytes in drain(proxy) {
            known = bytes
            give(bytes, from: Self.here)
        }
        concentrator.advance(to: now)
        for bytes in drain(concentrator) {
            var copy = bytes
            copy.withUnsafeMutableBytes {
                proxy.receive($0, from: Self.there, local: Self.here.address, uplink: 0, at: now)
            }
        }
    }

    private func drain(_ endpoint: Endpoint) -> [[UInt8]] {
        var out: [[UInt8]] = [], more = true
        while more {
            while endpoint.nextEvent() != nil {}
            more = endpoint.transmit(into: batch, at: now)
            for run in batch.runs {
                for i in 0..<run.datagrams {
                    let at = run.offset + i * run.segmentSize,
                        n = min(run.segmentSize, run.length - i * run.segmentSize)
                    out.append(Array(UnsafeRawBufferPointer(start: batch.arena + at, count: n)))
                }
            }
            batch.removeAll()
        }
        return out
    }

    private func give(_ datagram: [UInt8], from: SocketAddress) {
        var copy = datagram
        copy.withUnsafeMutableBytes {
            concentrator.receive($0, from: from, local: Self.there.address, uplink: 0, at: now)
        }
    }

    /// Nanoseconds for a record of the proxy's own accord (it probes its path every 20 s) and what
    /// answers it.
    func recordCost() -> Double {
        var spent = 0.0, count = 0
        while count < 500 {
            now += .seconds(5)
            proxy.advance(to: now)
            for bytes in drain(proxy) {
                let start = threadTime()
                give(bytes, from: Self.here)
                concentrator.advance(to: now)
                let answers = drain(concentrator)
                spent += threadTime() - start
                count += 1
                for var answer in answers {
                    answer.withUnsafeMutableBytes {
                        proxy.receive(
                            $0, from: Self.there, local: Self.here.address, uplink: 0, at: now)
                    }
                }
            }
        }
        return spent / Double(count)
    }

    func bytes(_ count: Int, _ first: UInt8, _ i: Int) -> [UInt8] {
        [first] + (1..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    func forgedRecord(_ i: Int) -> [UInt8] {
        var forged = Array(known[..<5]) + [0, UInt8(i >> 8 & 255), UInt8(i & 255)]
        forged[5] = 1  // a number that has not been seen
        return forged + (0..<1400).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    func hello(_ i: Int) -> [UInt8] {
        var datagram = bytes(HelloDatagram.mac1, 0x10, i)
        withUnsafeBytes(of: datagram.withUnsafeBytes { keys.mac1($0) }) { datagram += $0 }
        return datagram + [UInt8](repeating: 0, count: 16)
    }

    /// Nanoseconds for each, 100 microseconds apart, with everything the concentrator does of it.
    func cost(of datagrams: [[UInt8]]) -> Double {
        let start = threadTime()
        for (i, datagram) in datagrams.enumerated() {
            now += .microseconds(100)
            let address = IPAddress(v4: 0x0102_0304 + (spread ? UInt32(i) : 0))
            give(
                datagram, from: datagram[0] >> 4 == 4 ? Self.here : SocketAddress(address, port: 99)
            )
            concentrator.advance(to: now)
            while concentrator.nextEvent() != nil {}
            while concentrator.transmit(into: batch, at: now) { batch.removeAll() }
            batch.removeAll()
        }
        return (threadTime() - start) / Double(datagrams.count)
    }
}
