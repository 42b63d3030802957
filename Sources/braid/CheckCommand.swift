import ArgumentParser
import Configuration

struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Reads a configuration and says everything that is wrong with it.",
        discussion: "Whether it is a proxy's or a concentrator's is told by its keys.")

    @Option(help: "The file to check.") var config: String

    func run() throws {
        switch try complaining({ () throws(ConfigurationErrors) in
            try Configuration.check(file: config)
        }) {
        case .proxy(let proxy):
            print("\(config): a proxy's configuration, nothing wrong")
            print("  this proxy's public key: \(proxy.settings.identity.publicKey.base64)")
            for warning in proxy.warnings { print("  warning: \(warning)") }
        case .concentrator(let concentrator):
            print("\(config): a concentrator's configuration, nothing wrong")
            print(
                "  this concentrator's public key: \(concentrator.settings.identity.publicKey.base64)"
            )
        }
    }
}

/// Runs `body`; the problems of a configuration become what the person is told.
func complaining<Value>(_ body: () throws(ConfigurationErrors) -> Value) throws -> Value {
    do {
        return try body()
    } catch {
        throw Complaint(sentences: error.problems.map(\.description), exitCode: 2)
    }
}
