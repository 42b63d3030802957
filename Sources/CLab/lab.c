#define _GNU_SOURCE
#include "CLab.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

// ---- Namespaces ------------------------------------------------------------------------------------

static int write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    ssize_t n = write(fd, text, strlen(text));
    int result = n == (ssize_t)strlen(text) ? 0 : -errno;
    close(fd);
    return result;
}

int braid_lab_become_root(void) {
    char map[64];
    unsigned uid = geteuid(), gid = getegid();
    if (unshare(CLONE_NEWUSER) != 0) return -errno;
    // user_namespaces(7): an ordinary user may map its group only after giving up setgroups.
    int result = write_file("/proc/self/setgroups", "deny");
    if (result < 0 && result != -ENOENT) return result;
    snprintf(map, sizeof map, "0 %u 1\n", uid);
    if ((result = write_file("/proc/self/uid_map", map)) < 0) return result;
    snprintf(map, sizeof map, "0 %u 1\n", gid);
    return write_file("/proc/self/gid_map", map);
}

static int own_namespace(void) {
    int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int leave_for(int netns) { return setns(netns, CLONE_NEWNET) == 0 ? 0 : -errno; }

int braid_lab_may_unshare(void) {
    int home = own_namespace();
    if (home < 0) return 0;
    int may = unshare(CLONE_NEWNET) == 0;
    if (may) leave_for(home);
    close(home);
    return may;
}

int braid_lab_new_namespace(void) {
    int home = own_namespace();
    if (home < 0) return home;
    int made = unshare(CLONE_NEWNET) == 0 ? own_namespace() : -errno;
    // The lab's links carry IPv4; router solicitations of its devices would only blur the counters.
    if (made >= 0) write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    int back = leave_for(home);
    close(home);
    if (made >= 0) {
        int result = back < 0 ? back : braid_lab_set_up(made, "lo", 1);
        if (result < 0) { close(made); return result; }
    }
    return made;
}

// ---- Devices ---------------------------------------------------------------------------------------

static int socket_of(int netns, int type) {
    int home = own_namespace();
    if (home < 0) return home;
    int result = leave_for(netns);
    int made = result < 0 ? result : socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (result == 0 && made < 0) made = -errno;
    if (result == 0) leave_for(home);
    close(home);
    return made;
}

// A socket for the namespace's ioctls.
static int socket_in(int netns) { return socket_of(netns, SOCK_DGRAM); }

int braid_lab_tcp(int netns) {
    int fd = socket_of(netns, SOCK_STREAM), one = 1;
    if (fd < 0) return fd;
    // A block of a stream must not wait for the acknowledgement of the one before.
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

int braid_lab_udp(int netns) { return socket_in(netns); }

static int with_name(struct ifreq *request, const char *name) {
    memset(request, 0, sizeof *request);
    if (strlen(name) >= IFNAMSIZ) return -EINVAL;
    strcpy(request->ifr_name, name);
    return 0;
}

static void set_address(struct sockaddr *to, uint32_t address) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    memcpy(to, &in, sizeof in);
}

int braid_lab_tun(int netns, const char *name) {
    struct ifreq request;
    if (with_name(&request, name) < 0) return -EINVAL;
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    int home = own_namespace();
    if (home < 0) return home;
    int result = leave_for(netns), fd = result;
    if (result == 0) {
        // The device comes to stand in the namespace that opened the descriptor.
        fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0) fd = -errno;
        else if (ioctl(fd, TUNSETIFF, &request) != 0) { result = -errno; close(fd); fd = result; }
        leave_for(home);
    }
    close(home);
    return fd;
}

int braid_lab_address(int netns, const char *name, uint32_t address, int prefix) {
    struct ifreq request;
    if (with_name(&request, name) < 0) return -EINVAL;
    int fd = socket_in(netns);
    if (fd < 0) return fd;
    set_address(&request.ifr_addr, address);
    int result = ioctl(fd, SIOCSIFADDR, &request) == 0 ? 0 : -errno;
    if (result == 0) {
        set_address(&request.ifr_netmask, prefix == 0 ? 0 : UINT32_MAX << (32 - prefix));
        result = ioctl(fd, SIOCSIFNETMASK, &request) == 0 ? 0 : -errno;
    }
    close(fd);
    return result;
}

int braid_lab_set_up(int netns, const char *name, int up) {
    struct ifreq request;
    if (with_name(&request, name) < 0) return -EINVAL;
    int fd = socket_in(netns);
    if (fd < 0) return fd;
    int result = ioctl(fd, SIOCGIFFLAGS, &request) == 0 ? 0 : -errno;
    if (result == 0) {
        if (up) request.ifr_flags |= IFF_UP;
        else request.ifr_flags &= ~IFF_UP;
        result = ioctl(fd, SIOCSIFFLAGS, &request) == 0 ? 0 : -errno;
    }
    close(fd);
    return result;
}

int braid_lab_default_route(int netns, const char *name, int metric) {
    char device[IFNAMSIZ];
    if (strlen(name) >= IFNAMSIZ) return -EINVAL;
    strcpy(device, name);
    struct rtentry route = {.rt_flags = RTF_UP, .rt_dev = device, .rt_metric = (short)(metric + 1)};
    set_address(&route.rt_dst, 0);
    set_address(&route.rt_genmask, 0);
    int fd = socket_in(netns);
    if (fd < 0) return fd;
    int result = ioctl(fd, SIOCADDRT, &route) == 0 || errno == EEXIST ? 0 : -errno;
    close(fd);
    return result;
}

int braid_lab_wait(struct pollfd *polled, unsigned count, int64_t nanoseconds) {
    struct timespec limit = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    int n = ppoll(polled, count, nanoseconds < 0 ? NULL : &limit, NULL);
    return n < 0 ? (errno == EINTR ? 0 : -errno) : n;
}

// ---- Children --------------------------------------------------------------------------------------

pid_t braid_lab_spawn(const char *path, char *const argv[], char *const envp[], int netns, int in, int out, int err,
                      int own_group) {
    pid_t parent = getpid();
    pid_t child = fork();
    if (child != 0) return child < 0 ? -errno : child;
    // Only async-signal-safe calls from here on: another thread may have held a lock at the fork.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);   // it died before the line above
    if (netns >= 0 && setns(netns, CLONE_NEWNET) != 0) _exit(126);
    int given[3] = {in, out, err};
    for (int i = 0; i < 3; i++) {
        if (given[i] < 0) given[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
        // Out of the way of 0, 1, 2 first: one of them may be another's source.
        given[i] = fcntl(given[i], F_DUPFD_CLOEXEC, 3);
    }
    for (int i = 0; i < 3; i++) dup2(given[i], i);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (own_group) setpgid(0, 0);   // Ctrl-C reaches the lab, which ends its children in order
    execve(path, argv, envp);
    _exit(127);
}

int braid_lab_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC) == 0 ? 0 : -errno; }

// ---- Time and readiness ----------------------------------------------------------------------------

int64_t braid_lab_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void braid_lab_hurry(void) {
    // A link must not wait for a time slice: round robin, the lowest of the real-time priorities.
    struct sched_param parameters = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &parameters) != 0) setpriority(PRIO_PROCESS, 0, -10);
}

int braid_lab_timer(void) {
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int braid_lab_timer_set(int timer, int64_t at) {
    struct itimerspec when = {0};
    if (at != INT64_MAX) {
        if (at < 1) at = 1;   // zero would disarm it
        when.it_value.tv_sec = at / 1000000000;
        when.it_value.tv_nsec = at % 1000000000;
    }
    return timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL) == 0 ? 0 : -errno;
}

int braid_lab_event(void) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int braid_lab_epoll(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int braid_lab_epoll_add(int epoll, int fd, uint32_t number) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

void braid_lab_epoll_remove(int epoll, int fd) { epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL); }

int braid_lab_epoll_wait(int epoll, uint32_t *numbers, int maximum, int milliseconds) {
    struct epoll_event events[32];
    int n = epoll_wait(epoll, events, maximum < 32 ? maximum : 32, milliseconds);
    if (n < 0) return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < n; i++) numbers[i] = events[i].data.u32;
    return n;
}

int braid_lab_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}
