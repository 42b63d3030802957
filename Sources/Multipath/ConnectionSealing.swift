import Wire

/// Segments in their sealed form, inside a session. What lets a head leave things out
/// (`SealedContext`) is kept here, for each subflow, since how long a head is decides how much data
/// a segment takes.
extension Connection {
    /// Reads a segment frame of the subflow (`SealedSegment.read`). `record`: the number of the
    /// record it came in, on the subflow's own path; `.max` where it came by another one.
    public func read(
        sealed frame: UnsafeRawBufferPointer, record: UInt64, subflow index: Int,
        into segment: inout Segment
    ) throws(WireError) -> (headLength: Int, payloadLength: Int) {
        guard index < sealing.count else { throw .wrongSubflow }
        sealing[index].record = record
        return try SealedSegment.read(frame, context: &sealing[index], into: &segment)
    }

    /// Writes the head of a segment of the subflow's, at most `SealedSegment.maximumHead` bytes,
    /// and returns its length (`SealedSegment.write`).
    public func write(
        sealed segment: borrowing Segment, payloadLength: Int, runsToEnd: Bool,
        subflow index: Int, into out: UnsafeMutableRawPointer
    ) -> Int {
        SealedSegment.write(
            segment, payloadLength: payloadLength, runsToEnd: runsToEnd,
            context: &sealing[index], into: out)
    }

    /// Packet numbers begin anew: keys have changed.
    public func forgetRecords() {
        for index in sealing.indices { sealing[index].forgetRecords() }
    }

    /// The subflow at `index` is a new one, with this context. Where others seal (raw IP, tests of
    /// the connection alone), it is never used.
    func keep(_ context: SealedContext, of index: Int) {
        if index < sealing.count {
            sealing[index] = context
        } else {
            sealing.append(context)
        }
    }
}
