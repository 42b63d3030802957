import Crypto
import Foundation
import Testing
import Wire

@testable import Configuration

/// Links by which machines come in, and the users' directory.
@Suite struct InvitationTests {
    private let key = Scratch.privateKey(7), secret = Scratch.privateKey(250)

    private func invitation(_ hosts: [String], psk: Key32? = nil) -> Invitation {
        Invitation(
            addresses: hosts.map { Target(hostAndPort: $0)! }, concentratorKey: key,
            secret: secret, preSharedKey: psk)
    }

    @Test func aLinkIsReadAsItWasWritten() throws {
        let hosts = [
            ["203.0.113.7:443"], ["[2001:db8::7]:8443", "braid.example.net:1", "203.0.113.7:443"]
        ]
        for hosts in hosts {
            for psk in [nil, Scratch.privateKey(255)] {
                let written = invitation(hosts, psk: psk)
                #expect(try Invitation(link: written.link) == written)
                #expect(try Invitation(link: "  \(written.link)\n") == written)
                let safe = written.link.utf8.allSatisfy {
                    !" '\"$&;|<>()`\\!*".utf8.contains($0) && $0 > 32 && $0 < 127
                }
                #expect(safe, "a shell and a URL take it as it is: \(written.link)")
            }
        }
    }

    @Test func whatIsCutOrChangedIsNone() {
        let link = invitation(["203.0.113.7:443"]).link
        for count in 0..<link.count {
            #expect(throws: Invitation.Failure.self) {
                try Invitation(link: String(link.prefix(count)))
            }
        }
        for wrong in [
            "", "braid://", "https://example.org/", link + "/", link + "?psk=", link + "?x=1",
            link.replacingOccurrences(of: "203.0.113.7", with: "203.0.113"),
            link.replacingOccurrences(of: "braid://", with: "braid:///"),
            "braid://" + String(repeating: "a:1,", count: 9) + "b:1/"
                + link.split(separator: "/").dropFirst(2).joined(separator: "/")
        ] {
            #expect(throws: Invitation.Failure.self) { try Invitation(link: wrong) }
        }
    }

    @Test func timesOfDay() {
        #expect(UniversalTime.text(0) == "1970-01-01T00:00:00Z")
        for seconds in [0, 1_000_000_000, 4_102_444_799] as [Int64] {
            #expect(UniversalTime.seconds(UniversalTime.text(seconds)) == seconds)
        }
        for wrong in [
            "2026-02-30T00:00:00Z", "2026-12-24T24:00:00Z", "2026-12-24 18:00:00Z", "",
            "2026-12-24T18:00:00", "2026-13-01T00:00:00Z", "-026-12-24T18:00:00Z"
        ] {
            #expect(UniversalTime.seconds(wrong) == nil, "\(wrong)")
        }
    }

    @Test func namesOfFiles() {
        for name in ["a", "alice", "Alice-2", "a.b_c", String(repeating: "x", count: 64)] {
            #expect(UserDirectory.isName(name))
        }
        for name in [
            "", ".", "..", ".a", "-a", "a/b", "a b", "ä", "a\n", String(repeating: "x", count: 65)
        ] {
            #expect(!UserDirectory.isName(name), "\(name)")
        }
    }

    private func directory(_ scratch: Scratch) -> UserDirectory {
        try? FileManager.default.createDirectory(
            atPath: "\(scratch.folder)/users", withIntermediateDirectories: true)
        return UserDirectory("\(scratch.folder)/users")
    }

    private static func publicKey(_ n: UInt8) -> Key32 {
        StaticKeyPair(privateKey: Scratch.privateKey(n)).publicKey
    }

    private func read(_ scratch: Scratch) throws -> ConcentratorConfiguration {
        let file = scratch.write(
            "private_key_file: own.key\nusers_directory: users\n", to: "concentrator.yaml")
        guard case .concentrator(let found) = try Configuration.check(file: file) else {
            throw ConfigurationErrors(problems: [])
        }
        return found
    }

    @Test func usersAreAddedInvitedAndRemoved() throws {
        let scratch = Scratch(), directory = directory(scratch)
        #expect(try read(scratch).settings.users.isEmpty, "nobody at first is right")
        try directory.add(
            "alice", UserDirectory.text(publicKey: Self.publicKey(3), when: "2026-11-29"))
        #expect(throws: UserDirectory.Failure.self) { try directory.add("alice", "x") }
        try directory.add(
            "bob",
            UserDirectory.text(
                invitation: Self.publicKey(4), expires: 4_102_444_799, uses: 1, when: "today"))
        try directory.add(
            "late",
            UserDirectory.text(invitation: Self.publicKey(5), expires: 1, uses: 1, when: "today"))
        var settings = try read(scratch).settings
        #expect(settings.users.map(\.name) == ["alice", "invitation:bob"])
        #expect(
            settings.invitations["invitation:bob"]
                == .init(file: "bob", expires: 4_102_444_799, uses: 1))
        #expect(settings.usersWithoutNames == ["invitation:bob"])
        // One that is used once becomes the user.
        #expect(try directory.enrol(Self.publicKey(6), by: "bob", besides: []) == "bob")
        settings = try read(scratch).settings
        #expect(settings.users.map(\.name) == ["alice", "bob"])
        #expect(settings.users[1].publicKey == Self.publicKey(6) && settings.invitations.isEmpty)
        #expect(throws: UserDirectory.Failure.self) {
            try directory.enrol(Self.publicKey(7), by: "bob", besides: [])
        }
        #expect(try directory.remove("alice"))
        #expect(try !directory.remove("alice"))
        #expect(try read(scratch).settings.users.map(\.name) == ["bob"])
        // An invitation that is over is in nobody's way.
        try directory.add(
            "late", UserDirectory.text(publicKey: Self.publicKey(8), when: "today"))
        #expect(try read(scratch).settings.users.map(\.name) == ["bob", "late"])
    }

    /// Whoever comes by one after a restart is told so, and not shown as a machine to let in.
    @Test func formerInvitationsOutliveTheProcess() throws {
        let scratch = Scratch(), directory = directory(scratch)
        func invite(_ name: String, _ n: UInt8, expires: Int64?) throws {
            try directory.add(
                name,
                UserDirectory.text(
                    invitation: Self.publicKey(n), expires: expires, uses: 1, when: "today"))
        }
        func former() throws -> Set<Key32> { Set(try read(scratch).settings.formerInvitations) }
        try invite("late", 3, expires: 1)
        try invite("used", 4, expires: nil)
        try invite("back", 5, expires: nil)
        #expect(try former() == [Self.publicKey(3)], "whose time is over")
        _ = try directory.enrol(Self.publicKey(6), by: "used", besides: [])
        #expect(try former() == [Self.publicKey(3), Self.publicKey(4)], "used up")
        #expect(try directory.remove("back"))
        #expect(try former() == Set([3, 4, 5].map(Self.publicKey)), "taken back")
        try invite("late", 7, expires: nil)
        #expect(try former() == Set([3, 4, 5].map(Self.publicKey)), "replaced")
        #expect(try directory.remove("used"))
        #expect(try former() == Set([3, 4, 5].map(Self.publicKey)), "a user's key is none")
        // Bounded, and no user's file.
        for n in 1...300 {
            try invite("many", UInt8(8 + n % 200), expires: nil)
            #expect(try directory.remove("many"))
        }
        let keys = try read(scratch).settings.formerInvitations
        #expect(keys.count == 203 && Set(keys).count == 203)
        #expect(keys.last == Self.publicKey(UInt8(8 + 300 % 200)))
        let file = "\(scratch.folder)/users/.former-invitations"
        let all = (0..<400).map { n -> String in
            let bytes = [UInt8](repeating: UInt8(n % 256), count: 30) + [1, UInt8(n / 256)]
            return bytes.withUnsafeBytes { Key32($0) }.base64
        }
        try Data((all.joined(separator: "\n") + "\nnonsense\n").utf8).write(
            to: URL(fileURLWithPath: file))
        #expect(try read(scratch).settings.formerInvitations.count == 255)
        #expect(try read(scratch).settings.users.map(\.name) == ["invitation:late"])
    }

    /// What a person wrote beside an invitation is not replaced with it.
    @Test func whatAPersonWroteIsKept() throws {
        let scratch = Scratch(), directory = directory(scratch)
        let text = UserDirectory.text(
            invitation: Self.publicKey(4), expires: 1, uses: 1, when: "today")
        for more in ["# of the third floor\n", "egress: { deny: [\"*:6660-6669\"] }\n"] {
            scratch.write(text + more, to: "users/late.yaml")
            #expect(directory.isTaken("late"))
            do {
                try directory.add("late", text)
                Issue.record("it was replaced")
            } catch {
                #expect(
                    "\(error)".contains("holds more") && "\(error)".contains("user remove late"))
            }
        }
        #expect(try directory.remove("late"))
        try directory.add("late", text)
    }

    @Test func anInvitationForSeveralMachines() throws {
        let scratch = Scratch(), directory = directory(scratch)
        try directory.add(
            "fleet",
            UserDirectory.text(invitation: Self.publicKey(4), expires: nil, uses: 3, when: "x"))
        let first = try directory.enrol(Self.publicKey(5), by: "fleet", besides: ["fleet-2"])
        #expect(first == "fleet-3", "names of others are left to them")
        #expect(try directory.enrol(Self.publicKey(6), by: "fleet", besides: []) == "fleet-2")
        #expect(try read(scratch).settings.invitations.values.map(\.uses) == [1])
        #expect(try directory.enrol(Self.publicKey(7), by: "fleet", besides: []) == "fleet")
        #expect(throws: UserDirectory.Failure.self) {
            try directory.enrol(Self.publicKey(8), by: "fleet", besides: [])
        }
        #expect(try read(scratch).settings.users.map(\.name) == ["fleet", "fleet-2", "fleet-3"])
    }

    /// Where the use can't be written down, nobody has come in.
    @Test func whatIsNotCountedLetsNobodyIn() throws {
        let scratch = Scratch(), directory = directory(scratch)
        try directory.add(
            "fleet",
            UserDirectory.text(invitation: Self.publicKey(4), expires: nil, uses: 3, when: "x"))
        // It stands where the invitation's new text would be written.
        let obstacle = "\(scratch.folder)/users/.fleet.new"
        try FileManager.default.createDirectory(
            atPath: obstacle, withIntermediateDirectories: false)
        #expect(throws: UserDirectory.Failure.self) {
            try directory.enrol(Self.publicKey(5), by: "fleet", besides: [])
        }
        let files = try FileManager.default.contentsOfDirectory(atPath: "\(scratch.folder)/users")
        #expect(files.sorted() == [".fleet.new", "fleet.yaml"])
    }

    @Test func aFileThatIsWrongIsNamed() throws {
        let scratch = Scratch()
        _ = directory(scratch)
        scratch.write("public_key: nonsense\n", to: "users/a.yaml")
        scratch.write(
            "invitation: { public_key: \"x\", uses: 0, expires: soon }\n", to: "users/b.yaml")
        scratch.write("public_key: \"\(Scratch.publicKey(3))\"\nwhat: 1\n", to: "users/c.yaml")
        scratch.write("public_key: \"\(Scratch.publicKey(3))\"\n", to: "users/d.yaml")
        scratch.write("public_key: \"\(Scratch.publicKey(1))\"\n", to: "users/e.yaml")
        scratch.write("not looked at", to: "users/.f.new")
        do {
            _ = try read(scratch)
            Issue.record("it was taken")
        } catch let error as ConfigurationErrors {
            let text = error.description
            for word in ["a.yaml:1", "b.yaml:1", "soon", "c.yaml:2", "d.yaml", "e.yaml"] {
                #expect(text.contains(word), "\(word) in \(text)")
            }
        }
    }
}
