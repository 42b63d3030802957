import ArgumentParser
import Configuration
import Measures
import Proxy
import Shell
import Wire

struct RuleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rule",
        abstract: "Says which rule fits a connection, why, and what becomes of it.",
        discussion: "A running proxy is asked, or with --config the rules of a file.")

    @Argument(help: "HOST:PORT, where the connection goes.") var target: String
    @Flag(help: "Datagrams instead of a connection.") var udp = false
    @Option(help: "The application's address; left out: this machine.") var from: String?
    @Option(help: "The listener's ADDRESS:PORT, or captured; left out: the first one.")
    var listener: String?
    @Option(help: "The name by which the address is known.") var name: String?
    @Option(help: "The local user, by name or number.") var user: String?
    @Option(help: "Ask the rules of this file.") var config: String?
    @OptionGroup var control: ControlOptions

    func run() throws {
        guard let place = Target(hostAndPort: target) else {
            throw Complaint.input("\"\(target)\" is not HOST:PORT, such as example.org:443")
        }
        let source = try from.map { text in
            guard let address = IPAddress(text) else {
                throw Complaint.input("\"\(text)\" is not an address")
            }
            return address
        }
        let number = try user.map { text in
            guard let number = UInt32(text) ?? Privileges.User(name: text)?.number else {
                throw Complaint.input("\"\(text)\" is no user of this machine")
            }
            return number
        }
        for word in [listener, name] where word?.contains(where: \.isWhitespace) == true {
            throw Complaint.input("\"\(word ?? "")\" has a space in it")
        }
        let question = RuleQuestion(
            place, isUDP: udp, from: source, listener: listener, name: name, user: number)
        let answer: String
        if let config {
            guard
                case .proxy(let proxy) = try complaining({ () throws(ConfigurationErrors) in
                    try Configuration.check(file: config)
                })
            else { throw Complaint.input("\(config) is a concentrator's: rules are the proxy's") }
            answer = question.answer(proxy.settings)
        } else {
            let line = (["rule"] + question.words).joined(separator: " ")
            answer = try Control.ask(line, at: control.control)
        }
        for line in answer.split(whereSeparator: \.isNewline) {
            print(Printable.text(String(line)))
        }
    }
}
