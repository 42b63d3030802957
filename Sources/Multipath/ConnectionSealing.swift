import Wire

/// Segments in their sealed form, inside a session. What lets a head leave things out
/// (`SealedContext`) is kept here, for each subflow, since how long a head is decides how much data
/// a segment takes.
extension Connection {
    /// Reads a segment frame of the subflow (`SealedSegment.read`). `record`: the number of the
    /// record it came in, on the subflow's own path; nil where it came by another one.
    public func read(
        sealed frame: UnsafeRawBufferPointer, record: UInt64?, subflow index: SubflowIndex,
        into segment: inout Segment
    ) throws(WireError) -> (headLength: Int, payloadLength: Int) {
        guard index.value < sealing.count else { throw .wrongSubflow }
        return try SealedSegment.read(
            frame, context: &sealing[index.value], record: record, into: &segment)
    }

    /// Writes the head of a segment of the subflow's, at most `SealedSegment.maximumHead` bytes,
    /// and returns its length (`SealedSegment.write`).
    public func write(
        sealed segment: borrowing Segment, payloadLength: Int, runsToEnd: Bool,
        subflow index: SubflowIndex, into out: UnsafeMutableRawPointer
    ) -> Int {
        SealedSegment.write(
            segment, payloadLength: payloadLength, runsToEnd: runsToEnd,
            context: &sealing[index.value], into: out)
    }

    /// How many of the `wanted` bytes, at most a full segment, fit a datagram behind the segment's
    /// head, which is complete but for that; its mapping is cut to them. A head may say more than a
    /// bulk segment's: keys in the first flight, SACK blocks, values that have changed.
    func fit(_ wanted: Int, behind segment: inout Segment, _ member: MemberSubflow) -> Int {
        let space = member.tcp.sendSegmentSize &+ SealedSegment.paddedHead
        guard wanted &+ SealedSegment.maximumHead > space,
            sealing[member.index.value].hasWrittenSYN
        else { return wanted }
        let head = SealedSegment.headLength(
            of: &segment, payloadLength: wanted, context: &sealing[member.index.value])
        guard wanted &+ head > space else { return wanted }
        let length = max(1, space &- head)
        segment.options.dss.mapping?.length = UInt16(truncatingIfNeeded: length)
        return length
    }

    /// Packet numbers begin anew: keys have changed.
    public func forgetRecords() {
        for index in sealing.indices { sealing[index].forgetRecords() }
    }

    /// The subflow at `index` is a new one, with this context. Where others seal (raw IP, tests of
    /// the connection alone), it is never used.
    func keep(_ context: SealedContext, of index: SubflowIndex) {
        if index.value < sealing.count {
            sealing[index.value] = context
        } else {
            sealing.append(context)
        }
    }
}
