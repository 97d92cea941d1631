// SPDX-License-Identifier: Apache-2.0
/* For the benchmark: where packets come from, and where they end. */
#include "nettune.h"

char _license[] SEC("license") = "Dual BSD/GPL";

struct order {
    __u32 ifindex;
    __u32 flows;
    __be32 source;
    __be32 dest;
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

/* A frame comes back as its last way left it: everything in it is written anew. */
SEC("xdp")
int generate(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = (void *)(eth + 1);
    struct ports *udp = (void *)(ip + 1);
    __be16 *length = (void *)(udp + 1);
    __u32 zero = 0, flow;
    struct order *order = bpf_map_lookup_elem(&orders, &zero);
    __u64 *n = bpf_map_lookup_elem(&sent, &zero);

    if (!order || !n || (void *)(length + 2) > end)
        return XDP_ABORTED;
    flow = (__u32)(*n)++ % (order->flows ? order->flows : 1);
    __builtin_memcpy(eth->h_dest, order->to, ETH_ALEN);
    __builtin_memcpy(eth->h_source, order->from, ETH_ALEN);
    eth->h_proto = bpf_htons(ETH_P_IP);
    *(__u8 *)ip = 0x45;
    ip->tos = 0;
    ip->tot_len = bpf_htons(46);
    ip->id = 0;
    ip->frag_off = bpf_htons(0x4000);
    ip->ttl = 64;
    ip->protocol = IPPROTO_UDP;
    ip->check = 0;
    ip->saddr = order->source;
    ip->daddr = order->dest;
    ip->check = ~ip_sum(ip) & 0xffff;
    udp->source = bpf_htons(1024 + flow);
    udp->dest = bpf_htons(9);
    length[0] = bpf_htons(26);
    length[1] = 0;
    return bpf_redirect(order->ifindex, 0);
}

SEC("classifier")
int sink(struct __sk_buff *skb)
{
    if (skb->protocol != bpf_htons(ETH_P_IP))
        return -1;
    more(&received);
    return 2; /* TC_ACT_SHOT */
}

SEC("xdp")
int sink_xdp(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;

    if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
        return XDP_PASS;
    more(&received);
    return XDP_DROP;
}
