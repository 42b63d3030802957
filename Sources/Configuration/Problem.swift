/// Where a setting was written, as it stands before a sentence about it.
public enum Place: Hashable, Sendable, CustomStringConvertible {
    /// A line of a file, counted from 1.
    case line(Int, of: String)
    /// A file as a whole.
    case file(String)
    /// A flag of the command line, such as `--mode`.
    case flag(String)
    /// The command line as a whole, where no file was given.
    case commandLine

    public var description: String {
        switch self {
        case .line(let line, let file): "\(file):\(line)"
        case .file(let file): file
        case .flag(let name): name
        case .commandLine: "command line"
        }
    }
}

/// One thing wrong with a configuration, as one sentence that says where, what and how to mend it.
public struct Problem: Hashable, Sendable, CustomStringConvertible {
    /// Where it is to be mended.
    public var place: Place
    /// What is wrong and how to mend it, without the place and with no full stop.
    public var sentence: String
    /// A problem of one sentence.
    public init(_ place: Place, _ sentence: String) { self.place = place; self.sentence = sentence }
    public var description: String { "\(place): \(sentence)" }
}

/// Everything wrong with a configuration, in the order of the file.
public struct ConfigurationErrors: Error, CustomStringConvertible {
    /// At least one.
    public var problems: [Problem]
    public var description: String { problems.map(\.description).joined(separator: "\n") }
}

/// Collects problems while a configuration is read, so that a person sees all of them at once.
final class Report {
    private(set) var problems: [Problem] = []

    func say(_ place: Place, _ sentence: String) {
        let problem = Problem(place, sentence)
        if !problems.contains(problem) { problems.append(problem) }
    }

    /// The problems by line; those of the whole file and of flags come first.
    var sorted: [Problem] {
        let line = { (problem: Problem) in if case .line(let n, _) = problem.place { n } else { 0 }
        }
        return problems.enumerated()
            .sorted { (line($0.element), $0.offset) < (line($1.element), $1.offset) }
            .map(\.element)
    }
}
