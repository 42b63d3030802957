import Buffers
import Measures
import Subflow
import Wire

/// The paper's *application-level handover*: a download over plain TCP, without Multipath TCP or
/// tunnel, by an application that watches the interfaces itself. When WiFi goes it opens a new
/// connection over the cellular link and asks for the rest of the file (HTTP `Range`).
///
/// The TCP is the engine's own, one `Subflow` at each end, with the encodings and headers of real
/// TCP/IP.
final class PlainDownload {
    struct Plan {
        var wifi: UplinkPlan
        var cellular: UplinkPlan
        /// When the application begins, and when WiFi is taken away.
        var start: Instant
        var lossAt: Instant
        var end: Instant
        var congestion = CongestionAlgorithm.cubic
        var seed: UInt64
    }

    /// When the bytes of the file arrived.
    private(set) var log = ReceptionLog()
    /// The first thing that went wrong.
    private(set) var failure: String?

    private let plan: Plan
    private let pool = PacketPool(slotSize: 2048, limit: 1 << 16)
    private let pattern: StreamPattern
    private var random: SeededRandom
    private var lanes: [Lane] = []
    private var client: PlainEnd?
    private var server: PlainEnd?
    private var lane = 0
    private var received = 0  // bytes of the file
    private var rangeStart = 0  // where the present connection's part of it begins
    private var now = Instant.zero
    private let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 2048, alignment: 16)
    private var segment = Segment()

    private struct Lane { let up, down: VirtualLink }
    /// As long as a real answer's head; its bytes stand for it.
    private static let answerHead = 300
    private static let addresses = (
        client: IPAddress(v4: 0x0a00_0002), server: IPAddress(v4: 0xcb00_7102)
    )

    init(_ plan: Plan) {
        self.plan = plan
        random = SeededRandom(seed: plan.seed)
        pattern = StreamPattern(key: random.next())
        log.keepsArrivals = true
        for uplink in [plan.wifi, plan.cellular] {
            let radio = uplink.radio.map {
                Radio(sleepsAfter: $0.sleepsAfter, wakeTime: $0.wakeTime)
            }
            lanes.append(
                Lane(
                    up: VirtualLink(uplink.up, pool: pool, seed: random.next(), radio: radio),
                    down: VirtualLink(uplink.down, pool: pool, seed: random.next(), radio: radio)))
        }
    }
    deinit { scratch.deallocate() }

    func run() {
        now = plan.start
        connect(lane: 0)
        var handedOver = false
        while failure == nil, now < plan.end {
            if !handedOver, now >= plan.lossAt {
                handedOver = true
                lanes[0].up.clear(at: now)
                lanes[0].down.clear(at: now)
                connect(lane: 1)
            }
            deliver()
            client?.subflow.advance(to: now)
            server?.subflow.advance(to: now)
            pump()
            var next = handedOver ? plan.end : min(plan.end, plan.lossAt)
            next = min(next, lanes[lane].up.nextDelivery, lanes[lane].down.nextDelivery)
            for end in [client, server] { if let end { next = min(next, end.subflow.deadline) } }
            now = max(now, next)
        }
    }

    // MARK: HTTP

    /// A new connection over `lane` for what is missing of the file. The old one is forgotten with
    /// its link.
    private func connect(lane: Int) {
        self.lane = lane
        rangeStart = received
        server = nil
        let client = PlainEnd(
            Subflow(
                opening: configuration, localPort: 40_000 + UInt16(lane),
                remotePort: 80, initialSequence: drawnSequence(),
                estimate: nil, at: now))
        let request =
            "GET /file HTTP/1.1\r\nHost: server.example\r\nRange: bytes=\(received)-\r\n\r\n"
        client.outgoing = Array(request.utf8)
        client.total = client.outgoing.count
        self.client = client
    }

    private func drawnSequence() -> SubflowSequence {
        SubflowSequence(UInt32(truncatingIfNeeded: random.next()))
    }

    /// The server answers as soon as it has the whole request.
    private func answer(_ server: PlainEnd) {
        guard server.total == 0, server.incoming.suffix(4).elementsEqual("\r\n\r\n".utf8) else {
            return
        }
        let request = String(decoding: server.incoming, as: UTF8.self)
        guard let mark = request.firstIndex(of: "="),
            let start = Int(request[request.index(after: mark)...].prefix { $0 != "-" })
        else {
            failure = "the server can't read the request"
            return
        }
        server.rangeStart = start
        server.total = .max
    }

    private var configuration: SubflowConfiguration {
        var c = SubflowConfiguration()
        c.maximumSegmentSize = 1460
        c.timestamps = true
        c.windowScope = .subflow
        c.congestion = plan.congestion
        return c
    }

    // MARK: Packets

    private func deliver() {
        while let packet = lanes[lane].up.deliver(at: now) {
            take(UnsafeRawBufferPointer(packet.bytes), atServer: true)
        }
        while let packet = lanes[lane].down.deliver(at: now) {
            take(UnsafeRawBufferPointer(packet.bytes), atServer: false)
        }
    }

    private func take(_ packet: UnsafeRawBufferPointer, atServer: Bool) {
        segment.reset()
        guard let (place, _, _) = try? RawSegment.read(packet, into: &segment) else {
            failure = "a segment can't be read back"
            return
        }
        let payload = UnsafeRawBufferPointer(rebasing: packet[place])
        if atServer, server == nil, segment.flags.contains(.syn) {
            server = PlainEnd(
                Subflow(
                    accepting: segment, payloadLength: 0, configuration: configuration,
                    initialSequence: drawnSequence(), estimate: nil, at: now))
            return
        }
        guard let end = atServer ? server : client else { return }
        let offset = end.offset(of: segment.sequence)
        let arrival = end.subflow.receive(
            segment, payloadLength: payload.count, textIsUsable: true,
            receiveWindow: PlainEnd.window, at: now)
        if atServer {
            if !arrival.text.isEmpty { end.incoming += payload[arrival.text] }
            answer(end)
        } else if !arrival.text.isEmpty {
            check(
                UnsafeRawBufferPointer(rebasing: payload[arrival.text]),
                at: offset + arrival.text.lowerBound)
            note(end)
        }
    }

    /// Every byte of the file, also where it came ahead of others.
    private func check(_ text: UnsafeRawBufferPointer, at offset: Int) {
        let head = max(0, Self.answerHead - offset)
        guard text.count > head else { return }
        let file = UnsafeRawBufferPointer(rebasing: text[head...])
        let position = rangeStart + offset + head - Self.answerHead
        if pattern.firstDifference(file, from: UInt64(position)) != nil {
            failure = "a wrong byte after \(position)"
        }
    }

    private func note(_ end: PlainEnd) {
        let total = rangeStart + max(0, end.receivedInOrder - Self.answerHead)
        guard total > received else { return }
        log.note(total - received, total: total, at: now)
        received = total
    }

    private func pump() {
        for (end, isServer) in [(client, false), (server, true)] {
            guard let end else { continue }
            var turns = 0
            while let length = end.next(at: now, into: &segment) {
                send(length, from: end, isServer: isServer)
                turns += 1
                if turns > 10_000 { failure = "a subflow never stops"; return }
            }
        }
    }

    private func send(_ length: (offset: Int, count: Int), from end: PlainEnd, isServer: Bool) {
        let payload = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(1, length.count), alignment: 8)
        defer { payload.deallocate() }
        for i in 0..<length.count {
            let at = length.offset + i
            payload[i] =
                !isServer
                ? end.outgoing[at]
                : at < Self.answerHead
                    ? 0x20 : pattern[UInt64(end.rangeStart + at - Self.answerHead)]
        }
        let text = Pieces(
            first: UnsafeRawBufferPointer(rebasing: payload[0..<length.count]),
            second: Pieces.empty.second)
        let from = isServer ? Self.addresses.server : Self.addresses.client
        let to = isServer ? Self.addresses.client : Self.addresses.server
        guard
            let n = RawSegment.write(
                segment, payload: text, from: from, to: to, into: scratch.baseAddress!,
                capacity: 1500),
            let packet = pool.packet(copying: UnsafeRawBufferPointer(rebasing: scratch[0..<n]))
        else {
            failure = "a segment doesn't fit"
            return
        }
        (isServer ? lanes[lane].down : lanes[lane].up).offer(packet, at: now)
    }
}

/// One end of plain TCP: what it sends comes from the owner by offset, what arrives is only counted
/// here.
final class PlainEnd {
    let subflow: Subflow
    /// Bytes to send in all.
    var total = 0
    var outgoing: [UInt8] = []
    var incoming: [UInt8] = []
    var rangeStart = 0
    private var written = 0
    /// What Linux offers at most by default.
    static let window = 6 << 20

    init(_ subflow: Subflow) { self.subflow = subflow }

    /// Stream offset of a sequence number of the peer.
    func offset(of sequence: SubflowSequence) -> Int {
        subflow.initialReceiveSequence.distance(to: sequence) - 1
    }
    var receivedInOrder: Int { max(0, offset(of: subflow.receiveNext)) }

    /// Fills the next segment; its payload's place in the stream, or nil where there is nothing to
    /// send.
    func next(at now: Instant, into segment: inout Segment) -> (offset: Int, count: Int)? {
        while true {
            segment.reset()
            switch subflow.nextAction(at: now) {
            case .nothing: return nil
            case .open:
                subflow.fillOpen(
                    &segment, dataLength: 0, streamOffset: 0,
                    receiveWindow: Self.window, at: now)
                return (0, 0)
            case .retransmit(let span):
                subflow.fillRetransmission(
                    of: span, &segment, receiveWindow: Self.window,
                    optionRoom: 0, at: now)
                return (Int(span.streamOffset), span.length)
            case .data(let room):
                let count = min(room, subflow.sendSegmentSize, total - written)
                if count == 0 { subflow.declineData(at: now); continue }
                let offset = written
                subflow.fillData(
                    &segment, length: count, streamOffset: UInt64(offset),
                    receiveWindow: Self.window, optionRoom: 0, at: now)
                written += count
                return (offset, count)
            case .finish:
                subflow.fillFinish(&segment, receiveWindow: Self.window, optionRoom: 0, at: now)
            case .acknowledge:
                subflow.fillAcknowledgement(
                    &segment, receiveWindow: Self.window, optionRoom: 0, at: now)
            case .probe:
                subflow.fillProbe(&segment, receiveWindow: Self.window, optionRoom: 0, at: now)
            case .reset: subflow.fillReset(&segment)
            }
            return (0, 0)
        }
    }
}
