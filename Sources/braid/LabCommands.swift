import ArgumentParser
import Lab
import Measures

/// A lab to try things in: emulated uplinks between two network namespaces. For tests and the
/// curious.
struct LabCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lab",
        abstract: "Runs a program behind emulated uplinks.",
        discussion: """
            The program runs in the client's network namespace, behind wlan0 and wwan0. It finds in its environment \
            BRAID_LAB_SERVER and BRAID_LAB_CLIENT (for nsenter --net=) and BRAID_LAB_CONTROL (for braid lab-tell).
            """,
        shouldDisplay: false)

    @Option(help: "Rate and round-trip time of the first uplink.") var wifi = LinkSpecification.wifi
    @Option(help: "Rate and round-trip time of the second uplink.") var cellular = LinkSpecification
        .cellular
    @Option(help: "Where the lab's chance comes from.") var seed: UInt64 = 1
    @Argument(parsing: .captureForPassthrough, help: "The program and its arguments.")
    var program: [String] = []

    func run() throws {
        let program = program.first == "--" ? Array(program.dropFirst()) : program
        guard !program.isEmpty else {
            throw Complaint.input("braid lab needs a program to run: braid lab -- bash")
        }
        do {
            throw ExitCode(
                try LabSession([.wifi(wifi), .cellular(cellular)], seed: seed).run(program))
        } catch let error as LabError { throw Complaint.failure("\(error)") }
    }
}

struct LabTellCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lab-tell",
        abstract: "Changes a link of the lab this runs in: braid lab-tell wifi silent on",
        shouldDisplay: false)

    @Argument(help: "The words of one order.") var words: [String]

    func run() throws {
        do {
            let answer = try LabSession.tell(words.joined(separator: " "))
            Output.write(answer)
            if answer.hasPrefix("error") { throw ExitCode(1) }
        } catch let error as LabError { throw Complaint.failure("\(error)") }
    }
}

struct LabOriginCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lab-origin",
        abstract: "A web server with known content: GET /bytes/N, PUT answers with the hash.",
        shouldDisplay: false)

    @Argument(help: "Where to listen, as 127.0.0.1:8080.") var listen: String

    func run() throws {
        guard let address = SocketAddress(listen), address.address.isIPv4 else {
            throw Complaint.input(
                "\"\(listen)\" is not an IPv4 address with a port, such as 127.0.0.1:8080")
        }
        do {
            try Origin.serve(on: address)
        } catch let error as LabError {
            throw Complaint.failure("\(error)")
        }
    }
}
