/// What the counters of `ServerStatus` mean.
enum MetricHelp {
    static func text(_ name: String) -> String {
        texts[name] ?? "\(name.replacing("_", with: " ")): see the documentation."
    }

    private static let texts = [
        // A proxy
        "clients": "Applications' connections that are served now.",
        "clients_accepted_total": "Applications' connections that were accepted.",
        "clients_turned_away_total": "Applications turned away since there were too many.",
        "clients_crowded_out_total": "Connections closed in their dialogue for newer ones.",
        "clients_displaced_total": "Connections that carried nothing and were closed for others.",
        "requests_total": "Requests of applications.",
        "dialogues_refused_total": "Dialogues that were malformed or asked for what is not done.",
        "dials_failed_total": "Dials that failed.",
        "wrong_passwords_total": "Wrong names or passwords on listeners that ask for them.",
        "blocked_total": "Connections that a rule blocked.",
        "direct": "Connections that leave from this machine now.",
        "direct_total": "Connections that left from this machine.",
        "direct_failed_total": "Connections from this machine that failed.",
        "paths_left_out": "Pairs of uplink and address for which a session has no path left.",
        "datagrams_direct_total": "Applications' datagrams that left from this machine.",
        "captured_connections_total": "Connections that were captured.",
        "captured_refused_total": "Captured connections that were refused.",
        "captured_bound_refused_total":
            "Connections of programs whose socket is bound to an interface, refused.",
        "captured_own_destination_total": "Captured connections to the concentrator, refused.",
        "captured_held": "Programs' SYNs that are held until their dial has ended.",
        "captured_held_overflow_total": "SYNs dropped since too many were held.",
        "captured_associations": "Associations of captured datagrams.",
        "captured_datagrams_refused_total": "Captured datagrams that were refused.",
        "names_questions_total": "Questions for names that programs asked.",
        "names_answered_total": "Questions for names that were answered.",
        "names_failed_total": "Questions for names without an answer.",
        "names_local_total": "Questions for names that were asked of the network's servers.",
        "names_repeated_total": "Questions for names that were sent again.",
        "names_under_way": "Questions for names that wait for an answer.",
        "names_connections": "TCP connections to the DNS listener.",
        "names_cache_entries": "Answers that are kept.",
        "names_cache_bytes": "Bytes of answers that are kept.",
        "names_cache_hits_total": "Questions that were answered from what is kept.",
        "names_refused_total": "Questions for names that were refused.",
        "names_answers_refused_total": "Answers that were not to their question.",
        // A concentrator
        "connections_total": "Connections that users opened.",
        "dials_connected_total": "Dials that reached their target.",
        "dials_under_way": "Dials that are under way.",
        "dials_waiting": "Dials that wait for their turn.",
        "lookups_under_way": "Names that are being looked up.",
        "lookups_waiting": "Names that wait for their turn to be looked up.",
        "associations_total": "UDP associations that users opened.",
        "associations_refused_total": "UDP associations that were refused.",
        "questions_under_way": "Users' questions for names that are under way.",
        "questions_total": "Users' questions for names.",
        "questions_answered_total": "Users' questions for names that were answered.",
        "questions_failed_total": "Users' questions for names without an answer.",
        "questions_over_tcp_total": "Questions that were asked of a server over TCP.",
        "questions_repeated_total": "Questions that came again while they were under way.",
        "questions_refused_total": "Users' questions for names that were refused.",
        "answers_refused_total": "Datagrams of name servers that answered no question.",
        "turned_away_total": "What users' limits turned away.",
        // Both
        "associations": "UDP associations that are open.",
        "datagrams_sent_total": "Applications' datagrams that were sent on.",
        "datagrams_received_total": "Datagrams that were received for applications.",
        "datagrams_refused_total": "Applications' datagrams that were not sent on.",
        "memory_bytes": "Bytes that connections hold.",
        "memory_limit_bytes": "Bytes that connections may hold."
    ]
}
