import Buffers
import Measures
import Multipath
import Simulator
import Subflow
import Wire

/// One MPTCP connection over TUN devices: which segment belongs to which subflow, the plan, the
/// devices.
final class Peer {
    private let arguments: Arguments
    private let devices: Devices
    private let capture: Capture?
    private let deviceOfPath: [Int]
    private let lines: [Line]
    private(set) var application: Application
    private(set) var connection: Connection?
    private(set) var links: [Link] = []
    private(set) var began: Instant?
    private var random: SeededRandom
    private var rules: [ManglingRule]
    private var plan: [Action]
    /// The engine's paths: pairs of addresses.
    private var routes: [Route] = []
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 70_000, alignment: 64)
    private let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 70_000, alignment: 64)
    private var segment = Segment()
    private var outgoing = OutgoingSegment()
    private(set) var badPackets = 0, refused = 0
    private(set) var heard: [String] = []
    private(set) var error: String?

    struct Route { var path: Int, local: IPAddress, remote: IPAddress }
    /// A subflow's addresses, kept after its end for the report.
    final class Link {
        let local: SocketAddress, remote: SocketAddress, route: Int, isOpener: Bool
        var index: SubflowIndex?
        var segmentsIn = 0, segmentsOut = 0, bytesIn = 0, bytesOut = 0, wasReset = false,
            ended = false
        init(_ local: SocketAddress, _ remote: SocketAddress, route: Int, isOpener: Bool) {
            self.local = local
            self.remote = remote
            self.route = route
            self.isOpener = isOpener
        }
    }

    init(_ arguments: Arguments) throws {
        self.arguments = arguments
        let devices = try Devices()
        self.devices = devices
        let deviceOfPath = try arguments.paths.map { try devices.attach($0.device) }
        self.deviceOfPath = deviceOfPath
        capture = try arguments.capture.map { try Capture($0) }
        application = Application(arguments)
        random = SeededRandom(seed: arguments.seed)
        rules = arguments.mangling
        plan = arguments.plan.sorted { $0.at < $1.at }
        lines = devices.descriptors.indices.map { device in
            let path = deviceOfPath.firstIndex(of: device)!
            let wild = LinkConditions(rate: nil, delay: .zero, queueLimit: 1 << 20)
            return Line(
                device: device, arguments.lines[path] ?? wild,
                seed: arguments.seed &+ UInt64(device))
        }
    }

    var mangled: [Int] { rules.map(\.done) }

    // MARK: The turn of the loop

    func run() {
        let end = devices.now + interval(arguments.seconds)
        if arguments.isClient { openFirst() }
        var overSince: Instant?
        while true {
            let now = devices.now
            if now >= end { error = "not over after \(arguments.seconds) s"; break }
            receiveAll(at: now)
            turn(at: now)
            transmit(at: now)
            if let connection, connection.isOver, connection.error != nil || application.sawEnd {
                overSince = overSince ?? now
                if now - overSince! >= interval(arguments.linger) { break }
            }
            var next = min(end, overSince.map { $0 + interval(arguments.linger) } ?? end)
            for line in lines { next = min(next, line.deadline) }
            if let connection {
                next = min(next, connection.deadline)
                if let began {
                    next = min(next, application.deadline(began: began, at: now))
                    if let action = plan.first(where: { began + $0.at > now }) {
                        next = min(next, began + action.at)
                    }
                }
            }
            guard devices.wait(until: max(next, .zero)) else { error = "interrupted"; break }
        }
        if let connection, let failure = connection.error { error = error ?? "\(failure)" }
    }

    private func turn(at now: Instant) {
        guard let connection else { return }
        connection.advance(to: now)
        let events = connection.takeEvents()
        if events.contains(.established), began == nil { began = now }
        if events.contains(.addresses) { hearSignals(connection, at: now) }
        if let began {
            while let i = plan.firstIndex(where: {
                began + $0.at <= now && mayPerform($0.what, connection)
            }) {
                perform(plan.remove(at: i).what, connection, at: now)
            }
            application.turn(connection, began: began, at: now)
        }
        while let ended = connection.takeEndedSubflow() {
            for link in links where link.index == ended { link.index = nil; link.ended = true }
        }
        if connection.livingSubflows == 0, !connection.isOver, links.allSatisfy({ $0.ended }) {
            connection.fail(.timedOut, at: now)
        }
    }

    private func hearSignals(_ connection: Connection, at now: Instant) {
        while let signal = connection.takeAddressSignal() {
            switch signal {
            case .added(let id, let address, let port):
                heard.append("add \(id.value) \(address)" + (port.map { " \($0)" } ?? ""))
                guard let path = arguments.follow else { continue }
                let there = SocketAddress(address, port: port ?? arguments.port)
                plan.append(
                    Action(
                        at: .zero, what: .join(path: path, to: there, address: nil, backup: false)))
            case .removed(let id): heard.append("remove \(id.value)")
            case .echoed(let id): heard.append("echo \(id.value)")
            }
        }
    }

    /// A join or an announcement waits until the peer is known to have both keys.
    private func mayPerform(_ what: Action.What, _ connection: Connection) -> Bool {
        switch what {
        case .join, .announce, .remove:
            connection.canJoin || connection.isPlain || connection.isReadFinished
        default: true
        }
    }

    private func perform(_ what: Action.What, _ connection: Connection, at now: Instant) {
        switch what {
        case .join(let path, let to, let address, let backup):
            let target =
                to ?? address.map { SocketAddress($0, port: links[0].remote.port) }
                ?? links[0].remote
            join(path, to: target, backup: backup, at: now)
        case .announce(let address, let port, let id):
            connection.announce(address, port: port, id: id, at: now)
        case .remove(let id): connection.withdraw(id, at: now)
        case .priority(let path, let backup):
            for route in routesOf(path) {
                connection.setBackup(backup, path: PathID(route), at: now)
            }
        case .leave(let path):
            for route in routesOf(path) { connection.leave(path: PathID(route), at: now) }
        case .down(let path):
            for route in routesOf(path) {
                connection.setHealth(.lost, path: PathID(route), at: now)
            }
        case .up(let path):
            for route in routesOf(path) {
                connection.setHealth(.usable, path: PathID(route), at: now)
            }
        case .cut(let path): lines[deviceOfPath[path]].cut(true, at: now)
        case .mend(let path): lines[deviceOfPath[path]].cut(false, at: now)
        case .fastclose: connection.abort(at: now)
        case .finish: application.wantsFinish = true
        }
    }

    // MARK: Subflows

    private func routesOf(_ path: Int) -> [Int] {
        routes.indices.filter { routes[$0].path == path }
    }

    private func route(local: IPAddress, remote: IPAddress) -> Int? {
        if let known = routes.firstIndex(where: { $0.local == local && $0.remote == remote }) {
            return known
        }
        guard let path = arguments.paths.firstIndex(where: { $0.address == local }) else {
            return nil
        }
        routes.append(Route(path: path, local: local, remote: remote))
        return routes.count - 1
    }

    private func sequence() -> SubflowSequence {
        SubflowSequence(UInt32(truncatingIfNeeded: random.next()))
    }
    private func freshPort() -> UInt16 { 20_000 + UInt16(random.next() % 30_000) }

    private func make(_ role: Connection.Role, at now: Instant) -> Connection {
        var configuration = arguments.configuration
        configuration.subflow.maximumTimeWait = .milliseconds(300)
        let made = Connection(
            role: role, configuration: configuration, localKey: random.next(), at: now)
        connection = made
        return made
    }

    private func openFirst() {
        let now = devices.now
        let remote = arguments.remote!
        let local = SocketAddress(arguments.paths[0].address, port: freshPort())
        let connection = make(.initiator, at: now)
        let link = Link(
            local, remote, route: route(local: local.address, remote: remote.address)!,
            isOpener: true)
        link.index = connection.open(
            path: PathID(link.route), localPort: local.port, remotePort: remote.port,
            initialSequence: sequence(), backup: false, estimate: nil, at: now)
        links.append(link)
    }

    private func join(_ path: Int, to remote: SocketAddress, backup: Bool, at now: Instant) {
        guard let connection, path < arguments.paths.count else { return }
        if arguments.isClient, connection.peerDeniesInitialJoins, remote == arguments.remote {
            return heard.append("no join to the initial address")
        }
        let local = SocketAddress(arguments.paths[path].address, port: freshPort())
        guard local.address.isIPv4 == remote.address.isIPv4,
            let route = route(local: local.address, remote: remote.address),
            let index = connection.join(
                path: PathID(route), localPort: local.port, remotePort: remote.port,
                initialSequence: sequence(), addressID: arguments.addressIDs[local.address]!,
                nonce: UInt32(truncatingIfNeeded: random.next()),
                backup: backup || arguments.backups.contains(path), estimate: nil, at: now)
        else { heard.append("no join from path \(path) to \(remote)"); return }
        let link = Link(local, remote, route: route, isOpener: true)
        link.index = index
        links.append(link)
    }

    // MARK: In

    private func receiveAll(at now: Instant) {
        for device in devices.descriptors.indices {
            var packets = 0
            while packets < 64, let n = devices.receive(device, into: buffer) {
                packets += 1
                lines[device].offer(
                    UnsafeRawBufferPointer(rebasing: buffer[0..<n]), outward: false, at: now)
            }
            while let packet = lines[device].inward.deliver(at: now) {
                receive(packet.bytes, at: now)
            }
            while let packet = lines[device].outward.deliver(at: now) {
                devices.send(device, UnsafeRawBufferPointer(packet.bytes))
            }
        }
    }

    private func receive(_ packet: UnsafeMutableRawBufferPointer, at now: Instant) {
        let ends: (payload: Range<Int>, from: IPAddress, to: IPAddress)
        do { ends = try RawSegment.read(UnsafeRawBufferPointer(packet), into: &segment) } catch {
            // Router solicitations and the like are no segments.
            if packet.count > 9, packet[0] >> 4 == 4 ? packet[9] == 6 : packet[6] == 6 {
                badPackets += 1
            }
            return
        }
        capture?.add(UnsafeRawBufferPointer(packet))
        guard let route = route(local: ends.to, remote: ends.from) else { return }
        let payload = UnsafeMutableRawBufferPointer(rebasing: packet[ends.payload])
        for i in rules.indices where !rules[i].isOutgoing {
            guard
                rules[i].applies(
                    to: segment, payload: payload.count, path: routes[route].path, random: &random)
            else { continue }
            if !rules[i].change(&segment, payload: payload) { return }
        }
        let local = SocketAddress(ends.to, port: segment.destinationPort)
        let remote = SocketAddress(ends.from, port: segment.sourcePort)
        let text = UnsafeRawBufferPointer(payload)
        if let link = links.first(where: {
            $0.index != nil && $0.local == local && $0.remote == remote
        }) {
            link.segmentsIn += 1
            link.bytesIn += text.count
            if segment.flags.contains(.rst) { link.wasReset = true }
            connection!.receive(segment, payload: text, subflow: link.index!, at: now)
            turn(at: now)
        } else if segment.flags.contains(.syn), !segment.flags.contains(.ack) {
            accept(text, local: local, remote: remote, route: route, at: now)
        } else {
            refuse(payload: text.count, local: local, remote: remote)
        }
    }

    private func accept(
        _ text: UnsafeRawBufferPointer, local: SocketAddress, remote: SocketAddress, route: Int,
        at now: Instant
    ) {
        let link = Link(local, remote, route: route, isOpener: false)
        if segment.options.present.contains(.join) {
            link.index = connection?.acceptJoin(
                segment, payload: text, path: PathID(route), initialSequence: sequence(),
                nonce: UInt32(truncatingIfNeeded: random.next()),
                addressID: arguments.addressIDs[local.address],
                estimate: nil, at: now)
        } else if connection == nil, !arguments.isClient, local.port == arguments.port {
            link.index = make(.listener, at: now)
                .accept(
                    segment, payload: text, path: PathID(route), initialSequence: sequence(),
                    estimate: nil,
                    at: now)
        }
        if link.index == nil {
            refuse(payload: text.count, local: local, remote: remote)
        } else {
            links.append(link)
        }
    }

    /// RFC 9293 section 3.10.7.1: RST for a segment that belongs to nothing; RFC 8684 section 3.2
    /// for a join.
    private func refuse(payload: Int, local: SocketAddress, remote: SocketAddress) {
        guard !segment.flags.contains(.rst) else { return }
        refused += 1
        var answer = Segment()
        answer.sourcePort = local.port
        answer.destinationPort = remote.port
        answer.flags = .rst
        if segment.flags.contains(.ack) {
            answer.sequence = segment.acknowledgement
        } else {
            answer.flags = [.rst, .ack]
            answer.acknowledgement =
                segment.sequence + (payload + (segment.flags.contains(.syn) ? 1 : 0))
        }
        if segment.options.present.contains(.join) {
            answer.options.reset.reason = MPReset.multipathSpecific
            answer.options.present.insert(.reset)
        }
        guard let route = route(local: local.address, remote: remote.address) else { return }
        send(answer, .empty, route: route)
    }

    // MARK: Out

    private func transmit(at now: Instant) {
        guard let connection else { return }
        var sent = 0
        while sent < 512, connection.nextSegment(at: now, into: &outgoing) {
            sent += 1
            let port = outgoing.segment.sourcePort
            if let link = links.last(where: {
                $0.route == outgoing.path.number && $0.local.port == port
            }) {
                link.segmentsOut += 1
                link.bytesOut += outgoing.payload.count
            }
            send(outgoing.segment, outgoing.payload, route: outgoing.path.number)
        }
    }

    private func send(_ original: Segment, _ pieces: Pieces, route: Int) {
        var segment = original
        let bytes = UnsafeMutableRawBufferPointer(rebasing: scratch[0..<pieces.count])
        if pieces.first.count > 0 {
            bytes.baseAddress!.copyMemory(
                from: pieces.first.baseAddress!, byteCount: pieces.first.count)
        }
        if pieces.second.count > 0 {
            (bytes.baseAddress! + pieces.first.count)
                .copyMemory(from: pieces.second.baseAddress!, byteCount: pieces.second.count)
        }
        let path = routes[route].path
        for i in rules.indices where rules[i].isOutgoing {
            guard rules[i].applies(to: segment, payload: bytes.count, path: path, random: &random)
            else { continue }
            if !rules[i].change(&segment, payload: bytes) { return }
        }
        let payload = Pieces(
            first: UnsafeRawBufferPointer(bytes),
            second: UnsafeRawBufferPointer(start: nil, count: 0))
        let room = scratch.count - pieces.count
        guard
            let n = RawSegment.write(
                segment, payload: payload, from: routes[route].local, to: routes[route].remote,
                into: scratch.baseAddress! + pieces.count, capacity: room)
        else {
            error = "a segment's options don't fit: \(segment.options.present)"
            return
        }
        let packet = UnsafeRawBufferPointer(start: scratch.baseAddress! + pieces.count, count: n)
        capture?.add(packet)
        let now = devices.now
        let line = lines[deviceOfPath[path]]
        line.offer(packet, outward: true, at: now)
        while let packet = line.outward.deliver(at: now) {
            devices.send(line.device, UnsafeRawBufferPointer(packet.bytes))
        }
    }
}
