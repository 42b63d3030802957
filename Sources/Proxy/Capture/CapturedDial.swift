import Dialogue
import Measures
import Shell
import Tunnel
import Wire

/// A captured connection from its held SYN to the moment the proxy's listener accepts it: the
/// dial goes on meanwhile, so that a program sees what became of that.
final class CapturedDial: Requester {
    private enum State {
        case dialling(HeldPacket)
        /// The SYN went on; the program's connection is about to be accepted.
        case arriving
        /// It was accepted: all that comes is the client's.
        case accepted(any StreamOwner)
        case over
    }

    let listener: ProxyListener
    var address: IPAddress { ends.source.address }
    var source: Source { Source(address) }
    var flowOrigin: FlowOrigin { ends.flowOrigin(listener) }
    /// Of its place in the order in which they began.
    let number: UInt64
    private let ends: CapturedEnds
    /// Held until it is over.
    private let capture: Capture
    private var state: State
    private var outbound: (any Outbound)?
    /// Also when its client has the connection; nil before the dial.
    private var dialler: HTTPRefusal.Dialler?
    private var timer: LoopTimer?

    /// For the rest of the program's handshake: it sends its SYN again after 1, 3 and 7 s.
    private static let arrival = Interval.seconds(10)

    init(_ ends: CapturedEnds, _ packet: HeldPacket, _ capture: Capture, number: UInt64) {
        self.number = number
        self.ends = ends
        self.capture = capture
        listener = capture.listener
        state = .dialling(packet)
    }

    /// Where the program connects to.
    private var target: Target { ends.target }

    /// Its SYN waits still.
    var isHeld: Bool { if case .dialling = state { true } else { false } }

    func start() { begin(capture.server.begin(target, for: self)) }

    private func begin(_ beginning: Beginning) {
        let server = capture.server
        switch beginning {
        case .refused(let refusal): conclude(refusal.status)
        case .begun(let outbound, let answersAtOnce):
            self.outbound = outbound
            dialler = outbound.dialler
            let timer = server.loop.timer(for: self) { $0.late() }
            timer.arm(after: server.settings.clients.answer)
            self.timer = timer
            if answersAtOnce { goOn() }
        }
    }

    /// The same SYN once more: what is known of it is known already.
    func repeated(_ packet: HeldPacket) {
        if case .dialling = state { capture.judge(packet, .drop); return }
        capture.judge(packet, .accept)
    }

    /// The SYN goes on to the proxy's listener.
    private func goOn() {
        guard case .dialling(let packet) = state else { return }
        state = .arriving
        timer?.arm(after: Self.arrival)
        capture.judge(packet, .accept)
    }

    func answered(_ status: DialStatus) {
        if case .over = state { return }
        // However early the program was answered: others go on with IPv4 at once.
        if dialler == .concentrator { capture.note(status, of: ends) }
        conclude(status)
    }

    private func conclude(_ status: DialStatus) {
        switch state {
        case .dialling(let packet):
            guard status != .connected else { goOn(); return }
            capture.counters.refused += 1
            capture.server.notices.dialFailed(target, status)
            capture.judge(packet, Self.verdict(status))
            leave()
        case .accepted(let client): client.answered(status)
        // The program was told yes: its connection is reset when it comes.
        case .arriving where status != .connected: end()
        case .arriving, .over: break
        }
    }

    /// What a program hears of a dial that failed.
    static func verdict(_ status: DialStatus) -> PacketQueue.Verdict {
        switch status {
        case .connected: .accept
        case .connectionRefused: .refuse
        case .denied: .prohibited
        case .networkUnreachable: .noRoute
        case .hostUnreachable, .timedOut, .nameNotFound, .generalFailure, .tooManyConnections:
            .hostUnreachable
        }
    }

    /// There is no session, and it is known why.
    func unreachable(_ status: DialStatus) {
        guard case .dialling = state, let outbound, outbound.dialler == .concentrator else {
            return
        }
        switch capture.server.settings.withoutSession {
        case .wait: break
        case .refuse: conclude(status)
        case .direct:
            outbound.giveUp()
            self.outbound = nil
            begin(capture.server.beginDirect(target, uplink: nil, for: self))
        }
    }

    func activity() {
        if case .accepted(let client) = state { client.activity(); return }
        if outbound?.hasFailed == true { conclude(.generalFailure) }
    }

    private func late() {
        guard case .dialling = state else { leave(); return }
        conclude(capture.server.session.timeOutStatus(by: dialler))
    }

    /// The connection was accepted: what it is exchanged with, nil where that has failed since.
    func handOver(to client: any StreamOwner) -> (any Outbound)? {
        timer = nil
        capture.forget(ends)
        guard case .arriving = state, let outbound else { return nil }
        state = .accepted(client)
        self.outbound = nil
        return outbound
    }

    func cut() {
        if case .dialling(let packet) = state { capture.judge(packet, .drop) }
        leave()
    }

    private func leave() {
        end()
        capture.forget(ends)
    }

    /// Gives up what it was connected to; the program's connection finds nothing.
    private func end() {
        switch state {
        case .accepted, .over: return
        case .dialling, .arriving: state = .over
        }
        outbound?.giveUp()
        outbound = nil
    }
}
