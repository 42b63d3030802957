import Crypto
import Measures
import Testing

@testable import Tunnel
@testable import Wire

/// A frame that means nothing at the receiver takes none of those behind it away.
@Suite struct SkippedFrameTests {
    /// Frames in an authentic record of one side, under its next packet number.
    static func inject(_ frames: [UInt8], toProxy: Bool, _ world: World) throws {
        let from = toProxy ? world.concentrator : world.proxy
        let session = try #require(from.sessions.first ?? nil),
            path = try #require(session.paths[0])
        let number = path.records.takeNumber()
        let header = DatagramHeader(
            kind: .record, epoch: session.keys.current.epoch, path: 0,
            session: session.indices.remote,
            number: UInt32(truncatingIfNeeded: number & 0xff_ffff))
        var out = [UInt8](
            repeating: 0, count: DatagramHeader.size + frames.count + RecordCipher.tagBytes)
        out.withUnsafeMutableBytes { bytes in
            header.write(into: bytes.baseAddress!)
            frames.withUnsafeBytes { plain in
                _ = session.keys.current.send?.seal(
                    path: 0, packetNumber: number,
                    associated: UnsafeRawBufferPointer(rebasing: bytes[..<DatagramHeader.size]),
                    head: plain, payload: .empty, into: bytes.baseAddress! + DatagramHeader.size)
            }
        }
        world.inject(
            out, toProxy: toProxy, uplink: 0, from: toProxy ? World.far : world.external(0))
    }

    /// What the other side may not understand; `N` stands for the number of a subflow that is
    /// there.
    static let frames: [(String, [UInt8?])] = [
        (
            "a segment of no subflow",
            [0xa0, 0x03, 0xff, 13, 0, 0, 0, 1, 0x0c, 0, 0, 0, 1, 8, 0, 0, 0]
        ),
        ("one whose length takes two bytes", [0xa0, 0x03, 0xff, 0x80, 4, 0, 0, 0, 1]),
        ("a general one, an RST", [0xe0, 0x03, 0xff, 8, 0x04, 0, 0, 0, 0, 9, 0, 0]),
        ("data without ACK", [0xe0, 0x03, 0xff, 9, 0, 0, 0, 0, 0, 9, 0, 0, 66]),
        ("an empty segment", [0xa0, 0x03, 0xff, 0]),
        ("an era that is gone", [0xa5, nil, nil, 5, 0, 0, 0, 1, 66]),
        ("no era at all", [0xa7, nil, nil, 5, 0, 0, 0, 1, 66]),
        ("a head cut short", [0xa0, nil, nil, 2, 0, 0]),
        ("options that can't be", [0xe0, nil, nil, 11, 0x10, 3, 0, 0, 0, 9, 0, 0, 30, 3, 0]),
        ("zero bits set", [0xbf, nil, nil, 4, 0, 0, 0, 0]),
        ("a type to come", [0x7f, 3, 1, 2, 3]),
        ("path 255", [3, 255, 0, 5, 1, 1]),
        ("a rekey that does not open", [5, 9, 2, 1, 1])
    ]

    @Test(arguments: frames.indices, [true, false])
    func whatStandsBehindItCounts(_ i: Int, _ toProxy: Bool) throws {
        let (what, bytes) = Self.frames[i]
        let world = World(seed: 700)
        world.open(port: 1, sending: 50_000_000)
        #expect(world.run(.seconds(2)) { (world.servers.first?.received ?? 0) > 100_000 })
        let to = toProxy ? world.proxy : world.concentrator
        let session = try #require(to.sessions.first ?? nil)
        let number = try #require(to.host.streams.compactMap { $0 }.first).links[0].number
        let low = [UInt8(number >> 8), UInt8(number & 255)]
        var missing = 0
        let skipped = bytes.map { byte -> UInt8 in
            if let byte { return byte }
            missing += 1
            return low[missing - 1]
        }
        guard case .used = session.numbers.lookup(number) else {
            Issue.record("not there"); return
        }
        try Self.inject(skipped + [8] + low + [0], toProxy: toProxy, world)
        if case .used = session.numbers.lookup(number) {
            Issue.record("\(what): the reset behind it was not read")
        }
    }

    /// Without a length, the reading ends: nobody knows where the next frame begins.
    @Test func anUnassignedTypeEndsTheReading() throws {
        let world = World(seed: 701)
        world.open(port: 1, sending: 50_000_000)
        #expect(world.run(.seconds(2)) { (world.servers.first?.received ?? 0) > 100_000 })
        let session = try #require(world.concentrator.sessions.first ?? nil)
        let number = try #require(world.concentrator.host.streams.compactMap { $0 }.first).links[0]
            .number
        let low = [UInt8(number >> 8), UInt8(number & 255)]
        try Self.inject([0x0c, 0, 8] + low + [0], toProxy: false, world)
        guard case .used = session.numbers.lookup(number) else {
            Issue.record("read on"); return
        }
    }
}
