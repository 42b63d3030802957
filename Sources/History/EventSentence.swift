extension Event {
    /// What happened in the words of somebody who uses the program, without the time: "wlan0 fell
    /// silent; 3 connections and 1 call went on over wwan0, longest pause 84 ms".
    public var sentence: String {
        switch kind {
        case .started: "started" + because
        case .stopping: "stopping" + because
        case .stopped: "stopped"
        case .uplinkAppeared, .uplinkVanished, .uplinkSilent, .uplinkLost, .uplinkCarries,
            .uplinkRests, .uplinkFailed, .uplinkRole:
            uplinkSentence
        case .sessionOpened: user.map { "\($0) connected" } ?? "connected to the concentrator"
        case .sessionResumed:
            (user ?? "the concentrator") + " is back"
                + (numbers.silence.map { " after \(Self.duration($0))" } ?? "")
        case .sessionTakenOver:
            user.map { "\($0) connected anew; the session before is closed" }
                ?? "a new session has taken the old one's place"
        case .sessionClosed:
            (user.map { "\($0) disconnected" } ?? "disconnected from the concentrator") + because
        case .sessionSilent:
            (user ?? "the concentrator") + " is silent on every uplink"
        case .helloRefused: "\(user ?? "somebody") could not connect" + because
        case .strangerRefused:
            "an unknown key was refused" + (detail.map { ": \($0)" } ?? "")
        case .limitMet: "\(user ?? "somebody") has met a limit" + because
        case .modeChanged: "the mode is \(detail ?? "another one") now"
        case .note: detail ?? ""
        }
    }

    private var because: String { detail.map { ": \($0)" } ?? "" }

    /// The uplink, or what a concentrator knows of it.
    private var name: String {
        let path = uplink ?? numbers.path.map { "path \($0)" } ?? "an uplink"
        return user.map { "\($0)'s \(path)" } ?? path
    }

    private var uplinkSentence: String {
        switch kind {
        case .uplinkAppeared: name + " is there" + (detail.map { ", at \($0)" } ?? "")
        case .uplinkVanished: name + " is gone" + wentOn
        case .uplinkSilent: name + " fell silent" + wentOn
        case .uplinkLost: name + " stays silent and is given up" + wentOn
        case .uplinkCarries:
            if let silence = numbers.silence {
                name + " carries again, after " + Self.duration(silence)
            } else {
                name + " carries"
            }
        case .uplinkRests: name + " is closed" + because + wentOn
        case .uplinkFailed: "can't send through " + name + because + wentOn
        case .uplinkRole: name + " is \(detail ?? "used otherwise") now"
        default: name
        }
    }

    /// What became of what it carried.
    private var wentOn: String {
        let who = [
            numbers.connections.flatMap { Self.counted($0, "connection") },
            numbers.calls.flatMap { Self.counted($0, "call") }
        ].compactMap(\.self)
        guard !who.isEmpty else { return "" }
        let what = "; " + who.joined(separator: " and ")
        if other == nil, let pause = numbers.longestPause {
            return what + " waited, longest pause \(Self.duration(pause))"
        }
        guard let other else {
            let isOne = (numbers.connections ?? 0) &+ (numbers.calls ?? 0) == 1
            return what + (isOne ? " waits" : " wait")
        }
        let pause = numbers.longestPause.map { ", longest pause \(Self.duration($0))" } ?? ""
        return what + " went on over " + other + pause
    }

    private static func counted(_ count: Int, _ noun: String) -> String? {
        count <= 0 ? nil : count == 1 ? "1 \(noun)" : "\(count) \(noun)s"
    }

    /// Of milliseconds: 84 ms, 2.5 s, 84 s, 12 min, 7 h.
    static func duration(_ milliseconds: Int) -> String {
        let ms = max(0, milliseconds)
        return switch ms {
        case ..<1_000: "\(ms) ms"
        case ..<10_000: "\(ms / 1_000).\(ms % 1_000 / 100) s"
        case ..<120_000: "\(ms / 1_000) s"
        case ..<7_200_000: "\(ms / 60_000) min"
        case ..<172_800_000: "\(ms / 3_600_000) h"
        default: "\(ms / 86_400_000) days"
        }
    }
}
