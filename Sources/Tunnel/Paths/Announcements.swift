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
        for i in host.announcements.indices where host.announcements[i].isThere {
            if !addresses.contains(host.announcements[i].address) {
                announce(i, isThere: false, at: now)
            }
        }
        for address in addresses {
            if let i = host.announcements.firstIndex(where: { $0.address == address }) {
                if !host.announcements[i].isThere { announce(i, isThere: true, at: now) }
            } else if host.announcements.count < Limits.announcedAddresses {
                host.announcements.append(
                    Announcement(address: address, isThere: false, generation: 0))
                announce(host.announcements.count - 1, isThere: true, at: now)
            } else if let i = host.announcements.firstIndex(where: { !$0.isThere }) {
                host.announcements[i].address = address
                announce(i, isThere: true, at: now)
            }
        }
    }

    private func announce(_ i: Int, isThere: Bool, at now: Instant) {
        host.announcements[i].isThere = isThere
        host.announcements[i].generation &+= 1
        for case let session? in sessions where !session.isClosing {
            session.addresses.announcing |= 1 << i
            session.raiseSignals(at: now)
        }
    }

    /// Where a hello goes: also to what the living session has heard of.
    func handshakeRemotes() -> [SocketAddress] {
        guard let session = currentSession else { return host.proxy.remotes }
        return host.proxy.remotes
            + session.joinable().filter { !host.proxy.remotes.contains($0) }
    }
}

extension Session {
    /// A session begins: it hears of all there are.
    func announceAll(at now: Instant) {
        for i in host.announcements.indices where host.announcements[i].isThere {
            addresses.announcing |= 1 << i
        }
        guard addresses.announcing != 0 else { return }
        raiseSignals(at: now)
    }

    /// Writes every announcement that waits for its echo, as far as there is room; the bytes
    /// written.
    func writeAnnouncements(into out: UnsafeMutableRawPointer, space: Int) -> Int {
        var written = 0
        for i in host.announcements.indices where addresses.announcing & 1 << i != 0 {
            let item = host.announcements[i]
            let frame = AddressStateFrame(
                id: UInt8(i + 1), generation: item.generation, isThere: item.isThere,
                address: item.address)
            guard written + frame.size <= space else { break }
            frame.write(into: out + written)
            written += frame.size
        }
        return written
    }

    // MARK: What arrives

    func receive(_ frame: AddressStateFrame, _ arrival: Path, at now: Instant) {
        if frame.isEcho {
            let i = Int(frame.id) - 1
            guard !isInitiator, host.announcements.indices.contains(i),
                host.announcements[i].generation == frame.generation
            else { return }
            addresses.announcing &= ~(1 << i)
            noteEcho()
            return
        }
        guard isInitiator, (1...Limits.announcedAddresses).contains(Int(frame.id)) else {
            return
        }
        echo(frame, arrival)
        let known = addresses.heard[Int(frame.id) - 1]
        if let known, !frame.generation.isNewer(than: known.generation) { return }
        addresses.heard[Int(frame.id) - 1] = Announcement(
            address: frame.address, isThere: frame.isThere,
            generation: frame.generation)
        if let known, known.isThere, !frame.isThere || known.address != frame.address {
            closePaths(to: known.address, at: now)
        }
        if frame.isThere {
            for item in host.proxy.uplinks where item.isUp {
                openPaths(uplink: item.uplink, at: now)
            }
        }
        host.emit(
            .addressAnnounced(session: slot, address: frame.address, isThere: frame.isThere)
        )
    }

    private func closePaths(to address: SocketAddress, at now: Instant) {
        // Said under another number, or by the configuration, it is still there.
        guard !joinable().contains(address) else { return }
        for case let path? in paths where path.remote == address && path.isOpen {
            close(path, at: now)
        }
    }

    // MARK: Proxy

    /// The addresses further paths may be opened to: the configuration's, where the session began,
    /// and those announced. `isBeginning`: the session's first path is about to be opened.
    func joinable(isBeginning: Bool = false) -> [SocketAddress] {
        var all = host.proxy.remotes
        if let first = addresses.first {
            if !all.contains(first) { all.append(first) }
        }
        for case let item? in addresses.heard where item.isThere && !all.contains(item.address) {
            all.append(item.address)
        }
        // With nothing that works the forbidden address is a chance still; at another server it is
        // silence.
        if addresses.forbidsFirst, hasUsablePath || isBeginning {
            all.removeAll { $0 == addresses.first }
        }
        return all
    }

    /// The session's first path, on an address that others must not join, has a working neighbour.
    func isSuperseded(_ path: Path) -> Bool {
        guard addresses.forbidsFirst, path.remote == addresses.first else { return false }
        for case let other? in paths
        where other.uplink == path.uplink && other.health == .usable && other.remote != path.remote
        {
            return true
        }
        return false
    }

    // MARK: Pairs that don't reach each other

    /// Never answered since it was opened, though another path of its uplink works: this uplink
    /// does not reach this address, and asking often would be no use.
    func isFutile(_ path: Path) -> Bool {
        guard isInitiator, path.health == .suspect, !path.monitor.lifecycle.hasAnswered else {
            return false
        }
        for case let other? in paths
        where other.uplink == path.uplink && other.health == .usable {
            return true
        }
        return false
    }

    /// A path of the uplink stopped working: its neighbours that were asked rarely are asked now.
    func askFutile(besides lost: Path, at now: Instant) {
        guard isInitiator else { return }
        for case let path? in paths
        where path !== lost && path.uplink == lost.uplink && path.isOpen
            && !path.monitor.lifecycle.hasAnswered
            && path.monitor.probe.wait > Limits.maximumSuspectProbe
        {
            path.monitor.probeSoon()
            sendProbe(path, because: .routine, at: now)
        }
    }
}
