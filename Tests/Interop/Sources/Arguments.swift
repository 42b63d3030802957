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
    enum Pattern: String { case echo, sink, source, halfClose = "half-close", idle }

    var isClient = false
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

    static let usage = """
        usage: mptcp-peer client REMOTE:PORT|server PORT --path DEVICE=ADDRESS... [OPTION...]

        One MPTCP connection of Braid's engine over raw IP, on TUN devices that exist. Prints one JSON object.

          --path DEVICE=ADDRESS   an address of this peer, behind that device; the first one opens. Repeatable
          --id ADDRESS=N          the address ID of an address (otherwise its number among the paths, 0 first)
          --pattern NAME          echo (client: writes and reads back; server: writes back), source (writes --size
                                  bytes and ends), sink (only reads), half-close (reads to the end, then writes),
                                  idle (neither, until the peer or the plan ends it)
          --size BYTES            what this side writes (100000)
          --seed N                of content, keys and sequence numbers (1)
          --seconds S             give up after this long (30)
          --window BYTES          receive window at most; --read-rate BYTES (a second), --read-after SECONDS
          --checksum              ask for DSS checksums; --deny-joins: the C flag; --timestamps; --no-sack
          --initial-window N      segments; --mss BYTES; --congestion bbr|cubic|newreno; --backup PATH
          --scheduler NAME        predicted-arrival or round-robin
          --give-up SECONDS       without an acknowledgement a subflow ends; --no-scaling: window scale 0
          --line 'PATH rate=MBIT delay=MS queue=MS loss=P'   what the device's line is like, each way
          --at 'SECONDS ACTION'   join PATH [TO[:PORT]] [backup] | announce ADDRESS[:PORT] id=N | remove id=N |
                                  prio PATH backup|regular | leave PATH | fastclose | finish | down PATH | up PATH |
                                  cut PATH | mend PATH (a silent outage of its line).
                                  SECONDS count from the handshake. Repeatable
          --mangle 'in|out WHAT [KIND] [nth=A[-B]] [p=P] [path=N] [port=N]'
                                  WHAT: drop, strip (MPTCP options), flip (a payload bit), token, hmac, key, fastclose
                                  (adds one with a wrong key). KIND: any, syn, synack, third, data, ack, fin, join,
                                  capable, add, remove, handshake. Repeatable
          --follow PATH           join from this path to every address the peer announces
          --capture FILE          pcap of what passes the devices
        """

    init(_ words: [String]) throws {
        configuration.framing = .rawIP
        // As much as a kernel's send buffer grows to: a bulk sender's backlog fills every link.
        configuration.leastSendSpace = 4 << 20
        configuration.subflow.maximumSegmentSize = 1380
        var left = words[...]
        func next(_ what: String) throws -> String {
            guard let word = left.popFirst() else { throw Complaint("\(what) is missing") }
            return word
        }
        let role = try next("client or server")
        let target = try next("an address or a port")
        switch role {
        case "client":
            isClient = true
            remote = try parse(target, "REMOTE:PORT") { SocketAddress($0) }
            port = remote!.port
        case "server": port = try parse(target, "PORT") { UInt16($0) }
        default: throw Complaint("\(role) is neither client nor server")
        }
        while let option = left.popFirst() { try take(option) { try next("the value of \(option)") } }
        guard !paths.isEmpty else { throw Complaint("no --path is given") }
        for (i, path) in paths.enumerated() where addressIDs[path.address] == nil {
            addressIDs[path.address] = AddressID(UInt8(i))
        }
    }

    private func line(_ words: ArraySlice<String>) throws -> LinkConditions {
        var rate: Rate?, delay = Interval.zero, queue = Interval.milliseconds(100), loss = 0.0
        for word in words {
            let (name, text) = try pair(word, "--line")
            let value = try parse(text, "--line") { Double($0) }
            switch name {
            case "rate": rate = Rate(bytesPerSecond: Int64(value * 125_000))
            case "delay": delay = interval(value / 1000)
            case "queue": queue = interval(value / 1000)
            case "loss": loss = value
            default: throw Complaint("--line: \(word) means nothing")
            }
        }
        var made = rate.map { LinkConditions(rate: $0, delay: delay, queue: queue) }
            ?? LinkConditions(rate: nil, delay: delay, queueLimit: 1 << 20)
        if loss > 0 { made.loss = .random(loss) }
        return made
    }

    private mutating func take(_ option: String, _ value: () throws -> String) throws {
        func number<T: LosslessStringConvertible>(_: T.Type) throws -> T {
            try parse(value(), option) { T($0) }
        }
        switch option {
        case "--path":
            let (device, address) = try pair(try value(), option)
            paths.append(Path(device: device, address: try parse(address, option) { IPAddress($0) }))
        case "--id":
            let (address, id) = try pair(try value(), option)
            addressIDs[try parse(address, option) { IPAddress($0) }] = AddressID(try parse(id, option) { UInt8($0) })
        case "--pattern": pattern = try parse(try value(), option) { Pattern(rawValue: $0) }
        case "--size": size = try number(Int.self)
        case "--seed": seed = try number(UInt64.self)
        case "--seconds": seconds = try number(Double.self)
        case "--linger": linger = try number(Double.self)
        case "--window": configuration.receiveLimit = try number(Int.self)
        case "--read-rate": readRate = try number(Int.self)
        case "--read-after": readAfter = try number(Double.self)
        case "--checksum": configuration.requiresChecksum = true
        case "--deny-joins": configuration.deniesInitialJoins = true
        case "--timestamps": configuration.subflow.timestamps = true
        case "--no-sack": configuration.subflow.selectiveAcknowledgement = false
        case "--no-scaling": configuration.subflow.windowScale = 0
        case "--initial-window": configuration.subflow.initialWindowSegments = try number(Int.self)
        case "--mss": configuration.subflow.maximumSegmentSize = try number(Int.self)
        case "--congestion":
            configuration.subflow.congestion = try parse(try value(), option) { CongestionAlgorithm(rawValue: $0) }
        case "--scheduler": configuration.scheduler = try parse(try value(), option) { SchedulerKind(rawValue: $0) }
        case "--give-up": configuration.subflow.giveUpAfter = interval(try number(Double.self))
        case "--backup": backups.insert(try number(Int.self))
        case "--at": plan.append(try Action(try value()))
        case "--mangle": mangling.append(try ManglingRule(try value()))
        case "--follow": follow = try number(Int.self)
        case "--line":
            let words = try value().split(separator: " ").map(String.init)
            guard let first = words.first else { throw Complaint("--line is empty") }
            lines[try parse(first, option) { Int($0) }] = try line(words.dropFirst())
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

func parse<T>(_ text: String, _ what: String, _ read: (String) -> T?) throws -> T {
    guard let value = read(text) else { throw Complaint("\(what): \(text) can't be read") }
    return value
}

func pair(_ text: String, _ what: String) throws -> (String, String) {
    let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
    guard parts.count == 2 else { throw Complaint("\(what): \(text) is not NAME=VALUE") }
    return (parts[0], parts[1])
}

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

    init(_ text: String) throws {
        var words = text.split(separator: " ").map(String.init)[...]
        func next() throws -> String {
            guard let word = words.popFirst() else { throw Complaint("--at '\(text)' ends too early") }
            return word
        }
        func path() throws -> Int { try parse(try next(), "--at") { Int($0) } }
        func id() throws -> AddressID {
            let (name, value) = try pair(try next(), "--at")
            guard name == "id" else { throw Complaint("--at '\(text)' needs id=N") }
            return AddressID(try parse(value, "--at") { UInt8($0) })
        }
        at = interval(try parse(try next(), "--at") { Double($0) })
        switch try next() {
        case "join":
            let number = try path()
            let backup = words.last == "backup"
            if backup { _ = words.popLast() }
            let target = words.popFirst()
            what = .join(path: number, to: target.flatMap { SocketAddress($0) },
                         address: target.flatMap { IPAddress($0) }, backup: backup)
        case "announce":
            let target = try next()
            let whole = SocketAddress(target)
            guard let address = whole?.address ?? IPAddress(target) else {
                throw Complaint("--at '\(text)': \(target) is no address")
            }
            what = .announce(address, port: whole?.port, id: try id())
        case "remove": what = .remove(try id())
        case "prio": what = .priority(path: try path(), backup: try next() == "backup")
        case "leave": what = .leave(path: try path())
        case "cut": what = .cut(path: try path())
        case "mend": what = .mend(path: try path())
        case "down": what = .down(path: try path())
        case "up": what = .up(path: try path())
        case "fastclose": what = .fastclose
        case "finish": what = .finish
        default: throw Complaint("--at '\(text)' names no action")
        }
    }
}
