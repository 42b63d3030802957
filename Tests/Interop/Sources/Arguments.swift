import Measures
import Multipath
import Simulator
import Subflow

/// What the command line asks for.
struct Arguments {
    struct Path {
        var device: String
        var address: IPAddress
    }
    enum Pattern: String, CaseIterable { case echo, sink, source, halfClose = "half-close", idle }

    var isClient = false
    /// A relay's devices, by twos; otherwise empty.
    var pairs: [(String, String)] = []
    var pattern = Pattern.echo
    var paths: [Path] = []
    /// The server's port.
    var port: UInt16 = 5000
    var remote: SocketAddress?
    var size = 100_000
    var seed: UInt64 = 1
    var seconds = 30.0
    var linger = 0.1
    /// Joins from this path to every address the peer announces.
    var follow: Int?
    var readRate: Int?
    var readAfter = 0.0
    var addressIDs: [IPAddress: AddressID] = [:]
    var backups: Set<Int> = []
    var capture: String?
    var lines: [Int: LinkConditions] = [:]
    var plan: [Action] = []
    var mangling: [ManglingRule] = []
    var configuration = ConnectionConfiguration()

    init(_ words: [String]) throws {
        configuration.framing = .rawIP
        // As much as a kernel's send buffer grows to: a bulk sender's backlog fills every link.
        configuration.minimumSendSpace = 4 << 20
        configuration.subflow.maximumSegmentSize = 1380
        var left = words[...]
        func next(_ what: String) throws -> String {
            guard let word = left.popFirst() else { throw Complaint("\(what) is missing") }
            return word
        }
        let role = try next("client, server or relay")
        switch role {
        case "client":
            isClient = true
            let target = try next("the address to connect to, REMOTE:PORT,")
            remote = try parse(
                target, "client", "an address and a port, such as 10.0.0.1:5000 or [fd00::1]:5000"
            ) {
                SocketAddress($0)
            }
            port = remote!.port
        case "server":
            port = try parse(try next("the port to listen on"), "server", "a port, 1 to 65535") {
                UInt16($0)
            }
        case "relay":
            while let word = left.first, !word.hasPrefix("--") {
                pairs.append(try pair(word, "relay"))
                left = left.dropFirst()
            }
            guard !pairs.isEmpty else { throw Complaint("relay: no DEVICE=DEVICE is given") }
        default: throw Complaint("\(role) is not client, server or relay")
        }
        while let option = left.popFirst() {
            try take(option) { try next("the value of \(option)") }
        }
        try checkPaths(ofRelay: role == "relay")
    }

    /// Every number of a path means one of those given.
    private mutating func checkPaths(ofRelay isRelay: Bool) throws {
        let known = isRelay ? pairs.count : paths.count
        guard known > 0 else {
            throw Complaint("no --path is given; a peer needs one DEVICE=ADDRESS at least")
        }
        let named =
            lines.keys.map { ("--line", $0) } + backups.map { ("--backup", $0) }
            + (follow.map { [("--follow", $0)] } ?? [])
            + plan.compactMap { action in action.path.map { ("--at", $0) } }
        for (option, path) in named where !(0..<known).contains(path) {
            throw Complaint(
                "\(option): there is no path \(path); the paths given are 0 to \(known - 1)")
        }
        if isRelay { return }
        if let remote, paths[0].address.isIPv4 != remote.address.isIPv4 {
            throw Complaint(
                "\(paths[0].address), the first path's address, can't reach \(remote): IPv4 and IPv6"
            )
        }
        for (i, path) in paths.enumerated() where addressIDs[path.address] == nil {
            addressIDs[path.address] = AddressID(UInt8(i))
        }
    }

    private func line(_ words: ArraySlice<String>) throws -> LinkConditions {
        var rate: Rate?, delay = Interval.zero, queue = Interval.milliseconds(100), loss = 0.0
        for word in words {
            let (name, text) = try pair(word, "--line")
            let value = try parse(text, "--line", "a number, 0 or more") {
                Double($0).flatMap { $0 >= 0 ? $0 : nil }
            }
            switch name {
            case "rate" where value > 0 && value < 1e6:
                rate = Rate(bytesPerSecond: Int64(value * 125_000))
            case "delay": delay = interval(value / 1000)
            case "queue": queue = interval(value / 1000)
            case "loss" where value <= 1: loss = value
            default:
                throw Complaint(
                    "--line: \(word) is not rate=MBIT, delay=MS, queue=MS or loss=P (0 to 1)")
            }
        }
        var made =
            rate.map { LinkConditions(rate: $0, delay: delay, queue: queue) }
            ?? LinkConditions(rate: nil, delay: delay, queueLimit: 1 << 20)
        if loss > 0 { made.loss = .random(loss) }
        return made
    }

    private mutating func take(_ option: String, _ value: () throws -> String) throws {
        func count(_ range: ClosedRange<Int>) throws -> Int {
            try parse(value(), option, "a whole number, \(range.lowerBound) to \(range.upperBound)")
            {
                Int($0).flatMap { range.contains($0) ? $0 : nil }
            }
        }
        func duration() throws -> Double {
            try parse(value(), option, "a number of seconds, 0 to 1000000") {
                Double($0).flatMap { (0...1e6).contains($0) ? $0 : nil }
            }
        }
        func path() throws -> Int { try count(0...255) }
        switch option {
        case "--path":
            let (device, address) = try pair(try value(), option)
            paths.append(
                Path(
                    device: device,
                    address: try parse(address, option, "an IP address") { IPAddress($0) }))
        case "--id":
            let (address, id) = try pair(try value(), option)
            addressIDs[try parse(address, option, "an IP address") { IPAddress($0) }] =
                AddressID(try parse(id, option, "0 to 255") { UInt8($0) })
        case "--pattern": pattern = try choice(try value(), option)
        case "--size": size = try count(0...1 << 40)
        case "--seed": seed = UInt64(try count(0...Int.max))
        case "--seconds": seconds = try duration()
        case "--linger": linger = try duration()
        case "--window": configuration.receiveLimit = try count(1...1 << 30)
        case "--read-rate": readRate = try count(1...1 << 40)
        case "--read-after": readAfter = try duration()
        case "--checksum": configuration.requiresChecksum = true
        case "--deny-joins": configuration.deniesInitialJoins = true
        case "--timestamps": configuration.subflow.timestamps = true
        case "--no-sack": configuration.subflow.selectiveAcknowledgement = false
        case "--no-scaling": configuration.subflow.windowScale = 0
        case "--initial-window": configuration.subflow.initialWindowSegments = try count(1...1000)
        case "--mss": configuration.subflow.maximumSegmentSize = try count(88...1460)
        case "--congestion": configuration.subflow.congestion = try choice(try value(), option)
        case "--scheduler": configuration.scheduler = try choice(try value(), option)
        case "--give-up": configuration.subflow.giveUpAfter = interval(try duration())
        case "--backup": backups.insert(try path())
        case "--at": plan.append(try Action(try value()))
        case "--mangle": mangling.append(try ManglingRule(try value()))
        case "--follow": follow = try path()
        case "--line":
            let words = try value().split(separator: " ").map(String.init)
            guard let first = words.first else { throw Complaint("--line is empty") }
            lines[try parse(first, option, "the number of a path") { Int($0) }] = try line(
                words.dropFirst())
        case "--capture": capture = try value()
        default: throw Complaint("\(option) is not an option")
        }
    }
}

struct Complaint: Error {
    let text: String
    init(_ text: String) { self.text = text }
}

func interval(_ seconds: Double) -> Interval { .nanoseconds(Int64(seconds * 1e9)) }

func parse<T>(
    _ text: String, _ option: String, _ wanted: String, _ read: (String) -> T?
) throws -> T {
    guard let value = read(text) else { throw Complaint("\(option): \(text) is not \(wanted)") }
    return value
}

/// One of the names of `T`.
func choice<T: CaseIterable & RawRepresentable<String>>(
    _ text: String, _ option: String
) throws -> T {
    try parse(text, option, "one of " + T.allCases.map(\.rawValue).joined(separator: ", ")) {
        T(rawValue: $0)
    }
}

func pair(_ text: String, _ what: String) throws -> (String, String) {
    let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
    guard parts.count == 2 else { throw Complaint("\(what): \(text) is not NAME=VALUE") }
    return (parts[0], parts[1])
}
