import Measures
import Multipath

/// One thing the peer does at a time after the handshake.
struct Action {
    enum What {
        case join(path: Int, to: SocketAddress?, address: IPAddress?, backup: Bool)
        case announce(IPAddress, port: UInt16?, id: AddressID)
        case remove(AddressID)
        case priority(path: Int, backup: Bool)
        case leave(path: Int), down(path: Int), up(path: Int), cut(path: Int), mend(path: Int)
        case fastclose, finish
    }
    var at: Interval
    var what: What

    /// The path it is about, if it is about one.
    var path: Int? {
        switch what {
        case .join(let path, _, _, _), .priority(let path, _), .leave(let path), .down(let path),
            .up(let path),
            .cut(let path), .mend(let path):
            path
        case .announce, .remove, .fastclose, .finish: nil
        }
    }

    init(at: Interval, what: What) {
        self.at = at
        self.what = what
    }

    init(_ text: String) throws {
        var words = text.split(separator: " ").map(String.init)[...]
        func next() throws -> String {
            guard let word = words.popFirst() else {
                throw Complaint("--at '\(text)' ends too early")
            }
            return word
        }
        func path() throws -> Int {
            try parse(try next(), "--at '\(text)'", "the number of a path") { Int($0) }
        }
        func id() throws -> AddressID {
            let (name, value) = try pair(try next(), "--at")
            guard name == "id" else { throw Complaint("--at '\(text)' needs id=N") }
            return AddressID(
                try parse(value, "--at '\(text)'", "an address ID, 0 to 255") { UInt8($0) })
        }
        at = interval(
            try parse(try next(), "--at '\(text)'", "a number of seconds") {
                Double($0).flatMap { (0...1e6).contains($0) ? $0 : nil }
            })
        switch try next() {
        case "join":
            let number = try path()
            let backup = words.last == "backup"
            if backup { _ = words.popLast() }
            let target = words.popFirst()
            what = .join(
                path: number, to: target.flatMap { SocketAddress($0) },
                address: target.flatMap { IPAddress($0) }, backup: backup)
            if let target, SocketAddress(target) == nil, IPAddress(target) == nil {
                throw Complaint("--at '\(text)': \(target) is no address")
            }
        case "announce":
            let target = try next()
            let whole = SocketAddress(target)
            guard let address = whole?.address ?? IPAddress(target) else {
                throw Complaint("--at '\(text)': \(target) is no address")
            }
            what = .announce(address, port: whole?.port, id: try id())
        case "remove": what = .remove(try id())
        case "prio":
            let number = try path(), word = try next()
            guard ["backup", "regular"].contains(word) else {
                throw Complaint("--at '\(text)': \(word) is neither backup nor regular")
            }
            what = .priority(path: number, backup: word == "backup")
        case "leave": what = .leave(path: try path())
        case "cut": what = .cut(path: try path())
        case "mend": what = .mend(path: try path())
        case "down": what = .down(path: try path())
        case "up": what = .up(path: try path())
        case "fastclose": what = .fastclose
        case "finish": what = .finish
        default:
            throw Complaint(
                "--at '\(text)' names no action: join, leave, prio, announce, remove, cut, mend, down, up, "
                    + "finish or fastclose")
        }
        if let word = words.first { throw Complaint("--at '\(text)': \(word) is too much") }
    }
}
