// SPDX-License-Identifier: Apache-2.0
/* For the benchmark: the lookup and the redirect of host_routing.bpf.c and nothing else. */
#include "nettune.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* The way out that is a pod's; every other one is an uplink. */
volatile const __u32 pod_link = 0;

SEC("classifier")
int bare_route(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    struct iphdr *ip = data + ETH_HLEN;
    struct bpf_fib_lookup fib = {};
    struct bpf_redir_neigh hop = {};

    if ((void *)(ip + 1) > end || skb->protocol != bpf_htons(ETH_P_IP))
        return -1;
    fib.family = AF_INET;
    fib.ifindex = skb->ifindex;
    fib.ipv4_src = ip->saddr;
    fib.ipv4_dst = ip->daddr;
    if (bpf_fib_lookup(skb, &fib, sizeof(fib), 0))
        return -1;
    ip_less_ttl(ip);
    if (fib.ifindex == pod_link)
        return bpf_redirect_peer(fib.ifindex, 0);
    hop.nh_family = AF_INET;
    hop.ipv4_nh = fib.ipv4_dst;
    return bpf_redirect_neigh(fib.ifindex, &hop, sizeof(hop), 0);
}
