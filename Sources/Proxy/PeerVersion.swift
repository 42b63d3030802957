/// What two ends of different versions can't do together.
enum PeerVersion {
    /// A sentence for the log; nil where nothing is missing. `own` empty: this end is a test's.
    static func note(own: String, concentrator: String) -> String? {
        guard !own.isEmpty, own != concentrator else { return nil }
        if concentrator.isEmpty {
            return
                "the concentrator is older than this proxy (\(own)) and does not say its version: it takes no"
                + " invitations, and this proxy is not told where its user is removed or another process takes the"
                + " concentrator's place; renew it"
        }
        return
            "the concentrator is of version \(concentrator), this proxy of \(own): renew the older one"
            + " (docs/operations.md, Another version while it runs)"
    }
}
