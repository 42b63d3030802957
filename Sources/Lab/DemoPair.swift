import CLab
import Glibc
import Measures

/// The programs of the demo: origin and concentrator on the server's side, proxy on the client's.
final class DemoPair {
    private let options: Demo.Options
    private let lab: Lab
    private let temporary: TemporaryFolder
    private let braid: String
    private let folder: String
    private var programs: [LabChild] = []

    /// Makes keys and configuration files.
    init(_ options: Demo.Options, _ lab: Lab) throws {
        self.options = options
        self.lab = lab
        temporary = try TemporaryFolder()
        braid = try ownExecutable()
        folder = options.folder ?? temporary.path
        if let kept = options.folder, mkdir(kept, 0o700) != 0, errno != EEXIST {
            throw LabError("\(kept): \(String(cString: strerror(errno)))")
        }
        let proxyKey = try makeKey("proxy"), concentratorKey = try makeKey("concentrator")
        let backup = options.mode == "full" ? "" : ", role: backup"
        let address = "\(Lab.concentratorAddress):443"
        try write("proxy.yaml", """
            concentrator: { address: "\(address)", public_key: "\(concentratorKey)" }
            private_key_file: "proxy.key"
            listen: ["mixed://\(DemoPair.listen)"]
            mode: \(options.mode)
            uplinks:
              - { interface: wlan0 }
              - { interface: wwan0\(backup) }
            control: "\(temporary.path)/proxy.sock"
            \(capture("proxy"))
            """)
        try write("concentrator.yaml", """
            listen: "\(address)"
            private_key_file: "concentrator.key"
            users: [ { name: demo, public_key: "\(proxyKey)" } ]
            egress: { allow: ["\(Lab.originAddress)/32"] }
            control: "\(temporary.path)/concentrator.sock"
            \(capture("concentrator"))
            """)
    }

    /// Where the proxy listens, in the client's namespace.
    static let listen = "127.0.0.1:1080"

    /// Starts the three and waits until a byte has come through all of them.
    func start(interruptedBy signals: Int32) throws {
        try run("origin", ["lab-origin", "\(Lab.originAddress):80"], on: .server)
        try run("concentrator", ["concentrator", "--config", "\(folder)/concentrator.yaml"], on: .server)
        try run("proxy", ["proxy", "--config", "\(folder)/proxy.yaml"], on: .client)
        let limit = Instant.monotonic + .seconds(10)
        while true {
            let first = try lab.start("curl",
                                      DemoDownload.arguments(size: 1)
                                          + ["-o", "/dev/null", "-m", "3"],
                                      on: .client)
            first.wait()
            if first.status == 0 { return }
            if let ended = programs.first(where: \.hasEnded) {
                throw LabError(
                    "\(ended.name) ended with status \(ended.status ?? 0)\n"
                        + lastWords().joined(separator: "\n"))
            }
            var pending = pollfd(fd: signals, events: Int16(POLLIN), revents: 0)
            if poll(&pending, 1, 50) > 0 { throw LabError("interrupted") }
            guard Instant.monotonic < limit else {
                throw LabError(
                    "no byte came through proxy and concentrator in 10 s\n"
                        + lastWords().joined(separator: "\n"))
            }
        }
    }

    /// The last lines of the programs' logs.
    func lastWords() -> [String] {
        ["proxy", "concentrator"].flatMap { name -> [String] in
            guard let text = contents("\(folder)/\(name).log"), !text.isEmpty else { return [] }
            return ["\(name) said last:"] + text.split(separator: "\n").suffix(6).map { "  \($0)" }
        }
    }

    private func run(_ name: String, _ arguments: [String], on side: Lab.Side) throws {
        let log = open("\(folder)/\(name).log", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        defer { close(log) }
        programs.append(try lab.start(braid, arguments, on: side, output: log, errors: log))
    }

    /// The public key.
    private func makeKey(_ name: String) throws -> String {
        let path = "\(folder)/\(name).key"
        unlink(path)   // a kept folder of an earlier run
        var ends: [Int32] = [0, 0]
        try checked(braid_lab_pipe(&ends), "a pipe")
        let child = try lab.start(braid, ["keygen", path], on: .client, output: ends[1], errors: 2)
        close(ends[1])
        defer { close(ends[0]) }
        let key = readAll(ends[0]).trimmingNewline
        child.wait()
        guard child.status == 0, !key.isEmpty else { throw LabError("braid keygen failed") }
        return key
    }

    private func capture(_ name: String) -> String {
        options.folder == nil ? "" : "pcap: \"\(folder)/\(name).pcap\""
    }

    private func write(_ name: String, _ text: String) throws {
        let descriptor = open("\(folder)/\(name)", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0, writeAll(descriptor, text + "\n") else {
            throw LabError("\(folder)/\(name): \(String(cString: strerror(errno)))")
        }
        close(descriptor)
    }

    private func contents(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        return readAll(descriptor)
    }
}

private func readAll(_ descriptor: Int32) -> String {
    var all: [UInt8] = [], piece = [UInt8](repeating: 0, count: 4096)
    while true {
        let n = read(descriptor, &piece, piece.count)
        if n < 0, errno == EINTR { continue }
        guard n > 0 else { return String(decoding: all, as: UTF8.self) }
        all += piece[..<n]
    }
}

extension String {
    fileprivate var trimmingNewline: String { hasSuffix("\n") ? String(dropLast()) : self }
}
