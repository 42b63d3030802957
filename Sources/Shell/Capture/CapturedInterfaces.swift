/// The interfaces whose clients are captured: those that have a configured name, and those that had
/// one until somebody renamed them.
struct CapturedInterfaces {
    let configured: [String]
    private var known: Set<Int> = []

    /// None is there yet.
    init(_ configured: [String]) { self.configured = configured }

    /// Their names now, the configured ones first and whether they are there or not; and the
    /// numbers of those that are.
    mutating func look(_ links: [NetworkSnapshot.Link]) -> (names: [String], numbers: [Int]) {
        for link in links where configured.contains(link.name) { known.insert(link.index) }
        known.formIntersection(links.map(\.index))
        let renamed = links.filter {
            known.contains($0.index) && !configured.contains($0.name)
        }
        return (configured + renamed.map(\.name).sorted(), known.sorted())
    }
}
