import Yams

/// A configuration's tree with the place of everything in it, whether it came from YAML or from
/// flags.
struct Item {
    enum Content {
        case text(String)
        case list([Item])
        case table([Entry])
        /// A key without a value, `~` or `null`.
        case nothing
    }
    var content: Content
    var place: Place

    static func text(_ text: String, _ place: Place) -> Item {
        Item(content: .text(text), place: place)
    }
}

/// One key of a table.
struct Entry {
    var key: String
    var keyPlace: Place
    var value: Item
}

extension Item {
    /// Reads YAML; nil after saying in `report` why it is none. An empty file is an empty table.
    init?(yaml: String, file: String, report: Report) {
        do {
            guard let root = try compose(yaml: yaml) else {
                self = Item(content: .table([]), place: .file(file))
                return
            }
            var left = Self.maximumValues
            self.init(root, file: file, report: report, left: &left)
            place = .file(file)
            guard left > 0 else {
                report.say(
                    .file(file),
                    "has more than \(Self.maximumValues) values; aliases count where they stand")
                return nil
            }
        } catch {
            report.say(error, file: file)
            return nil
        }
    }

    /// Ten lines of aliases of aliases are a thousand million values.
    private static let maximumValues = 100_000

    /// `left`: how many more values may be taken; at zero the rest is left out.
    private init(_ node: Node, file: String, report: Report, left: inout Int) {
        place = node.mark.map { .line($0.line, of: file) } ?? .file(file)
        guard left > 0 else { content = .nothing; return }
        left -= 1
        switch node {
        case .scalar(let scalar):
            let isNull = scalar.style == .plain && ["", "~", "null"].contains(scalar.string)
            content = isNull ? .nothing : .text(scalar.string)
        case .sequence(let nodes):
            var items: [Item] = []
            for node in nodes where left > 0 {
                items.append(Item(node, file: file, report: report, left: &left))
            }
            content = .list(items)
        case .mapping(let pairs):
            content = .table(
                pairs.compactMap { key, value in
                    let place = key.mark.map { Place.line($0.line, of: file) } ?? .file(file)
                    guard case .scalar(let name) = key else {
                        report.say(place, "a key must be a plain word, not a list or a table")
                        return nil
                    }
                    return Entry(
                        key: name.string, keyPlace: place,
                        value: Item(value, file: file, report: report, left: &left))
                })
        case .alias:
            content = .nothing
            report.say(place, "an alias that refers to nothing before it; write the value itself")
        }
    }

    /// Puts `item` at `path`, in place of what the file says there; tables on the way are made.
    mutating func set(_ path: [String], to item: Item) {
        var entries: [Entry] = []
        if case .table(let present) = content { entries = present }
        let index = entries.firstIndex { $0.key == path[0] }
        if path.count == 1 {
            let entry = Entry(key: path[0], keyPlace: item.place, value: item)
            if let index { entries[index] = entry } else { entries.append(entry) }
        } else {
            var inner =
                index.map { entries[$0].value } ?? Item(content: .table([]), place: item.place)
            inner.set(Array(path.dropFirst()), to: item)
            let entry = Entry(
                key: path[0],
                keyPlace: index.map { entries[$0].keyPlace } ?? item.place,
                value: inner)
            if let index { entries[index] = entry } else { entries.append(entry) }
        }
        content = .table(entries)
    }
}

extension Report {
    fileprivate func say(_ error: any Error, file: String) {
        switch error {
        case YamlError.scanner(_, let problem, let mark, _),
            YamlError.parser(_, let problem, let mark, _),
            YamlError.composer(_, let problem, let mark, _):
            say(.line(mark.line, of: file), "this is not YAML: \(problem) (column \(mark.column))")
        case YamlError.duplicatedKeysInMapping(let keys, let context):
            let names = keys.map { "\"\($0)\"" }.joined(separator: ", ")
            say(
                .line(context.mark.line, of: file),
                "\(names) is written twice in one table; leave one of them out")
        case YamlError.reader(let problem, _, _, _):
            say(.file(file), "this is not YAML: \(problem)")
        default:
            say(.file(file), "this is not YAML: \(error)")
        }
    }
}
