// SPDX-License-Identifier: Apache-2.0
/* For the benchmark: where packets come from, and where they end. */
#include "nettune.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* An IPv4 address is the first four bytes of its field. */
struct order {
    __u32 ifindex;
    __u32 flows;
    __u32 family;
    struct in6_addr source;
    struct in6_addr dest;
    __u8 to[ETH_ALEN];
    __u8 from[ETH_ALEN];
};

define_map(orders, BPF_MAP_TYPE_ARRAY, __u32, struct order, 1, 0);
define_map(sent, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, 1, 0);
define_map(received, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, 1, 0);

always void more(void *map)
{
    __u32 zero = 0;
    __u64 *n = bpf_map_lookup_elem(map, &zero);

    if (n)
        ++*n;
}

/* A UDP packet of `size` bytes with no checksum; its ports say which flow it is of. */
always void datagram(struct ports *udp, __u32 flow, __u32 size)
{
    __be16 *length = (void *)(udp + 1);

    udp->source = bpf_htons(1024 + flow);
    udp->dest = bpf_htons(9);
    length[0] = bpf_htons(size);
    length[1] = 0;
}

always int ipv4(struct iphdr *ip, void *end, struct order *order, __u32 flow, __u32 size)
{
    if ((void *)(ip + 1) + 8 > end)
        return 0;
    *(__u8 *)ip = 0x45;
    ip->tos = 0;
    ip->tot_len = bpf_htons(size);
    ip->id = 0;
    ip->frag_off = bpf_htons(0x4000);
    ip->ttl = 64;
    ip->protocol = IPPROTO_UDP;
    ip->check = 0;
    ip->saddr = order->source.s6_addr32[0];
    ip->daddr = order->dest.s6_addr32[0];
    ip->check = ~ip_sum(ip) & 0xffff;
    datagram((void *)(ip + 1), flow, size - sizeof(*ip));
    return 1;
}

always int ipv6(struct ipv6hdr *ip, void *end, struct order *order, __u32 flow, __u32 size)
{
    if ((void *)(ip + 1) + 8 > end)
        return 0;
    *(__be32 *)ip = bpf_htonl(0x60000000);
    ip->payload_len = bpf_htons(size - sizeof(*ip));
    ip->nexthdr = IPPROTO_UDP;
    ip->hop_limit = 64;
    ip->saddr = order->source;
    ip->daddr = order->dest;
    datagram((void *)(ip + 1), flow, size - sizeof(*ip));
    return 1;
}

/* A frame comes back as its last way left it: all headers in it are written anew. It stays as long as it was. */
SEC("xdp")
int generate(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    __u32 zero = 0, flow, size = end - data - ETH_HLEN;
    struct order *order = bpf_map_lookup_elem(&orders, &zero);
    __u64 *n = bpf_map_lookup_elem(&sent, &zero);

    if (!order || !n || (void *)(eth + 1) > end)
        return XDP_ABORTED;
    flow = (__u32)(*n)++ % (order->flows ? order->flows : 1);
    __builtin_memcpy(eth->h_dest, order->to, ETH_ALEN);
    __builtin_memcpy(eth->h_source, order->from, ETH_ALEN);
    if (order->family == AF_INET6) {
        eth->h_proto = bpf_htons(ETH_P_IPV6);
        if (!ipv6((void *)(eth + 1), end, order, flow, size))
            return XDP_ABORTED;
    } else {
        eth->h_proto = bpf_htons(ETH_P_IP);
        if (!ipv4((void *)(eth + 1), end, order, flow, size))
            return XDP_ABORTED;
    }
    return bpf_redirect(order->ifindex, 0);
}

SEC("classifier")
int sink(struct __sk_buff *skb)
{
    if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
        return -1;
    more(&received);
    return 2; /* TC_ACT_SHOT */
}

SEC("xdp")
int sink_xdp(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;

    if ((void *)(eth + 1) > end)
        return XDP_PASS;
    if (eth->h_proto != bpf_htons(ETH_P_IP) && eth->h_proto != bpf_htons(ETH_P_IPV6))
        return XDP_PASS;
    more(&received);
    return XDP_DROP;
}
