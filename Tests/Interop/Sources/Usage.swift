extension Arguments {
    static let usage = """
        mptcp-peer: Braid's MPTCP engine as a host of its own, over raw IP on TUN devices that exist. It makes one
        connection, says "ready" on its error output when it listens or connects, and prints one JSON object at the
        end: error (null: none), hashes of what was sent and received, the engine's counters, the subflows, what the
        peer announced, how often each --mangle applied. Exit code 0: the connection ended as it should, 1: it did
        not, 2: the arguments are wrong.

        usage: mptcp-peer client REMOTE:PORT --path DEVICE=ADDRESS... [OPTION...]
               mptcp-peer server PORT        --path DEVICE=ADDRESS... [OPTION...]
               mptcp-peer relay DEVICE=DEVICE... [--line ...] [--seconds S]

        relay has no engine: it carries packets between the two devices of each pair, as their line allows.

        Example: ip tuntap add dev t1 mode tun; ip link set t1 up; ip route add 10.92.1.0/24 dev t1
                 mptcp-peer server 5000 --path t1=10.92.1.2 --at '0.5 announce 10.92.2.2 id=1'

        Addresses and streams
          --path DEVICE=ADDRESS   an address of this peer, IPv4 or IPv6, behind that device. Repeatable; the first one
                                  (path 0) connects or listens
          --id ADDRESS=N          the address ID of an address (its path's number where not given)
          --pattern NAME          echo (client: writes and reads back; server: writes back), source (writes --size
                                  bytes and ends), sink (only reads), half-close (reads to the end, then writes),
                                  idle (neither, until the peer or the plan ends it). Default: echo
          --size BYTES            what this side writes (100000)
          --seed N                of content, keys, ports and sequence numbers (1)
          --seconds S             gives up after this long (30); --linger S: stays this long after the end (0.1)
          --read-after S          reads nothing before; --read-rate BYTES: reads no more than this a second

        Multipath TCP
          --checksum              asks for DSS checksums
          --deny-joins            asks for no joins to the initial address (the C flag)
          --backup PATH           joins from this path have the backup flag. Repeatable
          --follow PATH           joins from this path to every address the peer announces
          --scheduler NAME        predicted-arrival (default), round-robin or redundant

        TCP
          --window BYTES          receive window at most (8388608); --no-scaling: without the window scale option
          --initial-window N      segments sent before the first acknowledgement
          --mss BYTES             payload of a segment at most (1380)
          --congestion NAME       bbr (default), cubic, newreno; coupled: lia, olia, balia
          --timestamps            with the timestamps option; --no-sack: without selective acknowledgements
          --give-up S             a subflow ends that hears no acknowledgement for this long

        Times and troubles
          --at 'S ACTION'         at S seconds from the handshake. Repeatable. ACTION is one of:
                                  join PATH [TO[:PORT]] [backup] | leave PATH | prio PATH backup|regular |
                                  announce ADDRESS[:PORT] id=N | remove id=N | finish | fastclose |
                                  cut PATH | mend PATH (its line falls silent, and speaks again) |
                                  down PATH | up PATH (the engine is told that its interface went, came)
          --line 'PATH rate=MBIT delay=MS queue=MS loss=P'
                                  what the device's line is like, each way; P from 0 to 1. Of a relay: a pair's
          --mangle 'in|out WHAT [KIND] [nth=A[-B]] [p=P] [path=N] [port=N]'
                                  WHAT: drop, strip (MPTCP options), flip (a bit of payload), token, hmac, key (makes
                                  them wrong), fastclose (adds one with a wrong key). KIND: any, syn, synack, third,
                                  data, ack, fin, join, capable, add, remove, handshake. Repeatable
          --capture FILE          pcap of what passes the devices
        """
}
