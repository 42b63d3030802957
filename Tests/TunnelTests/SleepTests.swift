import Crypto
import Glibc
import Measures
import Testing

@testable import Tunnel
@testable import Wire

/// Sessions that outlive their keys: a laptop asleep, an outage of minutes, and what becomes of the
/// keys.
@Suite struct SleepTests {
    /// The lid is shut for `pause`; then the machine is in the same networks, behind other ports.
    private func sleep(_ world: World, _ pause: Interval) {
        world.isAsleep = true
        world.run(pause)
        for i in world.externalPort.indices { world.externalPort[i] &+= 100 }
        world.isAsleep = false
    }

    private func resumed(_ world: World, _ side: Character) -> Int {
        world.log.filter { $0.hasPrefix("\(side) resumed") }.count
    }

    @Test(arguments: [
        Interval.seconds(20), .seconds(150), .seconds(400), .seconds(3600), .seconds(80_000)
    ])
    func connectionsGoOnAfterSleep(_ pause: Interval) {
        let world = World(seed: 500 + UInt64(pause.nanoseconds / 1_000_000_000))
        let idle = world.open(port: 1, sending: 100)
        let download = world.open(port: 20_000), upload = world.open(port: 2, sending: 20_000_000)
        // An application that keeps its connection open.
        let open = world.open(port: 30_000)
        world.run(.seconds(3))
        #expect(idle.isDone && download.received > 100_000)
        sleep(world, pause)
        let before = (download.received, world.now)
        #expect(world.run(.seconds(2)) { download.received > before.0 + 50_000 })
        #expect(world.now - before.1 < .milliseconds(600), "\(pause): a round trip or two")
        #expect(
            world.run(.seconds(120)) { download.isDone && upload.isDone && open.isDone },
            "received \(download.received) and \(open.received), sent \(upload.sentCount)")
        #expect(
            !download.failed && !upload.failed && download.wrong == 0
                && download.received == 20_000_000)
        #expect(resumed(world, "P") == (pause > .seconds(180) ? 1 : 0))
        #expect(resumed(world, "C") == resumed(world, "P"))
        #expect(world.log.filter { $0.contains("opened") }.count == 2, "no other session")
        #expect(world.proxy.host.counters.notAuthentic == 0)
    }

    /// The concentrator was restarted meanwhile: nothing can be kept, and that is told at once.
    @Test func whatCannotBeKeptIsResetAtOnce() {
        let world = World(seed: 510)
        let download = world.open(port: 20_000)
        world.run(.seconds(2))
        world.isAsleep = true
        world.run(.seconds(1800))
        world.restartConcentrator()
        world.run(.seconds(1800))
        world.isAsleep = false
        #expect(world.run(.milliseconds(500)) { download.failed })
        let next = world.open(port: 100)
        #expect(world.run(.seconds(5)) { next.isDone })
    }

    /// Another process with the same key does not take the session over; the old one ends when its
    /// time is up.
    @Test func aSilentSessionEndsAfterItsTime() {
        let world = World(seed: 511, limits: { $0.sessionSilence = .seconds(1000) })
        let download = world.open(port: 20_000)
        world.run(.seconds(2))
        world.isAsleep = true
        world.run(.seconds(990))
        #expect(!world.log.contains { $0.hasPrefix("C closed") })
        world.run(.seconds(20))
        #expect(world.log.contains { $0.hasPrefix("C closed") && $0.hasSuffix("silent") })
        #expect(world.concentrator.report(at: world.now).connections == 0)
        world.isAsleep = false
        #expect(world.run(.milliseconds(500)) { download.failed })
    }

    /// An outage longer than the keys live, awake: what leaves after their time is hellos only.
    @Test func deadKeysSendNothing() {
        let world = World(seed: 512)
        let download = world.open(port: 20_000), upload = world.open(port: 2, sending: 20_000_000)
        world.run(.seconds(2))
        for i in 0..<2 { world.up[i].isOut = true; world.down[i].isOut = true }
        world.run(.seconds(185))
        var records = 0, hellos = 0
        world.filter = { _, _, bytes in
            if bytes[0] >> 4 == 4 { records += 1 } else { hellos += 1 }
            return true
        }
        world.run(.seconds(600))
        #expect(records == 0 && hellos > 50)
        world.filter = nil
        for i in 0..<2 { world.up[i].isOut = false; world.down[i].isOut = false }
        #expect(world.run(.seconds(60)) { download.isDone && upload.isDone })
        #expect(!download.failed && download.wrong == 0)
    }

    /// A record of the past opens nothing, however it comes: the keys it was sealed with are gone.
    @Test func oldRecordsAreNotTaken() {
        let world = World(seed: 513)
        world.open(port: 20_000)
        var seen: [[UInt8]] = []
        world.filter = { toProxy, _, bytes in
            if !toProxy, bytes[0] >> 4 == 4 { seen.append(bytes) }
            return true
        }
        world.run(.seconds(2))
        sleep(world, .seconds(600))
        world.filter = nil
        world.run(.seconds(2))
        let dropped = world.concentrator.host.counters
        for bytes in seen.suffix(50) {
            world.inject(bytes, toProxy: false, uplink: 0, from: world.external(0))
        }
        #expect(world.concentrator.host.counters.unknownSession == dropped.unknownSession + 50)
    }

    /// No copy of a record key is left in the process once its session has ended. (The old code
    /// kept it in the freed memory of the cipher.)
    @Test func keysAreWipedWithTheSession() throws {
        let world = World(seed: 514)
        let client = world.open(port: 100)
        #expect(world.run(.seconds(5)) { client.isDone })
        let session = try #require(world.proxy.currentSession)
        let masked = [session.keys.current.send?.masked(), session.keys.current.receive?.masked()]
            .compactMap {
                $0
            }
        #expect(masked.count == 2)
        #expect(masked.allSatisfy { Memory.holds($0) }, "the search finds what is there")
        world.proxy.shutDown(at: world.now)
        world.run(.seconds(1))
        #expect(world.concentrator.sessions.allSatisfy { $0 == nil })
        for key in masked { #expect(!Memory.holds(key)) }
    }
}

/// The process' own memory, searched for what must not be there.
private enum Memory {
    /// Whether 32 bytes of the heap, exclusive-or with 0xa5, are `masked`. (A pattern in the open
    /// would find itself.)
    static func holds(_ masked: [UInt8]) -> Bool {
        guard let maps = fopen("/proc/self/maps", "r") else { return false }
        defer { fclose(maps) }
        var line = [CChar](repeating: 0, count: 512)
        var areas: [(UInt, UInt)] = []
        while fgets(&line, 512, maps) != nil {
            let text = String(
                decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            let words = text.split(separator: " ", omittingEmptySubsequences: true)
            guard words.count >= 5, words[1].hasPrefix("rw"), words[4] == "0" else { continue }
            let ends = words[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
            if ends.count == 2, !text.contains("[stack]"), !text.contains("[v") {
                areas.append((ends[0], ends[1]))
            }
        }
        let file = Glibc.open("/proc/self/mem", O_RDONLY)
        defer { close(file) }
        let first = masked[0] ^ 0xa5, room = 1 << 20
        let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: room, alignment: 16)
        defer { chunk.deallocate() }
        for (start, end) in areas {
            var at = start
            while at < end {
                let n = pread(file, chunk.baseAddress, min(room, Int(end - at)), off_t(at))
                guard n > 0 else { break }
                // What this search itself has read is no finding.
                let own = UInt(bitPattern: chunk.baseAddress)
                let from = max(at, own), to = min(at + UInt(n), own + UInt(room))
                if from < to { memset(chunk.baseAddress! + Int(from - at), 0, Int(to - from)) }
                if find(masked, first, in: chunk, n) { return true }
                at += UInt(max(n - 31, 1))
                if n < 32 { break }
            }
        }
        return false
    }

    private static func find(
        _ masked: [UInt8], _ first: UInt8, in chunk: UnsafeMutableRawBufferPointer, _ n: Int
    ) -> Bool {
        var at = 0
        while at + 32 <= n, let hit = memchr(chunk.baseAddress! + at, Int32(first), n - at - 31) {
            let offset = hit - UnsafeMutableRawPointer(chunk.baseAddress!)
            if masked.indices.allSatisfy({ chunk[offset + $0] ^ 0xa5 == masked[$0] }) {
                return true
            }
            at = offset + 1
        }
        return false
    }
}
