import ArgumentParser
import Foundation
import Glibc
import Synchronization

/// One executable, a subcommand for each thing it does.
@main struct Braid: ParsableCommand {
    static let version = "0.2.0"

    static let configuration = CommandConfiguration(
        commandName: "braid",
        abstract: "Several uplinks at once for applications that know nothing of it.",
        discussion: """
            A proxy runs beside the applications, a concentrator on a server; between them runs Multipath TCP \
            in encrypted UDP datagrams. Try it: braid demo
            """,
        version: "braid \(version)",
        subcommands: [
            ProxyCommand.self, ConcentratorCommand.self, KeygenCommand.self, CheckCommand.self,
            StatusCommand.self, UsageCommand.self, EventsCommand.self, CaptureCommand.self,
            ModeCommand.self, UplinkCommand.self, RuleCommand.self, ReloadCommand.self,
            UpgradeCommand.self,
            SetupCommand.self, JoinCommand.self, UserCommand.self, DoctorCommand.self,
            DemoCommand.self,
            HandoversCommand.self,
            CommuteCommand.self,
            FiguresCommand.self,
            LabCommand.self, LabTellCommand.self, LabOriginCommand.self
        ])

    static func main() {
        // A peer that goes away must not end the process; every write says so by its result.
        signal(SIGPIPE, SIG_IGN)
        do {
            var command = try parseAsRoot()
            try command.run()
            try Output.check()
        } catch {
            leave(with: error)
        }
    }

    /// One sentence on the standard error and the exit code: 2 for what a person must mend, 1 for
    /// what failed.
    static func leave(with error: any Error) -> Never {
        if let complaint = error as? Complaint {
            complain(complaint.sentences)
            Glibc.exit(complaint.exitCode)
        }
        let code = exitCode(for: error).rawValue
        if code == 0 {
            Output.write(fullMessage(for: error) + "\n")
            Glibc.exit(0)
        }
        if error is ExitCode { Glibc.exit(code) }
        complain([message(for: error)])
        Glibc.exit(2)
    }

    private static func complain(_ sentences: [String]) {
        Output.write("braid: " + sentences.joined(separator: "\nbraid: ") + "\n", to: STDERR_FILENO)
    }
}

/// What a person is told before the program ends.
struct Complaint: Error {
    var sentences: [String]
    /// 2: the command or the configuration must be mended; 1: something outside failed.
    var exitCode: Int32

    /// The person's own input is wrong.
    static func input(_ sentence: String) -> Complaint {
        Complaint(sentences: [sentence], exitCode: 2)
    }
    /// What was asked for could not be done.
    static func failure(_ sentence: String) -> Complaint {
        Complaint(sentences: [sentence], exitCode: 1)
    }
}

/// Writing without the C library's streams, whose globals no thread may touch in Swift 6.
enum Output {
    /// Why the standard output did not take all.
    private static let failure = Mutex<Int32?>(nil)

    /// Throws where the standard output did not take all, for another reason than that nobody reads
    /// it any more: whoever has it in a file must not take it for whole.
    static func check() throws {
        guard let code = failure.withLock({ $0 }) else { return }
        throw Complaint.failure("can't write all of it: \(String(cString: strerror(code)))")
    }

    /// Ends the program, since nothing more can be written.
    static func end() -> Never {
        do { try check() } catch { Braid.leave(with: error) }
        Glibc.exit(0)
    }

    /// False where the other end is closed or the disk is full.
    @discardableResult
    static func write(_ text: String, to descriptor: Int32 = STDOUT_FILENO) -> Bool {
        write(Array(text.utf8), to: descriptor)
    }

    /// The same for bytes.
    @discardableResult
    static func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let n = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if n < 0, errno == EINTR { continue }
            guard n > 0 else {
                let code = errno
                // A reader that has seen enough is no failure.
                if descriptor == STDOUT_FILENO, code != EPIPE { failure.withLock { $0 = code } }
                return false
            }
            rest = rest.dropFirst(n)
        }
        return true
    }

    /// A value for other programs: to a file, or to standard output where `path` is `-`.
    static func writeJSON(_ value: some Encodable, to path: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        do {
            let data = try encoder.encode(value)
            if path == "-" {
                write(String(decoding: data, as: UTF8.self) + "\n")
            } else {
                try data.write(to: URL(fileURLWithPath: path))
            }
        } catch { throw Complaint.failure("\(path): \(error.localizedDescription)") }
    }
}
