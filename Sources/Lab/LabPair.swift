import CLab
import Glibc
import Measures

/// The programs of a lab: origin and concentrator on the server's side, proxy on the client's.
final class LabPair {
    struct Settings {
        /// The proxy's handover mode: full, backup or single. In the last two the cellular uplink
        /// is a backup.
        var mode = "full"
        /// When the proxy answers an application: auto, fast or checked.
        var open = "auto"
        /// Keys of the cellular uplink besides its role, each after a comma; lines of the proxy's
        /// file besides.
        var cellularKeys = "", more = ""
        /// Where logs, configuration and captures stay; nil: a temporary folder without captures.
        var folder: String?
    }

    private let settings: Settings
    private let lab: Lab
    private let temporary: TemporaryFolder
    private let braid: String
    private let folder: String
    private var programs: [LabChild] = []

    /// Makes keys and configuration files.
    init(_ settings: Settings, _ lab: Lab) throws {
        self.settings = settings
        self.lab = lab
        temporary = try TemporaryFolder()
        braid = try ownExecutable()
        folder = settings.folder ?? temporary.path
        if let kept = settings.folder, mkdir(kept, 0o700) != 0, errno != EEXIST {
            throw LabError("\(kept): \(String(cString: strerror(errno)))")
        }
        let proxyKey = try makeKey("proxy"), concentratorKey = try makeKey("concentrator")
        let backup = settings.mode == "full" ? "" : ", role: backup"
        let address = "\(Lab.concentratorAddress):443"
        try write(
            "proxy.yaml",
            """
            concentrator: { address: "\(address)", public_key: "\(concentratorKey)" }
            private_key_file: "proxy.key"
            listen: ["mixed://\(LabPair.listen)"]
            mode: \(settings.mode)
            open: \(settings.open)
            uplinks:
              - { interface: wlan0 }
              - { interface: wwan0\(backup)\(settings.cellularKeys) }
            \(settings.more)
            control: "\(temporary.path)/proxy.sock"
            \(kept("proxy"))
            """)
        try write(
            "concentrator.yaml",
            """
            listen: "\(address)"
            private_key_file: "concentrator.key"
            users: [ { name: demo, public_key: "\(proxyKey)" } ]
            egress: { allow: ["\(Lab.originAddress)/32"] }
            control: "\(temporary.path)/concentrator.sock"
            \(kept("concentrator"))
            """)
    }

    /// Where the proxy listens, in the client's namespace.
    static let address = SocketAddress(IPAddress(v4: 0x7f00_0001), port: 1080)
    static let listen = "\(address)"

    /// What curl is told for a download of `size` bytes through the proxy. It never gives up by
    /// itself while anything may still come.
    static func curl(size: Int) -> [String] {
        ["-sS", "--socks5-hostname", listen, "http://\(Lab.originAddress)/bytes/\(size)"]
    }

    /// Starts the three and waits until a byte has come through all of them.
    func start(interruptedBy signals: Int32) throws {
        try run("origin", ["lab-origin", "\(Lab.originAddress):80"], on: .server)
        try run(
            "concentrator", ["concentrator", "--config", "\(folder)/concentrator.yaml"], on: .server
        )
        try run("proxy", ["proxy", "--config", "\(folder)/proxy.yaml"], on: .client)
        let limit = Instant.monotonic + .seconds(10)
        while true {
            let first = try lab.start(
                "curl", Self.curl(size: 1) + ["-o", "/dev/null", "-m", "3"],
                on: .client)
            first.wait()
            if first.status == 0 { return }
            if let ended = programs.first(where: \.hasEnded) {
                throw LabError(
                    "\(ended.name) ended with status \(ended.status ?? 0)\n"
                        + lastWords().joined(separator: "\n"))
            }
            var pending = pollfd(fd: signals, events: Int16(POLLIN), revents: 0)
            if poll(&pending, 1, 50) > 0 { throw LabInterruption() }
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
        // What uplinks have used is the lab's, not the machine's.
        programs.append(
            try lab.start(
                braid, arguments, on: side, environment: ["STATE_DIRECTORY=\(temporary.path)"],
                output: log, errors: log))
    }

    /// The public key.
    private func makeKey(_ name: String) throws -> String {
        let path = "\(folder)/\(name).key"
        unlink(path)  // a kept folder of an earlier run
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

    /// A kept folder holds captures, too.
    private func kept(_ name: String) -> String {
        settings.folder == nil ? "" : "log_level: debug\npcap: \"\(folder)/\(name).pcap\""
    }

    private func write(_ name: String, _ text: String) throws {
        guard writeFile("\(folder)/\(name)", text + "\n") else {
            throw LabError("\(folder)/\(name): \(String(cString: strerror(errno)))")
        }
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
