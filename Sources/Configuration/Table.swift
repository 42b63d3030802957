/// One setting as it was found: its name for sentences, its content and the place to point to.
struct Field {
    let name: String
    let item: Item
    let place: Place
    let report: Report

    /// Says what is wrong with this setting and how to mend it.
    func complain(_ sentence: String) {
        if case .flag = place {
            report.say(place, sentence)
        } else {
            report.say(place, "\(name): \(sentence)")
        }
    }

    /// The same, and nil, so that a reader can end with it.
    func wrong<Value>(_ sentence: String) -> Value? {
        complain(sentence)
        return nil
    }
}

/// A table whose keys are the cases of `Key`; any other key is reported with the nearest name.
struct Table<Key: RawRepresentable & CaseIterable> where Key.RawValue == String {
    let name: String
    let place: Place
    let report: Report
    private let entries: [Entry]

    /// Nil, with the problem said, where `item` is no table. `name` is empty for the file itself.
    init?(_ item: Item, name: String, place: Place, report: Report) {
        self.name = name; self.place = place; self.report = report
        switch item.content {
        case .table(let entries): self.entries = entries
        default:
            let keys = Key.allCases.map(\.rawValue).joined(separator: ", ")
            report.say(
                place,
                "\(name.isEmpty ? "the file" : name + ":") must be a table with the keys \(keys)")
            return nil
        }
        let known = Key.allCases.map(\.rawValue)
        for entry in entries where !known.contains(entry.key) {
            let hint =
                nearestName(to: entry.key, among: known).map { "did you mean \"\($0)\"?" }
                ?? "known here are \(known.joined(separator: ", "))"
            if name.isEmpty, let kind = ConfigurationKind.only(having: entry.key) {
                report.say(
                    entry.keyPlace,
                    "\(entry.key) belongs in the file of a \(kind.rawValue), which is another one")
                continue
            }
            let inside = name.isEmpty ? "" : " in \(name)"
            report.say(entry.keyPlace, "unknown key \"\(entry.key)\"\(inside); \(hint)")
        }
    }

    init?(_ field: Field) {
        self.init(field.item, name: field.name, place: field.place, report: field.report)
    }

    /// The setting of that name; nil where it is left out. A key without a value is reported.
    subscript(key: Key) -> Field? {
        guard let entry = entries.first(where: { $0.key == key.rawValue }) else { return nil }
        let full = name.isEmpty ? entry.key : "\(name).\(entry.key)"
        // A value on a line of its own is pointed to itself, a list or table by its key.
        var place = entry.keyPlace
        if case .text = entry.value.content { place = entry.value.place }
        let field = Field(name: full, item: entry.value, place: place, report: report)
        if case .nothing = entry.value.content {
            return field.wrong("has no value; give it one or leave the key out")
        }
        return field
    }

    /// Whether a setting is there, be it right or wrong.
    func has(_ key: Key) -> Bool { entries.contains { $0.key == key.rawValue } }

    /// The setting of that name; where it is left out, that is reported with `mending`.
    func required(_ key: Key, _ mending: String) -> Field? {
        if let field = self[key] { return field }
        if !entries.contains(where: { $0.key == key.rawValue }) {
            report.say(
                place, "\(name.isEmpty ? "" : name + ".")\(key.rawValue) is missing; \(mending)")
        }
        return nil
    }
}
