// SPDX-License-Identifier: Apache-2.0
/* Lets everything pass: `check --deep` asks a driver with it whether it takes a program. Its map is
 * made alone as well: what is attached to a link is written down in one. */
#include "nettune.h"

char _license[] SEC("license") = "Dual BSD/GPL";

struct chunk {
    __u8 text[256];
};

define_map(note, BPF_MAP_TYPE_ARRAY, __u32, struct chunk, 1, 0);

SEC("xdp")
int nettune_pass(struct xdp_md *ctx)
{
    return XDP_PASS;
}

SEC("xdp.frags")
int nettune_pass_(struct xdp_md *ctx)
{
    return XDP_PASS;
}
