// What a process may do and show: no memory in a core file, and no more rights than its work needs.
#define _GNU_SOURCE
#include "CDatagram.h"
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PR_SET_NO_NEW_PRIVS
#define PR_SET_NO_NEW_PRIVS 38
#endif

int braid_forbid_dumps(void) {
    struct rlimit none = {0, 0};
    int failed = setrlimit(RLIMIT_CORE, &none) < 0 ? -errno : 0;
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : failed;
}

// struct sched_attr, which no header of glibc's before 2.41 has.
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

int braid_set_time_slice(uint64_t nanoseconds) {
    struct attributes now = {.size = sizeof now};
    if (syscall(SYS_sched_getattr, 0, &now, sizeof now, 0) < 0) return -errno;
    if (now.policy != SCHED_OTHER) return 0; // somebody has chosen better
    now.size = sizeof now;
    now.runtime = nanoseconds;
    return syscall(SYS_sched_setattr, 0, &now, 0) < 0 ? -errno : 0;
}

uint64_t braid_time_slice(void) {
    struct attributes now = {.size = sizeof now};
    return syscall(SYS_sched_getattr, 0, &now, sizeof now, 0) < 0 ? 0 : now.runtime;
}

// All capabilities but those of `keep`, for this thread. Threads made later begin with the same.
static int keep_only(uint64_t keep) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {
        {(uint32_t)keep, (uint32_t)keep, 0}, {(uint32_t)(keep >> 32), (uint32_t)(keep >> 32), 0}};
    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int braid_has_capability(int number) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) < 0) return 0;
    return data[number / 32].effective >> (number % 32) & 1;
}

int braid_drop_capability(int number) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) < 0) return -errno;
    uint32_t bit = UINT32_C(1) << (number % 32);
    data[number / 32].effective &= ~bit;
    data[number / 32].permitted &= ~bit;
    data[number / 32].inheritable &= ~bit;
    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int braid_pass_on(int number, int on) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) < 0) return -errno;
    uint32_t bit = UINT32_C(1) << (number % 32);
    // Systemd may have passed it on already: then that stays.
    if (on && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, number, 0, 0) == 1) return -EALREADY;
    if (on) data[number / 32].inheritable |= bit;
    else data[number / 32].inheritable &= ~bit;
    if (syscall(SYS_capset, &header, data) < 0) return -errno;
    // Without the inheritable bit it is gone from the ambient set, too.
    return !on || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0) == 0 ? 0 : -errno;
}

int braid_become(uint32_t user, uint32_t group, int keeps_raw_sockets, int keeps_administration) {
    uint64_t keep = (keeps_raw_sockets ? UINT64_C(1) << CAP_NET_RAW : 0)
                    | (keeps_administration ? UINT64_C(1) << CAP_NET_ADMIN : 0);
    // What is not in the bounding set can't be had again by executing a file, whatever bits it has.
    for (int i = 0; i < 64; i++)
        if (!(keep >> i & 1) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0 && errno == EINVAL) break;
    if (keep && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) return -errno;
    if (setgroups(0, NULL) < 0 || setresgid(group, group, group) < 0 || setresuid(user, user, user) < 0)
        return -errno;
    int failed = keep_only(keep);
    if (failed) return failed;
    prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
    if (user != 0 && (setresuid(0, 0, 0) == 0 || geteuid() == 0)) return -EPERM; // it must not be undone
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
}
