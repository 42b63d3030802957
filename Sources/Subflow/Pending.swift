// Until the state machine lands: delete this file with it.
import Measures
extension Subflow {
    public var wasEstablished: Bool { fatalError("stub") }
    public var canSendData: Bool { fatalError("stub") }
    public func dataRoom(at now: Instant) -> Int { fatalError("stub") }
    public func declineData() { fatalError("stub") }
    public func offerData() { fatalError("stub") }
}
