import Configuration
import Glibc
import History
import Measures
import Proxy
import Wire

@testable import Shell

/// What a local program may write to the control socket: in pieces, of any length, with or without
/// an end. It gets the answer to its line, or nothing; the next one is answered all the same.
enum ControlTarget {
    private struct Desk {
        let loop: EventLoop
        let server: ControlServer
        let folder: String
    }
    nonisolated(unsafe) private static let desk: Desk = {
        var template = Array("/tmp/braid-fuzz-XXXXXX\0".utf8CString)
        guard mkdtemp(&template) != nil else { fail("no folder for the socket") }
        let folder = String(
            decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        do throws(SystemError) {
            let loop = try EventLoop()
            let server = try ControlServer(path: folder + "/it.sock", loop: loop) { line in
                ControlTarget.answer(line)
            }
            atexit { ControlTarget.remove() }
            return Desk(loop: loop, server: server, folder: folder)
        } catch { fail("no control socket: \(error)") }
    }()
    private static func remove() {
        unlink(desk.folder + "/it.sock")
        rmdir(desk.folder)
    }

    static func run(_ input: inout Input) {
        let form = input.byte()
        var sent: [UInt8] = []
        let descriptor = connect()
        // In pieces, the last of which is followed by an end, a reset or nothing.
        while !input.isEmpty, sent.count < 20_000 {
            let size = input.byte()
            var piece = input.take(Int(size & 63) + 1)
            if size & 128 != 0 { piece = [UInt8](repeating: piece.first ?? 32, count: 1_400) }
            if size & 64 != 0, !input.isEmpty { piece.append(10) }
            guard send(descriptor, piece, piece.count, Int32(MSG_NOSIGNAL)) == piece.count else {
                break
            }
            sent += piece
            turn()
        }
        if form & 3 == 1 { shutdown(descriptor, Int32(SHUT_WR)) }
        if form & 3 == 2 { close(descriptor) }
        for _ in 0..<4 { turn() }
        if form & 3 != 2 {
            judge(reply(from: descriptor), sent, isEnded: form & 3 == 1)
            close(descriptor)
        }
        for _ in 0..<4 { turn() }
        isAlive()
    }

    private static func turn() {
        desk.loop.turnAgain()
        var turns = 0
        _ = desk.loop.run(until: .milliseconds(50)) {
            turns += 1; return turns > 1
        }
    }

    private static func connect() -> Int32 {
        guard let descriptor = try? controlSocket(nonBlocking: false),
            let code = try? withUnixAddress(
                desk.server.path, { Glibc.connect(descriptor, $0, $1) == 0 ? 0 : errno }), code == 0
        else { fail("nobody listens") }
        return descriptor
    }

    private static func reply(from descriptor: Int32) -> [UInt8] {
        var reply: [UInt8] = [], piece = [UInt8](repeating: 0, count: 65_536)
        for _ in 0..<50 {
            let n = recv(descriptor, &piece, piece.count, Int32(MSG_DONTWAIT))
            if n > 0 { reply += piece[..<n] } else if n == 0 { break }
            turn()
            if n < 0, errno != EAGAIN { break }
            if n < 0, reply.isEmpty == false { break }
            if n < 0 { return reply }
        }
        return reply
    }

    private static func judge(_ reply: [UInt8], _ sent: [UInt8], isEnded: Bool) {
        let end = sent.firstIndex(of: 10)
        guard let length = end ?? (isEnded ? sent.count : nil), length > 0 || end != nil else {
            return check(reply.isEmpty, "an answer to no line")
        }
        var line = String(decoding: sent[..<length], as: UTF8.self)
        if line.last == "\r" { line.removeLast() }
        // A line that is too long may have been cut off while it came.
        if reply.isEmpty, length > 4_000 || !isEnded && end == nil { return }
        check(String(decoding: reply, as: UTF8.self) == answer(line) + "\n", "another answer")
    }

    private static func isAlive() {
        let descriptor = connect()
        defer { close(descriptor) }
        _ = send(descriptor, "status\n", 7, Int32(MSG_NOSIGNAL))
        for _ in 0..<8 {
            turn()
            var piece = [UInt8](repeating: 0, count: 64)
            let n = recv(descriptor, &piece, piece.count, Int32(MSG_DONTWAIT))
            if n > 0 {
                return check(
                    String(decoding: piece[..<n], as: UTF8.self) == answer("status") + "\n",
                    "another answer to the next one")
            }
        }
        fail("the next one is not answered")
    }

    /// As the desk does it: words, and those of a question about rules.
    private static func answer(_ line: String) -> String {
        let words = line.split(separator: " ").map(String.init)
        if words.first == "rule",
            let question = RuleQuestion(
                words: words.dropFirst(), readTarget: { Target(hostAndPort: $0) })
        {
            let again = RuleQuestion(
                words: question.words, readTarget: { Target(hostAndPort: $0) })
            guard let again, again.words == question.words else {
                fail("\(question.words) is another question")
            }
            return question.words.joined(separator: " ")
        }
        if words.first == "events", words.count == 3, let limit = Int(words[2]) {
            return "\(EventJournal().entries(after: 0, limit: limit).count)"
        }
        return "<\(Printable.text(line))>"
    }
}
