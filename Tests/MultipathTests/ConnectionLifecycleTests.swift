import Measures
import Testing
import Wire

@testable import Multipath

/// Every input in every state: what it becomes, and what the owner is told.
struct ConnectionLifecycleTests {
    typealias State = ConnectionLifecycle
    enum Input: String { case established, streamsEnded, endConfirmed, abort, abortedByPeer, fail }
    struct Row: CustomTestStringConvertible, Sendable {
        var from: State, input: Input, to: State, tells: Connection.Events
        init(_ from: State, _ input: Input, _ to: State, _ tells: Connection.Events = []) {
            self.from = from
            self.input = input
            self.to = to
            self.tells = tells
        }
        var testDescription: String { "\(from), \(input.rawValue)" }
    }
    static let lost = State.failed(.sessionLost), ours = State.aborting(.localAbort)
    static let rows = [
        Row(.opening, .established, .open, .established),
        Row(.opening, .streamsEnded, .closing, .closed),
        Row(.opening, .endConfirmed, .opening),
        Row(.opening, .abort, ours, .closed),
        Row(.opening, .abortedByPeer, .failed(.peerAborted), .closed),
        Row(.opening, .fail, lost, .closed),

        // of the second subflow and all later ones nobody is told
        Row(.open, .established, .open),
        Row(.open, .streamsEnded, .closing, .closed),
        Row(.open, .endConfirmed, .open),
        Row(.open, .abort, ours, .closed),
        Row(.open, .abortedByPeer, .failed(.peerAborted), .closed),
        Row(.open, .fail, lost, .closed),

        Row(.closing, .established, .closing),
        Row(.closing, .streamsEnded, .closing),
        Row(.closing, .endConfirmed, .closed),
        Row(.closing, .abort, ours, .closed),
        Row(.closing, .abortedByPeer, .failed(.peerAborted), .closed),
        // what both ends have said counts, though the session is gone
        Row(.closing, .fail, .closed, .closed),

        Row(.closed, .established, .closed),
        Row(.closed, .streamsEnded, .closed),
        Row(.closed, .endConfirmed, .closed),
        Row(.closed, .abort, ours, .closed),
        Row(.closed, .abortedByPeer, .failed(.peerAborted), .closed),
        Row(.closed, .fail, .closed, .closed),

        // the first error stays
        Row(.failed(.timedOut), .established, .failed(.timedOut)),
        Row(.failed(.timedOut), .streamsEnded, .failed(.timedOut)),
        Row(.failed(.timedOut), .endConfirmed, .failed(.timedOut)),
        Row(.failed(.timedOut), .abort, .failed(.timedOut)),
        Row(.failed(.timedOut), .abortedByPeer, .failed(.timedOut), .closed),
        Row(.failed(.timedOut), .fail, .failed(.timedOut), .closed),

        Row(ours, .established, ours),
        Row(ours, .streamsEnded, ours),
        Row(ours, .endConfirmed, ours),
        Row(ours, .abort, ours),
        Row(ours, .abortedByPeer, ours, .closed),
        Row(ours, .fail, ours, .closed)
    ]

    @Test(arguments: rows) func everyInputInEveryState(_ row: Row) {
        var state = row.from, tells: Connection.Events = []
        switch row.input {
        case .established: tells = state.established()
        case .streamsEnded: tells = state.streamsEnded()
        case .endConfirmed: state.endConfirmed()
        case .abort: tells = state.abort(.localAbort)
        case .abortedByPeer: tells = state.abortedByPeer()
        case .fail: tells = state.fail(.sessionLost)
        }
        #expect(state == row.to)
        #expect(tells == row.tells)
    }

    /// Only who aborts says so on every subflow, and an orderly end is no error.
    @Test func onlyAnAbortIsSaid() {
        let all: [State] = [.opening, .open, .closing, .closed, Self.lost, Self.ours]
        #expect(all.filter(\.isAborting) == [Self.ours])
        #expect(all.filter(\.hasFailed) == [Self.lost, Self.ours])
        #expect(all.map(\.error) == [nil, nil, nil, nil, .sessionLost, .localAbort])
    }

    /// The last DATA_ACK may come on a join's SYN: nothing more need arrive for the end.
    @Test func aJoinMayBringTheLastAcknowledgement() {
        let pair = Pair(framing: .sealed)
        pair.open()
        pair.run(for: .milliseconds(200))
        pair.initiator.finishWriting(at: pair.now)
        pair.run(for: .milliseconds(200))
        pair.filter = { !$0.toListener }
        pair.listener.finishWriting(at: pair.now)
        pair.run(for: .milliseconds(100))
        #expect(pair.initiator.isWriteFinished && pair.listener.isReadFinished)
        #expect(pair.listener.lifecycle == .open && !pair.listener.isWriteFinished)
        var syn = Segment()
        syn.flags = .syn
        syn.options.present = [.join, .dss]
        syn.options.join.form = .syn(token: pair.listener.localToken, nonce: 1)
        syn.options.dss.acknowledgement =
            pair.listener.sender.sequence(at: pair.listener.sender.ring.end) + 1
        _ = pair.listener.takeEvents()
        let index = pair.listener.acceptJoin(
            syn, payload: UnsafeRawBufferPointer(start: nil, count: 0), path: 1,
            initialSequence: SubflowSequence(9), nonce: 2, estimate: nil, at: pair.now)
        #expect(index != nil)
        #expect(pair.listener.lifecycle == .closing)
        #expect(pair.listener.takeEvents().contains(.closed))
    }
}
