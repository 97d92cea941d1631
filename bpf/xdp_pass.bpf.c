// SPDX-License-Identifier: Apache-2.0
/* Lets everything pass: `check --deep` asks a driver with it whether it takes a program. */
#include "nettune.h"

char _license[] SEC("license") = "Dual BSD/GPL";

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
