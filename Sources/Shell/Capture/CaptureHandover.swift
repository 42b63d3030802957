import Glibc
import Measures

/// Captured datagrams that stay an older process's after another one has taken the capture over:
/// what these clients' ports send goes to its sockets, and its answers are what they have.
public struct CapturedElsewhere: Sendable, Equatable {
    /// Of the older process (`Lineage`).
    public var generation: Int
    /// Its sockets' ports on the loopback, by family.
    public var port4: UInt16?, port6: UInt16?
    /// A program's or a client's address and port each.
    public var clients: [SocketAddress]

    /// All of them.
    public init(generation: Int, port4: UInt16?, port6: UInt16?, clients: [SocketAddress]) {
        self.generation = generation
        self.port4 = port4
        self.port6 = port6
        self.clients = clients
    }
}

/// A capture on its way from one process to the one that follows it: the claim, which stands as
/// long as anybody has it open, and what stays with the older ones.
public struct CaptureOffer: Sendable {
    /// The claim's descriptor.
    var claim: Int32
    /// Of the process that offers it, and of those it followed itself.
    var elsewhere: [CapturedElsewhere]

    /// Bytes of `words`: a variable of the environment has 128 kB.
    private static let maximumBytes = 100_000

    /// `elsewhere` as the environment carries it: `GENERATION PORT PORT CLIENT CLIENT ...`, one
    /// process behind the other with `;` between them. What is too long is left out: those clients'
    /// next datagrams are the new process's.
    var words: String {
        var out = "", left = Self.maximumBytes
        for item in elsewhere {
            var part =
                "\(item.generation) \(item.port4 ?? 0) \(item.port6 ?? 0)"
            for client in item.clients {
                let word = " \(client)"
                guard part.utf8.count + word.utf8.count < left else { break }
                part += word
            }
            left -= part.utf8.count + 1
            out += (out.isEmpty ? "" : ";") + part
        }
        return out
    }

    /// What `words` say; what makes no sense is left out.
    static func elsewhere(_ words: String) -> [CapturedElsewhere] {
        words.split(separator: ";").prefix(Lineage.generations).compactMap { part in
            let fields = part.split(separator: " ")
            guard fields.count >= 3, let generation = Int(fields[0]),
                (0..<Lineage.generations).contains(generation), let port4 = UInt16(fields[1]),
                let port6 = UInt16(fields[2])
            else { return nil }
            return CapturedElsewhere(
                generation: generation, port4: port4 == 0 ? nil : port4,
                port6: port6 == 0 ? nil : port6,
                clients: fields.dropFirst(3).compactMap { SocketAddress($0) })
        }
    }
}

/// A capture from one process to the next: the table, the rules and the routes stand all the time,
/// and are one process's at a time. What is captured already is told by marks of its connection,
/// and finds its own socket, whichever process has that.
extension CaptureInstallation {
    /// Another process is about to take everything over: nothing is changed from here until
    /// `resume` or `handedOver`. `elsewhere`: what of the datagrams stays this process's.
    public func offer(_ own: CapturedElsewhere) throws(SystemError) -> CaptureOffer {
        guard isInstalled, let claim else {
            throw SystemError("hand the capture over", code: ENOENT)
        }
        isOffered = true
        stopWatching()
        var open = table
        open.isOwned = false
        // A table with an owner is nobody else's to replace.
        if table.isOwned { _ = try open.install(by: tables, log, keepsOld: true) }
        let others = table.elsewhere.filter { !$0.clients.isEmpty }
        return CaptureOffer(claim: claim.descriptor, elsewhere: [own] + others)
    }

    /// The other process did not come to it: everything is this one's, as it was.
    public func resume() {
        guard isInstalled, isOffered else { return }
        isOffered = false
        do throws(SystemError) {
            table = try table.install(by: tables, log)
            shown = CaptureTable.shown(by: tables)
        } catch {
            log.error("the capture can't be set again", metadata: ["why": "\(error)"])
        }
        startWatching()
    }

    /// The other process has it: what stands in the kernel is its own, and stays.
    public func handedOver() {
        guard isInstalled else { return }
        isInstalled = false
        stopWatching()
        queue?.close()
        claim = nil
        addresses = nil
    }

    /// Takes over what an older process has offered: its tables are replaced in one step, its rules
    /// and routes go on where they are the ones that are wanted.
    public func takeOver() throws(SystemError) {
        guard !isInstalled, claim != nil else { return }
        if table.knowsOlder { table.older = Self.older(in: tables) ?? [] }
        if plan.machine { addresses = try KeptAddresses(adopts: true) }
        if table.isTransparent {
            routes = try KeptRoutes(plan.networks, wantsIPv6: table.ports.tcp6 != nil, adopts: true)
        }
        table = try table.install(by: tables, log, keepsOld: true)
        shown = CaptureTable.shown(by: tables)
        isInstalled = true
        startWatching()
        tellCapturing()
    }

    /// Of the older processes only these live: nothing goes to the others any more.
    public func keepElsewhere(_ generations: [Int]) {
        for i in table.elsewhere.indices where !generations.contains(table.elsewhere[i].generation)
        {
            guard !table.elsewhere[i].clients.isEmpty else { continue }
            table.elsewhere[i].clients = []
            guard isInstalled else { continue }
            // Its sets alone: a table that is replaced loses the SYNs that it holds.
            do throws(NFTables.Failure) {
                try tables.run(table.elsewhere[i].emptying)
                shown = CaptureTable.shown(by: tables)
            } catch {
                log.warning(
                    "some programs' datagrams still go to a process that has ended: restart the proxy",
                    metadata: ["why": "\(error)"])
            }
        }
    }

    /// The ports that the table which stands has in its set `older`; nil where it has none.
    private static func older(in tables: NFTables) -> Set<UInt16>? {
        guard let text = try? tables.run("list set inet \(CaptureTable.name) older") else {
            return nil
        }
        guard let start = text.firstRange(of: "elements = {"),
            let end = text[start.upperBound...].firstIndex(of: "}")
        else { return [] }
        return Set(
            text[start.upperBound..<end].split { !$0.isNumber }.compactMap { UInt16($0) })
    }
}

extension CapturedElsewhere {
    /// The name of its clients' set.
    func setName(isIPv4: Bool) -> String { "elsewhere\(isIPv4 ? 4 : 6)_\(generation)" }

    /// The families it has something of, with the port.
    var families: [(isIPv4: Bool, port: UInt16)] {
        [(true, port4), (false, port6)].compactMap { isIPv4, port in port.map { (isIPv4, $0) } }
    }

    /// Commands that leave nothing in its sets.
    var emptying: String {
        families.map { "flush set inet \(CaptureTable.name) \(setName(isIPv4: $0.isIPv4))\n" }
            .joined()
    }

    /// A set of the table for each family.
    var sets: String {
        families.map { family in
            let all = clients.filter { $0.address.isIPv4 == family.isIPv4 }
                .map { "\($0.address) . \($0.port)" }
            return "    set \(setName(isIPv4: family.isIPv4)) {\n"
                + "        type \(family.isIPv4 ? "ipv4_addr" : "ipv6_addr") . inet_service\n"
                + (all.isEmpty ? "" : "        elements = { \(all.joined(separator: ", ")) }\n")
                + "    }\n"
        }.joined()
    }
}
