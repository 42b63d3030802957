import Dialogue

// The name in an application's first bytes: what was understood stays so, whatever follows.

enum FirstBytesTarget {
    static func run(_ input: inout Input) {
        let bytes = input.rest()
        var known: FirstBytes?
        for n in stride(from: 0, through: bytes.count, by: max(1, bytes.count / 64)) {
            let reading = withExact(bytes[..<n]) { FirstBytes.read(UnsafeRawBufferPointer($0)) }
            if let known { check(reading == known, "\(known), then \(reading)") }
            if reading != .needMore { known = reading }
            if case .name(let name) = reading {
                check(!name.isEmpty && name.utf8.count <= 255, "a name of \(name.utf8.count) bytes")
            }
        }
    }
}
