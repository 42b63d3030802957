import Crypto
import Foundation

@testable import Configuration

/// A folder for the files of one test, removed with the value.
final class Scratch {
    let folder: String

    init() {
        folder =
            FileManager.default.temporaryDirectory.path
            + "/braid-configuration-\(UUID().uuidString)"
        try! FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        key(1, in: "own.key")
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    @discardableResult
    func write(_ text: String, to name: String, mode: Int = 0o600) -> String {
        let path = "\(folder)/\(name)"
        _ = FileManager.default.createFile(
            atPath: path, contents: Data(text.utf8),
            attributes: [.posixPermissions: mode])
        return path
    }

    @discardableResult
    func key(_ number: UInt8, in name: String) -> String {
        write(Scratch.privateKey(number).base64 + "\n", to: name)
    }

    static func privateKey(_ number: UInt8) -> Key32 {
        [UInt8](repeating: number, count: 32).withUnsafeBytes { Key32($0) }
    }

    static func publicKey(_ number: UInt8) -> String {
        StaticKeyPair(privateKey: privateKey(number)).publicKey.base64
    }

    /// The sentences about a file, with the scratch folder left out; empty where the file is right.
    func sentences(
        _ kind: ConfigurationKind, _ text: String,
        overrides: Overrides = Overrides()
    ) -> [String] {
        let path = write(text, to: "\(kind.rawValue).yaml")
        do {
            _ = try Configuration.load(kind, file: path, overrides: overrides)
            return []
        } catch {
            return error.problems.map {
                $0.description.replacingOccurrences(of: folder + "/", with: "")
            }
        }
    }

    func proxy(_ text: String, overrides: Overrides = Overrides()) throws -> ProxyConfiguration {
        guard
            case .proxy(let found) = try Configuration.load(
                .proxy, file: write(text, to: "proxy.yaml"), overrides: overrides)
        else { fatalError("wrong kind") }
        return found
    }

    func concentrator(_ text: String) throws -> ConcentratorConfiguration {
        guard
            case .concentrator(let found) = try Configuration.load(
                .concentrator, file: write(text, to: "concentrator.yaml"))
        else { fatalError("wrong kind") }
        return found
    }
}

/// A proxy's file that is right; the tests append to it or replace a line.
let goodProxy = """
    concentrator: { address: "203.0.113.7:443", public_key: "\(Scratch.publicKey(2))" }
    private_key_file: own.key

    """

/// A concentrator's file that is right.
let goodConcentrator = """
    private_key_file: own.key
    users: [ { name: alice, public_key: "\(Scratch.publicKey(2))" } ]

    """
