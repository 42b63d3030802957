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
    /// Set once the engine is there.
    var handovers: HandoverWatch?
    /// By the engine's number; the engine bounds them.
    private var sessions: [SessionSlot: Session] = [:]
    private var limits: [String: NoticeLimit] = [:]
    /// Refused keys must not push out of the journal what happened to users.
    private var refusedKeys = NoticeLimit(10, in: .seconds(3_600))
    /// What is in the ledger already; the configuration's users bound it.
    private var counted: [UsageLedger.Source: UsageLedger.Volume] = [:]

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
                reason == .replaced ? .sessionTakenOver : .sessionClosed, session,
                detail: "\(reason)", at: now)
            sessions[session] = nil
        case .pathChanged(let session, let path, _, _, let health):
            let news = sessions[session]?.paths.path(
                path, session: session.index, of: "\(path)", is: health,
                at: recorder.steadyTime)
            guard let news,
                let event = note(
                    news.kind, session, path: path, silence: news.silence, at: now),
                health != .usable
            else { return }
            handovers?.watch(session: session, path: path) { [recorder] in
                recorder.handover(from: event, $0)
            }
        case .helloRefused(let user, _, let reason):
            recorder.note(.helloRefused, user: user, detail: reason.summary)
        case .strangerRefused(let key, _):
            if refusedKeys.pass(at: now) != nil {
                recorder.note(.strangerRefused, detail: key.base64)
            }
        case .limited(let user, let limit):
            recorder.note(.limitMet, user: user, detail: limit.label)
        default: break
        }
    }

    /// What users' paths have moved so far: the ledger gets what it has not.
    mutating func count(_ usage: [PathUsage]) {
        for path in usage {
            let source = UsageLedger.Source(user: path.user, uplink: "\(path.path)")
            let was = counted[source] ?? .init()
            // Less: a user was taken away and let in again.
            let isNew = path.sent < was.sent || path.received < was.received
            let volume = UsageLedger.Volume(
                sent: path.sent - (isNew ? 0 : was.sent),
                received: path.received - (isNew ? 0 : was.received))
            counted[source] = .init(sent: path.sent, received: path.received)
            recorder.count(volume, of: source)
        }
    }

    /// The event's number; nil where this user's events are too many.
    @discardableResult private mutating func note(
        _ kind: Event.Kind, _ session: SessionSlot, path: PathID? = nil, silence: Int? = nil,
        detail: String? = nil, at now: Instant
    ) -> UInt64? {
        guard let user = sessions[session]?.user,
            limits[
                user, default: NoticeLimit(SessionNews.maximum, in: SessionNews.span)
            ].pass(at: now) != nil
        else { return nil }
        var numbers = Event.Numbers()
        numbers.session = session.index
        numbers.path = path?.number
        numbers.silence = silence
        return recorder.note(kind, user: user, detail: detail, numbers: numbers)
    }
}
