import Measures
import Wire

/// What one acknowledgement delivered.
struct Delivery {
    var bytes = 0
    var advanced = false
    /// When the latest of the delivered spans that were sent only once went out.
    var newestOriginal = Instant.distantFuture
    /// A span was delivered that a time-out held for lost and that was not sent again.
    var sawFalseLoss = false
    /// A span sent more than once is among them.
    var sawRetransmitted = false
    /// The peer reported a duplicate (D-SACK).
    var sawDuplicate = false
    var sawBlocks = false
    /// A duplicate ACK (RFC 5681 section 2) without blocks.
    var isRepeat = false
    var sample = RateSample()
}

extension Subflow {
    /// An acceptable ACK field, its SACK blocks and its window.
    func processAcknowledgement(
        _ segment: borrowing Segment, payloadLength: Int, at now: Instant,
        _ arrival: inout Arrival
    ) {
        let acknowledgement = segment.acknowledgement
        #if DEBUG
        let mostSpans = spansDelivered(by: segment), spansBefore = undeliveredCount
        defer { assert(spansBefore - undeliveredCount <= mostSpans, "more than can be priced") }
        #endif
        let hadWindow = offered.bytes
        if !segment.flags.contains(.syn) { updatePeerWindow(segment, at: now) }
        let priorInFlight = board.inFlight
        var delivery = Delivery()
        delivery.advanced = sendUnacknowledged.isBefore(acknowledgement)
        if delivery.advanced { acknowledgeUpTo(acknowledgement, at: now, &delivery) }
        if negotiated.selectiveAcknowledgement {
            if segment.options.present.contains(.sack) { readBlocks(segment, at: now, &delivery) }
            delivery.isRepeat =
                !delivery.advanced && !delivery.sawBlocks && payloadLength == 0
                && hadWindow == offered.bytes
        } else if !delivery.advanced, payloadLength == 0, hadWindow == offered.bytes,
            !board.isEmpty,
            acknowledgement == sendUnacknowledged, segment.flags.isDisjoint(with: [.fin, .syn]),
            segment.options.present.isDisjoint(with: SegmentOptions.multipathSignals)
        {
            duplicateAcknowledgements += 1
            return applyDelivery(delivery, priorInFlight: priorInFlight, isDuplicate: true, at: now)
        }
        guard delivery.advanced || delivery.sawBlocks || tail.end != nil else { return }
        arrival.newlyDelivered = delivery.bytes
        applyDelivery(delivery, priorInFlight: priorInFlight, isDuplicate: false, at: now)
    }

    /// RFC 9293 section 3.10.7.4. In `.connection` scope the owner judges the window's age by the
    /// DATA_ACK beside it (RFC 8684 section 3.3.1) and wants the latest.
    private func updatePeerWindow(_ segment: borrowing Segment, at now: Instant) {
        let acknowledgement = segment.acknowledgement
        if configuration.windowScope == .subflow {
            guard sendUnacknowledged.isAtOrBefore(acknowledgement),
                offered.takeNewer(segment.sequence, acknowledgement)
            else { return }
        }
        offered.offer(segment.window)
        if offered.bytes > 0 { timers.clear(.persist); persistBackoff.reset() }
        // RFC 9293 section 3.8.6.1: a peer that answers with a closed window is not given up.
        if configuration.windowScope == .subflow, offered.bytes == 0, !board.isEmpty {
            timers[.giveUp] = now + configuration.giveUpAfter
        }
    }

    private func acknowledgeUpTo(
        _ acknowledgement: SubflowSequence, at now: Instant,
        _ delivery: inout Delivery
    ) {
        takeMany(upTo: acknowledgement, at: now, &delivery)
        while !board.isEmpty {
            let record = board.record(board.first)
            let covered = record.pointee.sequence.distance(to: acknowledgement)
            if covered <= 0 { break }
            if covered < record.pointee.extent {
                trimOldest(record, by: covered, &delivery)
                break
            }
            if !board.isDelivered(board.first) {
                note(record, isLost: board.isLost(board.first), at: now, &delivery)
            }
            board.removeFirst()
        }
        if blocks.count > 0 {
            blocks.advance(by: acknowledgement.value &- sendUnacknowledged.value)
        }
        sendUnacknowledged = acknowledgement
    }

    /// So many spans at once are taken one by one; more by words of bits.
    private static let fewSpans = 8

    /// Many spans that the acknowledgement covers wholly.
    @inline(__always)
    private func takeMany(
        upTo acknowledgement: SubflowSequence, at now: Instant, _ delivery: inout Delivery
    ) {
        guard board.count > Self.fewSpans,
            board.record(board.number(at: Self.fewSpans)).pointee.sequence
                .isBefore(acknowledgement)
        else { return }
        var n = board.firstIndex(startingAtOrAfter: acknowledgement)
        if acknowledgement.isBefore(board.record(board.number(at: n &- 1)).pointee.end) { n &-= 1 }
        deliverMany(from: 0, to: n, at: now, &delivery)
        board.removeFirst(delivered: n)
    }

    /// The acknowledgement ends within the oldest span.
    private func trimOldest(
        _ record: UnsafeMutablePointer<SpanRecord>, by covered: Int,
        _ delivery: inout Delivery
    ) {
        let flags = record.pointee.flags
        let withSYN = flags.contains(.syn)
        if !board.isDelivered(board.first) {
            delivery.bytes &+= covered &- (withSYN ? 1 : 0)
            sampler.deliverPart(covered &- (withSYN ? 1 : 0))
        }
        board.trimFirst(covered)
        guard withSYN, covered == 1 else { return }
        // The SYN/ACK leaves out what rode on the SYN: the peer doesn't take it there, so it goes
        // again at once.
        if !flags.contains(.retransmitted) { delivery.newestOriginal = record.pointee.sentAt }
        if board.isInFlight(board.first) { board.markLost(board.first) }
    }

    @inline(__always)
    private func note(
        _ record: UnsafeMutablePointer<SpanRecord>, isLost: Bool, at now: Instant,
        _ delivery: inout Delivery
    ) {
        delivery.bytes &+= Int(record.pointee.length)
        if record.pointee.flags.contains(.retransmitted) {
            delivery.sawRetransmitted = true
        } else {
            let sent = record.pointee.sentAt
            if delivery.newestOriginal == .distantFuture || sent > delivery.newestOriginal {
                delivery.newestOriginal = sent
            }
            if isLost { delivery.sawFalseLoss = true }
        }
        loss.delivered(record, minimumRTT: rtt.minimum, at: now)
        sampler.deliver(record, at: now, into: &delivery.sample)
    }

    /// The most spans that the segment's acknowledgement and blocks can deliver, where it is
    /// acceptable.
    public func spansDelivered(by segment: borrowing Segment) -> Int {
        var count = board.firstIndex(startingAtOrAfter: segment.acknowledgement)
        guard segment.options.present.contains(.sack) else { return count }
        for i in 0..<segment.options.sack.count {
            guard
                let whole = SeenBlocks.part(
                    of: segment.options.sack[i], unacknowledged: sendUnacknowledged, next: sendNext)
            else { continue }
            var cursor = whole.start
            for _ in 0...SACKBlocks.capacity {
                guard let part = blocks.uncovered(from: cursor, to: whole.end) else { break }
                // Both ends may lie within a span.
                let start = board.firstIndex(
                    startingAtOrAfter: sendUnacknowledged + Int(part.start))
                let end = board.firstIndex(startingAtOrAfter: sendUnacknowledged + Int(part.end))
                count += end - start + 1
                cursor = part.end
            }
        }
        return min(count, board.count)
    }

    /// RFC 2018, RFC 2883.
    private func readBlocks(
        _ segment: borrowing Segment, at now: Instant, _ delivery: inout Delivery
    ) {
        delivery.sawBlocks = true
        var fresh = SeenBlocks()
        let count = segment.options.sack.count
        for i in 0..<count {
            let block = segment.options.sack[i]
            if i == 0, isDuplicateReport(block, next: count > 1 ? segment.options.sack[1] : nil) {
                delivery.sawDuplicate = true
                continue
            }
            guard
                let whole = SeenBlocks.part(
                    of: block, unacknowledged: sendUnacknowledged,
                    next: sendNext)
            else { continue }
            fresh.append(whole)
            var cursor = whole.start
            // The last blocks leave at most one part more than they are.
            for _ in 0...SACKBlocks.capacity {
                guard let part = blocks.uncovered(from: cursor, to: whole.end) else { break }
                assert(
                    part.start >= cursor && part.end > part.start,
                    "a part lies further on than the last")
                deliver(part, of: whole, at: now, &delivery)
                cursor = part.end
            }
        }
        blocks = fresh
    }

    /// RFC 2883 section 4: the first block repeats what is acknowledged, or lies within the second.
    private func isDuplicateReport(_ block: SACKBlocks.Block, next: SACKBlocks.Block?) -> Bool {
        let length = block.end.value &- block.start.value
        guard length > 0 else { return false }
        let behind = sendUnacknowledged.value &- block.start.value
        if block.start.isBefore(sendUnacknowledged) { return length <= behind }
        guard let next,
            SeenBlocks.part(of: block, unacknowledged: sendUnacknowledged, next: sendNext) != nil
        else { return false }
        let width = next.end.value &- next.start.value
        let start = block.start.value &- next.start.value
        return start < width && length <= width &- start
    }

    /// Marks the spans that `part` covers; `whole`: the block it is of, of which the rest was seen
    /// before.
    private func deliver(
        _ part: SeenBlocks.Part, of whole: SeenBlocks.Part, at now: Instant,
        _ delivery: inout Delivery
    ) {
        let base = sendUnacknowledged
        var i = board.firstIndex(startingAtOrAfter: base + Int(part.start))
        // The span before may have been covered in part by the last acknowledgement, and wholly by
        // this.
        if i > 0,
            base.distance(to: board.record(board.number(at: i - 1)).pointee.sequence)
                >= Int(whole.start)
        {
            i -= 1
        }
        if i &+ Self.fewSpans < board.count,
            base.distance(to: board.record(board.number(at: i &+ Self.fewSpans)).pointee.sequence)
                < Int(part.end)
        {
            var end = board.firstIndex(startingAtOrAfter: base + Int(part.end))
            // The last may be covered in part.
            if base.distance(to: board.record(board.number(at: end &- 1)).pointee.end)
                > Int(whole.end)
            {
                end &-= 1
            }
            return deliverMany(from: i, to: end, at: now, &delivery)
        }
        while i < board.count {
            let number = board.number(at: i), record = board.record(number)
            let start = base.distance(to: record.pointee.sequence)
            guard start < Int(part.end), start &+ record.pointee.extent <= Int(whole.end) else {
                break
            }
            if !board.isDelivered(number) {
                note(record, isLost: board.isLost(number), at: now, &delivery)
                board.markDelivered(number)
            }
            i = board.nextUndelivered(from: i &+ 1)
        }
    }

    /// Spans from one index up to another are delivered, where they were not before.
    private func deliverMany(
        from start: Int, to end: Int, at now: Instant, _ delivery: inout Delivery
    ) {
        var i = start
        while i < end {
            let stretch = board.stretch(from: i, to: end)
            i &+= stretch.count
            let fresh = stretch.with(board.undelivered(stretch))
            if fresh.bits == 0 { continue }
            let before = delivery.bytes
            noteMany(fresh, at: now, &delivery)
            board.markDelivered(fresh, bytes: delivery.bytes &- before)
        }
    }

    /// `note` for each span of a stretch. Those sent once are in the order of their transmission:
    /// the first tells whether that of their arrival was another, the last all the rest.
    private func noteMany(
        _ stretch: Scoreboard.Stretch, at now: Instant, _ delivery: inout Delivery
    ) {
        let lost = board.lost(stretch), repeated = board.repeated(stretch)
        var noted = repeated
        let once = stretch.bits & ~repeated
        if once != 0 {
            noted |= 1 << UInt64(once.trailingZeroBitCount)
            noted |= 1 << UInt64(63 &- once.leadingZeroBitCount)
            if once & lost != 0 { delivery.sawFalseLoss = true }
        }
        let between = board.bytes(of: stretch.bits & ~noted, in: stretch)
        delivery.bytes &+= between
        sampler.deliverPart(between)
        while noted != 0 {
            note(
                board.record(noted.trailingZeroBitCount, of: stretch), isLost: false, at: now,
                &delivery)
            noted &= noted &- 1
        }
    }
}
