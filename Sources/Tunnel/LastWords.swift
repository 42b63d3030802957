import Measures
import Wire

/// The reset of an aborted connection, kept after the connection itself is gone.
///
/// A reset is not acknowledged (RFC 9293 section 3.10.7), and a peer that has nothing to say would wait for
/// ever where it is lost. So its frame is repeated until the peer says that it has no such subflow (any more).
struct LastWord {
    let number: UInt16
    let frame: [UInt8]
    let until: Instant
    var again = Repeater()
}

extension Endpoint {
    /// A reset that belongs to an end by our side was written.
    func remember(lastWord frame: UnsafeRawBufferPointer, number: UInt16, _ session: Session, at now: Instant) {
        if session.lastWords.count == Limits.lastWords { session.lastWords.removeFirst() }
        var word = LastWord(number: number, frame: Array(frame), until: now + Limits.lastWordLife)
        word.again.said(at: now, first: Limits.firstLastWord, longest: Limits.lastWordLife)
        session.lastWords.append(word)
        session.lastWordsAt = min(session.lastWordsAt, word.again.at)
        arm(session, session.lastWordsAt)
    }

    /// The peer has no such subflow: it need not hear of it again.
    func forgetLastWord(_ number: UInt16, _ session: Session) {
        if let i = session.lastWords.firstIndex(where: { $0.number == number }) { session.lastWords.remove(at: i) }
    }

    func repeatLastWords(_ session: Session, at now: Instant) {
        var next = Instant.distantFuture
        for i in session.lastWords.indices where session.lastWords[i].again.at <= now {
            session.lastWords[i].again.said(at: now, first: Limits.firstLastWord, longest: Limits.lastWordLife)
            for case let path? in session.paths where path.isOpen && path.health == .usable {
                let word = session.lastWords[i].frame
                guard let out = path.append(word.count) else { continue }
                word.withUnsafeBytes { out.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
                markDirty(session)
            }
        }
        session.lastWords.removeAll { $0.again.at > $0.until }
        for word in session.lastWords { next = min(next, word.again.at) }
        session.lastWordsAt = next
    }
}
