/* What the programs share: why a packet is left to the stack, the maps, and reading headers.
 * Only helpers that 5.10 has, no loops, no kernel functions, no BTF of the running kernel. */
#pragma once
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* In the order of src/linux/bpf/counters.rs. */
enum reason {
    FAST,
    DROPPED,
    NOT_IP,
    TAGGED,
    NOT_FOR_US,
    MALFORMED,
    OPTIONS,
    FRAGMENT,
    PROTOCOL,
    TTL,
    MARTIAN,
    LOCAL,
    NO_ROUTE,
    NOT_FORWARDING,
    NO_NEIGHBOUR,
    TOO_LARGE,
    SAME_LINK,
    NOT_COVERED,
    SPOOFED,
    OTHER,
    REASONS,
};

struct counters {
    __u64 packets[REASONS];
};

/* What user space knows of a link that carries the program. */
struct link {
    __u32 index;
    __u32 flags;
    /* Checked here only before 5.12, whose lookup from tc knows no sizes; else 0. */
    __u32 mtu;
    __u8 mac[ETH_ALEN];
    __u16 pad;
};

enum link_flags {
    /* A pod's host side whose other end is in another namespace, with no queue to pass. */
    TO_PEER = 1,
    RP_STRICT = 2,
    RP_LOOSE = 4,
    /* Of a slot: other links would be in it as well. */
    SHARED = 8,
};

/* Slots by the lower bits of a link's number: an array is read in a few instructions, a hash table in
 * twenty nanoseconds. What finds another link in a shared slot asks the table, which knows all. */
#define SLOTS 16384
/* One bit an address of the node's own, by its hash: where it is 0 the address is not. */
#define LOCAL_BITS 8192

#define IP_FRAGMENT 0x3fff
#define JUMBO 0xc2
#define AF_INET 2
#define AF_INET6 10
#define always static __attribute__((always_inline)) inline

#define define_map(map_name, map_type, key_type, value_type, entries, flags)                      \
    struct {                                                                                       \
        __uint(type, map_type);                                                                    \
        __uint(max_entries, entries);                                                              \
        __uint(map_flags, flags);                                                                  \
        __type(key, key_type);                                                                     \
        __type(value, value_type);                                                                 \
    } map_name SEC(".maps")

struct jumbo {
    __u8 next;
    __u8 length;
    __u8 option;
    __u8 option_length;
    __be32 size;
};

/* The start of TCP and UDP, as far as it is looked at. */
struct ports {
    __be16 source;
    __be16 dest;
};

struct bits {
    __u64 words[LOCAL_BITS / 64];
};

/* A packet of what size goes out, the largest where it will be segmented. */
struct packet {
    __u32 size;
    __u8 protocol;
    struct ports ports;
};

/* Sum of the header's ten words; 0xffff when it is right. */
always __u32 ip_sum(const struct iphdr *ip)
{
    const __u32 *words = (const void *)ip;
    __u64 sum = 0;

    sum += words[0];
    sum += words[1];
    sum += words[2];
    sum += words[3];
    sum += words[4];
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (sum & 0xffff) + (sum >> 16);
}

always void ip_less_ttl(struct iphdr *ip)
{
    __u32 check = ip->check;

    check += bpf_htons(0x0100);
    ip->check = check + (check >= 0xffff);
    ip->ttl--;
}

/* This network, loopback, multicast and the old class E with the broadcast address. */
always int martian4(__be32 address)
{
    __u8 first = bpf_ntohl(address) >> 24;

    return first == 0 || first == 127 || first >= 224;
}

/* Unspecified, loopback and the rest of ::/32; multicast; link-local and site-local. */
always int martian6(const struct in6_addr *address)
{
    return address->s6_addr32[0] == 0 || address->s6_addr[0] == 0xff ||
           (address->s6_addr32[0] & bpf_htonl(0xff800000)) == bpf_htonl(0xfe800000);
}

/* Neighbour discovery speaks of this link only. */
always int neighbour_discovery(__u8 type)
{
    return type >= 133 && type <= 137;
}

always struct link *find(void *slots, void *table, __u32 *index)
{
    __u32 at = *index & (SLOTS - 1);
    struct link *slot = bpf_map_lookup_elem(slots, &at);

    if (!slot)
        return 0;
    if (slot->index == *index)
        return slot;
    return slot->flags & SHARED ? bpf_map_lookup_elem(table, index) : 0;
}

always int own_address(void *bits, void *table, __be32 *address)
{
    __u32 zero = 0, bit = (*address * 2654435761u) >> 19;
    struct bits *all = bpf_map_lookup_elem(bits, &zero);

    if (!all || !(all->words[bit >> 6] >> (bit & 63) & 1))
        return 0;
    return bpf_map_lookup_elem(table, address) != 0;
}

always enum reason lookup_failed(long result)
{
    switch (result) {
    case BPF_FIB_LKUP_RET_BLACKHOLE:
    case BPF_FIB_LKUP_RET_UNREACHABLE:
    case BPF_FIB_LKUP_RET_PROHIBIT:
        return NO_ROUTE;
    case BPF_FIB_LKUP_RET_NOT_FWDED:
        return LOCAL;
    case BPF_FIB_LKUP_RET_FWD_DISABLED:
        return NOT_FORWARDING;
    case BPF_FIB_LKUP_RET_NO_NEIGH:
        return NO_NEIGHBOUR;
    case BPF_FIB_LKUP_RET_FRAG_NEEDED:
        return TOO_LARGE;
    default:
        return OTHER;
    }
}

/* The reverse path leads back where the packet came from (strict), or anywhere (loose). As in the
 * kernel, it is looked up as if the answer came in by the way the packet goes out. A reverse path
 * over several links may answer with another one of them: left to the stack, which knows them all. */
always int reverse_path(void *ctx, const struct link *from, const struct bpf_fib_lookup *forward,
                        __u32 ingress, __be32 source, __be32 dest, __u8 tos)
{
    struct bpf_fib_lookup back = {};
    long result;

    back.family = AF_INET;
    back.l4_protocol = forward->l4_protocol;
    back.sport = forward->dport;
    back.dport = forward->sport;
    back.tos = tos;
    back.ifindex = forward->ifindex;
    back.ipv4_src = dest;
    back.ipv4_dst = source;
    result = bpf_fib_lookup(ctx, &back, sizeof(back), 0);
    if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
        return 0;
    return from->flags & RP_LOOSE || back.ifindex == ingress;
}
