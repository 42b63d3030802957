import Glibc
import Logging

/// How the table gets into the kernel, which may lack something of it.
extension CaptureTable {
    /// Sets it by the best means this kernel has, and returns it as it was set. `keepsOld`: where
    /// that fails, what is there is another process's and stays.
    func install(
        by tables: NFTables, _ log: Logger, keepsOld: Bool = false
    ) throws(SystemError) -> CaptureTable {
        var failure: NFTables.Failure?
        for table in variants {
            do throws(NFTables.Failure) {
                try tables.run(table.text(replacing: tables.present()))
                if case .compatible(let number) = table.hold {
                    do throws(SystemError) { try CompatibleHold.install(queue: number) } catch {
                        failure = NFTables.Failure(description: "\(error)")
                        continue
                    }
                }
                tell(of: table, log)
                return table
            } catch { failure = error }
        }
        if !keepsOld { try? tables.removeAll() }
        throw SystemError(
            "capture traffic (nftables: \(failure?.description ?? "refused"))", code: EPERM)
    }

    /// What is wanted, then with less and less of what a kernel may lack.
    private var variants: [CaptureTable] {
        var out: [CaptureTable] = []
        for isOwned in isOwned ? [true, false] : [false] {
            for hold in holds {
                for findsSockets in findsSockets ? [true, false] : [false] {
                    var table = self
                    (table.isOwned, table.hold) = (isOwned, hold)
                    table.findsSockets = findsSockets
                    out.append(table)
                }
            }
        }
        return out
    }

    private var holds: [Hold] {
        guard case .native(let number) = hold else { return [hold] }
        return [.native(number), .compatible(number), .none]
    }

    /// What a kernel that takes only `got` lacks.
    private func tell(of got: CaptureTable, _ log: Logger) {
        if isOwned, !got.isOwned, got.plan.exit == .open {
            log.warning(
                """
                this kernel (before Linux 5.12) does not take the table away with the process: after a crash \
                nothing gets out until the proxy runs again, or: braid capture remove
                """)
        }
        if hold != .none, got.hold == .none {
            log.warning(
                """
                this kernel can't hold packets (no queue in nftables, no xt_NFQUEUE): a program whose target \
                can't be reached sees a connection that opens and is reset
                """)
        }
    }

    /// Braid's tables as the kernel shows them, without what libnftables can't show; empty where
    /// one is missing.
    static func shown(by tables: NFTables) -> String {
        var text = ""
        for table in [name, closedName] {
            text += (try? tables.run("list table inet \(table)")) ?? ""
        }
        for chain in ["hold_machine", "hold_network"] {
            text += (try? tables.run("list chain inet \(holdName) \(chain)")) ?? ""
        }
        return text
    }
}
