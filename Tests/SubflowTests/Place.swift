import Measures
import Subflow
import Testing
import Wire

/// The states of RFC 9293 section 3.3.2 as a table begins in them: nothing outstanding but what the
/// state itself means (a SYN, a FIN), everything that was due sent.
enum Place: String, CaseIterable, Sendable {
    case closed, synSent
    /// SYN-RECEIVED after a passive open, and after a simultaneous one.
    case synReceived, activeSynReceived
    case established, finWait1, finWait2, closeWait, closing, lastAck, timeWait

    /// Those in which both SYNs were exchanged.
    static let synchronized: [Place] = [
        .established, .finWait1, .finWait2, .closeWait, .closing, .lastAck,
        .timeWait
    ]

    /// The peer's FIN was received: its next sequence number is 2, otherwise 1.
    var peerClosed: Bool { [.closeWait, .closing, .lastAck, .timeWait].contains(self) }

    func make(
        _ configuration: SubflowConfiguration = Script.plain,
        ours: SubflowSequence = Script.localISS,
        theirs: SubflowSequence = Script.remoteISS
    ) -> Script {
        let clock: UInt32? = configuration.timestamps ? 100 : nil
        if self == .synReceived {
            var syn = Script.syn(theirs)
            if let clock {
                syn.options.present.insert(.timestamps)
                syn.options.timestamps = Timestamps(value: clock, echo: 0)
            }
            let s = Script(accepting: configuration, syn: syn, ours: ours, theirs: theirs)
            s.clock = clock
            #expect(s.out() == ["SA seq=0 ack=1"])
            return s
        }
        let s = Script(configuration, established: false, ours: ours, theirs: theirs)
        s.clock = clock
        #expect(s.out() == ["S seq=0"])
        if self == .synSent { return s }
        if self == .activeSynReceived {
            s.inject("S", seq: 0, timestamp: clock)
            #expect(s.out() == ["SA seq=0 ack=1"])
            return s
        }
        s.wait(100)
        s.inject("SA", seq: 0, ack: 1, timestamp: clock)
        _ = s.out()
        leaveEstablished(s)
        #expect(String(describing: s.subflow.state) == rawValue)
        return s
    }

    private func leaveEstablished(_ s: Script) {
        let clock = s.clock
        switch self {
        case .closed: s.subflow.abort()
        case .finWait1, .finWait2, .closing, .timeWait: s.subflow.close()
        case .closeWait, .lastAck: s.inject("FA", seq: 1, ack: 1, timestamp: clock)
        default: return
        }
        _ = s.out()
        s.wait(100)
        switch self {
        case .finWait2: s.inject("A", seq: 1, ack: 2, timestamp: clock)
        case .closing: s.inject("FA", seq: 1, ack: 1, timestamp: clock)
        case .timeWait: s.inject("FA", seq: 1, ack: 2, timestamp: clock)
        case .lastAck: s.subflow.close()
        default: break
        }
        _ = s.out()
    }
}

extension Place {
    /// RCV.NXT, SND.UNA and SND.NXT there, relative to the initial sequence numbers.
    var next: Int { peerClosed ? 2 : 1 }
    var unacknowledged: Int { self == .finWait2 || self == .timeWait ? 2 : 1 }
    var sendNext: Int { self == .established || self == .closeWait ? 1 : 2 }
    /// What it answers with to what is not acceptable: <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>.
    var answer: String { "A seq=\(sendNext) ack=\(next)" }
}
