import Multipath
import Tunnel

extension Recorder {
    /// The same in the engine's own words.
    public func handover(from loss: UInt64, _ handover: Handover) {
        self.handover(
            from: loss, connections: handover.connections, calls: handover.calls,
            pause: handover.longestPause?.milliseconds, others: handover.others,
            isSettled: handover.isSettled)
    }
}

extension UplinkStates.PathState {
    /// As the engine judges the path.
    public init(_ health: PathHealth) {
        self =
            switch health {
            case .usable: .usable
            case .suspect: .suspect
            case .lost: .lost
            }
    }
}
