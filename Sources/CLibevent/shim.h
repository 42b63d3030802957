// libevent's headers define _GNU_SOURCE, which changes what Glibc shows later; these come first.
#include <sys/types.h>
#include <sys/time.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <event2/event.h>
#include <event2/dns.h>
#include <event2/listener.h>
#include <event2/util.h>
#include <event2/buffer.h>
