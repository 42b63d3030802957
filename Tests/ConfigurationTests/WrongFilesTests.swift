import Testing

@testable import Configuration

/// A wrong file and every sentence it must bring, word for word.
struct WrongFile: CustomTestStringConvertible, Sendable {
    var text: String
    var sentences: [String]
    init(_ text: String, _ sentences: String...) { self.text = text; self.sentences = sentences }
    var testDescription: String { sentences.first ?? text }
}

private let key = Scratch.publicKey(2)
private let peer = "concentrator: { address: \"203.0.113.7:443\", public_key: \"\(key)\" }\n"
private let own = "private_key_file: own.key\n"

@Suite struct WrongFilesTests {
    static let proxies: [WrongFile] = [
        // Names
        WrongFile(
            goodProxy + "uplink: [ { interface: wlan0 } ]",
            "proxy.yaml:3: unknown key \"uplink\"; did you mean \"uplinks\"?"),
        WrongFile(
            goodProxy + "Mode: full",
            "proxy.yaml:3: unknown key \"Mode\"; did you mean \"mode\"?"),
        WrongFile(
            goodProxy + "colour: blue",
            "proxy.yaml:3: unknown key \"colour\"; known here are concentrator, private_key_file, listen, mode, "
                + "open, uplinks, status, control, user, log_level, pcap, congestion, limits, udp_relay, names, rules, capture, "
                + "without_session, log_format, history, cost, patience, idle_hint"
        ),
        WrongFile(
            goodProxy + "capture: { udp: true }",
            "proxy.yaml:3: capture: captures nothing; say machine: true, or networks: [br-lan], or leave it out"
        ),
        WrongFile(
            goodProxy
                + "capture: { networks: [lo, \"a b\", br0, br0], on_exit: shut, method: nat }",
            "proxy.yaml:3: capture.networks[0]: \"lo\" is no interface whose clients could be captured, such as br-lan",
            "proxy.yaml:3: capture.networks[1]: \"a b\" is no interface whose clients could be captured, such as br-lan",
            "proxy.yaml:3: capture.networks[3]: br0 is listed twice; leave one of them out",
            "proxy.yaml:3: capture.method: \"nat\" is none of auto, tproxy, redirect",
            "proxy.yaml:3: capture.on_exit: \"shut\" is none of open, closed"),
        WrongFile(
            goodProxy
                + "capture: { networks: br0, exclude: [10.0.0.0/40, 0.0.0.0/0], include: [lan], exclude_users: [0] }",
            "proxy.yaml:3: capture.include[0]: \"lan\" is no range of addresses, such as 192.168.0.0/16",
            "proxy.yaml:3: capture.exclude[0]: \"10.0.0.0/40\" is no range of addresses, such as 192.168.0.0/16",
            "proxy.yaml:3: capture.exclude[1]: 0.0.0.0/0 is every address; name networks",
            "proxy.yaml:3: capture.exclude_users: only programs of this machine have users; say machine: true, or leave it out"
        ),
        WrongFile(
            goodProxy + "uplinks:\n  - interfaec: wlan0",
            "proxy.yaml:4: unknown key \"interfaec\" in uplinks[0]; did you mean \"interface\"?",
            "proxy.yaml:4: uplinks[0]: needs interface (such as wlan0) or address (such as 192.168.1.0/24)"
        ),
        WrongFile(
            goodProxy + "limits: { conections: 5 }",
            "proxy.yaml:3: unknown key \"conections\" in limits; did you mean \"connections\"?"),
        // Missing
        WrongFile(
            "", "proxy.yaml: private_key_file is missing; make a key with: braid keygen FILE",
            "proxy.yaml: concentrator is missing; write concentrator: "
                + "{ address: \"203.0.113.7:443\", public_key: \"...\" }"),
        WrongFile(
            own + "concentrator: { address: 203.0.113.7 }",
            "proxy.yaml:2: concentrator.public_key is missing; it is what braid keygen printed on the concentrator"
        ),
        WrongFile(
            own + "concentrator: { public_key: \"\(key)\" }",
            "proxy.yaml:2: concentrator.address is missing; give it as HOST:PORT"),
        WrongFile(
            goodProxy + "mode:",
            "proxy.yaml:3: mode: has no value; give it one or leave the key out"),
        WrongFile(
            goodProxy + "listen: []",
            "proxy.yaml:3: listen: is empty; name a port, such as mixed://127.0.0.1:1080"),
        WrongFile(
            goodProxy + "history: true",
            "proxy.yaml:3: history: must be a table with the keys path, size, keep_events, keep_hours, keep_days"
        ),
        WrongFile(
            goodProxy + "history: { size: 1 kB }",
            "proxy.yaml:3: history.size: 1 kB is too small; give it from 8192 KiB to 16384 MiB"),
        WrongFile(
            goodProxy + "history: { keep_hours: 1h }",
            "proxy.yaml:3: history.keep_hours: 1h is too short; give it from 172800 s to 315360000 s"
        ),
        WrongFile(
            goodProxy + "log_format: jsn",
            "proxy.yaml:3: log_format: \"jsn\" is none of text, json; did you mean \"json\"?"),
        WrongFile(
            goodProxy + "uplinks: []",
            "proxy.yaml:3: uplinks: is empty; name one, or leave the key out to use every interface with a default route"
        ),
        // Types
        WrongFile(
            "- one\n- two",
            "proxy.yaml: the file must be a table with the keys concentrator, private_key_file, listen, "
                + "mode, open, uplinks, status, control, user, log_level, pcap, congestion, limits, udp_relay, names, rules, capture, "
                + "without_session, log_format, history, cost, patience, idle_hint"
        ),
        WrongFile(
            goodProxy + "mode: [full]",
            "proxy.yaml:3: mode: must be one value, not a list or a table"),
        WrongFile(
            goodProxy + "limits: many",
            "proxy.yaml:3: limits: must be a table with the keys connections, connections_per_user, send_buffer, receive_window, drain, "
                + "dialogue, idle_body, unauthenticated, session, half_open_per_user, sessions_per_user, memory, memory_per_user, "
                + "dials, dials_per_user, lookups, lookups_per_user, associations_per_user, datagrams_per_user, questions_per_user, flows_per_user"
        ),
        WrongFile(
            goodProxy + "limits: { connections: many }",
            "proxy.yaml:3: limits.connections: \"many\" is not a whole number; give one from 1 to 1000000"
        ),
        WrongFile(
            own + "concentrator: 203.0.113.7:443",
            "proxy.yaml:2: concentrator: must be a table with the keys address, public_key, pre_shared_key_file"
        ),
        // Values
        WrongFile(
            goodProxy + "mode: fulll",
            "proxy.yaml:3: mode: \"fulll\" is none of full, backup, single, auto; did you mean \"full\"?"
        ),
        // Money
        WrongFile(
            goodProxy
                + "uplinks: [ { interface: wwan0, price: 5 }, { interface: wlan0, price: -1 EUR } ]",
            "proxy.yaml:3: uplinks[0].price: \"5\" is no price of a GB, such as 2.50 EUR",
            "proxy.yaml:3: uplinks[1].price: \"-1 EUR\" is no price of a GB, such as 2.50 EUR"),
        WrongFile(
            goodProxy
                + "uplinks: [ { interface: wwan0, price: 5 EUR }, { interface: wlan0, price: 1 USD } ]",
            "proxy.yaml:3: uplinks: prices in EUR and USD can't be compared; use one currency"),
        WrongFile(
            goodProxy + "uplinks: [ { interface: wwan0, allowance: lots, on_empty: never } ]",
            "proxy.yaml:3: uplinks[0].allowance: \"lots\" is no volume from 1MB on, such as 500MB or 10GB",
            "proxy.yaml:3: uplinks[0].on_empty: \"never\" is none of backup, stop, slow RATE (slow 64kbit/s)"
        ),
        WrongFile(
            goodProxy
                + "uplinks: [ { interface: a, allowance: { period: week, day: 8 } }, { interface: b, on_empty: stop } ]",
            "proxy.yaml:3: uplinks[0].allowance.bytes is missing; say how much, such as 10GB",
            "proxy.yaml:3: uplinks[0].allowance.day: 8 is outside of 1 to 7",
            "proxy.yaml:3: uplinks[1].on_empty: is about an allowance; give one"),
        WrongFile(
            goodProxy + "cost: cheap",
            "proxy.yaml:3: cost: \"cheap\" is none of ignore, prefer-cheap, cap"),
        WrongFile(
            goodProxy + "cost: prefer-cheap\npatience: 1m",
            "proxy.yaml:3: cost: no uplink has a price; give one to those that cost something",
            "proxy.yaml:4: patience: 1m is too long; give it from 500 ms to 16 s"),
        WrongFile(
            goodProxy + "cost: cap\nuplinks: [ { interface: wwan0, price: 5 EUR } ]",
            "proxy.yaml:3: cost: cap holds an uplink to its allowance, and wwan0 has a price and none"
        ),
        WrongFile(
            goodProxy + "open: never",
            "proxy.yaml:3: open: \"never\" is none of fast, checked, auto"),
        WrongFile(
            goodProxy + "limits: { connections: 0 }",
            "proxy.yaml:3: limits.connections: 0 is outside of 1 to 1000000"),
        WrongFile(
            goodProxy + "limits: { send_buffer: 1 KiB }",
            "proxy.yaml:3: limits.send_buffer: 1 KiB is too small; give it from 64 KiB to 1024 MiB"),
        WrongFile(
            goodProxy + "limits: { drain: 2 hours }",
            "proxy.yaml:3: limits.drain: \"2 hours\" is not a time such as 30s; give it from 0 s to 3600 s"
        ),
        WrongFile(
            goodProxy + "status: { token: short, show_target: yes }",
            "proxy.yaml:3: unknown key \"show_target\" in status; did you mean \"show_targets\"?",
            "proxy.yaml:3: status.address is missing; give it as 127.0.0.1:9090",
            "proxy.yaml:3: status.token: must have 16 to 256 letters, digits and signs without a space; make one "
                + "with: openssl rand -hex 16"),
        WrongFile(
            goodProxy + "status: 9090",
            "proxy.yaml:3: status: \"9090\" is not an address with a port, such as 127.0.0.1:9090"),
        WrongFile(
            own + "concentrator: { address: \"203.0.113:443\", public_key: \"\(key)\" }",
            "proxy.yaml:2: concentrator.address: \"203.0.113:443\" is not HOST:PORT, such as 203.0.113.7:443"
        ),
        WrongFile(
            own + "concentrator: { address: \"2001:db8::7:443\", public_key: \"\(key)\" }",
            "proxy.yaml:2: concentrator.address: 2001:db8::7:443 may end in a port or not; "
                + "write [2001:db8::7]:443 or [2001:db8::7:443]:443"),
        WrongFile(
            goodProxy + "users: [ { name: alice, public_key: \"\(key)\" } ]\nmode: full",
            "proxy.yaml:3: users belongs in the file of a concentrator, which is another one"),
        WrongFile(
            goodProxy + "limits: { dialogue: 0 s }",
            "proxy.yaml:3: limits.dialogue: 0 s is too short; give it from 1 s to 300 s"),
        WrongFile(
            own + "concentrator: { address: \"0.0.0.0:443\", public_key: \"\(key)\" }",
            "proxy.yaml:2: concentrator.address: 0.0.0.0:443 is no address to send to; give the concentrator's own"
        ),
        WrongFile(
            own + "concentrator: { address: \"203.0.113.7:443\", public_key: abc }",
            "proxy.yaml:2: concentrator.public_key: \"abc\" is not a key; it is the 44 characters that braid keygen prints"
        ),
        WrongFile(
            own
                + "concentrator: { address: \"203.0.113.7:443\", public_key: \"\(Scratch.publicKey(1))\" }",
            "proxy.yaml:2: concentrator.public_key: is this proxy's own key; it must be the concentrator's"
        ),
        // Listening
        WrongFile(
            goodProxy + "listen: mixed://0.0.0.0:1080",
            "proxy.yaml:3: listen: mixed://0.0.0.0:1080 would let everybody in; listen on 127.0.0.1, or ask for a password: "
                + "mixed://USER:PASSWORD@0.0.0.0:1080"),
        WrongFile(
            goodProxy + "listen: mixed://[::ffff:0.0.0.0]:1080",
            "proxy.yaml:3: listen: mixed://[::ffff:0.0.0.0]:1080 would let everybody in; listen on 127.0.0.1, or ask for a "
                + "password: mixed://USER:PASSWORD@0.0.0.0:1080"),
        WrongFile(
            goodProxy + "listen:\n  - socks6://127.0.0.1:1080",
            "proxy.yaml:4: listen[0]: \"socks6\" is no kind of listener; known: mixed, socks5, http"
        ),
        WrongFile(
            goodProxy + "listen: mixed://1080",
            "proxy.yaml:3: listen: \"mixed://1080\" is not a place to listen; write "
                + "SCHEME://[USER:PASSWORD@]ADDRESS:PORT, such as mixed://127.0.0.1:1080"),
        WrongFile(
            goodProxy + "listen: mixed://bob@127.0.0.1:1080",
            "proxy.yaml:3: listen: mixed://…@127.0.0.1:1080: before the @ must stand USER:PASSWORD, each 1 to 255 bytes "
                + "(%40 for @, %3A for :)"),
        WrongFile(
            goodProxy + "listen: mixed://bob:secret@nowhere:1080",
            "proxy.yaml:3: listen: \"mixed://…@nowhere:1080\" is not a place to listen; write "
                + "SCHEME://[USER:PASSWORD@]ADDRESS:PORT, such as mixed://127.0.0.1:1080"),
        WrongFile(
            goodProxy + "listen: [\"127.0.0.1:1080\", \"mixed://127.0.0.1:1080\"]",
            "proxy.yaml:3: listen[1]: 127.0.0.1:1080 is listened on twice; leave one of them out"),
        WrongFile(
            goodProxy + "listen: mixed://127.0.0.1:1080?mode=sigle",
            "proxy.yaml:3: listen: \"sigle\" is none of full, backup, single; did you mean \"single\"?"
        ),
        WrongFile(
            goodProxy + "listen: mixed://127.0.0.1:1080?fast",
            "proxy.yaml:3: listen: \"?fast\" says nothing; write ?mode= and one of full, backup, single"
        ),
        // Uplinks
        WrongFile(
            goodProxy + "uplinks:\n  - { interface: wlan0, warm: true }",
            "proxy.yaml:4: uplinks[0].warm: is for backup uplinks; a regular one is kept awake by its use"
        ),
        WrongFile(
            goodProxy
                + "uplinks:\n  - { interface: wlan0 }\n  - { interface: wwan0, role: backup, warm: yess }",
            "proxy.yaml:5: uplinks[1].warm: \"yess\" is none of true, false"),
        WrongFile(
            goodProxy
                + "uplinks:\n  - { interface: wlan0 }\n  - { interface: wlan0, role: backup }",
            "proxy.yaml:5: uplinks[1]: is listed twice; leave one of them out"),
        WrongFile(
            goodProxy + "uplinks:\n  - { interface: wlan0, role: spare }",
            "proxy.yaml:4: uplinks[0].role: \"spare\" is none of regular, backup"),
        WrongFile(
            goodProxy + "uplinks: [ { interface: wlan0, role: backup } ]",
            "proxy.yaml:3: uplinks: all are backup; at least one must be regular"),
        WrongFile(
            goodProxy + "uplinks: [ { interface: wlan0, address: 192.0.2.1 } ]",
            "proxy.yaml:3: uplinks[0]: has both interface and address; an uplink is found by one of them"
        ),
        WrongFile(
            goodProxy + "uplinks: [ { interface: a-very-long-device-name } ]",
            "proxy.yaml:3: uplinks[0].interface: \"a-very-long-device-name\" can't be an interface; "
                + "`ip link` lists their names"),
        WrongFile(
            goodProxy + "uplinks: [ { address: 192.0.2.0/40 } ]",
            "proxy.yaml:3: uplinks[0].address: \"192.0.2.0/40\" is not an address or a range such as 192.168.1.0/24"
        ),
        // Keys
        WrongFile(
            peer + "private_key_file: none.key",
            "proxy.yaml:2: private_key_file: none.key can't be read: No such file or directory; "
                + "make it with: braid keygen none.key"),
        WrongFile(
            peer + "private_key_file: open.key",
            "proxy.yaml:2: private_key_file: open.key is open to others (mode 0644); mend it with: chmod 600 open.key"
        ),
        WrongFile(
            peer + "private_key_file: empty.key",
            "proxy.yaml:2: private_key_file: empty.key holds no key; a key file is written by: braid keygen FILE"
        ),
        WrongFile(peer + "private_key_file: .", "proxy.yaml:2: private_key_file: . is not a file"),
        // Not YAML, and several at once
        WrongFile(
            goodProxy + "mode: full\nmode: single",
            "proxy.yaml:3: \"mode\" is written twice in one table; leave one of them out"),
        WrongFile(
            "listen: [\"mixed://127.0.0.1:1080\"\nmode: full",
            "proxy.yaml:2: this is not YAML: did not find expected ',' or ']' (column 1)"),
        WrongFile(
            aliases, "proxy.yaml: has more than 100000 values; aliases count where they stand"),
        WrongFile(
            "mode: fulll\nopn: fast\nstatus: here\n" + own + peer,
            "proxy.yaml:1: mode: \"fulll\" is none of full, backup, single, auto; did you mean \"full\"?",
            "proxy.yaml:2: unknown key \"opn\"; did you mean \"open\"?",
            "proxy.yaml:3: status: \"here\" is not an address with a port, such as 127.0.0.1:9090")
    ]

    /// 9^30 values in 31 lines.
    static let aliases: String = (0..<30).reduce("a0: &a0 [x, x, x, x, x, x, x, x, x]\n") {
        text, n in
        text + "a\(n + 1): &a\(n + 1) [" + (0..<9).map { _ in "*a\(n)" }.joined(separator: ", ")
            + "]\n"
    }

    @Test(arguments: proxies) func proxy(_ wrong: WrongFile) {
        let scratch = Scratch()
        scratch.write("\(Scratch.privateKey(3).base64)\n", to: "open.key", mode: 0o644)
        scratch.write("", to: "empty.key")
        #expect(scratch.sentences(.proxy, wrong.text) == wrong.sentences)
    }

    static let concentrators: [WrongFile] = [
        WrongFile(
            own,
            "concentrator.yaml: users is missing; write users: [ { name: alice, public_key: \"...\" } ]"
        ),
        WrongFile(
            own + "users: []",
            "concentrator.yaml:2: users: is empty, so nobody could connect; add one with a name and a public_key"
        ),
        WrongFile(
            own + "users: [ { name: alice } ]",
            "concentrator.yaml:2: users[0].public_key is missing; it is what braid keygen printed for this user's proxy"
        ),
        WrongFile(
            own + "users: [ { name: a b, public_key: \"\(key)\" } ]",
            "concentrator.yaml:2: users[0].name: \"a b\" can't be a name; take 1 to 64 letters without spaces"
        ),
        WrongFile(
            goodConcentrator.replacing(
                " ]", with: ", { name: alice, public_key: \"\(Scratch.publicKey(3))\" } ]"),
            "concentrator.yaml:2: users[1]: the name \"alice\" is used twice; every user has its own"
        ),
        WrongFile(
            goodConcentrator.replacing(" ]", with: ", { name: bob, public_key: \"\(key)\" } ]"),
            "concentrator.yaml:2: users[1]: bob has the public key of alice; every user has its own"
        ),
        WrongFile(
            own + "users: [ { name: me, public_key: \"\(Scratch.publicKey(1))\" } ]",
            "concentrator.yaml:2: users[0]: me has this concentrator's own public key; it must be that of the user's proxy"
        ),
        WrongFile(
            goodConcentrator + "egress: { deny: [privat] }",
            "concentrator.yaml:3: egress.deny[0]: \"privat\" is neither \"private\" nor "
                + "a range such as 198.51.100.0/24, 198.51.100.7:25 or [2001:db8::/32]:8000-8999; did you mean \"private\"?"
        ),
        WrongFile(
            goodConcentrator + "egress: { allow: [everything] }",
            "concentrator.yaml:3: egress.allow[0]: \"everything\" is not "
                + "a range such as 198.51.100.0/24, 198.51.100.7:25 or [2001:db8::/32]:8000-8999"),
        WrongFile(
            goodConcentrator + "egress: { deny: [\"10.0.0.0/8:0\"] }",
            "concentrator.yaml:3: egress.deny[0]: \"10.0.0.0/8:0\" is neither \"private\" nor "
                + "a range such as 198.51.100.0/24, 198.51.100.7:25 or [2001:db8::/32]:8000-8999"),
        WrongFile(
            goodConcentrator.replacing(" } ]", with: ", egress: { denny: [private] } } ]"),
            "concentrator.yaml:2: unknown key \"denny\" in users[0].egress; did you mean \"deny\"?"),
        WrongFile(
            goodConcentrator.replacing(" } ]", with: ", egress: { allow: [\"*:80-22\"] } } ]"),
            "concentrator.yaml:2: users[0].egress.allow[0]: \"*:80-22\" is not "
                + "a range such as 198.51.100.0/24, 198.51.100.7:25 or [2001:db8::/32]:8000-8999"),
        WrongFile(
            goodConcentrator.replacing(" } ]", with: ", egress: private } ]"),
            "concentrator.yaml:2: users[0].egress: must be a table with the keys deny, allow"),
        WrongFile(
            goodConcentrator + "listen: 443",
            "concentrator.yaml:3: listen: \"443\" is not an address with a port, such as 0.0.0.0:443"
        ),
        WrongFile(
            goodConcentrator + "announce: [\"0.0.0.0:443\"]",
            "concentrator.yaml:3: announce[0]: 0.0.0.0:443 is no address to send to; give one by which proxies "
                + "reach this machine"),
        WrongFile(
            goodConcentrator + "announce: [203.0.113.8]",
            "concentrator.yaml:3: announce[0]: \"203.0.113.8\" is not an address with a port, such as 203.0.113.8:443"
        ),
        WrongFile(
            goodConcentrator + "announce: [\"203.0.113.8:443\", \"203.0.113.8:443\"]",
            "concentrator.yaml:3: announce[1]: 203.0.113.8:443 is listed twice; leave one of them out"
        ),
        WrongFile(
            goodConcentrator + "join_first_address: false",
            "concentrator.yaml:3: join_first_address: leaves no address for further paths; name one with "
                + "announce: [\"203.0.113.8:443\"]"),
        WrongFile(
            goodConcentrator + "dial_timeout: 0s",
            "concentrator.yaml:3: dial_timeout: 0s is too short; give it from 1 s to 300 s"),
        WrongFile(
            goodProxy,
            "concentrator.yaml: is a configuration of the proxy; start it with: braid proxy --config concentrator.yaml"
        )
    ]

    @Test(arguments: concentrators) func concentrator(_ wrong: WrongFile) {
        #expect(Scratch().sentences(.concentrator, wrong.text) == wrong.sentences)
    }

    @Test func flagsAreNamedAsFlags() {
        var overrides = Overrides()
        overrides.set("mode", flag: "--mode", to: "ful")
        overrides.set("uplinks", flag: "--uplink", toList: ["wlan0,spare"])
        #expect(
            Scratch().sentences(.proxy, goodProxy, overrides: overrides) == [
                "--mode: \"ful\" is none of full, backup, single, auto; did you mean \"full\"?",
                "--uplink: \"spare\" is none of regular, backup"
            ])
    }

    @Test func aFileThatIsNotThere() {
        #expect(throws: ConfigurationErrors.self) {
            try Configuration.load(.proxy, file: "/nonexistent/proxy.yaml")
        }
        do { _ = try Configuration.check(file: "/nonexistent/p.yaml") } catch {
            #expect(
                error.description == "/nonexistent/p.yaml: can't be read: No such file or directory"
            )
        }
    }

    @Test func aFileForBothSides() {
        let scratch = Scratch()
        for (text, sentence) in [
            (
                goodProxy + "users: []",
                "has keys of a proxy (concentrator) and of a concentrator (users); each of the two has a file of its own"
            ),
            (
                "log_level: info",
                "is neither a proxy's configuration (key concentrator) nor a concentrator's (key users)"
            )
        ] {
            let path = scratch.write(text, to: "both.yaml")
            do { _ = try Configuration.check(file: path); Issue.record("taken") } catch {
                #expect(error.description == "\(path): \(sentence)")
            }
        }
    }

    @Test func anOpenListenerIsMentioned() throws {
        let scratch = Scratch()
        #expect(try scratch.proxy(goodProxy).warnings == [])
        #expect(
            try scratch.proxy(
                goodProxy
                    + "listen: [\"mixed://192.168.1.5:1080\", \"mixed://u:p@192.168.1.5:1081\"]"
            ).warnings
                == ["whoever reaches 192.168.1.5:1080 may use the proxy: no password is asked for"])
    }

    @Test func noPasswordInAnySentence() {
        for text in [
            "listen: mixed://bob:hunter2@x:1", "listen: foo://bob:hunter2@127.0.0.1:1",
            "listen: bob:hunter2@:1"
        ] {
            let sentences = Scratch().sentences(.proxy, goodProxy + text)
            #expect(!sentences.isEmpty)
            #expect(!sentences.contains { $0.contains("hunter2") })
        }
    }
}
