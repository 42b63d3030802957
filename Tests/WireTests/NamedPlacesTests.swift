import Foundation
import Testing

/// The pages that lead a reader through the sources name nothing that is not there. In backquotes,
/// a name that begins with a capital letter is a type, a file or a folder, `Type.member` and
/// `member(…)` are declared, and `Folder/` is a folder.
@Suite struct NamedPlacesTests {
    private static let documents = [
        "docs/walk.md", "docs/design.md", "docs/security.md", "CONTRIBUTING.md"
    ]
    private static let sources = WireDocument.sources("Sources")

    /// Files without their ending, and every folder on the way to them.
    private static let places: Set<String> = {
        var found: Set<String> = ["Sources", "Tests", "Package"]
        for folder in ["Sources", "Tests"] {
            let root = WireDocument.root.appendingPathComponent(folder).path
            for path in FileManager.default.subpaths(atPath: root) ?? [] {
                for part in path.split(separator: "/") {
                    found.insert(String(part.hasSuffix(".swift") ? part.dropLast(6) : part))
                }
            }
        }
        return found
    }()

    /// Types, and members of types, that are declared anywhere.
    private static let declared: (types: Set<Substring>, members: Set<Substring>) = {
        let ofTypes: Set<Substring> = [
            "class", "struct", "enum", "protocol", "typealias", "extension"
        ]
        let ofMembers: Set<Substring> = ["func", "var", "let"]
        var types = Set<Substring>(), members = Set<Substring>()
        for line in sources.split(separator: "\n") {
            let words = line.split { !($0.isLetter || $0.isNumber || $0 == "_") }
            for (word, next) in zip(words, words.dropFirst()) {
                if ofTypes.contains(word) { types.insert(next) }
                if ofMembers.contains(word) { members.insert(next) }
            }
            if words.first == "case" { members.formUnion(words.dropFirst()) }
        }
        return (types, members)
    }()

    struct Name: CustomTestStringConvertible, Sendable {
        let document: String, text: String
        var testDescription: String { "\(document): \(text)" }
    }
    static let names = documents.flatMap { document in
        quoted(document).filter(isName).map { Name(document: document, text: $0) }
    }

    /// What stands in backquotes outside of fenced blocks, each once.
    private static func quoted(_ document: String) -> [String] {
        var found = Set<String>(), isInside = false
        for line in WireDocument.text(document).split(separator: "\n") {
            if line.hasPrefix("```") { isInside.toggle(); continue }
            let parts = line.split(separator: "`", omittingEmptySubsequences: false)
            for (i, part) in parts.enumerated() where i % 2 == 1 && !isInside {
                found.insert(String(part))
            }
        }
        return found.sorted()
    }

    /// Other words in backquotes are commands, values and names of other people's.
    private static func isName(_ text: String) -> Bool {
        guard let first = text.first, first.isLetter, !text.contains(" ") else { return false }
        if text.hasSuffix("/") { return first.isUppercase }
        let isPlain = text.allSatisfy { $0.isLetter || $0.isNumber || "+._:()".contains($0) }
        return isPlain && (text.hasSuffix(")") || first.isUppercase && !text.contains("_"))
    }

    @Test(arguments: names) func exists(_ name: Name) {
        let head = name.text.split(separator: "(")[0]
        for (i, part) in head.split(whereSeparator: { "./".contains($0) }).enumerated() {
            let isThere =
                (i == 0 || name.text.contains("/")) && part.first?.isUppercase == true
                ? Self.declared.types.contains(part) || Self.places.contains(String(part))
                : part == "swift" || part == "init" || Self.declared.members.contains(part)
            #expect(isThere, "\(name.document) names \(part), which is nowhere in Sources")
        }
    }

    @Test func thereAreNames() { #expect(Self.names.count > 60) }
}
