// Batched UDP: recvmmsg with UDP_GRO, sendmmsg with UDP_SEGMENT, everything allocated beforehand.
#define _GNU_SOURCE
#include "CDatagram.h"
#include "address.h"
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifndef IPV6_ORIGDSTADDR
#define IPV6_ORIGDSTADDR 74
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

// A slot holds the longest UDP payload; the odd stride keeps the slots' first lines in different cache sets.
enum { SLOT_BYTES = 65536, SLOT_STRIDE = SLOT_BYTES + 1600, CONTROL_BYTES = 96 };

struct braid_receiver {
    unsigned slots;
    struct mmsghdr *messages;
    struct iovec *vectors;
    struct sockaddr_storage *names;
    uint8_t *controls;
    uint8_t *buffers;
    struct braid_arrival *arrivals;
};

struct braid_receiver *braid_receiver_create(unsigned slots) {
    struct braid_receiver *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->slots = slots;
    r->messages = calloc(slots, sizeof *r->messages);
    r->vectors = calloc(slots, sizeof *r->vectors);
    r->names = calloc(slots, sizeof *r->names);
    r->controls = calloc(slots, CONTROL_BYTES);
    r->buffers = aligned_alloc(64, (size_t)slots * SLOT_STRIDE);
    r->arrivals = calloc(slots, sizeof *r->arrivals);
    if (!r->messages || !r->vectors || !r->names || !r->controls || !r->buffers || !r->arrivals) {
        braid_receiver_free(r);
        return NULL;
    }
    for (unsigned i = 0; i < slots; i++) {
        struct msghdr *h = &r->messages[i].msg_hdr;
        r->vectors[i] = (struct iovec){ r->buffers + (size_t)i * SLOT_STRIDE, SLOT_BYTES };
        h->msg_iov = &r->vectors[i];
        h->msg_iovlen = 1;
        h->msg_name = &r->names[i];
        h->msg_control = r->controls + (size_t)i * CONTROL_BYTES;
    }
    return r;
}

void braid_receiver_free(struct braid_receiver *r) {
    if (!r) return;
    free(r->messages);
    free(r->vectors);
    free(r->names);
    free(r->controls);
    free(r->buffers);
    free(r->arrivals);
    free(r);
}

static void read_controls(struct msghdr *h, struct braid_arrival *a) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(c), sizeof size);
            if (size > 0) a->segment = (uint32_t)size;
        } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            a->local = (struct braid_address){ 0, ntohl(info.ipi_addr.s_addr), 0, 1 };
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            braid_from_in6(&info.ipi6_addr, 0, &a->local);
        } else if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_ORIGDSTADDR)
                   || (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_ORIGDSTADDR)) {
            struct sockaddr_storage name;
            size_t size = c->cmsg_len - CMSG_LEN(0);
            memset(&name, 0, sizeof name);
            memcpy(&name, CMSG_DATA(c), size < sizeof name ? size : sizeof name);
            braid_from_sockaddr(&name, &a->local);
        }
    }
}

int braid_receive(struct braid_receiver *r, int fd, unsigned maximum) {
    unsigned slots = maximum < r->slots ? maximum : r->slots;
    for (unsigned i = 0; i < slots; i++) {
        r->messages[i].msg_hdr.msg_namelen = sizeof r->names[i];
        r->messages[i].msg_hdr.msg_controllen = CONTROL_BYTES;
    }
    int n = recvmmsg(fd, r->messages, slots, MSG_DONTWAIT, NULL);
    if (n < 0) return -errno;
    for (int i = 0; i < n; i++) {
        struct braid_arrival *a = &r->arrivals[i];
        a->bytes = r->vectors[i].iov_base;
        a->length = r->messages[i].msg_len;
        a->segment = a->length;
        memset(&a->local, 0, sizeof a->local);
        braid_from_sockaddr(&r->names[i], &a->from);
        a->local.is_ipv4 = a->from.is_ipv4;
        read_controls(&r->messages[i].msg_hdr, a);
    }
    return n;
}

const struct braid_arrival *braid_arrivals(const struct braid_receiver *r) { return r->arrivals; }

// ---- Sending -------------------------------------------------------------------------------------

struct braid_sender {
    unsigned capacity, count;
    struct braid_outgoing *outgoing;
    struct mmsghdr *messages;
    struct iovec *vectors;
    struct sockaddr_storage *names;
    uint8_t *controls;
};

struct braid_sender *braid_sender_create(unsigned capacity) {
    struct braid_sender *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->capacity = capacity;
    s->outgoing = calloc(capacity, sizeof *s->outgoing);
    s->messages = calloc(capacity, sizeof *s->messages);
    s->vectors = calloc(capacity, sizeof *s->vectors);
    s->names = calloc(capacity, sizeof *s->names);
    s->controls = calloc(capacity, CONTROL_BYTES);
    if (!s->outgoing || !s->messages || !s->vectors || !s->names || !s->controls) {
        braid_sender_free(s);
        return NULL;
    }
    return s;
}

void braid_sender_free(struct braid_sender *s) {
    if (!s) return;
    free(s->outgoing);
    free(s->messages);
    free(s->vectors);
    free(s->names);
    free(s->controls);
    free(s);
}

void braid_sender_clear(struct braid_sender *s) { s->count = 0; }
unsigned braid_sender_count(const struct braid_sender *s) { return s->count; }
const struct braid_outgoing *braid_sender_at(const struct braid_sender *s, unsigned i) {
    return &s->outgoing[i];
}

// Appends one control message; the space after it.
static uint8_t *put_control(uint8_t *at, int level, int type, const void *value, size_t size) {
    struct cmsghdr *c = (struct cmsghdr *)at;
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(c), value, size);
    return at + CMSG_SPACE(size);
}

static uint8_t *put_local(uint8_t *at, const struct braid_address *local) {
    if (local->is_ipv4) {
        struct in_pktinfo info = { .ipi_spec_dst.s_addr = htonl((uint32_t)local->low) };
        return put_control(at, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    }
    struct in6_pktinfo info = { 0 };
    braid_to_in6(local, &info.ipi6_addr);
    return put_control(at, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
}

int braid_sender_add(struct braid_sender *s, const struct braid_outgoing *d) {
    if (s->count == s->capacity) return 0;
    unsigned i = s->count++;
    s->outgoing[i] = *d;
    struct msghdr *h = &s->messages[i].msg_hdr;
    uint8_t *start = s->controls + (size_t)i * CONTROL_BYTES, *end = start;
    if (d->segment && d->segment < d->length)
        end = put_control(end, IPPROTO_UDP, UDP_SEGMENT, &d->segment, sizeof d->segment);
    if (d->has_local) end = put_local(end, &d->local);
    s->vectors[i] = (struct iovec){ (void *)d->bytes, d->length };
    h->msg_iov = &s->vectors[i];
    h->msg_iovlen = 1;
    h->msg_name = &s->names[i];
    h->msg_namelen = braid_to_sockaddr(&d->remote, &s->names[i]);
    h->msg_control = end > start ? start : NULL;
    h->msg_controllen = (size_t)(end - start);
    h->msg_flags = 0;
    return 1;
}

int braid_send(struct braid_sender *s, int fd, unsigned first, unsigned maximum) {
    if (first >= s->count) return 0;
    unsigned left = s->count - first;
    int n = sendmmsg(fd, s->messages + first, left < maximum ? left : maximum, MSG_DONTWAIT);
    return n < 0 ? -errno : n;
}

int braid_send_singly(struct braid_sender *s, int fd, unsigned i, unsigned skip) {
    const struct braid_outgoing *d = &s->outgoing[i];
    uint32_t size = d->segment ? d->segment : d->length;
    uint8_t control[CONTROL_BYTES] __attribute__((aligned(8)));
    uint8_t *end = d->has_local ? put_local(control, &d->local) : control;
    int sent = 0;
    for (uint32_t at = skip * size; at < d->length; at += size) {
        uint32_t left = d->length - at;
        struct iovec v = { (void *)(d->bytes + at), left < size ? left : size };
        struct msghdr h = { .msg_name = &s->names[i], .msg_namelen = s->messages[i].msg_hdr.msg_namelen,
                            .msg_iov = &v, .msg_iovlen = 1,
                            .msg_control = end > control ? control : NULL,
                            .msg_controllen = (size_t)(end - control) };
        if (sendmsg(fd, &h, MSG_DONTWAIT) < 0) return sent ? sent : -errno;
        sent++;
    }
    return sent;
}
