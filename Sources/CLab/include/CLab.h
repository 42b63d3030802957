#pragma once
// What the lab needs of Linux and Glibc's Swift overlay does not show: network namespaces, TUN devices,
// addresses and routes, children that live in a namespace and die with their parent. IPv4, host byte order.
// Every function that can fail returns a negative errno.
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// ---- Namespaces (all anonymous: they vanish with the last descriptor and process) -----------------

/// Makes this process root in a user namespace of its own. Only while it has a single thread.
int braid_lab_become_root(void);
/// Whether this process may make network namespaces.
int braid_lab_may_unshare(void);
/// A descriptor of a new network namespace with loopback up; the caller stays where it is.
int braid_lab_new_namespace(void);

// ---- Devices ---------------------------------------------------------------------------------------

/// A TUN device in `netns` (packets without a header of their own): its non-blocking descriptor.
int braid_lab_tun(int netns, const char *name);
/// Gives an interface an address; `name` may carry a label, as lo:1.
int braid_lab_address(int netns, const char *name, uint32_t address, int prefix);
/// Sets an interface up or down.
int braid_lab_set_up(int netns, const char *name, int up);
/// A TCP socket that lives in `netns`, without Nagle's delay; the caller's thread stays where it is.
int braid_lab_tcp(int netns);
/// A UDP socket that lives in `netns`.
int braid_lab_udp(int netns);
/// A default route through a device; the smaller metric wins.
int braid_lab_default_route(int netns, const char *name, int metric);

// ---- Children --------------------------------------------------------------------------------------

/// Starts a program in a namespace (netns < 0: ours); SIGKILL reaches it when its parent dies. Descriptors
/// < 0 become /dev/null. With `own_group` Ctrl-C at the terminal does not reach it. Returns the process id.
pid_t braid_lab_spawn(const char *path, char *const argv[], char *const envp[], int netns, int in, int out, int err,
                      int own_group);

/// A pipe whose ends no child inherits by itself.
int braid_lab_pipe(int ends[2]);

// ---- Time and readiness ----------------------------------------------------------------------------

/// poll(2) with nanoseconds; negative: waits for ever. The number of descriptors that are ready.
int braid_lab_wait(struct pollfd *polled, unsigned count, int64_t nanoseconds);
int64_t braid_lab_now(void);   // CLOCK_MONOTONIC, nanoseconds
/// Gives the calling thread a place before ordinary ones, where the system lets it.
void braid_lab_hurry(void);
int braid_lab_timer(void);
/// Arms the timer at an absolute instant; at INT64_MAX disarms it.
int braid_lab_timer_set(int timer, int64_t at);
int braid_lab_event(void);
int braid_lab_epoll(void);
int braid_lab_epoll_add(int epoll, int fd, uint32_t number);
void braid_lab_epoll_remove(int epoll, int fd);
/// The numbers of ready descriptors, at most `maximum`; waits at most `milliseconds` (-1: for ever).
int braid_lab_epoll_wait(int epoll, uint32_t *numbers, int maximum, int milliseconds);
/// A descriptor that becomes readable at SIGINT, SIGTERM or SIGHUP, which no longer end the process.
int braid_lab_signals(void);
