#pragma once
// Batched datagram I/O, control messages and socket options that Glibc's Swift overlay does not show,
// as plain functions and structs. Every function that can fail returns a negative errno.
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

// An address in host byte order, as Measures.SocketAddress keeps it.
struct braid_address {
    uint64_t high, low;   // an IPv4 address in the low 32 bits of `low`
    uint16_t port;
    uint8_t is_ipv4;
};

// ---- Time ----------------------------------------------------------------------------------------

// A descriptor that is readable when somebody has set the wall clock, and when the machine has slept.
int braid_clock_watch(void);
// After it was readable.
int braid_clock_watch_again(int fd);

// ---- Sockets -------------------------------------------------------------------------------------

// Non-blocking, close-on-exec sockets; the IPv6 ones take IPv6 only.
int braid_socket_datagram(int is_ipv4);
int braid_socket_stream(int is_ipv4);
// Every socket that the two open from now on carries this mark (SO_MARK), where the process may.
void braid_mark_sockets(uint32_t mark);
// Whether the process has the capability of this number (linux/capability.h) now.
int braid_has_capability(int number);
// Gives one up for good.
int braid_drop_capability(int number);
// Whether the programs that the process starts from now on have it, too: they must be no root's, and the process must
// have it. 0, or a negative errno; -EALREADY where they have it anyway.
int braid_pass_on(int number, int on);
// An abstract Unix socket of that name, of which there is one in a network namespace.
int braid_claim(const char *name);
// The socket may have addresses that are others' (IP_TRANSPARENT, IPV6_TRANSPARENT).
int braid_set_transparent(int fd, int is_ipv4);
// Asks for the address and port each datagram was sent to by whoever sent it; `local` then holds it.
int braid_set_original_destination(int fd, int is_ipv4);
// Where a connection was meant for that the packet filter has redirected here (SO_ORIGINAL_DST).
int braid_original_destination(int fd, int is_ipv4, struct braid_address *out);
// A close-on-exec Unix socket. The kinds of sockets are named here only: which Clang module shows
// SOCK_STREAM and its like to Swift depends on the order of the build.
int braid_socket_unix(int is_datagram, int is_non_blocking);
// Two close-on-exec Unix stream sockets that are connected to each other: 0 or a negative errno.
int braid_socket_pair(int *first, int *second);
// 1 for a socket of streams, 0 for another one, or a negative errno.
int braid_is_stream(int fd);
/// The user and the process at the other end of a connected Unix socket (SO_PEERCRED).
int braid_peer(int fd, uint32_t *user, int32_t *process);
int braid_bind(int fd, const struct braid_address *to);
// SO_BINDTODEVICE: only this interface's routes count from now on.
int braid_bind_device(int fd, const char *interface);
int braid_listen(int fd, int backlog);
// 0, or -EINPROGRESS while it goes on.
int braid_connect(int fd, const struct braid_address *to);
int braid_accept(int fd, struct braid_address *from);
int braid_local_address(int fd, struct braid_address *out);
int braid_remote_address(int fd, struct braid_address *out);
// Whether a socket that connects has done so, or has failed to.
bool braid_has_settled(int fd);
// The pending error of a socket (SO_ERROR), as a positive errno or 0.
int braid_socket_error(int fd);
int braid_set_reuse_address(int fd);
// Whether others of this user may be bound to the same address and port (SO_REUSEPORT), which also may be said of a
// socket that is bound already.
int braid_set_reuse_port(int fd, int is_on);
// Which of the UDP sockets at one address gets what (SO_ATTACH_REUSEPORT_CBPF): a record (docs/wire.md) of one of the
// generations in the mask `living` goes to the socket of that number, in the order in which they were bound; all else
// goes to number `newest`. `fd`: any of them.
int braid_steer(int fd, unsigned newest, unsigned living);
// Forgets what waits in a UDP socket that nobody reads. Whether there was anything.
int braid_discard(int fd);
int braid_set_no_delay(int fd);
int braid_set_keep_alive(int fd, int idle_seconds, int interval_seconds, int probes);
// The next close sends RST and forgets unsent data.
int braid_set_reset_on_close(int fd);
// Asks for kernel buffers of `bytes`, past the system's limit where the process may.
void braid_set_buffers(int fd, int bytes);
int braid_buffer_sizes(int fd, int *receive, int *send);
// Unpredictable bytes (getrandom), at most 256; waits for the kernel's pool at boot.
int braid_random(void *out, size_t count);
// Gives the calling thread a network namespace of its own, with a loopback that is down. For tests.
int braid_unshare_network(void);
// Gives the calling thread a table of open files of its own, a copy of the process's. For tests.
int braid_unshare_files(void);
ssize_t braid_write2(int fd, const void *a, size_t a_count, const void *b, size_t b_count);

// ---- Datagrams -----------------------------------------------------------------------------------

// Asks for coalesced reception (UDP_GRO); 0 where the kernel does it.
int braid_set_coalescing(int fd, int on);
// Asks for the address each datagram was sent to.
int braid_set_packet_info(int fd, int is_ipv4);
// What is sent leaves through the interface, whatever comes in by which one (IP_UNICAST_IF, IPV6_UNICAST_IF).
int braid_send_through(int fd, int is_ipv4, unsigned interface);
// DF on everything, and an error for what is longer than the interface takes: no IP fragment ever leaves.
int braid_forbid_fragments(int fd, int is_ipv4);

// One reception: a datagram, or several of `segment` bytes each (the last may be shorter).
struct braid_arrival {
    uint8_t *bytes;
    uint32_t length;
    uint32_t segment;   // equals `length` for a single datagram; never 0 unless `length` is
    struct braid_address from;
    struct braid_address local;   // unspecified (all zero) unless packet info or the original destination was asked for
};

struct braid_receiver;
// `slots` buffers of 64 kB, and all that recvmmsg needs; NULL without memory.
struct braid_receiver *braid_receiver_create(unsigned slots);
void braid_receiver_free(struct braid_receiver *r);
// Receives up to `maximum` messages (and `slots`) without waiting: their number, or a negative errno.
int braid_receive(struct braid_receiver *r, int fd, unsigned maximum);
const struct braid_arrival *braid_arrivals(const struct braid_receiver *r);

// One message to send: a datagram, or a run of datagrams of `segment` bytes each (the last may be shorter).
struct braid_outgoing {
    const uint8_t *bytes;
    uint32_t length;
    uint16_t segment;    // 0 or >= length: one datagram
    uint8_t has_local;   // leave from `local` (packet info)
    struct braid_address remote;
    struct braid_address local;
};

struct braid_sender;
struct braid_sender *braid_sender_create(unsigned capacity);
void braid_sender_free(struct braid_sender *s);
// Forgets what was added.
void braid_sender_clear(struct braid_sender *s);
unsigned braid_sender_count(const struct braid_sender *s);
// Adds a message; 0 when full.
int braid_sender_add(struct braid_sender *s, const struct braid_outgoing *d);
const struct braid_outgoing *braid_sender_at(const struct braid_sender *s, unsigned i);
// Sends messages from `first` on, at most `maximum`: how many the kernel took, or a negative errno about message `first`.
int braid_send(struct braid_sender *s, int fd, unsigned first, unsigned maximum);
// Sends the datagrams of message `i` one by one, from the `skip`th on: how many went, or a negative
// errno about the first.
int braid_send_singly(struct braid_sender *s, int fd, unsigned i, unsigned skip);
/// No core file, and no other process of this user may look into this one's memory (PR_SET_DUMPABLE).
int braid_forbid_dumps(void);
/// Asks for short turns of the processor for this thread (sched_attr's runtime, Linux 6.12), nanoseconds: whoever wants
/// less at a time is waited for less. 0, or a negative errno.
int braid_set_time_slice(uint64_t nanoseconds);
/// What was asked for so; 0 where nothing was, or the kernel does not say.
uint64_t braid_time_slice(void);
/// Becomes another user for good, with no group but `group` and no capability but CAP_NET_RAW and CAP_NET_ADMIN,
/// as far as asked for.
int braid_become(uint32_t user, uint32_t group, int keeps_raw_sockets, int keeps_administration);

// ---- Whether anybody uses the machine --------------------------------------------------------------

// systemd-logind's idle hint, asked over the system bus. Nothing here waits; from one thread only.
struct braid_idle;
enum braid_idle_state {
    BRAID_IDLE_UNKNOWN, // nobody has a session, or there is no logind
    BRAID_IDLE_NO,
    BRAID_IDLE_YES,
};
// Connects, and begins to ask. NULL with a negative errno in `why`: -ENOSYS where libsystemd is not installed.
struct braid_idle *braid_idle_open(int *why);
void braid_idle_close(struct braid_idle *);
// To be watched; `braid_idle_process` is to be called when it is readable, or writable where that is wanted, and after
// `braid_idle_timeout` nanoseconds.
int braid_idle_descriptor(const struct braid_idle *);
int braid_idle_wants_write(const struct braid_idle *);
int64_t braid_idle_timeout(const struct braid_idle *);
// Does what is due, in `most` steps. 0: nothing is left, positive: something is; negative: the connection has ended.
int braid_idle_process(struct braid_idle *, int most);
// Asks once more, if no question is under way.
void braid_idle_ask(struct braid_idle *);
// Something may be another since the last question: ask again.
int braid_idle_has_changed(const struct braid_idle *);
// What was answered last, and how many answers there were.
enum braid_idle_state braid_idle_answer(const struct braid_idle *);
uint32_t braid_idle_answers(const struct braid_idle *);
