# shellcheck shell=bash
# What the scenario `one-by-one` needs in the guest.

carries() { [[ $(<"/sys/class/net/$1/carrier") == 1 ]] 2>/dev/null; }

# Notes each change of which of both carries, until the file $WORK/watching is removed.
watch_carriers() {
    local now last="" a b
    touch "$WORK/watching"
    : >"$WORK/carriers"
    while [[ -e $WORK/watching ]]; do
        read -r a <"/sys/class/net/$1/carrier" || a=0
        read -r b <"/sys/class/net/$2/carrier" || b=0
        now="$a $b"
        [[ $now == "$last" ]] || echo "$now" >>"$WORK/carriers"
        last=$now
    done 2>/dev/null
}

# watched CODE COMMAND: expects that meanwhile both links go down, and never at the same time.
watched() {
    watch_carriers "$first" "$second" &
    local watcher=$!
    expect "$@"
    sleep 1 # what was only begun is seen as well
    rm "$WORK/watching"
    wait "$watcher"
    note "${*:2}: $(paste -s -d, "$WORK/carriers")"
    grep -q -x '0 0' "$WORK/carriers" && fail "both links were down at the same time"
    grep -q -x '0 1' "$WORK/carriers" && grep -q -x '1 0' "$WORK/carriers" || fail "the links did not both go down: this shows nothing"
}

# round NAME LINE...: a profile of these lines, applied and rolled back.
round() {
    local name=$1
    shift
    printf '%s\n' "links = [\"$first\", \"$second\"]" 'accept = ["link-reset", "path"]' "$@" >"$WORK/one.toml"
    chmod 600 "$WORK/one.toml"
    snapshot "$WORK/before"
    watched 0 nettune apply -p "$WORK/one.toml"
    expect 0 nettune verify
    watched 0 nettune rollback
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
    local n
    first=$1 second=$2
    ip link set "$first" up
    ip link set "$second" up
    for n in {1..100}; do
        carries "$first" && carries "$second" && break
        sleep 0.1
    done
    ip addr add 10.77.2.2/24 dev "$first"
    ip addr add 10.77.3.2/24 dev "$second"
    settle
    round rings '[nic]' 'channels = "leave"' 'rings = 1024'
    round mtu '[mtu]' 'mtu = 3000' 'probe = ["10.77.2.1", "10.77.3.1"]'
    round xdp '[xdp]' 'deny = ["tcp/23"]'
    xdp_limit
}
