import ArgumentParser
import Configuration
import Crypto
import Shell

struct KeygenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keygen",
        abstract: "Writes a new private key to a file and prints its public key.",
        discussion: """
            The file gets mode 0600; an existing file is never written over. \
            The folder it is to be in is made where it is missing.
            """)

    @Flag(help: "Print the public key of an existing file instead.") var show = false
    @Argument(help: "The private key's file, such as /etc/braid/proxy.key.") var file: String

    func run() throws {
        Privileges.forbidDumps()
        if show {
            do {
                print(StaticKeyPair(privateKey: try KeyFile.read(file)).publicKey.base64)
            } catch { throw Complaint.input("\(file) \(error)") }
            return
        }
        let key = SystemRandom.key()
        do { try KeyFile.write(key, to: file) } catch { throw Complaint.input("\(file) \(error)") }
        print(StaticKeyPair(privateKey: key).publicKey.base64)
    }
}
