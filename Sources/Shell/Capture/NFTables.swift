import CNFTables
import Measures

/// libnftables: commands as nft(8) takes them, each call one transaction.
///
/// A table with the flag `owner` belongs to the object that made it, and goes with it.
final class NFTables {
    /// What the kernel or the parser says, in its own words.
    struct Failure: Error, Equatable, CustomStringConvertible {
        var description: String
    }

    private let context: OpaquePointer

    /// Nil where there is no netlink or no memory.
    init?() {
        guard let context = nft_ctx_new(UInt32(NFT_CTX_DEFAULT)) else { return nil }
        self.context = context
        _ = nft_ctx_buffer_output(context)
        _ = nft_ctx_buffer_error(context)
    }

    deinit { nft_ctx_free(context) }

    /// What it printed.
    @discardableResult
    func run(_ commands: String) throws(Failure) -> String {
        let result = nft_run_cmd_from_buffer(context, commands)
        let output = nft_ctx_get_output_buffer(context).map { String(cString: $0) } ?? ""
        let error = nft_ctx_get_error_buffer(context).map { String(cString: $0) } ?? ""
        guard result == 0 else {
            // The first line says why; what follows is the command with marks below it.
            let lines = error.split(separator: "\n")
            let why =
                lines.first(where: { $0.contains("Error:") }) ?? lines.first ?? "nftables refused"
            throw Failure(description: String(why))
        }
        return output
    }

    /// Which tables of Braid's are there, whoever set them.
    func present() throws(Failure) -> [String] {
        let listed = try run("list tables inet").split(separator: "\n").map {
            $0.split(separator: " ")
        }
        return CaptureTable.allNames.filter { name in
            listed.contains { $0.count >= 3 && $0[2] == name }
        }
    }

    /// Takes Braid's tables away, `but` the kill switch; nothing where there are none.
    func removeAll(but isClosed: Bool = false) throws(Failure) {
        let present = try present().filter { !isClosed || $0 != CaptureTable.closedName }
        if !present.isEmpty { try run(CaptureTable.removal(of: present)) }
    }
}
