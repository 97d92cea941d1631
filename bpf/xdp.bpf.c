// SPDX-License-Identifier: Apache-2.0
/* In the driver, before a buffer is made: a drop list, or forwarding between uplinks. Each program
 * is there twice: for links whose packets lie in several fragments, and for kernels before 5.18. */
#include "nettune.h"

char _license[] SEC("license") = "Dual BSD/GPL";

struct prefix4 {
    __u32 length;
    __be32 address;
};

struct prefix6 {
    __u32 length;
    __u8 address[16];
};

define_map(deny4, BPF_MAP_TYPE_LPM_TRIE, struct prefix4, __u8, 1, BPF_F_NO_PREALLOC);
define_map(deny6, BPF_MAP_TYPE_LPM_TRIE, struct prefix6, __u8, 1, BPF_F_NO_PREALLOC);
/* Protocol in the upper half, destination port in the lower. */
define_map(deny_ports, BPF_MAP_TYPE_HASH, __u32, __u8, 1, BPF_F_NO_PREALLOC);
define_map(xdp_links, BPF_MAP_TYPE_HASH, __u32, struct link, 1024, BPF_F_NO_PREALLOC);
/* The node's own addresses: a source that the kernel takes for a martian. */
define_map(xdp_locals, BPF_MAP_TYPE_HASH, __be32, __u8, 4096, BPF_F_NO_PREALLOC);
define_map(xdp_slots, BPF_MAP_TYPE_ARRAY, __u32, struct link, SLOTS, 0);
define_map(xdp_bits, BPF_MAP_TYPE_ARRAY, __u32, struct bits, 1, 0);
define_map(xdp_out, BPF_MAP_TYPE_DEVMAP_HASH, __u32, __u32, 1024, 0);
define_map(xdp_counters, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct counters, 1, 0);

/* What the drop list has, so that the rest is not looked for. */
volatile const __u32 denies4 = 0, denies6 = 0, denies_ports = 0;

struct vlan {
    __be16 tag;
    __be16 next;
};

always int count(enum reason why, int verdict)
{
    __u32 zero = 0;
    struct counters *counters = bpf_map_lookup_elem(&xdp_counters, &zero);

    if (counters && why < REASONS)
        counters->packets[why]++;
    return verdict;
}

/* One header of an IPv6 chain; its next one in *next. */
always void *skip(void *at, void *end, __u8 *next)
{
    struct {
        __u8 next;
        __u8 length;
        __be16 offset;
    } *header = at;
    __u8 kind = *next;
    __u32 length;

    if (kind != IPPROTO_HOPOPTS && kind != IPPROTO_ROUTING && kind != IPPROTO_DSTOPTS &&
        kind != IPPROTO_FRAGMENT && kind != IPPROTO_AH)
        return at;
    if ((void *)(header + 1) > end)
        return 0;
    length = (header->length + 1) * 8;
    if (kind == IPPROTO_AH)
        length = (header->length + 2) * 4;
    if (kind == IPPROTO_FRAGMENT) {
        length = 8;
        /* Only the first one has ports, and without that one there is no packet. */
        if (header->offset & bpf_htons(0xfff8))
            return 0;
    }
    *next = header->next;
    return at + length;
}

always int denied_port(void *l4, void *end, __u8 protocol)
{
    struct ports *ports = l4;
    __u32 key;

    if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != IPPROTO_SCTP)
        return 0;
    if ((void *)(ports + 1) > end)
        return 0;
    key = (__u32)protocol << 16 | bpf_ntohs(ports->dest);
    return bpf_map_lookup_elem(&deny_ports, &key) != 0;
}

always int denied4(struct iphdr *ip, void *end)
{
    struct prefix4 key = {.length = 32};

    if ((void *)(ip + 1) > end)
        return 0;
    key.address = ip->saddr;
    if (denies4 && bpf_map_lookup_elem(&deny4, &key))
        return 1;
    if (!denies_ports || ip->ihl < 5 || ip->frag_off & bpf_htons(0x1fff))
        return 0;
    return denied_port((void *)ip + ip->ihl * 4, end, ip->protocol);
}

always int denied6(struct ipv6hdr *ip, void *end)
{
    struct prefix6 key = {.length = 128};
    void *at = ip + 1;
    __u8 next;

    if (at > end)
        return 0;
    __builtin_memcpy(key.address, &ip->saddr, 16);
    if (denies6 && bpf_map_lookup_elem(&deny6, &key))
        return 1;
    if (!denies_ports)
        return 0;
    next = ip->nexthdr;
#pragma unroll
    for (int i = 0; i < 6; i++) {
        at = skip(at, end, &next);
        if (!at)
            return 0;
    }
    /* A chain that goes on is made to hide what it ends with. */
    if (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS ||
        next == IPPROTO_FRAGMENT || next == IPPROTO_AH)
        return 1;
    return denied_port(at, end, next);
}

always int filter(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    void *at = eth + 1;
    __be16 kind;
    int denied = 0;

    if (at > end)
        return count(MALFORMED, XDP_PASS);
    kind = eth->h_proto;
    /* A tag is no way around the list. */
#pragma unroll
    for (int i = 0; i < 2; i++) {
        struct vlan *vlan = at;

        if (kind != bpf_htons(ETH_P_8021Q) && kind != bpf_htons(ETH_P_8021AD))
            break;
        if ((void *)(vlan + 1) > end)
            return count(MALFORMED, XDP_PASS);
        kind = vlan->next;
        at = vlan + 1;
    }
    if (kind == bpf_htons(ETH_P_IP))
        denied = denied4(at, end);
    else if (kind == bpf_htons(ETH_P_IPV6))
        denied = denied6(at, end);
    else
        return count(NOT_IP, XDP_PASS);
    return denied ? count(DROPPED, XDP_DROP) : count(FAST, XDP_PASS);
}

always enum reason transport(void *l4, void *end, __u32 rest, struct packet *packet)
{
    switch (packet->protocol) {
    case IPPROTO_TCP:
        if (rest < 20 || l4 + 20 > end)
            return MALFORMED;
        packet->ports = *(struct ports *)l4;
        return FAST;
    case IPPROTO_UDP:
        if (rest < 8 || l4 + 8 > end)
            return MALFORMED;
        packet->ports = *(struct ports *)l4;
        return FAST;
    case IPPROTO_ICMP:
        return rest < 8 ? MALFORMED : FAST;
    case IPPROTO_ICMPV6:
        if (rest < 8 || l4 + 1 > end)
            return MALFORMED;
        return neighbour_discovery(*(__u8 *)l4) ? PROTOCOL : FAST;
    default:
        return PROTOCOL;
    }
}

/* Only to a link that carries this program: the driver of any other may have no queue to send from. */
always enum reason ready(struct bpf_fib_lookup *fib, long result, __u32 ingress)
{
    if (result != BPF_FIB_LKUP_RET_SUCCESS)
        return lookup_failed(result);
    if (fib->ifindex == ingress)
        return SAME_LINK;
    return find(&xdp_slots, &xdp_links, &fib->ifindex) ? FAST : NOT_COVERED;
}

always enum reason forward4(struct xdp_md *ctx, struct link *in, struct bpf_fib_lookup *fib,
                            __u64 length)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct iphdr *ip = data + ETH_HLEN;
    struct packet packet = {};
    enum reason why;
    __be32 source;

    if ((void *)(ip + 1) > end || ip->version != 4)
        return MALFORMED;
    if (ip->ihl != 5)
        return OPTIONS;
    if (ip->frag_off & bpf_htons(IP_FRAGMENT))
        return FRAGMENT;
    if (ip->ttl <= 1)
        return TTL;
    source = ip->saddr;
    if (martian4(source) || martian4(ip->daddr))
        return MARTIAN;
    packet.size = bpf_ntohs(ip->tot_len);
    if (packet.size < sizeof(*ip) || packet.size > length - ETH_HLEN || ip_sum(ip) != 0xffff)
        return MALFORMED;
    packet.protocol = ip->protocol;
    if (packet.protocol == IPPROTO_ICMPV6)
        return PROTOCOL;
    why = transport(ip + 1, end, packet.size - sizeof(*ip), &packet);
    if (why != FAST)
        return why;
    fib->family = AF_INET;
    fib->l4_protocol = packet.protocol;
    fib->sport = packet.ports.source;
    fib->dport = packet.ports.dest;
    fib->tot_len = packet.size;
    fib->tos = ip->tos;
    fib->ifindex = ctx->ingress_ifindex;
    fib->ipv4_src = source;
    fib->ipv4_dst = ip->daddr;
    why = ready(fib, bpf_fib_lookup(ctx, fib, sizeof(*fib), 0), ctx->ingress_ifindex);
    if (why != FAST)
        return why;
    if (in->flags & (RP_STRICT | RP_LOOSE)) {
        if (!reverse_path(ctx, in, fib, ctx->ingress_ifindex, source, ip->daddr, ip->tos))
            return SPOOFED;
    } else if (own_address(&xdp_bits, &xdp_locals, &source)) {
        return SPOOFED;
    }
    ip_less_ttl(ip);
    return FAST;
}

always enum reason forward6(struct xdp_md *ctx, struct bpf_fib_lookup *fib, __u64 length)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ipv6hdr *ip = data + ETH_HLEN;
    struct packet packet = {};
    enum reason why;

    if ((void *)(ip + 1) > end || ip->version != 6)
        return MALFORMED;
    if (ip->hop_limit <= 1)
        return TTL;
    if (martian6(&ip->saddr) || martian6(&ip->daddr))
        return MARTIAN;
    packet.size = bpf_ntohs(ip->payload_len) + sizeof(*ip);
    if (packet.size > length - ETH_HLEN)
        return MALFORMED;
    packet.protocol = ip->nexthdr;
    switch (packet.protocol) {
    case IPPROTO_FRAGMENT:
        return FRAGMENT;
    case IPPROTO_HOPOPTS:
    case IPPROTO_ROUTING:
    case IPPROTO_DSTOPTS:
    case IPPROTO_AH:
        return OPTIONS;
    case IPPROTO_ICMP:
        return PROTOCOL;
    }
    why = transport(ip + 1, end, packet.size - sizeof(*ip), &packet);
    if (why != FAST)
        return why;
    fib->family = AF_INET6;
    fib->l4_protocol = packet.protocol;
    fib->sport = packet.ports.source;
    fib->dport = packet.ports.dest;
    fib->tot_len = packet.size > 0xffff ? 0xffff : packet.size;
    fib->flowinfo = *(__be32 *)ip & bpf_htonl(0x0fffffff);
    fib->ifindex = ctx->ingress_ifindex;
    __builtin_memcpy(fib->ipv6_src, &ip->saddr, 16);
    __builtin_memcpy(fib->ipv6_dst, &ip->daddr, 16);
    why = ready(fib, bpf_fib_lookup(ctx, fib, sizeof(*fib), 0), ctx->ingress_ifindex);
    if (why == FAST)
        ip->hop_limit--;
    return why;
}

always int forward(struct xdp_md *ctx, __u64 length)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    __u32 ingress = ctx->ingress_ifindex;
    struct bpf_fib_lookup fib = {};
    struct ethhdr *eth = data;
    struct link *in;
    enum reason why;

    if ((void *)(eth + 1) > end)
        return count(MALFORMED, XDP_PASS);
    in = find(&xdp_slots, &xdp_links, &ingress);
    if (!in)
        return count(NOT_COVERED, XDP_PASS);
    if (*(__u32 *)eth->h_dest != *(__u32 *)in->mac ||
        *(__u16 *)(eth->h_dest + 4) != *(__u16 *)(in->mac + 4))
        return count(NOT_FOR_US, XDP_PASS);
    switch (eth->h_proto) {
    case bpf_htons(ETH_P_IP):
        why = forward4(ctx, in, &fib, length);
        break;
    case bpf_htons(ETH_P_IPV6):
        why = forward6(ctx, &fib, length);
        break;
    case bpf_htons(ETH_P_8021Q):
    case bpf_htons(ETH_P_8021AD):
        why = TAGGED;
        break;
    default:
        why = NOT_IP;
    }
    if (why != FAST)
        return count(why, XDP_PASS);
    data = (void *)(long)ctx->data;
    end = (void *)(long)ctx->data_end;
    eth = data;
    if ((void *)(eth + 1) > end)
        return count(MALFORMED, XDP_PASS);
    __builtin_memcpy(eth->h_dest, fib.dmac, ETH_ALEN);
    __builtin_memcpy(eth->h_source, fib.smac, ETH_ALEN);
    return count(FAST, bpf_redirect_map(&xdp_out, fib.ifindex, XDP_PASS));
}

SEC("xdp")
int nettune_filter(struct xdp_md *ctx)
{
    return filter(ctx);
}

SEC("xdp.frags")
int nettune_filter_(struct xdp_md *ctx)
{
    return filter(ctx);
}

SEC("xdp")
int nettune_forward(struct xdp_md *ctx)
{
    return forward(ctx, ctx->data_end - ctx->data);
}

SEC("xdp.frags")
int nettune_forwar_(struct xdp_md *ctx)
{
    return forward(ctx, bpf_xdp_get_buff_len(ctx));
}
