# Rules that need connections block it, a signature waives that, a foreign table is never touched.
. "$(dirname "$0")/lib.sh"
uplink
set -- -p cilium-max --only notrack --accept bypass --set 'notrack.cidrs=["10.244.0.0/16"]'
nft add table ip nat
nft 'add chain ip nat post { type nat hook postrouting priority 100; }'
nft add rule ip nat post masquerade
expect 0 nettune check "$@"
says "connection tracking is needed by chain ip nat post"
expect 5 nettune apply "$@" --strict
expect 0 nettune apply "$@"
nft list tables | grep -q nettune && fail "it was made although it is blocked"
expect 0 nettune apply "$@" --set notrack.bypass-netfilter=true
nft list tables | grep -q nettune-notrack || fail "not made"
expect 0 nettune rollback
nft list tables | grep -q nettune && fail "left behind"
nft add table inet nettune-notrack
expect 0 nettune apply "$@" --set notrack.bypass-netfilter=true
says "holds a table inet nettune-notrack"
nft list tables | grep -q 'inet nettune-notrack' || fail "the foreign table is gone"
nft delete table inet nettune-notrack
# Packets of these networks leave no trace in the connection table.
nft flush ruleset
nft -f - <<'RULES'
table ip count {
    chain f {
        type filter hook output priority 0;
        ct state new counter
        ct state untracked counter
    }
}
RULES
ip addr add 10.244.0.9/32 dev lo
expect 0 nettune apply "$@" --set notrack.bypass-netfilter=true
ping -c 3 -i 0.1 -W 1 -I 10.244.0.9 10.77.0.1 > "$work/ping" 2>&1 || true
nft list chain ip count f | grep -q 'untracked counter packets 3' || fail "$(nft list chain ip count f)"
nft list chain ip count f | grep -q 'new counter packets 0' || fail "$(nft list chain ip count f)"
