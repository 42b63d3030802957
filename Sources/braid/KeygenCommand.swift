import ArgumentParser
import Configuration
import Crypto
import Glibc

struct KeygenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keygen",
        abstract: "Writes a new private key to a file and prints its public key.",
        discussion: "The file gets mode 0600; an existing file is never written over.")

    @Flag(help: "Print the public key of an existing file instead.") var show = false
    @Argument(help: "The private key's file, such as /etc/braid/proxy.key.") var file: String

    func run() throws {
        if show {
            do {
                print(StaticKeyPair(privateKey: try KeyFile.read(file)).publicKey.base64)
            } catch { throw Complaint.input("\(file) \(error)") }
            return
        }
        let key = try Key32.fromSystem()
        do { try KeyFile.write(key, to: file) } catch { throw Complaint.input("\(file) \(error)") }
        print(StaticKeyPair(privateKey: key).publicKey.base64)
    }
}

extension Key32 {
    /// 32 bytes of the system's randomness.
    static func fromSystem() throws -> Key32 {
        var bytes = [UInt8](repeating: 0, count: 32)
        guard getentropy(&bytes, bytes.count) == 0 else {
            throw Complaint.failure("the system gave no randomness: \(String(cString: strerror(errno)))")
        }
        return bytes.withUnsafeBytes { Key32($0) }
    }
}
