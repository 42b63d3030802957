import Measures
import Tunnel

extension HelloRefusal {
    /// What the log says of it.
    var summary: String {
        switch self {
        case .old(let lag):
            "asked again: its time is \(lag.text) behind an earlier one's (a clock that was set back, or a replay)"
        case .ahead(let lead): "asked again: its clock is \(lead.text) ahead of ours"
        case .otherInstance(let lag):
            "asked again: its time is \(lag.text) behind that of another process with the same key"
        case .tooMany: "refused: the user sends too many"
        case .noSession: "refused: all sessions are taken"
        case .unheeded:
            "answered in vain: the pre-shared keys differ, or the answers don't reach the proxy"
        }
    }
}

extension Interval {
    /// As a person says it.
    fileprivate var text: String {
        let s = seconds
        if s < 1 { return "\(Int(milliseconds)) ms" }
        if s < 120 { return "\(Int(s)) s" }
        if s < 7200 { return "\(Int(s / 60)) minutes" }
        return s < 172_800 ? "\(Int(s / 3600)) hours" : "\(Int(s / 86_400)) days"
    }
}
