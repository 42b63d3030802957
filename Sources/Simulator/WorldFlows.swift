import Measures
import Tunnel
import Wire

/// Associations of a world: each sends datagrams to a few targets, all of which send everything
/// back.
///
/// Checked: no byte is wrong, none comes twice or from another flow, and when all have ended
/// nothing of them is left at either end.
final class WorldFlows: StreamOwner {
    // The world hears of the events itself.
    func answered(_ status: DialStatus) {}
    func activity() {}

    /// One association with its two ends.
    final class Line: StreamOwner {
        // The world hears of the events itself.
        func answered(_ status: DialStatus) {}
        func activity() {}

        let number: Int
        let begins: Instant
        let ends: Instant
        let gap: Interval
        let sizes: ClosedRange<Int>
        let targets: [Target]
        let policy: DatagramPolicy
        var near: StreamHandle?
        var far: StreamHandle?
        var isAnswered = false
        var isOver = false
        var nextAt: Instant
        /// Of all targets together, by which each payload is told from all others.
        var sent: UInt32 = 0
        var atFar: Set<UInt32> = []
        var atNear: Set<UInt32> = []
        /// What the far side is to send back.
        var echoes: [(payload: [UInt8], target: Target)] = []

        init(number: Int, random: inout SeededRandom) {
            self.number = number
            begins = .zero + .milliseconds(Int64(random.next() % 3_000))
            ends = begins + .milliseconds(1_000 + Int64(random.next() % 12_000))
            gap = .milliseconds([2, 5, 20, 20, 100][Int(random.next() % 5)])
            sizes = [4...180, 172...172, 900...1_200, 4...9_000][Int(random.next() % 4)]
            policy = DatagramPolicy.allCases[Int(random.next() % 4)]
            targets = (0..<(1 + Int(random.next() % 3))).map {
                Target(
                    host: .address(IPAddress(v4: 0xc000_0201 + UInt32($0))),
                    port: UInt16(1_000 + number))
            }
            nextAt = begins
        }
    }

    let lines: [Line]
    private var random: SeededRandom
    private(set) var failure: String?

    init(count: Int, seed: UInt64) {
        var random = SeededRandom(seed: seed ^ 0x666c_6f77)
        lines = (0..<count).map { Line(number: $0, random: &random) }
        self.random = random
    }

    var isFinished: Bool { lines.allSatisfy(\.isOver) }
    /// Datagrams that came back.
    var returned: Int { lines.reduce(0) { $0 + $1.atNear.count } }

    func nextEvent() -> Instant {
        lines.reduce(.distantFuture) {
            $1.isOver ? $0 : min($0, $1.near == nil ? $1.begins : min($1.nextAt, $1.ends))
        }
    }

    /// The run is over. Handles and lines hold each other, and a soak has ten thousand worlds.
    func forget() { for line in lines { (line.near, line.far) = (nil, nil) } }

    func owns(_ handle: StreamHandle) -> Line? { handle.owner as? Line }

    /// The concentrator's side of the association that was opened last.
    func accept(_ handle: StreamHandle) -> Bool {
        handle.owner = self
        return true
    }

    // MARK: The applications' turns

    func turn(_ world: World) -> Bool {
        var any = false
        for line in lines where !line.isOver {
            if line.near == nil, line.begins <= world.now {
                let handle = world.proxy.openAssociation(policy: line.policy, at: world.now)
                handle.owner = line
                line.near = handle
                any = true
            }
            guard let near = line.near else { continue }
            if near.error != nil || line.ends <= world.now {
                near.release(at: world.now)
                line.isOver = true
                any = true
                continue
            }
            while line.nextAt <= world.now {
                line.nextAt = line.nextAt + line.gap
                if line.isAnswered { send(line, near, world) }
                any = true
            }
            for item in line.echoes {
                guard let far = line.far else { continue }
                _ = item.payload.withUnsafeBytes {
                    world.concentrator.send($0, on: far, to: item.target, at: world.now)
                }
                any = true
            }
            line.echoes.removeAll()
        }
        return any
    }

    private func send(_ line: Line, _ near: StreamHandle, _ world: World) {
        let size =
            line.sizes.lowerBound
            + Int(random.next() % UInt64(line.sizes.upperBound - line.sizes.lowerBound + 1))
        let number = UInt32(line.number) << 24 | line.sent
        line.sent += 1
        let target = line.targets[Int(number) % line.targets.count]
        _ = Self.payload(number, size).withUnsafeBytes {
            world.proxy.send($0, on: near, to: target, at: world.now)
        }
    }

    private static func payload(_ number: UInt32, _ size: Int) -> [UInt8] {
        (0..<size).map {
            $0 < 4
                ? UInt8(truncatingIfNeeded: number >> (24 - 8 * UInt32($0)))
                : UInt8(truncatingIfNeeded: Int(number) &* 31 &+ $0 &* 7)
        }
    }

    /// The number in a datagram; nil, and a failure, where its bytes are not those of that number.
    private func check(
        _ payload: UnsafeRawBufferPointer, _ target: Target, _ what: String
    ) -> (
        line: Line, number: UInt32
    )? {
        let number = payload.prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        guard payload.count >= 4, lines.indices.contains(Int(number >> 24)),
            payload.elementsEqual(Self.payload(number, payload.count))
        else {
            failure = "\(what): bytes that nobody sent"
            return nil
        }
        let line = lines[Int(number >> 24)]
        guard line.targets[Int(number) % line.targets.count] == target else {
            failure = "\(what): datagram \(number) of another flow came with \(target)"
            return nil
        }
        return (line, number)
    }

    func arrivedFar(_ handle: StreamHandle, _ target: Target, _ payload: UnsafeRawBufferPointer) {
        guard let (line, number) = check(payload, target, "concentrator") else { return }
        if line.far == nil { line.far = handle }
        guard line.far === handle else {
            failure = "concentrator: datagram \(number) of another association"
            return
        }
        guard line.atFar.insert(number).inserted else {
            failure = "concentrator: datagram \(number) came twice"
            return
        }
        line.echoes.append((Array(payload), target))
    }

    func arrivedNear(_ handle: StreamHandle, _ source: Target, _ payload: UnsafeRawBufferPointer) {
        guard let (line, number) = check(payload, source, "proxy") else { return }
        guard line.near === handle else {
            failure = "proxy: datagram \(number) of another association"
            return
        }
        guard line.atNear.insert(number).inserted else {
            failure = "proxy: datagram \(number) came twice"
            return
        }
    }
}
