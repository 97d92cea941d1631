// SPDX-License-Identifier: Apache-2.0
/* For the benchmark: the lookup and the redirect of xdp.bpf.c's forwarding and nothing else. */
#include "nettune.h"

char _license[] SEC("license") = "Dual BSD/GPL";

SEC("xdp")
int bare_forward(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = data + ETH_HLEN;
    struct bpf_fib_lookup fib = {};

    if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
        return XDP_PASS;
    fib.family = AF_INET;
    fib.ifindex = ctx->ingress_ifindex;
    fib.ipv4_src = ip->saddr;
    fib.ipv4_dst = ip->daddr;
    if (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0))
        return XDP_PASS;
    ip_less_ttl(ip);
    __builtin_memcpy(eth->h_dest, fib.dmac, ETH_ALEN);
    __builtin_memcpy(eth->h_source, fib.smac, ETH_ALEN);
    return bpf_redirect(fib.ifindex, 0);
}
