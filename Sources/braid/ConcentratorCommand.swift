import ArgumentParser
import Concentrator
import Configuration
import Logging
import Shell

struct ConcentratorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "concentrator",
        abstract: "Runs on a server: takes the proxies' sessions and dials the real destinations.")

    @OptionGroup var common: CommonFlags
    @Option(help: "UDP address and port, such as 0.0.0.0:443; may be repeated.") var listen:
        [String] = []

    func run() throws {
        var overrides = Overrides()
        common.apply(to: &overrides)
        overrides.set("listen", flag: "--listen", toList: listen)
        let file = common.config
        let read = { [overrides] () throws(ConfigurationErrors) in
            try Configuration.load(.concentrator, file: file, overrides: overrides)
        }
        let living = LivingConfiguration(try complaining(read), read: read)
        guard case .concentrator(let configuration) = living.current else {
            preconditionFailure("a concentrator's configuration was asked for")
        }
        try Program.run(.concentrator, configuration.program) {
            (loop, generation, stopped) throws(SystemError) in
            let server = try ConcentratorServer(
                configuration.settings, program: Braid.version, generation: generation,
                loop: loop,
                recorder: HistoryQueries.recorder(.concentrator, configuration.program))
            server.onStopped = stopped
            server.writeUser = { key, invitation, taken in
                guard case .concentrator(let now) = living.current,
                    let directory = now.usersDirectory
                else { return nil }
                do {
                    return try directory.enrol(key, by: invitation, besides: taken)
                } catch {
                    Logger(label: "users").error("somebody invited can't come in: \(error)")
                    return nil
                }
            }
            let reload = {
                living.reload { (new) throws(SystemError) in
                    guard case .concentrator(let new) = new else { return }
                    try server.apply(new.settings)
                    new.program.applyWhileRunning()
                }
            }
            server.onEnrolled = { _ = reload() }
            return Service(
                status: { server.status() }, recorder: server.recorder, stop: { server.stop() },
                driver: server.driver, reload: reload, sockets: { server.listeningSockets },
                follow: { drain, isAware, _ in server.follow(within: drain, isAware: isAware) },
                takeOver: { server.steer(older: $0) },
                serveAgain: { server.serveAgain(older: $0) },
                whyNoSuccessor: { Upgrade.obstacle(toFile: configuration.settings.pcap) })
        }
    }
}
