# Sourced by the scripts beside it, each of which runs in a network and mount namespace of its own.
# NETTUNE is the binary; the snapshot is taken by other tools than it.
set -eu
export LC_ALL=C

mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
work=$(mktemp -d /run/nettune.XXXXXX)
state=$work/state

undo=$state/undo.sh
nettune_itself() { "$NETTUNE" --state-dir "$state" "$@"; }
settle() { :; }
. "$(dirname "$0")/../support/shell.sh"

# In a user namespace nobody may see which legacy tables are registered, so notrack needs a signature.
signature=
cat /proc/net/ip_tables_names > /dev/null 2>&1 || [ ! -e /proc/net/ip_tables_names ] ||
    signature='--set notrack.bypass-netfilter=true'

# A namespace whose addresses can be used at once: a router that still detects duplicates of its own
# link-local address asks for no neighbour.
netns() {
    ip netns add "$1"
    ip netns exec "$1" sysctl -q -w net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
}

# An uplink with a default route, and its other end in a namespace of its own.
uplink() {
    # Duplicate address detection would change the snapshot by itself.
    sysctl -q -w net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
    ip link set lo up
    netns peer
    ip link add up0 type veth peer name peer0 netns peer
    ip addr add 10.77.0.2/24 dev up0
    ip link set up0 up
    ip -n peer addr add 10.77.0.1/24 dev peer0
    ip -n peer link set peer0 up
    ip -n peer link set lo up
    ip route add default via 10.77.0.1
    ip addr add fd77::2/64 dev up0 nodad
    sleep 0.1
}

links() { ls /sys/class/net; }

# A link that was just set up says for a moment both that its peer is there and that it has no carrier.
steady() {
    for _ in $(seq 50); do ip -o link | grep -q 'NO-CARRIER.*LOWER_UP' || return 0; sleep 0.1; done
}

# Left out: what counts by itself (conntrack's count, lifetimes of addresses, carrier changes).
snapshot() {
    steady
    {
        sysctl -a 2>/dev/null | grep -E '^(net|vm|kernel\.numa)' | grep -v nf_conntrack_count || true
        ip -d -j link; ip -j addr; ip -4 -j route show table all; ip -6 -j route show table all
        ip -j rule; tc -j qdisc
        nft list ruleset
        # What a link does not have is an error, which shall not end it here.
        for link in $(links); do
            for option in -k -l -c -g -a -x; do ethtool $option "$link" || true; done
            grep -r . "/sys/class/net/$link/queues" | sort || true
        done
    } 2>/dev/null | sed -E 's/"((valid|preferred)_life_time|expires)":[0-9]+//g' > "$1"
}

same() { diff -u "$1" "$2" >&3 || fail "${3:-$1 and $2 differ}"; }
