// Sockets and their options as plain functions.
#define _GNU_SOURCE
#include "CDatagram.h"
#include "address.h"
#include <errno.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef IPV6_TRANSPARENT
#define IPV6_TRANSPARENT 75
#endif
#ifndef IPV6_RECVORIGDSTADDR
#define IPV6_RECVORIGDSTADDR 74
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

static int option(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value) < 0 ? -errno : 0;
}

// Of the process: 0 for none.
static uint32_t socket_mark;

void braid_mark_sockets(uint32_t mark) { socket_mark = mark; }

static int open_socket(int is_ipv4, int type) {
    int fd = socket(is_ipv4 ? AF_INET : AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (socket_mark) option(fd, SOL_SOCKET, SO_MARK, (int)socket_mark);
    if (!is_ipv4) option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    return fd;
}

int braid_socket_datagram(int is_ipv4) { return open_socket(is_ipv4, SOCK_DGRAM); }
int braid_socket_stream(int is_ipv4) { return open_socket(is_ipv4, SOCK_STREAM); }

int braid_is_stream(int fd) {
    int type;
    socklen_t size = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ? -errno : type == SOCK_STREAM;
}

int braid_socket_pair(int *first, int *second) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) return -errno;
    *first = pair[0];
    *second = pair[1];
    return 0;
}

int braid_socket_unix(int is_datagram, int is_non_blocking) {
    int type = (is_datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC;
    if (is_non_blocking) type |= SOCK_NONBLOCK;
    int fd = socket(AF_UNIX, type, 0);
    return fd < 0 ? -errno : fd;
}

int braid_claim(const char *name) {
    int fd = braid_socket_unix(1, 0);
    if (fd < 0) return fd;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t length = strnlen(name, sizeof address.sun_path - 1);
    memcpy(address.sun_path + 1, name, length);  // the first byte 0: abstract (unix(7))
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
    if (bind(fd, (struct sockaddr *)&address, size) == 0) return fd;
    int error = -errno;
    close(fd);
    return error;
}

int braid_set_transparent(int fd, int is_ipv4) {
    return is_ipv4 ? option(fd, IPPROTO_IP, IP_TRANSPARENT, 1)
                   : option(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1);
}

int braid_set_original_destination(int fd, int is_ipv4) {
    return is_ipv4 ? option(fd, IPPROTO_IP, IP_RECVORIGDSTADDR, 1)
                   : option(fd, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1);
}

int braid_original_destination(int fd, int is_ipv4, struct braid_address *out) {
    struct sockaddr_storage name;
    socklen_t size = is_ipv4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    memset(&name, 0, sizeof name);
    // SO_ORIGINAL_DST (linux/netfilter_ipv4.h) and IP6T_SO_ORIGINAL_DST have the same number.
    if (getsockopt(fd, is_ipv4 ? IPPROTO_IP : IPPROTO_IPV6, 80, &name, &size) < 0) return -errno;
    braid_from_sockaddr(&name, out);
    return 0;
}

int braid_peer(int fd, uint32_t *user, int32_t *process) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return -errno;
    *user = peer.uid;
    *process = peer.pid;
    return 0;
}

int braid_bind(int fd, const struct braid_address *to) {
    struct sockaddr_storage name;
    socklen_t size = braid_to_sockaddr(to, &name);
    return bind(fd, (struct sockaddr *)&name, size) < 0 ? -errno : 0;
}

int braid_bind_device(int fd, const char *interface) {
    socklen_t size = (socklen_t)strlen(interface) + 1;
    return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, size) < 0 ? -errno : 0;
}

int braid_listen(int fd, int backlog) { return listen(fd, backlog) < 0 ? -errno : 0; }

int braid_connect(int fd, const struct braid_address *to) {
    struct sockaddr_storage name;
    socklen_t size = braid_to_sockaddr(to, &name);
    return connect(fd, (struct sockaddr *)&name, size) < 0 ? -errno : 0;
}

bool braid_has_settled(int fd) {
    struct pollfd wanted = { .fd = fd, .events = POLLOUT };
    return poll(&wanted, 1, 0) > 0;
}

int braid_accept(int fd, struct braid_address *from) {
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    memset(&name, 0, sizeof name);
    int accepted = accept4(fd, (struct sockaddr *)&name, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted < 0) return -errno;
    braid_from_sockaddr(&name, from);
    return accepted;
}

int braid_local_address(int fd, struct braid_address *out) {
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    if (getsockname(fd, (struct sockaddr *)&name, &size) < 0) return -errno;
    braid_from_sockaddr(&name, out);
    return 0;
}

int braid_remote_address(int fd, struct braid_address *out) {
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    if (getpeername(fd, (struct sockaddr *)&name, &size) < 0) return -errno;
    braid_from_sockaddr(&name, out);
    return 0;
}

int braid_socket_error(int fd) {
    int value = 0;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &size) < 0 ? errno : value;
}

int braid_set_reuse_address(int fd) { return option(fd, SOL_SOCKET, SO_REUSEADDR, 1); }
int braid_set_no_delay(int fd) { return option(fd, IPPROTO_TCP, TCP_NODELAY, 1); }

int braid_set_keep_alive(int fd, int idle_seconds, int interval_seconds, int probes) {
    int e = option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (!e) e = option(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_seconds);
    if (!e) e = option(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval_seconds);
    return e ? e : option(fd, IPPROTO_TCP, TCP_KEEPCNT, probes);
}

int braid_set_reset_on_close(int fd) {
    struct linger hard = { .l_onoff = 1, .l_linger = 0 };
    return setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard) < 0 ? -errno : 0;
}

void braid_set_buffers(int fd, int bytes) {
    // The forced form needs CAP_NET_ADMIN; the plain one is cut to net.core.[rw]mem_max.
    if (option(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes)) option(fd, SOL_SOCKET, SO_RCVBUF, bytes);
    if (option(fd, SOL_SOCKET, SO_SNDBUFFORCE, bytes)) option(fd, SOL_SOCKET, SO_SNDBUF, bytes);
}

int braid_set_reuse_port(int fd, int is_on) { return option(fd, SOL_SOCKET, SO_REUSEPORT, is_on); }

int braid_steer(int fd, unsigned newest, unsigned living) {
    // docs/wire.md, Datagrams: the kind in the high half of byte 0, the generation in the upper two bits of byte 2.
    enum { header = 8, record = 4, generations = 4 };
    struct sock_filter code[16];
    unsigned short n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0);
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, header, 1, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, newest);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4);
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, record, 1, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, newest);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 2);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 6);
    for (unsigned g = 0; g < generations; g++) {
        if (g == newest || !(living & 1u << g)) continue;
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, g, 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, g);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, newest);
    struct sock_fprog program = { .len = n, .filter = code };
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) < 0 ? -errno : 0;
}

int braid_discard(int fd) {
    char byte;
    int found = 0;
    // What comes meanwhile is read by others: the queue only gets shorter. A flood keeps nobody here.
    for (int i = 0; i < 1 << 16; i++) {
        if (recv(fd, &byte, sizeof byte, MSG_DONTWAIT | MSG_TRUNC) >= 0) found = 1;
        else if (errno == EAGAIN) break;
    }
    return found;
}

int braid_buffer_sizes(int fd, int *receive, int *send) {
    socklen_t size = sizeof *receive;
    if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, receive, &size) < 0) return -errno;
    return getsockopt(fd, SOL_SOCKET, SO_SNDBUF, send, &size) < 0 ? -errno : 0;
}

ssize_t braid_write2(int fd, const void *a, size_t a_count, const void *b, size_t b_count) {
    struct iovec v[2] = { { (void *)a, a_count }, { (void *)b, b_count } };
    // MSG_NOSIGNAL: a closed peer is an error here, whatever the process does about SIGPIPE.
    struct msghdr h = { .msg_iov = v, .msg_iovlen = b_count ? 2 : 1 };
    ssize_t n = sendmsg(fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
    return n < 0 ? -errno : n;
}

int braid_set_coalescing(int fd, int on) { return option(fd, IPPROTO_UDP, UDP_GRO, on); }

int braid_set_packet_info(int fd, int is_ipv4) {
    return is_ipv4 ? option(fd, IPPROTO_IP, IP_PKTINFO, 1) : option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
}

int braid_send_through(int fd, int is_ipv4, unsigned interface) {
    uint32_t index = htonl(interface);
    return setsockopt(fd, is_ipv4 ? IPPROTO_IP : IPPROTO_IPV6, is_ipv4 ? IP_UNICAST_IF : IPV6_UNICAST_IF, &index,
                      sizeof index) < 0 ? -errno : 0;
}

int braid_forbid_fragments(int fd, int is_ipv4) {
    // PROBE: DF is set, and what a router said of the path (or somebody in its name) is not believed; only what is
    // longer than the interface takes is refused (EMSGSIZE).
    if (is_ipv4) return option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
    int e = option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
    return e ? e : option(fd, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
}

int braid_random(void *out, size_t count) {
    // Up to 256 bytes come whole and uninterrupted once the pool is ready (getrandom(2)).
    ssize_t n;
    do n = getrandom(out, count, 0); while (n < 0 && errno == EINTR);
    return n == (ssize_t)count ? 0 : -EIO;
}

int braid_unshare_network(void) { return unshare(CLONE_NEWNET) < 0 ? -errno : 0; }
int braid_unshare_files(void) { return unshare(CLONE_FILES) < 0 ? -errno : 0; }

#include <stdlib.h>
#include <sys/timerfd.h>

// A time that never comes: the timer ends early, with ECANCELED, when the clock jumps.
static int never(int fd) {
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)1 << 40}};
    return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at, NULL) < 0 ? -errno : 0;
}

int braid_clock_watch(void) {
    int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0) return -errno;
    int error = never(fd);
    if (error < 0) { close(fd); return error; }
    return fd;
}

int braid_clock_watch_again(int fd) {
    uint64_t count;
    if (read(fd, &count, sizeof count) < 0 && errno != ECANCELED && errno != EAGAIN) return -errno;
    return never(fd);
}
