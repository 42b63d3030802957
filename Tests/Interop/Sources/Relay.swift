import Measures
import Simulator

/// A line between each two devices, with nothing but a queue in it: two kernels on the links that a
/// peer would have.
final class Relay {
    private let devices: Devices
    private let lines: [Line]
    private let seconds: Double
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 70_000, alignment: 64)

    init(_ arguments: Arguments) throws {
        let devices = try Devices()
        self.devices = devices
        seconds = arguments.seconds
        lines = try arguments.pairs.enumerated().map { number, pair in
            guard try devices.attach(pair.0) == 2 * number,
                try devices.attach(pair.1) == 2 * number + 1
            else {
                throw Complaint("relay: a device is named twice")
            }
            let wild = LinkConditions(rate: nil, delay: .zero, queueLimit: 1 << 20)
            return Line(
                device: 2 * number + 1, arguments.lines[number] ?? wild,
                seed: arguments.seed &+ UInt64(number))
        }
    }

    /// Carries packets until the time is over or a signal comes.
    func run() {
        let end = devices.now + interval(seconds)
        while devices.now < end {
            let now = devices.now
            var next = end
            for line in lines {
                carry(from: line.device - 1, outward: true, line, at: now)
                carry(from: line.device, outward: false, line, at: now)
                while let packet = line.outward.deliver(at: now) {
                    devices.send(line.device, UnsafeRawBufferPointer(packet.bytes))
                }
                while let packet = line.inward.deliver(at: now) {
                    devices.send(line.device - 1, UnsafeRawBufferPointer(packet.bytes))
                }
                next = min(next, line.deadline)
            }
            guard devices.wait(until: next) else { return }
        }
    }

    private func carry(from device: Int, outward: Bool, _ line: Line, at now: Instant) {
        var packets = 0
        while packets < 64, let n = devices.receive(device, into: buffer) {
            packets += 1
            line.offer(UnsafeRawBufferPointer(rebasing: buffer[0..<n]), outward: outward, at: now)
        }
    }
}
