import CLab
import Glibc
import Measures
import Wire

/// The TUN devices and the clock of a peer.
final class Devices {
    private(set) var descriptors: [Int32] = []
    private var names: [String] = []
    private let epoll: Int32
    private let timer: Int32

    init() throws {
        braid_lab_hurry()
        epoll = try Devices.checked(braid_lab_epoll(), "epoll")
        timer = try Devices.checked(braid_lab_timer(), "a timer")
        _ = braid_lab_epoll_add(epoll, timer, 0)
        _ = braid_lab_epoll_add(
            epoll, try Devices.checked(braid_lab_signals(), "a signal descriptor"), 1000)
    }

    static func checked(_ result: Int32, _ what: String) throws -> Int32 {
        guard result >= 0 else { throw Complaint("\(what): \(String(cString: strerror(-result)))") }
        return result
    }

    /// Attaches to a TUN device of this namespace; the index of one that is attached already.
    func attach(_ name: String) throws -> Int {
        if let known = names.firstIndex(of: name) { return known }
        guard if_nametoindex(name) != 0 else {
            throw Complaint(
                "there is no device \(name); ip tuntap add dev \(name) mode tun makes one")
        }
        let home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)
        let made = try Devices.checked(braid_lab_tun(home, name), "TUN device \(name)")
        close(home)
        names.append(name)
        descriptors.append(made)
        _ = braid_lab_epoll_add(epoll, made, UInt32(descriptors.count))
        return descriptors.count - 1
    }

    var now: Instant { Instant(nanoseconds: braid_lab_now()) }

    /// Waits until a device is readable or `until`; false at a signal that ends the program.
    func wait(until: Instant) -> Bool {
        _ = braid_lab_timer_set(timer, until.nanoseconds)
        var numbers = [UInt32](repeating: 0, count: 16)
        let n = braid_lab_epoll_wait(epoll, &numbers, 16, -1)
        for i in 0..<max(0, Int(n)) {
            if numbers[i] == 0 {
                var expirations: UInt64 = 0
                _ = read(timer, &expirations, 8)
            }
            if numbers[i] == 1000 { return false }
        }
        return true
    }

    /// One packet, or nil where none waits.
    func receive(_ device: Int, into buffer: UnsafeMutableRawBufferPointer) -> Int? {
        let n = read(descriptors[device], buffer.baseAddress, buffer.count)
        return n > 0 ? n : nil
    }

    func send(_ device: Int, _ bytes: UnsafeRawBufferPointer) {
        _ = write(descriptors[device], bytes.baseAddress, bytes.count)
    }
}

/// A pcap file of raw IP packets, with the machine's time.
final class Capture {
    private let file: UnsafeMutablePointer<FILE>

    init(_ path: String) throws {
        guard let file = fopen(path, "w") else {
            throw Complaint("\(path): \(String(cString: strerror(errno)))")
        }
        self.file = file
        fwrite(PcapFile.header, 1, PcapFile.header.count, file)
    }
    deinit { fclose(file) }

    func add(_ packet: UnsafeRawBufferPointer) {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        let words = [
            UInt32(time.tv_sec), UInt32(time.tv_nsec), UInt32(packet.count), UInt32(packet.count)
        ]
        words.withUnsafeBytes { _ = fwrite($0.baseAddress, 1, 16, file) }
        fwrite(packet.baseAddress, 1, packet.count, file)
    }
}
