# shellcheck shell=bash
# What the scenario `one-by-one` needs in the guest.

# shellcheck source=tests/lab/guest/nic.sh
. "$LAB/nic.sh"

who_carries() {
    local a b
    read -r a <"/sys/class/net/$first/carrier" || a=0
    read -r b <"/sys/class/net/$second/carrier" || b=0
    NOW="$a $b"
}

# links_watched CODE COMMAND: expects that meanwhile both links go down, and never at the same time.
links_watched() {
    watched who_carries "$@"
    grep -q -x '0 0' "$WORK/seen" && fail "both links were down at the same time"
    grep -q -x '0 1' "$WORK/seen" && grep -q -x '1 0' "$WORK/seen" || fail "the links did not both go down: this shows nothing"
}

# round NAME LINE...: a profile of these lines, applied and rolled back.
round() {
    local name=$1
    shift
    printf '%s\n' "links = [\"$first\", \"$second\"]" 'accept = ["link-reset", "path"]' "$@" >"$WORK/one.toml"
    chmod 600 "$WORK/one.toml"
    snapshot "$WORK/before"
    links_watched 0 nettune apply -p "$WORK/one.toml"
    expect 0 nettune verify
    links_watched 0 nettune rollback
    settle
    snapshot "$WORK/after"
    same "$WORK/before" "$WORK/after" "$name on two links"
    count "$name" 1
}

# The driver and the table of limits agree on the largest MTU with a program.
xdp_limit() {
    local mtu native blocked
    for mtu in 3046 3047; do
        ip link set "$first" mtu "$mtu"
        native=$(nettune check --deep --link "$first" --accept link-reset --json | grep -o '"native":[a-z]*')
        blocked=$(nettune check -p "$WORK/one.toml" | grep -c "mtu $mtu is over the 3046")
        note "mtu $mtu: $native, blocked $blocked"
        [[ "$mtu $native $blocked" == '3046 "native":true 0' || "$mtu $native $blocked" == '3047 "native":false 1' ]] ||
            fail "with an MTU of $mtu: $native, blocked $blocked"
        count limits 1
    done
    ip link set "$first" mtu 1500
}

one_by_one() {
    first=$1 second=$2
    ready_link "$first"
    ready_link "$second"
    ip addr add 10.77.2.2/24 dev "$first"
    ip addr add 10.77.3.2/24 dev "$second"
    settle
    round rings '[nic]' 'channels = "leave"' 'rings = 1024'
    round mtu '[mtu]' 'mtu = 3000' 'probe = ["10.77.2.1", "10.77.3.1"]'
    round xdp '[xdp]' 'deny = ["tcp/23"]'
    xdp_limit
}
