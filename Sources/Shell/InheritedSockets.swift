import CDatagram
import Glibc
import Measures
import Synchronization

/// Sockets that somebody else has opened and hands to this process: systemd (`LISTEN_FDS`,
/// sd_listen_fds(3)), or the process that this one follows (`Successor`). Whoever is to listen at
/// one's address takes it instead of opening another, so that there is no moment without it.
public enum InheritedSockets {
    /// What a socket speaks.
    enum Kind: Int32 { case stream, datagram }

    private struct Inherited {
        var descriptor: Int32
        var kind: Kind
        var address: SocketAddress
    }
    private static let sockets = Mutex<[Inherited]>([])

    /// The variable by which a process tells the one that follows it how many sockets it hands
    /// over: from 4 on, with the way back to it as 3.
    static let variable = "BRAID_SUCCEEDS"
    /// Beside it: the generation of the process that starts, then those of the older ones that
    /// live, whose life-lines (`Lineage`) stand behind the sockets in this order.
    static let generationVariable = "BRAID_GENERATION"
    /// Beside both, where the process that starts is to take a capture over: `CaptureOffer.words`.
    /// The claim's descriptor is the last one.
    static let captureVariable = "BRAID_CAPTURE"
    /// The first descriptor behind standard error.
    static let first: Int32 = 3
    private static let maximum = 1_024

    /// The way back to the process that this one follows; nil where it follows none.
    static func adopt(
        _ variable: (String) -> String? = { name in getenv(name).map { String(cString: $0) } }
    ) -> Int32? {
        let follows = variable(Self.variable).flatMap { Int32($0) }
        let isOurs = variable("LISTEN_PID") == "\(getpid())"
        let count = follows ?? (isOurs ? variable("LISTEN_FDS").flatMap { Int32($0) } : nil) ?? 0
        let generations = variable(generationVariable).map { text in
            text.split(separator: " ").compactMap { Int($0) }
        }
        let capture = variable(captureVariable)
        for name in [
            Self.variable, generationVariable, captureVariable, "LISTEN_FDS", "LISTEN_PID",
            "LISTEN_FDNAMES"
        ] {
            unsetenv(name)
        }
        guard (0...Int32(maximum)).contains(count) else { return nil }
        let start = follows == nil ? first : first + 1
        for descriptor in start..<start + count { keep(descriptor) }
        guard follows != nil else { return nil }
        _ = fcntl(first, F_SETFD, FD_CLOEXEC)
        if let generations {
            adopt(generations, behind: start + count)
            if let capture { adopt(capture, at: start + count + Int32(generations.count) - 1) }
        }
        return first
    }

    private static func adopt(_ capture: String, at claim: Int32) {
        guard fcntl(claim, F_SETFD, FD_CLOEXEC) == 0 else { return }
        let offer = CaptureOffer(claim: claim, elsewhere: CaptureOffer.elsewhere(capture))
        inheritedCapture.withLock { $0 = offer }
    }

    private static let inheritedCapture = Mutex<CaptureOffer?>(nil)

    /// The capture that the process before hands over, once; whoever gets it owns the claim.
    public static func takeCapture() -> CaptureOffer? {
        inheritedCapture.withLock { known in
            defer { known = nil }
            return known
        }
    }

    private static func adopt(_ generations: [Int], behind start: Int32) {
        guard let own = generations.first, generations.count <= Lineage.generations,
            generations.allSatisfy({ (0..<Lineage.generations).contains($0) })
        else { return }
        var relatives = Lineage.Place(generation: own, older: [])
        for (number, generation) in generations.dropFirst().enumerated() {
            let lifeline = start + Int32(number)
            guard fcntl(lifeline, F_SETFD, FD_CLOEXEC) == 0 else { return }
            relatives.older.append((generation, lifeline))
        }
        inheritedRelatives.withLock { $0 = relatives }
    }

    private static let inheritedRelatives = Mutex<Lineage.Place?>(nil)

    /// The processes that were here before, once; whoever gets them owns their life-lines.
    static func takeRelatives() -> Lineage.Place? {
        inheritedRelatives.withLock { known in
            defer { known = nil }
            return known
        }
    }

    private static func keep(_ descriptor: Int32) {
        let isStream = braid_is_stream(descriptor)
        var name = braid_address()
        guard isStream >= 0, braid_local_address(descriptor, &name) == 0 else { return }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        setNonBlocking(descriptor)
        let inherited = Inherited(
            descriptor: descriptor, kind: isStream == 1 ? .stream : .datagram,
            address: SocketAddress(name))
        sockets.withLock { $0.append(inherited) }
    }

    /// The socket that is bound to just this address, once; whoever gets it owns it.
    static func take(_ kind: Kind, _ address: SocketAddress) -> Int32? {
        guard address.port != 0 else { return nil }
        return sockets.withLock { all in
            all.firstIndex { $0.kind == kind && $0.address == address }
                .map { all.remove(at: $0).descriptor }
        }
    }

    /// All sockets that are bound to just this address, in their order.
    static func takeAll(_ kind: Kind, _ address: SocketAddress) -> [Int32] {
        var all: [Int32] = []
        while let one = take(kind, address) { all.append(one) }
        return all
    }

    /// Closes what nobody has taken: it is listened on no more.
    static func closeRest() {
        sockets.withLock { all in
            all.forEach { Glibc.close($0.descriptor) }
            all = []
        }
        if let unused = takeCapture() { Glibc.close(unused.claim) }
    }
}

/// This process as the one that another one has started to follow it.
public enum Succession {
    private static let channel = Mutex<Int32?>(nil)

    /// Takes over what was handed to this process. To be called once, before a socket is opened.
    public static func begin() {
        _ = Successor.program
        if let descriptor = InheritedSockets.adopt() {
            channel.withLock { $0 = descriptor }
        }
    }

    /// Whether the process before waits for this one to be ready.
    public static var isUnderWay: Bool { channel.withLock { $0 != nil } }

    /// Everything is open: the process that was here before may stop. `hasCapture`: what it
    /// captured is this one's.
    public static func ready(hasCapture: Bool = false) {
        InheritedSockets.closeRest()
        guard let descriptor = channel.withLock({ $0.take() }) else { return }
        let word = hasCapture ? Successor.captureWord : Successor.word
        _ = send(descriptor, word, word.count, Int32(MSG_NOSIGNAL))
        Glibc.close(descriptor)
    }
}
