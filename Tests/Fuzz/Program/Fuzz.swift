import CFuzzer
import Glibc

/// `fuzz TARGET [OPTIONS OF LIBFUZZER] [CORPUS...]`: feeds one target until something breaks.
///
///     fuzz list             the targets, one a line
///     fuzz seeds FOLDER     writes first inputs made from real values, a folder for each target
///     fuzz tunnel -max_total_time=3600 corpus/tunnel
///
/// A target gets bytes and ends the process where the engine does what it must not: traps, reads
/// beyond an end, or says something else than the model beside it.
@main struct Fuzz {
    typealias Target = @Sendable (inout Input) -> Void

    static let targets: [(name: String, run: Target)] = [
        ("raw-segment", RawSegmentTarget.run), ("sealed-segment", SealedSegmentTarget.run),
        ("sealed-channel", SealedChannelTarget.run), ("options", OptionsTarget.run),
        ("frames", FramesTarget.run),
        ("tunnel", TunnelTarget.run), ("hostile", HostileTarget.run),
        ("connection", ConnectionTarget.run),
        ("socks", SocksTarget.run), ("http", HTTPTarget.run),
        ("names", NamesTarget.run), ("first-bytes", FirstBytesTarget.run),
        ("configuration", ConfigurationTarget.run), ("reload", ConfigurationTarget.reload),
        ("kernel", KernelTarget.run),
        ("page", PageTarget.run), ("control", ControlTarget.run),
        ("invitation", InvitationTarget.run), ("history", HistoryTarget.run),
        ("reassembly", ReassemblyTarget.run), ("byte-ring", ByteRingTarget.run),
        ("ranges", RangesTarget.run),
        ("mappings", MappingsTarget.run), ("replay", ReplayTarget.run),
        ("scoreboard", ScoreboardTarget.run), ("resequencer", ResequencerTarget.run)
    ]
    nonisolated(unsafe) static var chosen: Target = { _ in }

    static func main() {
        let words = CommandLine.arguments
        if words.count == 2, words[1] == "list" {
            for target in targets { print(target.name) }
            return
        }
        if words.count == 3, words[1] == "seeds" { return Seeds.write(to: words[2]) }
        // libFuzzer's own children are called with the flag; it hands flags with two dashes on as
        // they are.
        let prefix = "--target="
        let name =
            words.count >= 2
            ? words[1].hasPrefix(prefix) ? String(words[1].dropFirst(prefix.count)) : words[1] : ""
        guard let target = targets.first(where: { $0.name == name }) else {
            print("usage: fuzz list | seeds FOLDER | TARGET [OPTIONS OF LIBFUZZER] [CORPUS...]")
            exit(2)
        }
        chosen = target.run
        var count = CommandLine.argc
        var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
        arguments![1] = strdup(prefix + name)
        exit(
            LLVMFuzzerRunDriver(&count, &arguments) { data, size in
                var input = Input(UnsafeRawBufferPointer(start: data, count: size))
                Fuzz.chosen(&input)
                return 0
            })
    }
}

/// Ends the process: what the fuzzer looks for.
func fail(
    _ text: @autoclosure () -> String, file: StaticString = #fileID, line: UInt = #line
) -> Never {
    let line = "WRONG at \(file):\(line): \(text())\n"
    _ = line.withCString { Glibc.write(STDERR_FILENO, $0, strlen($0)) }
    abort()
}

func check(
    _ condition: Bool, _ text: @autoclosure () -> String, file: StaticString = #fileID,
    line: UInt = #line
) {
    if !condition { fail(text(), file: file, line: line) }
}
