import ArgumentParser
import Configuration
import Multipath
import Page
import Proxy
import Shell
import Tunnel
import Wire

/// Flags that both programs have; each wins over the configuration file.
struct CommonFlags: ParsableArguments {
    @Option(help: "The configuration file (YAML).") var config: String?
    @Option(help: "A file with a private key, as braid keygen writes it.") var privateKeyFile:
        String?
    @Option(help: "Address and port of the status page, such as 127.0.0.1:9090.") var status:
        String?
    @Option(help: "The control socket for braid status.") var control: String?
    @Option(help: "The user a process started as root becomes.") var user: String?
    @Option(help: "trace, debug, info, notice, warning, error or critical.") var logLevel: String?
    @Option(help: "text, or json for one object a line.") var logFormat: String?
    @Option(help: "Write what travels inside the tunnel to this pcap file.") var pcap: String?

    func apply(to overrides: inout Overrides) {
        overrides.set("private_key_file", flag: "--private-key-file", to: privateKeyFile)
        overrides.set("status", flag: "--status", to: status)
        overrides.set("control", flag: "--control", to: control)
        overrides.set("user", flag: "--user", to: user)
        overrides.set("log_level", flag: "--log-level", to: logLevel)
        overrides.set("log_format", flag: "--log-format", to: logFormat)
        overrides.set("pcap", flag: "--pcap", to: pcap)
    }
}

struct ProxyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "proxy",
        abstract: "Runs beside the applications: SOCKS and HTTP in, several uplinks out.")

    @OptionGroup var common: CommonFlags
    @Option(help: "The concentrator's HOST:PORT.") var concentrator: String?
    @Option(help: "The concentrator's public key.") var publicKey: String?
    @Option(help: "Listen here, such as mixed://127.0.0.1:1080; may be repeated.") var listen:
        [String] = []
    @Option(help: "full, backup, single or auto.") var mode: String?
    @Option(help: "fast, checked or auto: when the application is answered.") var open: String?
    @Option(help: "An interface or address, such as wlan0 or wwan0,backup; may be repeated.")
    var uplink: [String] = []
    @Flag(help: "Carry the programs of this machine that know of no proxy.") var captureMachine =
        false
    @Option(help: "Carry the clients of this interface; may be repeated.") var captureNetwork:
        [String] = []
    @Option(help: "A range of addresses that is not captured; may be repeated.")
    var captureExclude: [String] = []
    @Option(help: "open or closed: what becomes of captured traffic when the proxy ends.")
    var captureOnExit: String?

    private var overrides: Overrides {
        var overrides = Overrides()
        common.apply(to: &overrides)
        overrides.set("concentrator", "address", flag: "--concentrator", to: concentrator)
        overrides.set("concentrator", "public_key", flag: "--public-key", to: publicKey)
        overrides.set("listen", flag: "--listen", toList: listen)
        overrides.set("mode", flag: "--mode", to: mode)
        overrides.set("open", flag: "--open", to: open)
        overrides.set("uplinks", flag: "--uplink", toList: uplink)
        overrides.set(
            "capture", "machine", flag: "--capture-machine", to: captureMachine ? "true" : nil)
        overrides.set("capture", "networks", flag: "--capture-network", toList: captureNetwork)
        overrides.set("capture", "exclude", flag: "--capture-exclude", toList: captureExclude)
        overrides.set("capture", "on_exit", flag: "--capture-on-exit", to: captureOnExit)
        return overrides
    }

    func run() throws {
        let file = common.config
        let read = { [overrides] () throws(ConfigurationErrors) in
            try Configuration.load(.proxy, file: file, overrides: overrides)
        }
        let living = LivingConfiguration(try complaining(read), read: read)
        guard case .proxy(let configuration) = living.current else {
            preconditionFailure("a proxy's configuration was asked for")
        }
        try Program.run(
            .proxy, configuration.program, captures: configuration.settings.capture != nil
        ) { (loop, _, stopped) throws(SystemError) in
            let server = try ProxyServer(
                configuration.settings, program: Braid.version, loop: loop,
                recorder: HistoryQueries.recorder(.proxy, configuration.program))
            server.onStopped = stopped
            return Self.service(server, living, configuration)
        }
    }

    private static func service(
        _ server: ProxyServer, _ living: LivingConfiguration, _ configuration: ProxyConfiguration
    ) -> Service {
        Service(
            status: { server.status() }, recorder: server.recorder, stop: { server.stop() },
            setMode: { word in
                if let hint = ModeByUse.Hint(rawValue: word), hint != .unknown {
                    guard server.mode == .auto else {
                        return "the mode is \(server.mode.rawValue), and a hint is for auto: "
                            + "braid mode auto --\(word)"
                    }
                    return server.setMode(ModeWish(.auto, hint: hint))
                }
                guard let wish = ModeWish(words: word) else {
                    return "\(word) is none of full, backup, single, auto"
                }
                return server.setMode(wish)
            },
            setRole: { name, word in
                guard let role = UplinkRole(rawValue: word) else {
                    return "\(word) is none of regular, backup, off"
                }
                return server.setRole(role, of: name)
            },
            setUsage: { server.setUsage($1, of: $0) },
            driver: server.driver,
            uplinks: { server.uplinkStates },
            mode: {
                let present = server.presentMode
                return PageMode(
                    choice: server.mode.rawValue, present: present?.mode.rawValue,
                    reason: present?.reason)
            },
            modes: ModeChoice.allCases.map(\.rawValue),
            askRule: { words in
                RuleQuestion(words: words) { Target(hostAndPort: $0) }?
                    .answer(server.settings)
            },
            reload: {
                living.reload { (new) throws(SystemError) in
                    guard case .proxy(let new) = new else { return }
                    try server.apply(new.settings)
                    new.program.applyWhileRunning()
                }
            },
            sockets: { server.listeningSockets },
            follow: { drain, _, hasCapture in
                server.follow(drain: drain, hasCapture: hasCapture)
            },
            offerCapture: { (generation) throws(SystemError) in
                try server.offerCapture(generation)
            },
            resumeCapture: { server.resumeCapture() },
            takeCaptureOver: { () throws(SystemError) in try server.takeCaptureOver() },
            takeOver: { server.follows($0) },
            whyNoSuccessor: { Upgrade.obstacle(toFile: configuration.settings.pcap) })
    }
}
