// Whether anybody uses the machine, as systemd-logind believes: the property IdleHint of org.freedesktop.login1, asked by
// libsystemd's sd-bus. The library is looked for while the program runs: a machine without systemd has none and needs none.
#define _GNU_SOURCE
#include "CDatagram.h"
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// What of sd-bus.h is used, by its stable names (libsystemd 237 and later). Its structs are never looked into.
typedef int (*handler)(void *message, void *userdata, void *error);
static struct {
    int (*open_system)(void **bus);
    void (*close)(void *bus);
    void *(*unref)(void *bus);
    int (*set_exit_on_disconnect)(void *bus, int yes);
    int (*get_fd)(void *bus);
    int (*get_events)(void *bus);
    int (*get_timeout)(void *bus, uint64_t *microseconds);
    int (*process)(void *bus, void **message);
    int (*match_signal_async)(void *bus, void **slot, const char *sender, const char *path, const char *interface,
                              const char *member, handler received, handler installed, void *userdata);
    int (*call_async)(void *bus, void **slot, void *message, handler answered, void *userdata, uint64_t microseconds);
    int (*message_new_method_call)(void *bus, void **message, const char *destination, const char *path,
                                   const char *interface, const char *member);
    void *(*message_unref)(void *message);
    int (*message_set_auto_start)(void *message, int yes);
    int (*message_append_basic)(void *message, char type, const void *value);
    int (*message_is_method_error)(void *message, const char *name);
    int (*message_enter_container)(void *message, char type, const char *contents);
    int (*message_read_basic)(void *message, char type, void *value);
} sd;

static const struct {
    const char *name;
    void *place;
} symbols[] = {
    {"sd_bus_open_system", &sd.open_system},
    {"sd_bus_close", &sd.close},
    {"sd_bus_unref", &sd.unref},
    {"sd_bus_set_exit_on_disconnect", &sd.set_exit_on_disconnect},
    {"sd_bus_get_fd", &sd.get_fd},
    {"sd_bus_get_events", &sd.get_events},
    {"sd_bus_get_timeout", &sd.get_timeout},
    {"sd_bus_process", &sd.process},
    {"sd_bus_match_signal_async", &sd.match_signal_async},
    {"sd_bus_call_async", &sd.call_async},
    {"sd_bus_message_new_method_call", &sd.message_new_method_call},
    {"sd_bus_message_unref", &sd.message_unref},
    {"sd_bus_message_set_auto_start", &sd.message_set_auto_start},
    {"sd_bus_message_append_basic", &sd.message_append_basic},
    {"sd_bus_message_is_method_error", &sd.message_is_method_error},
    {"sd_bus_message_enter_container", &sd.message_enter_container},
    {"sd_bus_message_read_basic", &sd.message_read_basic},
};

// Whether the library is there and has all of them. Called from the one thread of the loop.
static int library(void) {
    static void *handle;
    if (handle) return 1;
    void *opened = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!opened) return 0;
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *found = dlsym(opened, symbols[i].name);
        if (!found) {
            dlclose(opened);
            return 0;
        }
        memcpy(symbols[i].place, &found, sizeof found);
    }
    handle = opened;
    return 1;
}

static const char *const service = "org.freedesktop.login1";
static const char *const object = "/org/freedesktop/login1";
static const char *const properties = "org.freedesktop.DBus.Properties";
static const char *const manager = "org.freedesktop.login1.Manager";

struct braid_idle {
    void *bus;
    int descriptor;        // of ours, for the library may close its own while it is watched
    int is_asking;         // a question is under way
    int is_old;            // something has changed since the last question
    uint32_t answers;
    enum braid_idle_state state;
};

static void ask_for(struct braid_idle *idle, const char *property, handler answered);

static void conclude(struct braid_idle *idle, enum braid_idle_state state) {
    idle->is_asking = 0;
    idle->state = state;
    idle->answers++;
}

// The value of an answer to Get; 0 where it is an error or of another type.
static int value(void *message, char type, void *out) {
    char contents[2] = {type, 0};
    return sd.message_is_method_error(message, NULL) <= 0 && sd.message_enter_container(message, 'v', contents) > 0
           && sd.message_read_basic(message, type, out) > 0;
}

static int since_answered(void *message, void *userdata, void *error) {
    (void)error;
    uint64_t since = 0;
    struct braid_idle *idle = userdata;
    // Where nobody has a session all of them are idle, and since never.
    int is_known = value(message, 't', &since) && since != 0;
    conclude(idle, is_known ? BRAID_IDLE_YES : BRAID_IDLE_UNKNOWN);
    return 1;
}

static int hint_answered(void *message, void *userdata, void *error) {
    (void)error;
    int hint = 0; // sd-bus has booleans as int
    struct braid_idle *idle = userdata;
    if (!value(message, 'b', &hint)) {
        conclude(idle, BRAID_IDLE_UNKNOWN);
    } else if (!hint) {
        conclude(idle, BRAID_IDLE_NO);
    } else {
        ask_for(idle, "IdleSinceHint", since_answered);
    }
    return 1;
}

static int has_changed(void *message, void *userdata, void *error) {
    (void)message, (void)error;
    ((struct braid_idle *)userdata)->is_old = 1;
    return 1;
}

// Without this handler sd-bus closes the connection where a match is refused.
static int match_installed(void *message, void *userdata, void *error) {
    (void)message, (void)userdata, (void)error;
    return 1;
}

static void ask_for(struct braid_idle *idle, const char *property, handler answered) {
    void *message = NULL;
    int failed = sd.message_new_method_call(idle->bus, &message, service, object, properties, "Get") < 0
                 || sd.message_set_auto_start(message, 0) < 0 || sd.message_append_basic(message, 's', manager) < 0
                 || sd.message_append_basic(message, 's', property) < 0
                 || sd.call_async(idle->bus, NULL, message, answered, idle, 0) < 0;
    if (message) sd.message_unref(message);
    if (failed) idle->is_asking = 0;
}

void braid_idle_ask(struct braid_idle *idle) {
    if (idle->is_asking) return;
    idle->is_asking = 1;
    idle->is_old = 0;
    ask_for(idle, "IdleHint", hint_answered);
}

struct braid_idle *braid_idle_open(int *why) {
    *why = -ENOSYS;
    if (!library()) return NULL;
    struct braid_idle *idle = calloc(1, sizeof *idle);
    *why = -ENOMEM;
    if (!idle) return NULL;
    idle->descriptor = -1;
    int result = sd.open_system(&idle->bus);
    if (result >= 0) result = sd.set_exit_on_disconnect(idle->bus, 0);
    if (result >= 0)
        result = sd.match_signal_async(idle->bus, NULL, service, object, properties, "PropertiesChanged", has_changed,
                                       match_installed, idle);
    if (result >= 0) result = sd.get_fd(idle->bus);
    if (result >= 0) {
        idle->descriptor = dup(result);
        if (idle->descriptor < 0) result = -errno;
    }
    if (result < 0) {
        *why = result;
        braid_idle_close(idle);
        return NULL;
    }
    braid_idle_ask(idle);
    return idle;
}

void braid_idle_close(struct braid_idle *idle) {
    if (idle->bus) {
        sd.close(idle->bus);
        sd.unref(idle->bus);
    }
    if (idle->descriptor >= 0) close(idle->descriptor);
    free(idle);
}

int braid_idle_descriptor(const struct braid_idle *idle) { return idle->descriptor; }
enum braid_idle_state braid_idle_answer(const struct braid_idle *idle) { return idle->state; }
int braid_idle_has_changed(const struct braid_idle *idle) { return idle->is_old && !idle->is_asking; }
uint32_t braid_idle_answers(const struct braid_idle *idle) { return idle->answers; }

int braid_idle_process(struct braid_idle *idle, int most) {
    int result = 1;
    while (most-- > 0 && result > 0) result = sd.process(idle->bus, NULL);
    return result;
}

int braid_idle_wants_write(const struct braid_idle *idle) {
    int events = sd.get_events(idle->bus);
    return events > 0 && (events & POLLOUT) != 0;
}

int64_t braid_idle_timeout(const struct braid_idle *idle) {
    uint64_t due = UINT64_MAX;
    if (sd.get_timeout(idle->bus, &due) < 0 || due == UINT64_MAX) return INT64_MAX;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t at = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    uint64_t wait = due > at ? due - at : 0;
    return wait > INT64_MAX / 1000 ? INT64_MAX : (int64_t)wait * 1000;
}
