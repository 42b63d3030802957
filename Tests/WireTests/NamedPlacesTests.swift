import Foundation
import Testing

/// The pages that lead a reader through the sources name nothing that is not there. In backquotes,
/// a name that begins with a capital letter is a type, a file or a folder, `Folder/` is a folder,
/// and `Folder/File`, with or without its ending, is that file. `File.member` is declared in that
/// file, `Type.member` where the type is declared or extended, and `member(…)` and `camelCase`
/// anywhere.
@Suite struct NamedPlacesTests {
    private static let documents = [
        "docs/walk.md", "docs/design.md", "docs/security.md", "docs/deviations.md",
        "docs/decisions.md", "CONTRIBUTING.md"
    ]

    /// What a file declares.
    private struct Declarations {
        /// Types that are declared or extended; members, and cases.
        var types = Set<Substring>(), members = Set<Substring>()

        init() {}

        init(of text: String) {
            let ofTypes: Set<Substring> = [
                "class", "struct", "enum", "protocol", "typealias", "extension"
            ]
            let ofMembers: Set<Substring> = ["func", "var", "let"]
            for line in text.split(separator: "\n") {
                let words = line.split { !($0.isLetter || $0.isNumber || $0 == "_") }
                for (word, next) in zip(words, words.dropFirst()) {
                    if ofTypes.contains(word) { types.insert(next) }
                    if ofMembers.contains(word) { members.insert(next) }
                }
                if words.first == "case" { members.formUnion(words.dropFirst()) }
            }
        }

        mutating func formUnion(_ other: Declarations) {
            types.formUnion(other.types)
            members.formUnion(other.members)
        }

        func has(_ name: Substring) -> Bool { types.contains(name) || members.contains(name) }
    }

    /// A file or a folder, by the parts of its path, the last without `.swift`.
    private struct Place {
        var parts: [Substring]
        /// The file's own name.
        var name: String
        /// Of a Swift file.
        var declarations: Declarations?
    }

    /// By its own name, with the ending and without, and by the types that stand in it.
    private static let places: [Substring: [Place]] = {
        var found: [Substring: [Place]] = [:]
        for folder in ["Sources", "Tests"] {
            let root = WireDocument.root.appendingPathComponent(folder).path
            for path in [""] + (FileManager.default.subpaths(atPath: root) ?? []) {
                var parts = [folder[...]] + path.split(separator: "/")
                guard !parts.contains(where: { $0.hasPrefix(".") }) else { continue }
                let name = String(parts.removeLast())
                let isSwift = name.hasSuffix(".swift")
                parts.append(isSwift ? name.dropLast(6) : name[...])
                let place = Place(
                    parts: parts, name: name,
                    declarations: isSwift
                        ? Declarations(of: WireDocument.text("\(folder)/\(path)")) : nil)
                let keys = (place.declarations?.types ?? []).union([parts.last!, name[...]])
                for key in keys { found[key, default: []].append(place) }
            }
        }
        return found
    }()

    /// Every member that `Sources` declares.
    private static let members = places.values.reduce(into: Set<Substring>()) { all, places in
        for place in places where place.parts[0] == "Sources" {
            all.formUnion(place.declarations?.members ?? [])
        }
    }

    struct Name: CustomTestStringConvertible, Sendable {
        let document: String, text: String
        var testDescription: String { "\(document): \(text)" }
    }
    static let cited = documents.flatMap { document in
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
        let isPath = text.contains("/")
        guard text.allSatisfy({ $0.isLetter || $0.isNumber || "+._:()/".contains($0) }) else {
            return false
        }
        if isPath {
            // `TARGET` stands for any.
            return first.isUppercase
                && text.split(separator: "/").allSatisfy { $0.contains(where: \.isLowercase) }
        }
        if text.hasSuffix(")") || first.isUppercase { return !text.contains("_") }
        return !text.contains("_") && text.dropFirst().contains(where: \.isUppercase)
    }

    /// Why a name is none, or nil where it is one.
    private static func fault(_ text: String) -> String? {
        var folders = text.prefix { $0 != "(" }.split(separator: "/")
        let last = folders.removeLast()
        if text.contains("/"), let whole = fault(folders, file: last) {
            // Not a file with its ending: a member of one, or a folder.
            var parts = last.split(separator: ".")
            let head = parts.removeFirst()
            if parts.isEmpty || parts.last == "py" || parts.last == "txt" { return whole }
            if let none = fault(folders, file: head) { return none }
            let file = (places[head] ?? []).filter { isAt($0, folders, head) }
                .compactMap(\.declarations)
            return parts.first { part in !file.contains { $0.has(part) } }
                .map { "\($0) is not declared in \((folders + [head]).joined(separator: "/"))" }
        }
        if text.contains("/") { return nil }
        var parts = last.split(separator: ".")
        guard parts[0].first?.isUppercase == true else {
            return parts.first { !members.contains($0) }.map { "\($0) is nowhere" }
        }
        let head = parts.removeFirst()
        if parts.last == "swift" { parts.removeLast() }
        guard let homes = places[head] ?? (head == "Package" ? [] : nil) else {
            return "\(head) is nowhere"
        }
        return parts.first { part in
            part != "init" && !homes.contains { $0.declarations?.has(part) == true }
        }
        .map { "\($0) is declared neither in \(head).swift nor where \(head) is" }
    }

    /// The folders stand in its path, in their order, and it is called so.
    private static func isAt(_ place: Place, _ folders: [Substring], _ name: Substring) -> Bool {
        guard place.parts.last == name || place.name == name else { return false }
        var rest = folders[...]
        for part in place.parts.dropLast() where part == rest.first { rest.removeFirst() }
        return rest.isEmpty
    }

    private static func fault(_ folders: [Substring], file: Substring) -> String? {
        places[file]?.contains { isAt($0, folders, file) } == true
            ? nil : "there is no \((folders + [file]).joined(separator: "/"))"
    }

    @Test(arguments: cited) func exists(_ name: Name) {
        let fault = Self.fault(name.text)
        #expect(fault == nil, "\(name.document), \(name.text): \(fault ?? "")")
    }

    /// What the test is to find, and what it is to let pass.
    @Test func wrongNamesAreFound() {
        for wrong in [
            "ConnectionReceive.closeIfFinished", "Connection.closeNothing", "ReinjectionDoubt",
            "Raw/PlainFallback.noticeFallback", "RawIP/PlainFallback.attachHandshake",
            "settleNothing",
            "Tests/System/none.py", "Wire/None", "Limits.streamsAYear", "takeNothing(from:)"
        ] {
            #expect(Self.isName(wrong) && Self.fault(wrong) != nil, "\(wrong)")
        }
        for right in [
            "ConnectionEnds.closeIfFinished", "Connection.closeIfFinished", "RawIP/",
            "Sources/Wire",
            "RawIP/PlainFallback.noticeFallback", "Tests/WireTests/NamedPlacesTests.swift",
            "MemberSubflow.Timer.keyProof", "NamedPlacesTests.wrongNamesAreFound", "closeIfFinished"
        ] {
            #expect(Self.isName(right) && Self.fault(right) == nil, "\(right)")
        }
    }

    @Test func thereAreNames() { #expect(Self.cited.count > 300) }
}
