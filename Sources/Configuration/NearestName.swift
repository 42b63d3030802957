/// The one of `names` that `word` was probably meant to be; nil where none is near.
///
/// Near: at most a third of the letters are changed, left out, added or swapped with a neighbour.
func nearestName(to word: String, among names: [String]) -> String? {
    let wanted = Array(word.lowercased().utf8)
    var best: (name: String, distance: Int)?
    for name in names {
        let distance = editDistance(wanted, Array(name.lowercased().utf8))
        guard distance * 3 <= max(wanted.count, name.utf8.count) else { continue }
        if best == nil || distance < best!.distance { best = (name, distance) }
    }
    return best?.name
}

/// Letters to change, leave out, add or swap with a neighbour to turn `a` into `b` (optimal string
/// alignment).
func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    var beforeLast: [Int] = [], last = Array(0...b.count)
    for i in 0..<a.count {
        var row = [i + 1]
        for j in 0..<b.count {
            var cost = min(row[j] + 1, last[j + 1] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
            if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
                cost = min(cost, beforeLast[j - 1] + 1)
            }
            row.append(cost)
        }
        (beforeLast, last) = (last, row)
    }
    return last[b.count]
}
