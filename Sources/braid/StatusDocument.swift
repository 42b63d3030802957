import Foundation
import Shell

/// A process's status as JSON: what `braid status --json` prints and the status page serves at
/// `/status`.
///
/// Keys are in snake case and sorted, so that two documents can be compared line by line.
struct StatusDocument: Codable {
    var version = Braid.version
    var pid = getpid()
    var status: ServerStatus

    private enum CodingKeys: String, CodingKey { case version, pid }

    init(_ status: ServerStatus) { self.status = status }

    // The status stands beside version and process, not below a key of its own.
    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        version = try container.decode(String.self, forKey: .version)
        pid = try container.decode(Int32.self, forKey: .pid)
        status = try ServerStatus(from: decoder)
    }

    func encode(to encoder: any Encoder) throws {
        try status.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(version, forKey: .version)
        try container.encode(pid, forKey: .pid)
    }

    var json: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        // Only numbers that JSON has no form for could fail, and a rate or share is never one.
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) + "\n" }
            ?? "{}\n"
    }

    init(json: String) throws {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .custom { path in Name(snakeCase: path.last!.stringValue) }
        do {
            self = try decoder.decode(StatusDocument.self, from: Data(json.utf8))
        } catch {
            throw Complaint.failure(
                "the answer is not a status that braid \(Braid.version) knows; is another version running?"
            )
        }
    }
}

/// A key in Swift's spelling. `JSONDecoder`'s own conversion doesn't find `minimumRTTMilliseconds`
/// again.
private struct Name: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }
    init?(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }

    init(snakeCase text: String) {
        let words = text.split(separator: "_")
        stringValue = words.enumerated().map { index, word in
            index == 0
                ? String(word)
                : word == "rtt" ? "RTT" : word.prefix(1).uppercased() + word.dropFirst()
        }.joined()
    }
}
