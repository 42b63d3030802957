import Glibc
import Measures
import Testing
import Wire

@testable import Concentrator
@testable import Shell

/// A name server on loopback: names that end in "silent" are never answered, others have the
/// address 127.0.0.1.
private final class NameServer {
    let port: UInt16
    private(set) var asked = 0
    private let descriptor: Int32
    private let watch: FileWatch

    init(_ loop: EventLoop) {
        let descriptor = socket(
            AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        self.descriptor = descriptor
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                precondition(
                    bind(descriptor, $0, size) == 0 && getsockname(descriptor, $0, &size) == 0)
            }
        }
        port = UInt16(bigEndian: address.sin_port)
        watch = loop.watch(descriptor)
        watch.onReadable(for: self) { $0.serve() }
        watch.wantsRead = true
    }

    deinit {
        watch.cancel()
        close(descriptor)
    }

    private func serve() {
        var query = [UInt8](repeating: 0, count: 512), from = sockaddr(),
            size = socklen_t(MemoryLayout<sockaddr>.size)
        while true {
            let n = recvfrom(descriptor, &query, query.count, 0, &from, &size)
            if n < 17 { return }
            asked += 1
            guard let reply = answer(Array(query[..<n])) else { continue }
            sendto(descriptor, reply, reply.count, 0, &from, size)
        }
    }

    private func answer(_ query: [UInt8]) -> [UInt8]? {
        var at = 12, last: [UInt8] = []
        while query[at] != 0 {
            last = Array(query[(at + 1)...(at + Int(query[at]))])
            at += Int(query[at]) + 1
        }
        if String(decoding: last, as: UTF8.self).lowercased() == "silent" { return nil }
        let isA = query[at + 2] == 1
        let head =
            [query[0], query[1], 0x81, 0x80, 0, 1, 0, isA ? 1 : 0, 0, 0, 0, 0]
            + query[12..<(at + 5)]
        return isA ? head + [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1] : head
    }
}

@Suite(.serialized) struct FairDialTests {
    /// One user's names lead to a server that is silent; another one's are found all the same.
    @Test func silentNamesAreTheirUsersOwn() throws {
        let loop = try EventLoop(), server = NameServer(loop)
        let path = "/tmp/braid-test-\(getpid())-\(server.port).conf"
        let file = fopen(path, "w")
        fputs("nameserver 127.0.0.1:\(server.port)\n", file)
        fclose(file)
        defer { unlink(path) }
        var policy = EgressPolicy()
        policy.rules.deniesPrivate = false
        let dialer = try Dialer(
            loop: loop, policy: policy, timeout: .seconds(10),
            resolver: try Resolver(loop: loop, configurationPath: path))
        var silent: [Dial] = [], ended = 0
        for i in 0..<3000 {
            silent.append(
                Dial(Target(host: .name("n\(i).silent"), port: 80), user: "mallory", dialer) { _ in
                    ended += 1
                })
        }
        #expect(dialer.lookUps.running == 64 && dialer.lookUps.waiting == 2936)
        _ = loop.run(until: .milliseconds(300)) { false }
        // Those that are given up make room for the next ones.
        for i in 0..<1000 { silent[i].cancel() }
        #expect(dialer.lookUps.running == 64 && dialer.lookUps.waiting == 1936)
        let listener = try StreamListener(SocketAddress("127.0.0.1:0")!, loop: loop) { _, _ in }
        var good: [Dial] = [], connected = 0
        for i in 0..<20 {
            let target = Target(host: .name("n\(i).example"), port: listener.address.port)
            good.append(
                Dial(target, user: "alice", dialer) { if case .connected = $0 { connected += 1 } })
        }
        // Five seconds is how long a look-up may take, and mallory's take longer.
        #expect(loop.run(until: .seconds(4)) { connected == 20 }, "\(connected) of 20")
        #expect(ended < 1000)
        silent.forEach { $0.cancel() }
        good.forEach { $0.cancel() }
        #expect(
            dialer.lookUps.waiting == 0 && dialer.dials.running == 0 && dialer.dials.waiting == 0)
        listener.close()
    }
}
