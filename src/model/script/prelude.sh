set -u
set -f  # a route's or a link's words are never patterns
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
status=0 kept=0 last=""

say() { printf '%s\n' "$*" >&2; }
bad() { say "not put back: $*"; status=6; }

# link NUMBER NAME DEVICE MAC: the name that the link has now; nothing when it is gone. Another one that
# took its name, or its number, is not it.
link() {
    for name in $(ls /sys/class/net); do
        sys=/sys/class/net/$name
        [ "$(cat "$sys/ifindex" 2> /dev/null)" = "$1" ] || continue
        at=$(readlink -f "$sys/device" 2> /dev/null)
        case $3 in
            '') [ ! -e "$sys/device" ] || at=other ;;
            *) case $at/ in */"$3"/*) ;; *) at=other ;; esac ;;
        esac
        mac=$(ethtool -P "$name" 2> /dev/null | sed 's/.*: //')
        case $4,$mac in
            ,* | *, | *,00:00:00:00:00:00 | *'not set') ;;
            *) [ "$4" = "$mac" ] || at=other ;;
        esac
        [ "$at" = other ] || { printf '%s\n' "$name"; return; }
    done
    say "link $2 (number $1) is gone: what was its is left out"
}

# The one value of a file; of a choice the chosen word.
value() {
    text=$(cat "$1" 2> /dev/null | tr -s ' \t\n' ' ' | sed 's/^ //; s/ $//')
    case $1,$text in
        /sys/*'['*']'*) text=${text#*[} text=${text%%]*} ;;
        /sys/*'('*')'*) text=${text#*(} text=${text%%)*} ;;
    esac
    printf '%s' "$text"
}

# ours NOW VALUE..: one of these, or whoever runs this says FORCE=1.
ours() {
    now=$1
    shift
    [ $# = 0 ] || [ -n "${FORCE:-}" ] && return
    for one; do [ "$now" = "$one" ] && return; done
    return 1
}

# mine WHAT NOW VALUE..: as ours, and says so where it is not. What no tool tells here is not asked.
mine() {
    what=$1
    shift
    [ -n "$1" ] && ! ours "$@" || return 0
    bad "$what is $1, which is not ours (FORCE=1 all the same)"
    return 1
}

# held N FILE VALUE..: $mineN, where what a change is about to disturb is as we left it; anything else is kept as it is.
held() {
    at=$1 file=$2
    shift 2
    eval "mine$at=1"
    [ -e "$file" ] && ! ours "$(value "$file")" "$@" || return 0
    eval "mine$at="
    say "$file is $(value "$file"), which is not ours: it stays so"
    keep "$file"
}

# ethtool_now FLAG LINK KEY: as ethtool shows it; nothing where it calls it otherwise.
ethtool_now() {
    case $1 in
        -K) ethtool -k "$2" | sed -n "s/^[[:space:]]*$3: \\(on\\|off\\).*/\\1/p" ;;
        -C) case $3 in
                adaptive-rx) ethtool -c "$2" | sed -n 's/^Adaptive RX: \(on\|off\) .*/\1/p' ;;
                adaptive-tx) ethtool -c "$2" | sed -n 's/^Adaptive RX:.*TX: \(on\|off\).*/\1/p' ;;
                *) ethtool -c "$2" | sed -n "s/^$3: *\\([0-9]*\\)\$/\\1/p" ;;
            esac ;;
        -A) case $3 in
                autoneg) ethtool -a "$2" | sed -n 's/^Autonegotiate:[[:space:]]*\(on\|off\)$/\1/p' ;;
                *) ethtool -a "$2" | grep -i "^$3:" | sed -n 's/.*[[:space:]]\(on\|off\)$/\1/p' ;;
            esac ;;
        -L | -G) ethtool "$(echo "$1" | tr LG lg)" "$2" | sed -n '/^Current/,$p' |
            grep -i "^$3:" | sed -n 's/.*:[[:space:]]*\([0-9]*\)$/\1/p' ;;
    esac 2> /dev/null
}

# ethtool_ours FLAG LINK KEY VALUES..: of each key.
ethtool_ours() {
    flag=$1 dev=$2
    shift 2
    while [ $# -gt 1 ]; do
        # shellcheck disable=SC2086
        mine "$1 of $dev (ethtool $flag)" "$(ethtool_now "$flag" "$dev" "$1")" $2 || return
        shift 2
    done
}

# sizes_ours LINK WORD VALUES..: of each size that ip knows.
sizes_ours() {
    dev=$1
    shift
    ip -d link show dev "$dev" > "$work/sizes"
    while [ $# -gt 1 ]; do
        # shellcheck disable=SC2086
        mine "$1 of $dev" "$(sed -n "s/.* $1 \\([0-9]*\\).*/\\1/p" "$work/sizes")" $2 || return
        shift 2
    done
}

# qdisc_ours LINK KIND..: by the kind at the root.
qdisc_ours() {
    dev=$1
    shift
    mine "the root qdisc of $dev" "$(tc qdisc show dev "$dev" root | sed -n '1s/^qdisc \([^ ]*\) .*/\1/p')" "$@"
}

# tuned_ours PROFILE..
tuned_ours() {
    mine "TuneD's profile" "$(tuned-adm active 2> /dev/null | sed -n 's/^Current active profile: //p')" "$@"
}

# nft_rules TABLE: as nft prints it, without what is no rule: our mark, links that come and go, counts.
nft_rules() {
    nft -s list table inet "$1" 2> /dev/null | grep -v -e '^[[:space:]]*devices = ' -e '^[[:space:]]*comment "nettune"$'
}

# nft_is TABLE: whether it holds what the text on stdin makes, in nft's own words for both. Where those cannot be had
# (no namespace of its own) nobody is asked.
nft_is() {
    cat > "$work/nft"
    unshare -n sh -c "nft -f '$work/nft' && nft -s list table inet '$1'" 2> /dev/null |
        grep -v '^[[:space:]]*devices = ' > "$work/ours"
    [ -s "$work/ours" ] || return 0
    nft_rules "$1" | cmp -s - "$work/ours"
}

# ingress LINK PINS: our program at a link. Before tcx (6.6) it is a filter of clsact, in one that was made for it where our
# notes say so, or the filter's class, once they are gone; that goes too when nobody else uses it.
ingress() {
    made=
    [ ! -d "$2/clsact" ] || made=1
    [ "$(tc filter show dev "$1" ingress 2> /dev/null | grep -c -e 'flowid 6e74:1 ' -e 'flowid 6e74:1$')" = 0 ] || made=1
    rm -rf "$2"
    tc filter delete dev "$1" ingress pref 50000 2> /dev/null
    [ -n "$made" ] || return 0
    used=$(tc filter show dev "$1" ingress; tc filter show dev "$1" egress)
    [ -n "$used" ] || tc qdisc delete dev "$1" clsact 2> /dev/null || true
}

# Bash writes 1024 bytes at once, and the kernel takes a number that is cut there for a whole one: a list
# goes in parts.
write() {
    left=$1
    while [ ${#left} -gt 1000 ]; do
        part=$(printf '%.1000s' "$left")
        case $part in *,*) part=${part%,*}, ;; *) break ;; esac
        printf '%s' "$part"
        left=${left#"$part"}
    done
    printf '%s\n' "$left"
}

# put FILE VALUE [OURS ..]: leaves what somebody else has written since.
put() {
    file=$1 to=$2
    shift 2
    if [ ! -e "$file" ]; then
        # A queue may be gone until its channels are back: all are put once more at the end.
        [ -z "$last" ] || say "$file is gone: left out"
        return
    fi
    now=$(value "$file")
    [ "$now" != "$to" ] || return 0
    ours "$now" "$@" || {
        [ -n "$last" ] || bad "$file is $now, which is not ours (FORCE=1 writes $to all the same)"
        return
    }
    { write "$to" > "$file"; } 2> /dev/null
    [ "$(value "$file")" = "$to" ] || [ -z "$last" ] || bad "$file: $to"
}

# keep FILE..: what a change is going to disturb; again: puts it back.
keep() {
    for file; do
        [ -r "$file" ] || continue
        kept=$((kept + 1))
        printf '%s' "$file" > "$work/file$kept"
        cat "$file" > "$work/text$kept" 2> /dev/null
    done
}
again() {
    while [ "$kept" -gt 0 ]; do
        file=$(cat "$work/file$kept")
        if [ -e "$file" ] && [ "$(cat "$file" 2> /dev/null)" != "$(cat "$work/text$kept")" ]; then
            cat "$work/text$kept" > "$file" 2> /dev/null || say "$file was $(cat "$work/text$kept")"
        fi
        kept=$((kept - 1))
    done
}

# queues LINK: what is lost with queues that go, or that a driver makes anew.
queues() {
    set +f
    keep "/sys/class/net/$1"/queues/rx-*/rps_cpus "/sys/class/net/$1"/queues/rx-*/rps_flow_cnt \
        "/sys/class/net/$1"/queues/tx-*/xps_cpus "/sys/class/net/$1"/queues/tx-*/xps_rxqs
    for msi in "/sys/class/net/$1"/device/msi_irqs/* "/sys/class/net/$1"/device/../msi_irqs/*; do
        keep "/proc/irq/${msi##*/}/smp_affinity_list"
    done
    set -f
}

# steady LINK: before a change that may stop it, and after.
steady() {
    carrier=$(cat "/sys/class/net/$1/carrier" 2> /dev/null)
    [ "${had:-}" = 1 ] || { had=$carrier; return; }
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
        [ "$(cat "/sys/class/net/$1/carrier" 2> /dev/null)" != 1 ] || break
        sleep 1
    done
    had=
}

# larger LINK BYTES: what stands on it and would be cut down. A bond or a bridge has a link of its own
# number, an ipvlan its lower link's MTU.
larger() {
    for upper in $(ls "/sys/class/net/$1" | sed -n 's/^upper_//p'); do
        [ "$(value "/sys/class/net/$upper/iflink")" = "$(value "/sys/class/net/$1/ifindex")" ] || continue
        [ "$(value "/sys/class/net/$upper/mtu")" -gt "$2" ] || continue
        case $(ip -d link show dev "$upper") in *ipvlan* | *ipvtap*) continue ;; esac
        bad "mtu of $1: $upper stands on it and uses $(value "/sys/class/net/$upper/mtu"), more than $2 (FORCE=1 all the same)"
        return
    done
    return 1
}

# mtu LINK BYTES [OURS ..]: with the IPv6 MTU and the routes that the kernel writes it into.
mtu() {
    dev=$1 to=$2
    shift 2
    now=$(value "/sys/class/net/$dev/mtu")
    [ "$now" != "$to" ] || return 0
    ours "$now" "$@" || { bad "mtu of $dev is $now, which is not ours (FORCE=1 writes $to all the same)"; return; }
    [ -n "${FORCE:-}" ] || ! larger "$dev" "$to" || return
    conf=/proc/sys/net/ipv6/conf/$dev/mtu
    own=$(value "$conf")
    routes > "$work/routes"
    steady "$dev"
    ip link set dev "$dev" mtu "$to" || bad "mtu of $dev: $to"
    steady "$dev"
    [ -z "$own" ] || [ "$own" = "$now" ] || printf '%s\n' "$own" > "$conf"
    routes > "$work/now"
    while read -r route; do
        grep -qxF -- "$route" "$work/now" || route_again
    done < "$work/routes"
}

# IPv6 routes with an mtu of their own. One that a router told comes again with its next word; of several
# next hops without an object the first line is not the whole.
routes() {
    ip -6 route show table all 2> /dev/null | grep ' mtu ' | grep -e ' dev ' -e ' nhid ' |
        grep -v -e ' expires ' -e ' proto ra ' -e '^[[:space:]]'
}

# route_again: $route; one by a nexthop object takes no other word of where it goes.
route_again() {
    case $route in
        *' nhid '*) route=$(printf '%s\n' "$route" | sed 's/ via [^ ]*//; s/ dev [^ ]*//; s/ weight [^ ]*//') ;;
    esac
    # shellcheck disable=SC2086
    ip -6 route change $route || bad "IPv6 route $route"
}

# route_mtu LINK BYTES|none WORD..: of the IPv6 route with these words.
route_mtu() {
    dev=$1 to=$2 net=$3
    shift 3
    route=$(ip -6 route show table all "$net" 2> /dev/null | grep -e " dev $dev " -e ' nhid ')
    # The words of ours that ip prints for a route of the main table too.
    while [ $# -gt 1 ]; do
        case $1 in
            via | metric | nhid | from) route=$(printf '%s\n' "$route" | grep -e " $1 $2\( \|$\)") ;;
        esac
        shift 2
    done
    route=$(printf '%s\n' "$route" | head -n 1 | sed 's/ mtu \(lock \)\{0,1\}[0-9]*//')
    [ -n "$route" ] || { say "route $net of $dev is gone: left out"; return; }
    [ "$to" = none ] || route="$route mtu $to"
    route_again
}

# ethtool_set FLAG LINK KEY VALUE..: all at once, else key by key: one that the driver does not take loses no other.
ethtool_set() {
    flag=$1 dev=$2
    shift 2
    steady "$dev"
    if ! ethtool "$flag" "$dev" "$@" > /dev/null 2>&1; then
        while [ $# -gt 1 ]; do
            # 80: it is so already.
            ethtool "$flag" "$dev" "$1" "$2" > /dev/null 2>&1 || [ $? = 80 ] || bad "ethtool $flag $dev $1 $2"
            shift 2
        done
    fi
    steady "$dev"
}

# by_default LINK KIND [QUANTUM]: all its queues have the kernel's own, made under this MTU or with that quantum.
by_default() {
    tc qdisc show dev "$1" | grep -v -e '^qdisc clsact ' -e '^qdisc ingress ' -e '^qdisc mq 0: root' > "$work/qdiscs"
    [ -s "$work/qdiscs" ] && ! grep -q -v "^qdisc $2 0: " "$work/qdiscs" || return
    quantum=$(sed -n 's/^qdisc fq_codel .* quantum \([0-9]*\).*/\1/p' "$work/qdiscs" | head -n 1)
    [ -n "$quantum" ] || return 0
    least=$(value "/sys/class/net/$1/mtu")
    case ${3:-} in
        "$quantum") ;;
        '') [ "$quantum" -ge "$least" ] && [ "$quantum" -le $((least + 32)) ] ;; # 32: the longest header
        *) return 1 ;;
    esac
}
# default_qdisc LINK KIND [QUANTUM]: the kernel's own, made under that default for the moment.
default_qdisc() {
    default=/proc/sys/net/core/default_qdisc
    today=$(cat "$default" 2> /dev/null)
    # One by default cannot be deleted: another one goes away under one of our own.
    root=$(tc qdisc show dev "$1" root | sed -n '1s/qdisc \([^ ]*\) 0: .*/\1/p')
    [ "$root" != noqueue ] && ! by_default "$@" || return 0
    [ -z "$root" ] || tc qdisc replace dev "$1" root "$root"
    [ -z "$today" ] || [ "$today" = "$2" ] || [ "$2" = noqueue ] || printf '%s\n' "$2" > "$default"
    tc qdisc delete dev "$1" root || bad "qdisc of $1: default $2"
    [ -z "$today" ] || printf '%s\n' "$today" > "$default"
}
# What a default was made for, queues or MTU, may be others now.
fresh_qdisc() {
    case $(tc qdisc show dev "$1" root | head -n 1) in *' 0: '*) default_qdisc "$@" ;; esac
}

# rss LINK KEY TABLE: what differs of both. A table of somebody's own goes by the words that ethtool has for
# one: shares in a row, or one queue after the other.
rss() {
    dev=$1
    ethtool -x "$dev" > "$work/rss" 2> /dev/null
    [ -z "$2" ] || grep -q "^$2" "$work/rss" || ethtool -X "$dev" hkey "$2" || bad "RSS key of $dev: $2"
    words=$(awk -v want="$3" '
        / RX ring/ { for (i = 2; i <= NF; i++) if ($i == "RX" && $(i + 1) ~ /^ring/) queues = $(i - 1) }
        /^RSS hash/ { exit }
        /^ *[0-9]+:/ { for (i = 2; i <= NF; i++) is[n++] = $i }
        END {
            if (!n || !queues) exit
            if (want ~ /^[0-9]/ && split(want, list, ",") != n) { print "another-size"; exit }
            for (at = 0; at < n; at++) {
                to[at] = want == "default" ? at % queues : want == "runs" ? int(at * queues / n) : list[at + 1] + 0
                if (to[at] != is[at] + 0) differs = 1
                if (at && to[at] < to[at - 1]) mixed = 1
                if (at && !every && to[at] == to[0]) every = at
                if (to[at] > most) most = to[at]
                share[to[at]]++
            }
            if (!differs) exit
            if (want == "default") { print want; exit }
            if (!mixed) {
                printf "weight"
                for (queue = 0; queue <= most; queue++) printf " %d", share[queue]
                exit
            }
            for (at = 0; at < n && every; at++) if (to[at] != to[0] + at % every) every = 0
            print every ? "equal " every " start " to[0] : "no-words"
        }' "$work/rss")
    # shellcheck disable=SC2086
    [ -z "$words" ] || ethtool -X "$dev" $words || bad "RSS table of $dev: $3"
}
