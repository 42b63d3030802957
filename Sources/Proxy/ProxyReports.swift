import History
import Measures
import Multipath
import Tunnel

/// What the proxy reports of uplinks and sessions, in the order in which it happens.
final class ProxyReports {
    let recorder: Recorder
    private var uplinks = UplinkStates()
    /// A proxy has one at a time, whose number changes while it goes on.
    private static let theSession = 0

    init(_ recorder: Recorder) { self.recorder = recorder }

    // MARK: Uplinks, as the system sees them

    func appeared(_ uplink: String, at address: String?) {
        guard let news = uplinks.appeared(uplink) else { return }
        recorder.note(news.kind, uplink: uplink, detail: address)
    }

    func vanished(_ uplink: String) {
        guard let news = uplinks.vanished(uplink, at: recorder.time) else { return }
        recorder.note(news.kind, uplink: uplink)
    }

    func failed(_ uplink: String, _ why: String) {
        recorder.note(.uplinkFailed, uplink: uplink, detail: why)
    }

    func role(of uplink: String, is role: UplinkRole) {
        recorder.note(.uplinkRole, uplink: uplink, detail: role.rawValue)
    }

    // MARK: Sessions and paths, as the engine sees them

    func note(_ event: EndpointEvent) {
        switch event {
        case .sessionOpened(let session, _):
            recorder.note(.sessionOpened, numbers: numbers(session))
        case .sessionResumed(let session, let silence):
            var numbers = numbers(session)
            numbers.silence = Int(silence.milliseconds)
            recorder.note(.sessionResumed, numbers: numbers)
        case .sessionSilent(let session):
            recorder.note(.sessionSilent, numbers: numbers(session))
        case .sessionClosed(let session, let reason):
            uplinks.sessionClosed(Self.theSession)
            recorder.note(
                reason == SessionEnd.replaced ? .sessionTakenOver : .sessionClosed, detail: reason,
                numbers: numbers(session))
        case .pathChanged(let session, let path, let uplink, _, let health):
            let news = uplinks.path(
                path, session: Self.theSession, of: uplink, is: UplinkStates.PathState(health),
                at: recorder.time)
            guard let news else { return }
            var numbers = numbers(session)
            numbers.path = path
            numbers.silence = news.silence
            recorder.note(news.kind, uplink: uplink, numbers: numbers)
        default: break
        }
    }

    private func numbers(_ session: Int) -> Event.Numbers {
        var numbers = Event.Numbers()
        numbers.session = session
        return numbers
    }
}

extension UplinkStates.PathState {
    init(_ health: PathHealth) {
        self =
            switch health {
            case .usable: .usable
            case .suspect: .suspect
            case .lost: .lost
            }
    }
}
