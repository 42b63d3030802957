import Measures
import Multipath
import Wire

/// A further address of the concentrator, as its owner announces it and as a proxy has heard of it.
struct Announcement {
    var address: SocketAddress
    var isThere: Bool
    var generation: UInt16
}

/// The concentrator's further addresses (RFC 8684 section 3.4): announced to every session as
/// reliably as the proxy's paths are, joined by the proxy from every uplink of their family.
///
/// Where the address a session begins on leads to one of several servers by chance, no further path
/// may be opened to it (RFC 8684 section 3.1, the C flag, said by the welcome); the path it began
/// with ends when another one of its uplink works.
extension Endpoint {
    // MARK: Concentrator

    /// Announces these addresses to all sessions, now and later; those said before and not among
    /// them are taken back. At most `Limits.announcedAddresses`; further ones are left out.
    public func setAnnounced(_ addresses: [SocketAddress], at now: Instant) {
        precondition(!isProxy)
        clock = now
        for i in announcements.indices where announcements[i].isThere {
            if !addresses.contains(announcements[i].address) {
                announce(i, isThere: false, at: now)
            }
        }
        for address in addresses {
            if let i = announcements.firstIndex(where: { $0.address == address }) {
                if !announcements[i].isThere { announce(i, isThere: true, at: now) }
            } else if announcements.count < Limits.announcedAddresses {
                announcements.append(Announcement(address: address, isThere: false, generation: 0))
                announce(announcements.count - 1, isThere: true, at: now)
            } else if let i = announcements.firstIndex(where: { !$0.isThere }) {
                announcements[i].address = address
                announce(i, isThere: true, at: now)
            }
        }
    }

    private func announce(_ i: Int, isThere: Bool, at now: Instant) {
        announcements[i].isThere = isThere
        announcements[i].generation &+= 1
        for case let session? in sessions where session.isConfirmed && !session.isClosing {
            session.announcing |= 1 << i
            session.signals.renew()
            repeatSignals(session, at: now)
        }
    }

    /// A session begins: it hears of all there are.
    func announceAll(_ session: Session, at now: Instant) {
        for i in announcements.indices where announcements[i].isThere {
            session.announcing |= 1 << i
        }
        guard session.announcing != 0 else { return }
        session.signals.renew()
        repeatSignals(session, at: now)
    }

    /// Writes every announcement that waits for its echo, as far as there is room; the bytes
    /// written.
    func writeAnnouncements(_ session: Session, into out: UnsafeMutableRawPointer, room: Int) -> Int
    {
        var written = 0
        for i in announcements.indices where session.announcing & 1 << i != 0 {
            let item = announcements[i]
            let frame = AddressStateFrame(
                id: UInt8(i + 1), generation: item.generation, isThere: item.isThere,
                address: item.address)
            guard written + frame.size <= room else { break }
            frame.write(into: out + written)
            written += frame.size
        }
        return written
    }

    // MARK: What arrives

    func receive(_ frame: AddressStateFrame, _ session: Session, _ arrival: Path, at now: Instant) {
        if frame.isEcho {
            let i = Int(frame.id) - 1
            guard !session.isInitiator, announcements.indices.contains(i),
                announcements[i].generation == frame.generation
            else { return }
            session.announcing &= ~(1 << i)
            noteEcho(session)
            return
        }
        guard session.isInitiator, (1...Limits.announcedAddresses).contains(Int(frame.id)) else {
            return
        }
        echo(frame, session, arrival)
        let known = session.heard[Int(frame.id) - 1]
        if let known, !frame.generation.isNewer(than: known.generation) { return }
        session.heard[Int(frame.id) - 1] = Announcement(
            address: frame.address, isThere: frame.isThere,
            generation: frame.generation)
        if let known, known.isThere, !frame.isThere || known.address != frame.address {
            closePaths(session, to: known.address, at: now)
        }
        if frame.isThere {
            for item in uplinks where item.isUp { openPaths(session, uplink: item.uplink, at: now) }
        }
        say(
            .addressAnnounced(session: session.slot, address: frame.address, isThere: frame.isThere)
        )
    }

    private func closePaths(_ session: Session, to address: SocketAddress, at now: Instant) {
        // Said under another number, or by the configuration, it is still there.
        guard !joinable(session).contains(address) else { return }
        for case let path? in session.paths where path.remote == address && path.isOpen {
            close(session, path, at: now)
        }
        schedule(session, at: now)
    }

    // MARK: Proxy

    /// The addresses further paths may be opened to: the configuration's, where the session began,
    /// and those announced.
    func joinable(_ session: Session) -> [SocketAddress] {
        var all = remotes
        if let first = session.firstRemote {
            if !all.contains(first) { all.append(first) }
        }
        for case let item? in session.heard where item.isThere && !all.contains(item.address) {
            all.append(item.address)
        }
        // With nothing that works the forbidden address is a chance still; at another server it is
        // silence. A session that begins at this instant has its first path.
        if session.forbidsFirst, session.hasUsablePath || clock == session.openedAt {
            all.removeAll { $0 == session.firstRemote }
        }
        return all
    }

    /// Where a hello goes: also to what the living session has heard of.
    var handshakeRemotes: [SocketAddress] {
        guard let session = currentSession else { return remotes }
        return remotes + joinable(session).filter { !remotes.contains($0) }
    }

    /// The session's first path, on an address that others must not join, has a working neighbour.
    func isSuperseded(_ path: Path, _ session: Session) -> Bool {
        guard session.forbidsFirst, path.remote == session.firstRemote else { return false }
        for case let other? in session.paths
        where other.uplink == path.uplink && other.health == .usable && other.remote != path.remote
        {
            return true
        }
        return false
    }

    // MARK: Pairs that don't reach each other

    /// Never answered since it was opened, though another path of its uplink works: this uplink
    /// does not reach this address, and asking often would be no use.
    func isFutile(_ path: Path, _ session: Session) -> Bool {
        guard session.isInitiator, path.health == .suspect, !path.hasAnswered else { return false }
        for case let other? in session.paths
        where other.uplink == path.uplink && other.health == .usable {
            return true
        }
        return false
    }

    /// A path of the uplink stopped working: its neighbours that were asked rarely are asked now.
    func askFutile(_ session: Session, besides lost: Path, at now: Instant) {
        guard session.isInitiator else { return }
        for case let path? in session.paths
        where path !== lost && path.uplink == lost.uplink && path.isOpen && !path.hasAnswered
            && path.probe.backoff > Limits.longestSuspectProbe
        {
            path.probe.backoff = Limits.suspectProbe
            sendProbe(session, path, at: now)
        }
    }
}
