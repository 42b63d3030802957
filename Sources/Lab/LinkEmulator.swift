import Buffers
import CLab
import Glibc
import Measures
import Simulator

/// Moves IP packets between pairs of TUN devices through virtual links: rate, delay, queue, loss,
/// outage.
///
/// One thread waits for packets and for the next arrival on an absolute timer and asks the
/// simulator's
/// `VirtualLink` what becomes of each packet; nothing is allocated per packet. Links may be changed
/// and counters read from any thread while it runs.
public final class LinkEmulator: @unchecked Sendable {
    // Safe to share: everything mutable is touched under `lock`, or by `start` before the thread
    // runs.

    /// Of a duplex link, as the client sees it.
    public enum Direction: CaseIterable, Sendable {
        /// From the client's device.
        case up
        /// To the client's device.
        case down
    }

    /// A link in both directions, and the pair of devices at its ends.
    private struct DuplexLink {
        let client: Int32, server: Int32  // TUN descriptors, owned
        let up: VirtualLink, down: VirtualLink
        let radio: Radio
    }

    /// Packets that wait or fly in all links together, at most: 128 MB.
    private static let maximumPackets = 1 << 16
    /// Packets read from a device before the others get their turn.
    private static let batch = 64
    /// Longer than any packet: the devices' MTU is 1500.
    private static let slot = 2048

    private let pool = PacketPool(slotSize: slot, limit: maximumPackets)
    private let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: slot, alignment: 64)
    private let epoll: Int32, timer: Int32, wake: Int32
    private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private var duplexLinks: [DuplexLink] = []
    private var armed = Instant.distantFuture
    private var isStopping = false
    private var thread: pthread_t?
    private var observer: ((Instant, Int, Direction, Int) -> Void)?
    private var arrivals: ((Instant, Int, Direction, Int) -> Void)?

    /// Without duplex links. Throws where the kernel gives no descriptors.
    public init() throws {
        epoll = try checked(braid_lab_epoll(), "epoll")
        timer = try checked(braid_lab_timer(), "a timer")
        wake = try checked(braid_lab_event(), "an event descriptor")
        pthread_mutex_init(lock, nil)
        _ = try checked(braid_lab_epoll_add(epoll, timer, 0), "epoll")
        _ = try checked(braid_lab_epoll_add(epoll, wake, 1), "epoll")
    }

    deinit {
        stop()
        for duplexLink in duplexLinks { close(duplexLink.client); close(duplexLink.server) }
        for descriptor in [epoll, timer, wake] { close(descriptor) }
        pthread_mutex_destroy(lock)
        lock.deallocate()
        scratch.deallocate()
    }

    /// Joins two TUN devices, whose descriptors it takes over; the number of the duplex link, from
    /// 0. Before `start`.
    public func join(
        client: Int32, server: Int32, up: LinkConditions, down: LinkConditions,
        seed: UInt64
    ) throws -> Int {
        precondition(thread == nil)
        let number = duplexLinks.count
        let radio = Radio(sleepsAfter: .max, wakeTime: .zero, isAwake: true)
        duplexLinks.append(
            DuplexLink(
                client: client, server: server,
                up: VirtualLink(up, pool: pool, seed: seed, radio: radio),
                down: VirtualLink(down, pool: pool, seed: ~seed, radio: radio), radio: radio))
        _ = try checked(braid_lab_epoll_add(epoll, client, UInt32(2 + 2 * number)), "epoll")
        _ = try checked(braid_lab_epoll_add(epoll, server, UInt32(3 + 2 * number)), "epoll")
        return number
    }

    // MARK: From any thread

    /// Changes one direction of a duplex link, or both where `direction` is nil.
    public func change(
        _ duplexLink: Int, _ direction: Direction? = nil,
        _ change: (inout LinkConditions) -> Void
    ) {
        locked {
            let now = Instant.monotonic
            for link in links(duplexLink, direction) {
                link.change(to: link.conditions.with(change), at: now)
            }
        }
        interrupt()
    }

    /// Lets the duplex link's radio sleep after `idle` without a packet, and take `time` to wake;
    /// nil: always awake.
    public func setRadio(_ duplexLink: Int, _ sleep: (idle: Interval, time: Interval)?) {
        locked {
            duplexLinks[duplexLink].radio.sleepsAfter = sleep?.idle ?? .max
            duplexLinks[duplexLink].radio.wakeTime = sleep?.time ?? .zero
        }
    }

    /// Drops what waits and flies on a duplex link.
    public func clear(_ duplexLink: Int) {
        locked { for link in links(duplexLink, nil) { link.clear(at: .monotonic) } }
        interrupt()
    }

    /// What holds for packets that come now.
    public func conditions(_ duplexLink: Int, _ direction: Direction) -> LinkConditions {
        locked { links(duplexLink, direction)[0].conditions }
    }

    /// Since the duplex link was made, in the direction of the name.
    public func statistics(_ duplexLink: Int, _ direction: Direction) -> VirtualLink.Statistics {
        locked { links(duplexLink, direction)[0].statistics }
    }

    /// `observer` is told of every packet a device hands over, with its duplex link, direction and
    /// bytes, on the emulator's thread, `arrivals` of every one that comes out at the other end;
    /// with nil they have heard the last one when this returns.
    func observe(
        _ observer: ((Instant, Int, Direction, Int) -> Void)?,
        arrivals: ((Instant, Int, Direction, Int) -> Void)? = nil
    ) {
        locked {
            self.observer = observer
            self.arrivals = arrivals
        }
    }

    /// Starts the thread that moves the packets.
    public func start() throws {
        precondition(thread == nil)
        var made = pthread_t()
        let context = Unmanaged.passUnretained(self).toOpaque()
        // Signals are the main thread's: this one must not take them by their default action.
        var all = sigset_t(), before = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_SETMASK, &all, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        let result = pthread_create(
            &made, nil,
            { context in
                Unmanaged<LinkEmulator>.fromOpaque(context!).takeUnretainedValue().run()
                return nil
            }, context)
        guard result == 0 else {
            throw LabError("can't start a thread: \(String(cString: strerror(result)))")
        }
        thread = made
    }

    /// Ends the thread; packets inside stay where they are.
    public func stop() {
        guard let running = thread else { return }
        locked { isStopping = true }
        interrupt()
        pthread_join(running, nil)
        thread = nil
    }

    // MARK: The thread

    private func run() {
        braid_lab_hurry()
        var ready: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)  // room for 8 numbers
        var isRunning = true
        while isRunning {
            withUnsafeMutableBytes(of: &ready) { bytes in
                let numbers = bytes.bindMemory(to: UInt32.self)
                let count = braid_lab_epoll_wait(
                    epoll, numbers.baseAddress, Int32(numbers.count), -1)
                isRunning = locked { turn(numbers[..<max(0, Int(count))]) }
            }
        }
    }

    /// Reads what is there, delivers what is due, sets the timer for what comes next; false at the
    /// end.
    private func turn(_ ready: Slice<UnsafeMutableBufferPointer<UInt32>>) -> Bool {
        for number in ready {
            if number < 2 {
                _ = read(number == 0 ? timer : wake, scratch.baseAddress, 8)
                if number == 0 { armed = .distantFuture }
            } else {
                take(Int(number - 2) / 2, number & 1 == 0 ? .up : .down)
            }
        }
        var next = Instant.distantFuture
        for (number, duplexLink) in duplexLinks.enumerated() {
            give(duplexLink.up, to: duplexLink.server, number, .up)
            give(duplexLink.down, to: duplexLink.client, number, .down)
            next = min(next, duplexLink.up.nextDelivery, duplexLink.down.nextDelivery)
        }
        if next != armed {
            armed = next
            _ = braid_lab_timer_set(timer, next.nanoseconds)
        }
        return !isStopping
    }

    private func take(_ duplexLink: Int, _ direction: Direction) {
        let device =
            direction == .up ? duplexLinks[duplexLink].client : duplexLinks[duplexLink].server
        let link = direction == .up ? duplexLinks[duplexLink].up : duplexLinks[duplexLink].down
        for _ in 0..<Self.batch {
            let count = read(device, scratch.baseAddress, scratch.count)
            // Nothing there, or the device is down.
            guard count > 0 else { return }
            observer?(.monotonic, duplexLink, direction, count)
            if let packet = pool.packet(
                copying: UnsafeRawBufferPointer(rebasing: scratch[..<count]))
            {
                link.offer(packet, at: .monotonic)
            }
        }
    }

    private func give(
        _ link: VirtualLink, to device: Int32, _ duplexLink: Int, _ direction: Direction
    ) {
        let now = Instant.monotonic
        while let packet = link.deliver(at: now) {
            arrivals?(now, duplexLink, direction, packet.count)
            // A device that is down refuses it: lost, as a frame to a radio that is off.
            _ = write(device, packet.bytes.baseAddress, packet.count)
        }
    }

    // MARK: Sharing

    private func links(_ duplexLink: Int, _ direction: Direction?) -> [VirtualLink] {
        switch direction {
        case .up: [duplexLinks[duplexLink].up]
        case .down: [duplexLinks[duplexLink].down]
        case nil: [duplexLinks[duplexLink].up, duplexLinks[duplexLink].down]
        }
    }

    private func locked<R>(_ body: () -> R) -> R {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        return body()
    }

    /// Makes the thread look again: something may be due earlier.
    private func interrupt() {
        var one: UInt64 = 1
        _ = write(wake, &one, 8)
    }
}

extension Instant {
    /// CLOCK_MONOTONIC, the lab's clock.
    static var monotonic: Instant { Instant(nanoseconds: braid_lab_now()) }
}

/// A result that is not a negative errno; throws a sentence otherwise.
@discardableResult
func checked(_ result: Int32, _ what: String) throws -> Int32 {
    guard result >= 0 else {
        throw LabError("the lab can't have \(what): \(String(cString: strerror(-result)))")
    }
    return result
}
