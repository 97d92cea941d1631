# shellcheck shell=bash
# What the scenario `bond` needs in the guest: two members a1 and a2 in bond7, at their other ends b1 and b2 in bond9 of
# the namespace `peer`, 802.3ad.

# bonded A1 A2 B1 B2: gives the links their names and makes both bonds.
bonded() {
    local n link
    modprobe bonding max_bonds=0 || skip "this kernel has no bonding"
    ip netns add peer
    for n in 1 2; do
        ip link set "$1" down
        ip link set "$1" name "a$n"
        shift
    done
    for n in 1 2; do
        ip link set "$1" down
        ip link set "$1" name "b$n"
        ip link set "b$n" netns peer
        shift
    done
    ip link add bond7 type bond mode 802.3ad miimon 20 lacp_rate fast
    ip -n peer link add bond9 type bond mode 802.3ad miimon 20 lacp_rate fast
    for n in 1 2; do
        ip link set "a$n" master bond7
        ip -n peer link set "b$n" master bond9
    done
    ip addr add 10.79.0.2/24 dev bond7
    ip -n peer addr add 10.79.0.1/24 dev bond9
    ip -n peer link set lo up
    ip -n peer link set bond9 mtu 9000
    ip link set bond7 up
    ip -n peer link set bond9 up
    for link in a1 a2; do
        in_bond $link || fail "$link does not get into its bond: $(cat /proc/net/bonding/bond7)"
    done
    for n in {1..50}; do
        ping -c 1 -W 1 -q 10.79.0.1 >/dev/null && return
    done
    fail "no way through the bond"
}

# collects LINK: both ends collect and distribute (bits 0x30 of the port states).
collects() {
    local mii actor partner
    local dir=/sys/class/net/$1/bonding_slave
    read -r mii 2>/dev/null <"$dir/mii_status" && read -r actor <"$dir/ad_actor_oper_port_state" &&
        read -r partner <"$dir/ad_partner_oper_port_state" || return
    [[ $mii == up ]] && (((actor & 48) == 48 && (partner & 48) == 48))
}

in_bond() {
    local i
    for i in {1..300}; do
        collects "$1" && return
        sleep 0.1
    done
    return 1
}

who_is_in() {
    NOW="in the bond:"
    collects a1 && NOW+=" a1"
    collects a2 && NOW+=" a2"
}

# members_watched CODE COMMAND: expects that meanwhile both members go away, and never at the same time.
members_watched() {
    watched who_is_in "$@"
    grep -q -x 'in the bond:' "$WORK/seen" && fail "no member was left in the bond"
    grep -q -x 'in the bond: a1' "$WORK/seen" && grep -q -x 'in the bond: a2' "$WORK/seen"
}

bond_profile() {
    printf '%s\n' 'links = ["bond7", "a1", "a2"]' 'accept = ["link-reset", "path"]' "$@" >"$WORK/bond.toml"
    chmod 600 "$WORK/bond.toml"
}

rings_of() { ethtool -g "$1" | sed -n '/^Current/,$s/^RX:[[:space:]]*//p'; }

# Rings: each member stops for seconds, and the other one carries meanwhile.
bond_rings() {
    bond_profile '[nic]' 'channels = "leave"' 'rings = 1024'
    snapshot "$WORK/before"
    members_watched 0 nettune apply -p "$WORK/bond.toml" || fail "the members did not both go away and come back"
    expect 0 nettune verify
    [[ $(rings_of a1) == 1024 && $(rings_of a2) == 1024 ]] || fail "rings are $(rings_of a1) and $(rings_of a2)"
    members_watched 0 nettune rollback || fail "on the way back"
    in_bond a1 && in_bond a2 || fail "after rollback a member is not in its bond"
    snapshot "$WORK/after"
    same "$WORK/before" "$WORK/after" "rings of a bond"
    count members 2
}

# MTU: members first, one at a time, then the bond; proved against the peer.
bond_mtu() {
    bond_profile '[mtu]' 'mtu = 8000' 'probe = ["10.79.0.1"]'
    snapshot "$WORK/before"
    members_watched 0 nettune apply -p "$WORK/bond.toml" || note "the driver changes the MTU without leaving its bond"
    expect 0 nettune verify
    [[ $(cat /sys/class/net/{a1,a2,bond7}/mtu | xargs) == "8000 8000 8000" ]] || fail "MTU: $(ip link)"
    ping -c 1 -W 2 -q -M 'do' -s 7972 10.79.0.1 >/dev/null || fail "8000 bytes do not pass"
    members_watched 0 nettune rollback || note "nor on the way back"
    in_bond a1 && in_bond a2 || fail "after rollback a member is not in its bond"
    snapshot "$WORK/after"
    same "$WORK/before" "$WORK/after" "MTU of a bond"
    count mtu 1
}

# What no peer proves is taken back like everything else: one at a time.
bond_unproved() {
    bond_profile '[mtu]' 'mtu = 8000' 'probe = ["10.79.0.9"]'
    snapshot "$WORK/before"
    members_watched 7 nettune apply -p "$WORK/bond.toml" || note "the members stayed in the bond"
    expect 3 nettune status
    in_bond a1 && in_bond a2 || fail "after an unproved MTU a member is not in its bond"
    snapshot "$WORK/after"
    same "$WORK/before" "$WORK/after" "an MTU of a bond that was not proved"
    count unproved 1
}

# The far end of the first member goes away while its link is down: it stays out of the bond, so the second is not
# touched and the first gets its rings back.
bond_stays_away() {
    bond_profile '[nic]' 'channels = "leave"' 'rings = 1024'
    snapshot "$WORK/before"
    (
        while [[ $(<"/sys/class/net/a1/carrier") == 1 && $(<"/sys/class/net/a2/carrier") == 1 ]]; do :; done
        [[ $(<"/sys/class/net/a1/carrier") == 1 ]] && first=2 || first=1
        echo $first >"$WORK/first"
        ip -n peer link set "b$first" down
    ) &
    nettune apply -p "$WORK/bond.toml" >"$WORK/out" 2>&1
    local code=$? first other
    first=a$(cat "$WORK/first")
    [[ $first == a1 ]] && other=a2 || other=a1
    note "apply ended with $code: $(cat "$WORK/out")"
    [[ $code == 1 || $code == 7 ]] || fail "a member stays out of its bond, and apply ends with $code"
    grep -q "$first is not back in its bond" "$WORK/out" || fail "the member that stays away is not named"
    [[ $(rings_of $other) == 256 ]] || fail "$other was touched although $first was away: $(rings_of $other)"
    [[ $(rings_of "$first") == 256 ]] || fail "$first was not put back: $(rings_of "$first")"
    ping -c 1 -W 2 -q 10.79.0.1 >/dev/null || fail "no way through the member that is left"
    ip -n peer link set "b${first#a}" up
    in_bond a1 && in_bond a2 || fail "the members do not come back"
    nettune rollback >"$WORK/out" 2>&1 || fail "rollback after it: $(cat "$WORK/out")"
    snapshot "$WORK/after"
    same "$WORK/before" "$WORK/after" "a member that stayed away"
    count stopped 1
}
