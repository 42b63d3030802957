import History
import Measures
import Multipath
import Shell
import Tunnel

/// What the proxy reports of uplinks and sessions, in the order in which it happens.
final class ProxyReports {
    let recorder: Recorder
    /// Set once the engine is there.
    var handovers: HandoverWatch?
    private var uplinks = UplinkStates()
    /// By uplink: the event of its latest loss, which what is known of the handover completes.
    private var losses: [String: Loss] = [:]
    private struct Loss {
        var event: UInt64
        var kind: Event.Kind
        /// Of the steady clock, ms.
        var time: Int64
    }
    /// The system's word and the engine's within this time are of one loss, ms.
    private static let together: Int64 = 2_000
    /// Uplinks whose loss is remembered.
    private static let maximumLosses = 64
    /// Sessions by their numbers, which change while one goes on: what each is called here. The one
    /// that was opened last is the one that new connections get.
    private var names: [SessionSlot: Int] = [:]
    private var lastName = 0

    init(_ recorder: Recorder) { self.recorder = recorder }

    // MARK: Uplinks, as the system sees them

    func appeared(_ uplink: String, at address: String?) {
        guard let news = uplinks.appeared(uplink) else { return }
        recorder.note(news.kind, uplink: uplink, detail: address)
    }

    func vanished(_ uplink: String) {
        guard let news = uplinks.vanished(uplink, at: recorder.steadyTime) else { return }
        // Sending may have failed a moment before; then this is why.
        if let loss = latestLoss(uplink), loss.kind == .uplinkFailed,
            recorder.events.amend(
                loss.event,
                {
                    $0.kind = news.kind
                    $0.detail = nil
                })
        {
            losses[uplink]?.kind = news.kind
            return
        }
        noteLoss(of: uplink, news.kind, recorder.note(news.kind, uplink: uplink))
    }

    func failed(_ uplink: String, _ why: String) {
        uplinks.failed(uplink, at: recorder.steadyTime)
        guard latestLoss(uplink)?.kind != .uplinkVanished else { return }
        noteLoss(
            of: uplink, .uplinkFailed,
            recorder.note(.uplinkFailed, uplink: uplink, detail: why))
    }

    private func latestLoss(_ uplink: String) -> Loss? {
        losses[uplink].flatMap { abs(recorder.steadyTime - $0.time) <= Self.together ? $0 : nil }
    }

    private func noteLoss(of uplink: String, _ kind: Event.Kind, _ event: UInt64) {
        if losses.count >= Self.maximumLosses { losses.removeAll() }
        losses[uplink] = Loss(event: event, kind: kind, time: recorder.steadyTime)
    }

    func role(of uplink: String, is role: UplinkRole) {
        recorder.note(.uplinkRole, uplink: uplink, detail: role.rawValue)
    }

    // MARK: Sessions and paths, as the engine sees them

    func note(_ event: EndpointEvent) {
        switch event {
        case .sessionOpened(let session, _):
            lastName += 1
            names[session] = lastName
            recorder.note(.sessionOpened, numbers: numbers(session))
        case .sessionResumed(let session, let silence):
            names = names.filter { $0.value != lastName }
            names[session] = lastName
            var numbers = numbers(session)
            numbers.silence = Int(silence.milliseconds)
            recorder.note(.sessionResumed, numbers: numbers)
        case .sessionSilent(let session):
            recorder.note(.sessionSilent, numbers: numbers(session))
        case .sessionClosed(let session, let reason):
            let name = names.removeValue(forKey: session) ?? 0
            uplinks.sessionClosed(name)
            recorder.note(
                reason == .replaced || name != lastName
                    ? .sessionTakenOver : .sessionClosed, detail: "\(reason)",
                numbers: numbers(session))
        case .pathChanged(let session, let path, let uplink, _, let health):
            let news = uplinks.path(
                path, session: names[session] ?? 0, of: uplink, is: health,
                at: recorder.steadyTime)
            if let news {
                var numbers = numbers(session)
                numbers.path = path.number
                numbers.silence = news.silence
                let event = recorder.note(news.kind, uplink: uplink, numbers: numbers)
                losses[uplink] = nil
                if health != .usable { noteLoss(of: uplink, news.kind, event) }
            }
            if health != .usable, let loss = losses[uplink]?.event {
                handovers?.watch(session: session, path: path) { [recorder] in
                    recorder.handover(from: loss, $0)
                }
            }
        default: break
        }
    }

    private func numbers(_ session: SessionSlot) -> Event.Numbers {
        var numbers = Event.Numbers()
        numbers.session = session.index
        return numbers
    }
}
