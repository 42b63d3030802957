import Crypto
import Glibc

extension MachineNumber {
    /// This machine's number for a key of its own, which tells nobody what machine it is; nil where
    /// it has no machine-id(5).
    static func ofThisMachine(for key: Key32) -> UInt32? {
        guard let file = fopen("/etc/machine-id", "r") else { return nil }
        defer { fclose(file) }
        var name = [UInt8](repeating: 0, count: 64)
        let count = fread(&name, 1, name.count, file)
        return count < 32 ? nil : make(name: name[..<count], key: key)
    }
}
