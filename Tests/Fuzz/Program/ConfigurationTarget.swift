import Configuration
import Glibc
import Measures
import Wire

/// Configuration files of either kind: read, or refused with sentences, never anything else.
enum ConfigurationTarget {
    private static let folder: String = {
        var template = Array("/tmp/braid-fuzz-XXXXXX\0".utf8CString)
        guard mkdtemp(&template) != nil else { fail("no folder for the file") }
        let path = String(
            decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        write("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n", to: path + "/own.key")
        atexit { ConfigurationTarget.remove() }
        return path
    }()

    private static func write(_ text: some Collection<Character>, to path: String) {
        write(Array(String(text).utf8), to: path)
    }
    private static func write(_ bytes: [UInt8], to path: String) {
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard file >= 0, Glibc.write(file, bytes, bytes.count) == bytes.count else {
            fail("can't write \(path)")
        }
        close(file)
    }
    private static func remove() {
        unlink(folder + "/own.key")
        unlink(folder + "/it.yaml")
        rmdir(folder)
    }

    static func run(_ input: inout Input) {
        let form = input.byte(), path = folder + "/it.yaml"
        if form == 3 { return host(String(decoding: input.rest(), as: UTF8.self)) }
        write(input.rest(), to: path)
        do throws(ConfigurationErrors) {
            switch form % 3 {
            case 0: _ = try Configuration.load(.proxy, file: path)
            case 1: _ = try Configuration.load(.concentrator, file: path)
            default: _ = try Configuration.check(file: path)
            }
        } catch {
            check(!error.problems.isEmpty, "refused without a sentence")
            for problem in error.problems {
                check(problem.description.utf8.count > 10, "no sentence: \(problem)")
            }
        }
    }

    /// A program that runs with one text is given another, behind a line of `=`: what it has then
    /// differs from the other only by what it says takes a restart.
    static func reload(_ input: inout Input) {
        let kind: ConfigurationKind = input.bit() ? .concentrator : .proxy
        let texts = input.rest().split(
            separator: [10, 61, 10], maxSplits: 1, omittingEmptySubsequences: false)
        guard texts.count == 2, let old = load(kind, texts[0]), let new = load(kind, texts[1]),
            let (changes, now) = old.changes(to: new)
        else { return }
        check(changes.isEmpty == (old == new), "\(changes.lines), of the same or of others")
        check(changes.lines.allSatisfy { !$0.isEmpty }, "a change without a word")
        guard let (again, then) = now.changes(to: new) else { fail("of two kinds") }
        check(again.applied.isEmpty, "done, and to be done again: \(again.lines)")
        check(again.needRestart == changes.needRestart, "another restart: \(again.lines)")
        check(then == now, "another configuration in the end")
        if changes.needRestart.isEmpty { check(now == new, "not what was asked for") }
        if changes.applied.isEmpty { check(now == old, "changed without a word") }
    }

    private static func load(
        _ kind: ConfigurationKind, _ text: some Collection<UInt8>
    ) -> Configuration? {
        let path = folder + "/it.yaml"
        write(Array(text), to: path)
        do throws(ConfigurationErrors) {
            return try Configuration.load(kind, file: path)
        } catch { return nil }
    }

    /// A host and a port that can be read are the same when they are written and read again,
    /// together and apart.
    private static func host(_ text: String) {
        guard let target = Target(hostAndPort: text) else { return }
        check(Target(hostAndPort: target.description) == target, "\(target) is another one")
        let host =
            switch target.host {
            case .name(let name): [name]
            case .address(let address) where address.isIPv4: ["\(address)"]
            case .address(let address): ["\(address)", "[\(address)]"]
            }
        for text in host {
            check(Target(hostAndPort: text) == nil, "\(text) has no port")
            check(
                Target(hostAndPort: text, defaultPort: target.port) == target,
                "\(text) is another host")
        }
    }
}
