import Foundation
import Shell

/// What holds for either side: the clock, and the kernel's settings.
struct MachineChecks {
    private let findings: Findings

    init(_ findings: Findings) { self.findings = findings }

    func run() {
        checkClock()
        checkBuffers()
        checkDescriptors()
    }

    /// 2026-01-01: before this program.
    private static let firstSecond: UInt64 = 1_767_225_600

    private func checkClock() {
        let now = EventLoop.wallClock() / 1_000_000_000
        let text = Date(timeIntervalSince1970: Double(now)).formatted(.iso8601)
        guard now < Self.firstSecond else { return findings.ok("the clock says \(text)") }
        findings.warning(
            "the clock says \(text)",
            mend:
                "set it (timedatectl set-ntp true): sessions open all the same, but events, usage and allowances are "
                + "put down to wrong days")
    }

    private func checkBuffers() {
        let wanted = DatagramSocket.kernelBuffer
        for name in ["rmem_max", "wmem_max"] {
            guard let value = UplinkDiagnosis.kernelSetting("net/core/\(name)") else { continue }
            if value >= wanted || Privileges.has(.networkAdministration) {
                findings.ok("socket buffers: \(name) \(value) bytes")
            } else {
                findings.warning(
                    "socket buffers: \(name) is \(value) bytes, so that fast links lose datagrams in bursts",
                    mend: "sysctl -w net.core.\(name)=\(wanted), and into /etc/sysctl.d/braid.conf")
            }
        }
    }

    private func checkDescriptors() {
        let limit = DescriptorLimit.maximumConnections
        guard limit < 1_000 else { return }
        findings.warning(
            "the limit of open files leaves \(limit) connections at once",
            mend: "raise it: LimitNOFILE= in the unit, or ulimit -Hn")
    }
}
