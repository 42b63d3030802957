import ArgumentParser
import Configuration
import Shell

struct CaptureCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "capture",
        abstract: "Shows what a capture sets in the kernel, and takes it away after a crash.",
        subcommands: [Show.self, Remove.self])

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Prints the rules as commands of nft and ip.",
            discussion: """
                What is set now; with --config also what a proxy with that configuration would set. Needs \
                CAP_NET_ADMIN to see what is set.
                """)

        @Option(help: "A proxy's configuration file.") var config: String?

        func run() throws {
            if let config {
                let found = try complaining { () throws(ConfigurationErrors) in
                    try Configuration.check(file: config)
                }
                guard case .proxy(let proxy) = found, let plan = proxy.settings.capture else {
                    throw Complaint.input("\(config) has no capture")
                }
                show(CaptureInstallation.preview(plan), "would be set")
                return
            }
            guard let current = CaptureInstallation.current() else {
                guard Privileges.has(.networkAdministration) else {
                    throw Complaint.failure("can't see what is set: that needs CAP_NET_ADMIN")
                }
                Output.write("# nothing is set\n")
                return
            }
            show(current, "is set")
        }

        private func show(_ what: (nft: String, ip: [String]), _ word: String) {
            Output.write("# What \(word), for nft -f:\n\(what.nft)")
            Output.write("# and the routes:\n")
            for command in what.ip { Output.write("\(command)\n") }
        }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Takes away what a proxy has left that is gone.",
            discussion: "Harmless where there is nothing. Needs CAP_NET_ADMIN.")

        func run() throws {
            guard Privileges.has(.networkAdministration) else {
                throw Complaint.failure(
                    "can't remove the capture: that needs CAP_NET_ADMIN; run it as root")
            }
            do throws(SystemError) { try CaptureInstallation.removeLeftovers() } catch {
                if error.code == 98 {  // EADDRINUSE
                    throw Complaint.failure(
                        "a proxy that runs here captures; stop it, and what it has set goes with it"
                    )
                }
                throw Complaint.failure("can't \(error)")
            }
        }
    }
}
