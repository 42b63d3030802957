import Measures

/// The bits of a packet's mark that are Braid's, and what they say.
///
/// Three bits, so that others' marks (kube-proxy, WireGuard, Tailscale) have their own beside them.
enum CaptureMark {
    static let mask: UInt32 = 0x7000_0000
    /// A socket of the proxy's own: never captured. Of a connection: of a network, captured.
    ///
    /// A flow of datagrams that has begun with an answer, as conntrack sees it, has
    /// `answeredNetwork` or `answeredMachine`.
    static let own: UInt32 = 0x1000_0000
    /// A packet of a program that is captured: a rule routes it to this machine. Of a connection:
    /// of a program, captured.
    static let captured: UInt32 = 0x2000_0000
    /// The same of a client of a network: a rule for the network's interface alone routes it, so
    /// that who looks up the way back by the mark (strict reverse-path filters) finds the network.
    static let capturedNetwork: UInt32 = 0x3000_0000
    /// What both of them have in common.
    static let eitherMask: UInt32 = 0x6000_0000
    /// Of a flow to a client of a network, whose first packet was an answer: so many seconds after
    /// the client's last one, or from another than it had asked.
    static let answeredNetwork: UInt32 = 0x4000_0000
    /// The same of a program of this machine.
    static let answeredMachine: UInt32 = 0x5000_0000
    /// A held packet that is to be answered with a reset.
    static let refused: UInt32 = 0x4000_0000
    /// Answered with "host unreachable".
    static let unreachable: UInt32 = 0x5000_0000
    /// Answered with "administratively prohibited".
    static let prohibited: UInt32 = 0x6000_0000
    /// Answered with "no route".
    static let noRoute: UInt32 = 0x7000_0000

    static func hex(_ mark: UInt32) -> String {
        let digits = String(mark, radix: 16)
        return "0x" + String(repeating: "0", count: 8 - digits.count) + digits
    }
}
