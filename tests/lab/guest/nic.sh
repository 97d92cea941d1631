# shellcheck shell=bash
# What the scenario `nic` does with each link it has, in the guest.

# profile LINK LINE...: a profile that wants only these lines of [nic].
profile() {
    local link=$1
    shift
    printf '%s\n' "links = [\"$link\"]" 'accept = ["link-reset"]' '[nic]' "$@" >"$WORK/nic.toml"
    chmod 600 "$WORK/nic.toml"
}

# Values as ethtool shows them: current LINK -l Combined, or -g RX.
current() { ethtool "$2" "$1" 2>/dev/null | sed -n '/^Current/,$p' | sed -n "s/^$3:[[:space:]]*//p" | head -n 1; }
most() { ethtool "$2" "$1" 2>/dev/null | sed '/^Current/,$d' | sed -n "s/^$3:[[:space:]]*//p" | head -n 1; }

# applied LINK: apply, verify, apply again, with the profile as it stands; the link comes back each time.
applied() {
    expect 0 nettune apply -p "$WORK/nic.toml"
    local said=$OUT
    anything_applied || fail "nothing was applied: $said"
    [[ $(<"/sys/class/net/$1/carrier") == 1 ]] || fail "$1 has no carrier after apply"
    settings "$1" >"$WORK/applied"
    expect 0 nettune apply -p "$WORK/nic.toml"
    settings "$1" >"$WORK/again"
    same "$WORK/applied" "$WORK/again" "applied again to $1"
}

# What ethtool shows of a link, and how often it went down.
settings() {
    local option
    for option in -l -g -c -x -k; do ethtool $option "$1" 2>&1; done
    cat "/sys/class/net/$1/carrier_changes" "/sys/class/net/$1"/queues/*/[rx]ps_cpus
}

# back LINK WHAT: rolled back, as in $WORK/before.
back() {
    roll_back
    [[ $(<"/sys/class/net/$1/carrier") == 1 ]] || fail "$1 has no carrier after rollback"
    snapshot "$WORK/after"
    same "$WORK/before" "$WORK/after" "$1, $2 rolled back"
}

ready_link() {
    local i
    ip link set "$1" up
    for i in {1..100}; do
        [[ $(<"/sys/class/net/$1/carrier") == 1 && -z $(ip -6 addr show dev "$1" tentative) ]] && return
        sleep 0.2
    done
    fail "$1 does not come up ($i rounds)"
}

# With a default qdisc as the kernel makes it for that number: nettune brings no other one back (docs/quirks.md).
channels_by_hand() {
    ethtool -L "$1" combined "$2" 2>/dev/null
    tc qdisc replace dev "$1" root pfifo && tc qdisc del dev "$1" root
    ready_link "$1"
}

# Channels by number and by "auto", from all of them and from one; each with XPS and affinities set by hand.
channels_round() {
    local link=$1 all
    all=$(most "$link" -l Combined)
    if [[ -z $all || $all -lt 2 ]]; then
        note "$link ($(driver_of "$link")) has no channels to set: $(ethtool -l "$link" 2>&1 | xargs)"
        return
    fi
    if ! ethtool -L "$link" combined 1 2>"$WORK/why"; then
        channels_refused "$link"
        return
    fi
    local number to auto
    auto=$(($(nproc) < all ? $(nproc) : all))
    for number in "$all" 1; do
        channels_by_hand "$link" "$number"
        ethtool -X "$link" default 2>/dev/null # virtio_net of 6.1 keeps the table of the old number
        [[ $(current "$link" -l Combined) == "$number" ]] || fail "ethtool cannot set $number channels"
        echo 8 >"/sys/class/net/$link/queues/tx-0/xps_cpus"
        echo 4 >"/sys/class/net/$link/queues/rx-0/rps_cpus"
        snapshot "$WORK/before"
        for to in 2 '"auto"'; do
            [[ $to == 2 || $number != "$auto" ]] || continue # it has them already
            profile "$link" "channels = $to" 'rings = "leave"'
            applied "$link"
            [[ $(current "$link" -l Combined) == "$([[ $to == 2 ]] && echo 2 || echo "$auto")" ]] ||
                fail "$link has $(current "$link" -l Combined) channels, asked for $to"
            back "$link" "channels $number -> $to"
            count channels 1
        done
    done
    echo 0 >"/sys/class/net/$link/queues/tx-0/xps_cpus"
    echo 0 >"/sys/class/net/$link/queues/rx-0/rps_cpus"
    ethtool -L "$link" combined "$all" 2>/dev/null
}

# A driver that shows its channels and takes no other number: it is said, and nothing differs.
channels_refused() {
    note "$1 ($(driver_of "$1")) takes no number of channels: $(head -n 1 "$WORK/why")"
    snapshot "$WORK/before"
    profile "$1" 'channels = 1' 'rings = "leave"'
    nettune apply -p "$WORK/nic.toml" >"$WORK/out" 2>&1
    local code=$?
    [[ $code == 0 || $code == 1 || $code == 7 ]] || fail "apply with refused channels ended with $code: $(cat "$WORK/out")"
    grep -q "channels" "$WORK/out" || fail "the refused channels are not named: $(cat "$WORK/out")"
    back "$1" "channels that it refuses"
    count refused 1
}

driver_of() { basename "$(readlink "/sys/class/net/$1/device/driver")"; }

# Rings from small ones to the largest.
rings_round() {
    local link=$1 most
    most=$(most "$link" -g RX)
    if [[ -z $most ]] || ! ethtool -G "$link" rx 128 tx 128 2>"$WORK/why"; then
        note "$link ($(driver_of "$link")) has no rings to set: $(cat "$WORK/why")"
        return
    fi
    ready_link "$link"
    local small
    small=$(current "$link" -g RX)
    snapshot "$WORK/before"
    profile "$link" 'channels = "leave"' 'rings = "max"'
    applied "$link"
    [[ $(current "$link" -g RX) == "$most" ]] || fail "$link has $(current "$link" -g RX) entries, not $most"
    back "$link" "rings $small -> $most"
    count rings 1
}

# An RSS table and key set by hand: no change of channels, named; a change of rings keeps both, byte for byte.
rss_round() {
    local link=$1 key all
    key=$(ethtool -x "$link" 2>/dev/null | grep -E -o '([0-9a-f]{2}:){9,}[0-9a-f]{2}')
    if ! ethtool -X "$link" weight 3 1 2>"$WORK/why"; then
        note "$link ($(driver_of "$link")) takes no RSS table: $(head -n 1 "$WORK/why")"
        return
    fi
    if [[ -n $key ]]; then
        key=$(tr ':' '\n' <<<"$key" | tac | paste -s -d :) # the same bytes, another key
        ethtool -X "$link" hkey "$key" 2>"$WORK/why" || note "$link keeps its RSS key: $(head -n 1 "$WORK/why")"
    fi
    ethtool -x "$link" >"$WORK/rss"
    rss_by_hand "$link" "an MTU" ip link set "$link" mtu 1400
    rss_by_hand "$link" "the MTU it had" ip link set "$link" mtu 1500
    snapshot "$WORK/before"
    if [[ $(most "$link" -l Combined) -ge 2 ]]; then
        profile "$link" 'channels = 1' 'rings = "leave"'
        expect 0 nettune check -p "$WORK/nic.toml"
        [[ $OUT == *"RSS table"* ]] || fail "check does not name the RSS table: $OUT"
        snapshot "$WORK/after"
        same "$WORK/before" "$WORK/after" "$link with an RSS table"
    fi
    if rss_by_hand "$link" "rings" ethtool -G "$link" rx 128 tx 128; then
        # What counts is what nettune does.
        ethtool -X "$link" weight 3 1
        [[ -z $key ]] || ethtool -X "$link" hkey "$key" 2>/dev/null
        ethtool -x "$link" >"$WORK/rss"
        snapshot "$WORK/before"
        profile "$link" 'channels = "leave"' 'rings = "max"'
        applied "$link"
        ethtool -x "$link" | cmp -s "$WORK/rss" - || fail "RSS of $link differs after rings: $(ethtool -x "$link")"
        back "$link" "rings under an RSS table"
    fi
    # Channels with the default table and a key of one's own: the key stays.
    ethtool -X "$link" default
    all=$(current "$link" -l Combined)
    if [[ ${all:-1} -gt 2 ]] && ethtool -L "$link" combined 2 2>/dev/null; then
        channels_by_hand "$link" "$all"
        [[ -z $key ]] || ethtool -X "$link" hkey "$key" 2>/dev/null
        ethtool -x "$link" >"$WORK/rss"
        snapshot "$WORK/before"
        profile "$link" 'channels = 2' 'rings = "leave"'
        applied "$link"
        [[ $(current "$link" -l Combined) == 2 ]] || fail "the default table keeps $link from 2 channels: $OUT"
        [[ -z $key ]] || ethtool -x "$link" | grep -q "$key" || fail "the key is lost: $(ethtool -x "$link")"
        back "$link" "channels under an RSS key"
        ethtool -x "$link" | cmp -s "$WORK/rss" - || fail "RSS of $link differs: $(ethtool -x "$link")"
    fi
    count rss 1
}

# What this driver does to its table and key when something else is set by hand; put back, for what comes after.
rss_by_hand() {
    local link=$1 what=$2
    shift 2
    "$@" 2>/dev/null || return
    ready_link "$link"
    if ethtool -x "$link" | cmp -s "$WORK/rss" -; then
        note "$link ($(driver_of "$link")) keeps its RSS table and key under $what"
    else
        note "$link ($(driver_of "$link")) loses its RSS table or key under $what"
        ethtool -X "$link" weight 3 1
        [[ -z $key ]] || ethtool -X "$link" hkey "$key" 2>/dev/null
    fi
}

# Coalescing keys of which a driver takes some, and an offload: what is refused is named, the rest is set.
keys_round() {
    local link=$1 key refused=() taken=()
    for key in rx-usecs rx-frames tx-usecs tx-frames; do
        if ethtool -C "$link" "$key" 24 >/dev/null 2>&1; then
            taken+=("$key")
        else
            refused+=("$key")
        fi
    done
    note "$link ($(driver_of "$link")) takes ${taken[*]:-nothing}, refuses ${refused[*]:-nothing}"
    ethtool -K "$link" tso on >/dev/null 2>&1
    snapshot "$WORK/before"
    profile "$link" 'channels = "leave"' 'rings = "leave"' \
        'coalesce = { rx-usecs = 20, rx-frames = 20, tx-usecs = 20, tx-frames = 20 }' 'offloads = { tso = false }'
    nettune apply -p "$WORK/nic.toml" >"$WORK/out" 2>&1
    local code=$?
    [[ $code == 0 || $code == 7 ]] || fail "apply with refused keys ended with $code: $(cat "$WORK/out")"
    ethtool -k "$link" | grep -q '^tcp-segmentation-offload: off' || fail "the offload was lost: $(cat "$WORK/out")"
    local got
    for key in "${taken[@]}"; do
        got=$(ethtool -c "$link" | sed -n "s/^$key:[[:space:]]*//p")
        [[ $got == 20 || $key == rx-usecs && $got -ge 15 && $got -le 24 ]] || fail "$key of $link is $got, not 20: $(cat "$WORK/out")"
    done
    for key in "${refused[@]}"; do
        # A key that the kernel does not even report is said to be no setting of the link.
        grep -q -e "$key" -e 'has no such setting' "$WORK/out" || note "nothing is said of $key"
        if ethtool -c "$link" 2>/dev/null | grep -q -E "^$key:[[:space:]]*[0-9]"; then
            grep -q "$key" "$WORK/out" || fail "the refused $key is not named: $(cat "$WORK/out")"
            count refused 1
        fi
    done
    back "$link" "coalescing and an offload"
    count keys 1
}

nic_round() {
    ready_link "$1"
    settle
    note "$1 is $(driver_of "$1")"
    "$2_round" "$1"
}
