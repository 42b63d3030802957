import History
import Measures
import Multipath
import Shell
import Tunnel

/// What the concentrator reports of sessions and their paths: of each user so much in a span of
/// time, since how often it happens is the user's to say.
struct ConcentratorReports {
    /// What is told of one session's paths, and whose it is.
    private struct Session {
        var user: String
        var paths = UplinkStates()
    }
    let recorder: Recorder
    /// By the engine's number; the engine bounds them.
    private var sessions: [Int: Session] = [:]
    private var limits: [String: NoticeLimit] = [:]

    init(_ recorder: Recorder) { self.recorder = recorder }

    mutating func note(_ event: EndpointEvent, at now: Instant) {
        switch event {
        case .sessionOpened(let session, let user):
            sessions[session] = Session(user: user)
            note(.sessionOpened, session, at: now)
        case .sessionResumed(let session, let silence):
            note(.sessionResumed, session, silence: Int(silence.milliseconds), at: now)
        case .sessionClosed(let session, let reason):
            note(
                reason == SessionEnd.replaced ? .sessionTakenOver : .sessionClosed, session,
                detail: reason, at: now)
            sessions[session] = nil
        case .pathChanged(let session, let path, _, _, let health):
            let news = sessions[session]?.paths.path(
                path, session: session, of: "\(path)", is: UplinkStates.PathState(health),
                at: recorder.time)
            guard let news else { return }
            note(news.kind, session, path: path, silence: news.silence, at: now)
        case .helloRefused(let user, _, let reason):
            recorder.note(.helloRefused, user: user, detail: reason.summary)
        case .strangerRefused(let key, _):
            recorder.note(.strangerRefused, detail: key.base64)
        case .limited(let user, let limit):
            recorder.note(.limitMet, user: user, detail: limit.label)
        default: break
        }
    }

    private mutating func note(
        _ kind: Event.Kind, _ session: Int, path: Int? = nil, silence: Int? = nil,
        detail: String? = nil, at now: Instant
    ) {
        guard let user = sessions[session]?.user,
            limits[
                user, default: NoticeLimit(SessionNews.maximum, in: SessionNews.span)
            ].pass(at: now) != nil
        else { return }
        var numbers = Event.Numbers()
        numbers.session = session
        numbers.path = path
        numbers.silence = silence
        recorder.note(kind, user: user, detail: detail, numbers: numbers)
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
