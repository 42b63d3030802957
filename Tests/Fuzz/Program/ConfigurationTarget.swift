import Configuration
import Glibc

/// Configuration files of either kind: read, or refused with sentences, never anything else.
enum ConfigurationTarget {
    private static let folder: String = {
        var template = Array("/tmp/braid-fuzz-XXXXXX\0".utf8CString)
        guard mkdtemp(&template) != nil else { fail("no folder for the file") }
        let path = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        write("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n", to: path + "/own.key")
        atexit { ConfigurationTarget.remove() }
        return path
    }()

    private static func write(_ text: some Collection<Character>, to path: String) {
        write(Array(String(text).utf8), to: path)
    }
    private static func write(_ bytes: [UInt8], to path: String) {
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard file >= 0, Glibc.write(file, bytes, bytes.count) == bytes.count else { fail("can't write \(path)") }
        close(file)
    }
    private static func remove() {
        unlink(folder + "/own.key")
        unlink(folder + "/it.yaml")
        rmdir(folder)
    }

    static func run(_ input: inout Input) {
        let form = input.byte(), path = folder + "/it.yaml"
        write(input.rest(), to: path)
        do throws(ConfigurationErrors) {
            switch form % 3 {
            case 0: _ = try Configuration.load(.proxy, file: path)
            case 1: _ = try Configuration.load(.concentrator, file: path)
            default: _ = try Configuration.check(file: path)
            }
        } catch {
            check(!error.problems.isEmpty, "refused without a sentence")
            for problem in error.problems { check(problem.description.utf8.count > 10, "no sentence: \(problem)") }
        }
    }
}
