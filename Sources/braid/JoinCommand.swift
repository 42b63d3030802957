import ArgumentParser
import Configuration
import Crypto
import Glibc
import Measures
import Proxy
import Shell
import Wire

struct JoinCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "join",
        abstract: "Makes a proxy of this machine, by an invitation.",
        discussion: """
            Makes a key of its own, says it to the concentrator, writes key and configuration, tests the way over \
            every uplink, and starts the service. As an ordinary user it writes to ~/.config/braid and says how to \
            start the proxy.
            """)
    @Argument(help: "What braid user invite or braid setup concentrator printed.") var link: String
    @Option(help: "Where applications connect.") var listen = Defaults.proxyListen
    @OptionGroup var options: SetupOptions

    /// For a session, for the answer on it, and for all uplinks to show whether they work.
    private static let session = Interval.seconds(15), answer = Interval.seconds(10)
    /// For a session of a key that may be no user's.
    private static let knownSession = Interval.seconds(5)
    private static let test = Interval.seconds(4)

    func run() throws {
        Privileges.forbidDumps()
        let invitation: Invitation
        do { invitation = try Invitation(link: link) } catch { throw Complaint.input("\(error)") }
        // An invitation is not used up by what can't be a proxy.
        if let problem = ProxyConfiguration.problem(ofListener: listen, flag: "--listen") {
            throw Complaint.input("\(problem)")
        }
        let folder = options.path
        let isThere = access("\(folder)/proxy.key", F_OK) == 0
        if access("\(folder)/proxy.yaml", F_OK) == 0, !options.print {
            throw Complaint.input(
                "\(folder)/proxy.yaml is there, and nothing is written over: move it and the key away, or name"
                    + " another folder with --folder")
        }
        let key = try StaticKeyPair(
            privateKey: isThere && !options.print ? found(in: folder) : SystemRandom.key())
        let keyPlan = keyPlan(key, folder), plan = plan(invitation, folder)
        if options.print {
            Swift.print(keyPlan.text)
            Swift.print("say the key to the concentrator at \(names(invitation)), then:")
            Swift.print(plan.text)
            return
        }
        LogSetup.bootstrap(level: .critical)
        // The key first: an invitation is not used up by a machine that can't keep one.
        let isNewFolder = access(folder, F_OK) != 0
        try keyPlan.perform { Swift.print($0) }
        if isThere, try isKnown(invitation, key) {
            Swift.print("The concentrator knows this machine's key already.")
        } else {
            let name = try enrol(invitation, key) {
                guard !isThere else { return }
                unlink("\(folder)/proxy.key")
                if isNewFolder { rmdir(folder) }
            }
            Swift.print("The concentrator knows this machine as \(name).")
        }
        try plan.perform { Swift.print($0) }
        try testWay(invitation, key)
        let file = "\(folder)/proxy.yaml"
        guard options.hasService else {
            Swift.print("Start it with: braid proxy --config \(file)")
            return
        }
        Swift.print("The proxy runs. Applications use \(listen); see braid status.")
    }

    private func names(_ invitation: Invitation) -> String {
        invitation.addresses.map(\.description).joined(separator: ", ")
    }

    /// The key of a join that came no further, or that somebody has made.
    private func found(in folder: String) throws -> Key32 {
        do { return try KeyFile.read("\(folder)/proxy.key") } catch {
            throw Complaint.input("\(folder)/proxy.key \(error)")
        }
    }

    // MARK: The concentrator

    private func client(_ invitation: Invitation, _ key: StaticKeyPair) throws -> JoinClient {
        var settings = ProxySettings(
            identity: key, concentrator: invitation.addresses,
            concentratorKey: invitation.concentratorKey, listeners: [])
        settings.preSharedKey = invitation.preSharedKey
        do {
            return try JoinClient(settings, loop: try EventLoop())
        } catch {
            throw Complaint.failure("can't \(error)")
        }
    }

    private func isKnown(_ invitation: Invitation, _ key: StaticKeyPair) throws -> Bool {
        let client = try client(invitation, key)
        defer { client.end() }
        return client.waitForSession(Self.knownSession)
    }

    /// `isRefused` is called where the key is certainly no user's.
    private func enrol(
        _ invitation: Invitation, _ key: StaticKeyPair, isRefused: () -> Void
    ) throws -> String {
        let client = try client(
            invitation, StaticKeyPair(privateKey: invitation.secret))
        defer { client.end() }
        guard client.waitForSession(Self.session) else {
            isRefused()
            throw Complaint.failure(
                "no answer from \(names(invitation))"
                    + (client.obstacle.map { ": \($0)" }
                        ?? " over \(client.uplinkNames.map(Printable.text).joined(separator: ", ")): \(Self.silence)")
            )
        }
        switch client.enrol(key.publicKey, Self.answer) {
        case .admitted(let name): return Printable.text(name)
        case .refused(.over):
            isRefused()
            throw Complaint.failure(Self.over)
        case .refused(.keyInUse):
            throw Complaint.failure("the concentrator has a user with this key already")
        case .refused(.failed):
            isRefused()
            throw Complaint.failure(
                "the concentrator can't write the user down: its log says why (its users_directory must be"
                    + " its user's own)")
        case .refused(.admitted), .unanswered:
            // The answer may be what was lost: then the key is known.
            throw Complaint.failure(
                "the concentrator gave no answer about the invitation: try it again")
        }
    }

    private static let over =
        "this invitation was used, taken back, or its time is over: ask for another one"
    private static let silence = """
        the invitation was used, taken back, or its time is over, or the link is not just as it was printed; or the \
        concentrator is not running, or its UDP port can't be reached from here
        """

    private func testWay(_ invitation: Invitation, _ key: StaticKeyPair) throws {
        let client = try client(invitation, key)
        defer { client.end() }
        guard client.waitForSession(Self.session) else {
            throw Complaint.failure("the concentrator does not answer this machine's own key")
        }
        for way in client.ways(Self.test) {
            Swift.print(
                "  \(Printable.text(way.uplink)) to \(way.remote): "
                    + (way.works
                        ? "works, round trip \(Int(way.roundTrip.rounded(.up))) ms" : "no answer"))
        }
    }

    // MARK: Files

    private func keyPlan(_ key: StaticKeyPair, _ folder: String) -> SetupPlan {
        var plan = SetupPlan()
        let owner = options.user, mode: mode_t = owner == nil ? 0o600 : 0o640
        if let owner { plan.add(.user(owner)) }
        plan.add(.folder(folder, mode: owner == nil ? 0o700 : 0o750, owner: nil, group: owner))
        plan.add(
            .file(
                "\(folder)/proxy.key", text: key.privateKey.base64 + "\n", mode: mode, group: owner,
                isSecret: true))
        return plan
    }

    private func plan(_ invitation: Invitation, _ folder: String) -> SetupPlan {
        var plan = SetupPlan()
        let owner = options.user, mode: mode_t = owner == nil ? 0o600 : 0o640
        if let psk = invitation.preSharedKey {
            plan.add(
                .file(
                    "\(folder)/shared.key", text: psk.base64 + "\n", mode: mode, group: owner,
                    isSecret: true))
        }
        plan.add(
            .file("\(folder)/proxy.yaml", text: text(invitation), mode: mode, group: owner))
        guard options.hasService else { return plan }
        plan.addService("braid-proxy", text: Units.proxy(for: options.runAs))
        return plan
    }

    private func text(_ invitation: Invitation) -> String {
        let addresses = invitation.addresses.map { "\"\($0)\"" }.joined(separator: ", ")
        let psk = invitation.preSharedKey == nil ? "" : "  pre_shared_key_file: shared.key\n"
        return """
            # Made by braid join. All keys are explained in docs/operations.md; after a change: braid reload
            concentrator:
              address: [\(addresses)]
              public_key: "\(invitation.concentratorKey.base64)"
            \(psk)private_key_file: proxy.key
            listen:
              - \(SetupPlan.quoted(listen))

            """
    }
}
