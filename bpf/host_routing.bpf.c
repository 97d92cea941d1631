// SPDX-License-Identifier: Apache-2.0
/* At ingress of uplinks and of pods' host sides: a packet that the node would only forward goes
 * straight to its way out. Whatever is unusual goes up the stack as it came. */
#include "nettune.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* Links that carry this program: a flow of which the stack sees only half breaks conntrack. */
define_map(links, BPF_MAP_TYPE_HASH, __u32, struct link, 16384, BPF_F_NO_PREALLOC);
define_map(slots, BPF_MAP_TYPE_ARRAY, __u32, struct link, SLOTS, 0);
define_map(local_bits, BPF_MAP_TYPE_ARRAY, __u32, struct bits, 1, 0);
/* The node's own addresses: a source that the kernel takes for a martian. */
define_map(locals, BPF_MAP_TYPE_HASH, __be32, __u8, 4096, BPF_F_NO_PREALLOC);
define_map(counters, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct counters, 1, 0);

#define UP_THE_STACK (-1)

/* Of a packet that is to be segmented, the size of a segment. Headers inside a tunnel cannot be seen
 * from here, so a UDP packet gets room for the largest: what then seems too large, the stack measures. */
#define TUNNEL_ROOM 110

always int pull(struct __sk_buff *skb, __u32 length)
{
    if ((void *)(long)skb->data + length <= (void *)(long)skb->data_end)
        return 1;
    return skb->len >= length && !bpf_skb_pull_data(skb, length);
}

always enum reason transport(struct __sk_buff *skb, __u32 at, __u32 rest, struct packet *packet)
{
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    __u8 *l4 = data + at;
    __u32 header;

    switch (packet->protocol) {
    case IPPROTO_TCP:
        if (rest < 20 || l4 + 20 > (__u8 *)end)
            return MALFORMED;
        packet->ports = *(struct ports *)l4;
        header = (l4[12] >> 4) * 4;
        break;
    case IPPROTO_UDP:
        if (rest < 8 || l4 + 8 > (__u8 *)end)
            return MALFORMED;
        packet->ports = *(struct ports *)l4;
        header = 8 + TUNNEL_ROOM;
        break;
    case IPPROTO_ICMP:
        return rest < 8 ? MALFORMED : FAST;
    case IPPROTO_ICMPV6:
        if (rest < 8 || l4 + 1 > (__u8 *)end)
            return MALFORMED;
        return neighbour_discovery(*l4) ? PROTOCOL : FAST;
    default:
        return PROTOCOL;
    }
    if (skb->gso_size)
        packet->size = at - ETH_HLEN + header + skb->gso_size;
    return FAST;
}

always enum reason to_link(struct __sk_buff *skb, struct bpf_fib_lookup *fib, long result,
                           struct link **out)
{
    if (result != BPF_FIB_LKUP_RET_SUCCESS)
        return lookup_failed(result);
    if (fib->ifindex == skb->ifindex)
        return SAME_LINK;
    *out = find(&slots, &links, &fib->ifindex);
    return *out ? FAST : NOT_COVERED;
}

always int redirect(struct __sk_buff *skb, struct link *out, struct bpf_fib_lookup *fib, int family)
{
    struct bpf_redir_neigh hop = {};

    if (out->flags & TO_PEER) {
        void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

        if (data + ETH_HLEN <= end) {
            __builtin_memcpy(data, fib->dmac, ETH_ALEN);
            __builtin_memcpy(data + ETH_ALEN, fib->smac, ETH_ALEN);
        }
        /* As a mark is wiped where a packet leaves for another namespace. */
        if (skb->mark)
            skb->mark = 0;
        return bpf_redirect_peer(fib->ifindex, 0);
    }
    hop.nh_family = family;
    if (family == AF_INET)
        hop.ipv4_nh = fib->ipv4_dst;
    else
        __builtin_memcpy(hop.ipv6_nh, fib->ipv6_dst, 16);
    return bpf_redirect_neigh(fib->ifindex, &hop, sizeof(hop), 0);
}

always enum reason ipv4(struct __sk_buff *skb, int *verdict)
{
    struct bpf_fib_lookup fib = {};
    struct packet packet = {};
    struct link *in, *out = 0;
    void *data, *end;
    struct iphdr *ip;
    enum reason why;
    __u32 ingress = skb->ifindex;
    __be32 source;
    long result;

    if (!pull(skb, ETH_HLEN + sizeof(*ip) + 20) && !pull(skb, ETH_HLEN + sizeof(*ip) + 8))
        return MALFORMED;
    data = (void *)(long)skb->data;
    end = (void *)(long)skb->data_end;
    ip = data + ETH_HLEN;
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
    /* 0 is how a packet above 64 KiB looks that is still to be segmented. */
    if (!packet.size && skb->gso_size)
        packet.size = skb->len - ETH_HLEN;
    if (packet.size < sizeof(*ip) || packet.size > skb->len - ETH_HLEN || ip_sum(ip) != 0xffff)
        return MALFORMED;
    packet.protocol = ip->protocol;
    if (packet.protocol == IPPROTO_ICMPV6)
        return PROTOCOL;
    why = transport(skb, ETH_HLEN + sizeof(*ip), packet.size - sizeof(*ip), &packet);
    if (why != FAST)
        return why;
    in = find(&slots, &links, &ingress);
    if (!in)
        return NOT_COVERED;

    fib.family = AF_INET;
    fib.l4_protocol = packet.protocol;
    fib.sport = packet.ports.source;
    fib.dport = packet.ports.dest;
    fib.tot_len = packet.size > 0xffff ? 0xffff : packet.size;
    fib.tos = ip->tos;
    fib.ifindex = ingress;
    fib.ipv4_src = source;
    fib.ipv4_dst = ip->daddr;
    result = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
    why = to_link(skb, &fib, result, &out);
    if (why != FAST || !out)
        return why;
    if (out->mtu && packet.size > out->mtu)
        return TOO_LARGE;
    if (in->flags & (RP_STRICT | RP_LOOSE)) {
        if (!reverse_path(skb, in, &fib, ingress, source, ip->daddr, ip->tos))
            return SPOOFED;
    } else if (own_address(&local_bits, &locals, &source)) {
        return SPOOFED;
    }
    ip_less_ttl(ip);
    *verdict = redirect(skb, out, &fib, AF_INET);
    return FAST;
}

always enum reason ipv6(struct __sk_buff *skb, int *verdict)
{
    __u32 at = ETH_HLEN + sizeof(struct ipv6hdr), ingress = skb->ifindex, rest;
    struct bpf_fib_lookup fib = {};
    struct packet packet = {};
    struct link *out = 0;
    struct ipv6hdr *ip;
    struct jumbo *jumbo;
    enum reason why;
    void *data, *end;
    __u8 hops;
    long result;

    if (!pull(skb, at + 28) && !pull(skb, at + 20) && !pull(skb, at + 8))
        return MALFORMED;
    data = (void *)(long)skb->data;
    end = (void *)(long)skb->data_end;
    ip = data + ETH_HLEN;
    if ((void *)(ip + 1) > end || ip->version != 6)
        return MALFORMED;
    hops = ip->hop_limit;
    if (hops <= 1)
        return TTL;
    if (martian6(&ip->saddr) || martian6(&ip->daddr))
        return MARTIAN;
    packet.size = bpf_ntohs(ip->payload_len) + sizeof(*ip);
    packet.protocol = ip->nexthdr;
    /* Above 64 KiB and still to be segmented: no length, before 7.0 with a jumbo option. */
    if (!ip->payload_len && skb->gso_size) {
        packet.size = skb->len - ETH_HLEN;
        if (packet.protocol == 0) {
            jumbo = (void *)(ip + 1);
            if ((void *)(jumbo + 1) > end)
                return MALFORMED;
            if (jumbo->length || jumbo->option != JUMBO || jumbo->option_length != 4)
                return OPTIONS;
            packet.protocol = jumbo->next;
            at += sizeof(*jumbo);
        }
    }
    if (packet.size > skb->len - ETH_HLEN || packet.size < at - ETH_HLEN)
        return MALFORMED;
    rest = packet.size - (at - ETH_HLEN);
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
    why = at == ETH_HLEN + sizeof(*ip)
              ? transport(skb, ETH_HLEN + sizeof(*ip), rest, &packet)
              : transport(skb, ETH_HLEN + sizeof(*ip) + sizeof(*jumbo), rest, &packet);
    if (why != FAST)
        return why;
    /* The option is gone once the packet is cut into segments. */
    if (at != ETH_HLEN + sizeof(*ip))
        packet.size -= sizeof(*jumbo);
    if (!find(&slots, &links, &ingress))
        return NOT_COVERED;

    fib.family = AF_INET6;
    fib.l4_protocol = packet.protocol;
    fib.sport = packet.ports.source;
    fib.dport = packet.ports.dest;
    fib.tot_len = packet.size > 0xffff ? 0xffff : packet.size;
    fib.flowinfo = *(__be32 *)ip & bpf_htonl(0x0fffffff);
    fib.ifindex = ingress;
    __builtin_memcpy(fib.ipv6_src, &ip->saddr, 16);
    __builtin_memcpy(fib.ipv6_dst, &ip->daddr, 16);
    result = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
    why = to_link(skb, &fib, result, &out);
    if (why != FAST || !out)
        return why;
    if (out->mtu && packet.size > out->mtu)
        return TOO_LARGE;
    /* Not in place: a checksum that the link has summed up over the packet must follow. */
    hops--;
    if (bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, hop_limit), &hops, 1,
                            BPF_F_RECOMPUTE_CSUM))
        return MALFORMED;
    *verdict = redirect(skb, out, &fib, AF_INET6);
    return FAST;
}

always enum reason route(struct __sk_buff *skb, int *verdict)
{
    /* On a trunk the tag is off the packet before it comes here. */
    if (skb->vlan_present)
        return TAGGED;
    if (skb->pkt_type)
        return NOT_FOR_US;
    switch (skb->protocol) {
    case bpf_htons(ETH_P_IP):
        return ipv4(skb, verdict);
    case bpf_htons(ETH_P_IPV6):
        return ipv6(skb, verdict);
    case bpf_htons(ETH_P_8021Q):
    case bpf_htons(ETH_P_8021AD):
        return TAGGED;
    default:
        return NOT_IP;
    }
}

SEC("classifier")
int nettune_route(struct __sk_buff *skb)
{
    int verdict = UP_THE_STACK;
    enum reason why = route(skb, &verdict);
    struct counters *count;
    __u32 zero = 0;

    count = bpf_map_lookup_elem(&counters, &zero);
    if (count && why < REASONS)
        count->packets[why]++;
    return verdict;
}
