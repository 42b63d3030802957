import Configuration
import Glibc
import Measures
import Shell

/// A concentrator's side: its port, its addresses, who may come in.
struct ConcentratorChecks {
    private let configuration: ConcentratorConfiguration
    private let findings: Findings

    init(_ configuration: ConcentratorConfiguration, _ findings: Findings) {
        self.configuration = configuration
        self.findings = findings
    }

    func run() {
        let isRunning = checkRunning()
        for address in configuration.settings.listen { checkPort(address, isRunning: isRunning) }
        checkAddresses()
        let users = configuration.settings.users.count
        if users > 0 {
            findings.ok("users and invitations: \(users)")
        } else {
            findings.wrong("nobody may come in", mend: "invite somebody: braid user invite NAME")
        }
    }

    private func checkRunning() -> Bool {
        guard
            let document = findings.running(
                "concentrator", control: configuration.program.control)
        else { return false }
        for key in document.status.strangers {
            findings.warning(
                "an unknown key was refused, from \(Printable.text(key.remote))",
                mend: "to let it in: braid user add NAME \(Printable.text(key.publicKey))")
        }
        return true
    }

    private func checkPort(_ address: SocketAddress, isRunning: Bool) {
        do throws(SystemError) {
            _ = try DatagramSocket(.listen(address), loop: try EventLoop())
            if isRunning {
                findings.warning(
                    "UDP \(address) is free, though a concentrator runs",
                    mend: "it listens elsewhere: braid status; a changed listen: takes a restart")
            } else {
                findings.ok("UDP \(address) is free")
            }
        } catch {
            switch error.code {
            case EADDRINUSE where isRunning: findings.ok("UDP \(address) is listened on")
            case EADDRINUSE:
                findings.wrong(
                    "UDP \(address) is another program's",
                    mend: "which: ss -lunp; or choose another port")
            case EACCES:
                findings.wrong(
                    "UDP \(address): only root may listen there",
                    mend: "start as root or by the unit, or choose a port from 1024 on")
            default:
                findings.wrong(
                    "UDP \(address): \(error)", mend: "is listen: an address of this machine?")
            }
        }
    }

    private func checkAddresses() {
        let addresses = MachineAddresses.global()
        let text = addresses.map(\.description).joined(separator: ", ")
        guard let first = addresses.first else {
            findings.wrong(
                "this machine has no address with a default route",
                mend: "proxies can't be answered without: ip route")
            return
        }
        if MachineAddresses.isPrivate(first) {
            findings.warning(
                "this machine has private addresses only (\(text))",
                mend: "where a router stands before it, let that forward the UDP port here")
        } else {
            findings.ok("addresses of this machine: \(text)")
        }
    }
}
