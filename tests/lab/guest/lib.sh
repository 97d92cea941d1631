# shellcheck shell=bash
# What every scenario has: sourced before it runs, in the guest, as root.
#   fail, skip, expect, says, reaches, nettune              see tests/support/shell.sh
#   note MSG            goes into the scenario's log        count N K   counts K more of N for the result
#   snapshot FILE       the whole node, see snapshot.sh     same A B    equal, or fails with the difference
#   watched LOOK CODE CMD...  expects, and meanwhile writes each new $NOW that the function LOOK sets to $WORK/seen
#   settle              waits until nothing is starting any more
#   quick_irqbalance    for what asks it often: it answers between its scans, each second now and not each tenth
#   back_as FILE         rolls back; the node is as in FILE
#   link_mtu LINK...    their MTUs, in one line
#   $NIC, $NIC2         the link with four queue pairs, and the one with another driver
set -uo pipefail

LAB=/usr/local/lib/lab
WORK=$(mktemp -d /run/scenario.XXXXXX)
# shellcheck source=tests/lab/guest/snapshot.sh
. "$LAB/snapshot.sh"

# For what is sourced next.
# shellcheck disable=SC2034
work=$WORK undo=/var/lib/nettune/undo.sh
nettune_itself() { command nettune "$@"; }
# shellcheck source=tests/support/shell.sh
. "$LAB/shell.sh"

note() { echo "$*"; }
count() { echo "COUNT $1 $2"; }

link_with_mac() {
    local file
    for file in /sys/class/net/*/address; do
        [[ $(<"$file") == "$1" ]] && basename "${file%/address}" && return
    done
    return 1
}
NIC=$(link_with_mac 52:54:00:77:00:02) || note "the first link is not there"
# shellcheck disable=SC2034 # for scenarios
NIC2=$(link_with_mac 52:54:00:77:01:02) || note "the second link is not there"

# LOOK starts no process where it can: what it must not miss may last milliseconds.
watched() {
    local look=$1 watcher
    shift
    : >"$WORK/seen"
    touch "$WORK/watching"
    (
        last=
        while [[ -e $WORK/watching ]]; do
            "$look"
            [[ $NOW == "$last" ]] || echo "$NOW"
            last=$NOW
        done >"$WORK/seen" 2>/dev/null
    ) &
    watcher=$!
    expect "$@"
    sleep 1 # what was only begun is seen as well
    rm "$WORK/watching"
    wait "$watcher"
    note "${*:2}: $(paste -s -d, "$WORK/seen")"
}

same() {
    # What outlives a rollback, and is said to: a loaded module stays and brings its sysctls along, and the kernel has
    # allowed every congestion control for good that was once the default.
    local drop=(-e '/^boot | /d')
    grep -q '^sysctl | net\.netfilter\.nf_conntrack_' "$1" ||
        drop+=(-e '/^sysctl | net\.\(netfilter\.nf_\(conntrack\|flowtable\|hooks\)_\|nf_conntrack_max\)/d')
    grep -q '^sysctl | net\.ipv4\.tcp_allowed_congestion_control = .*bbr' "$1" ||
        drop+=(-e '/^sysctl | net\.ipv4\.tcp_allowed_congestion_control/s/ bbr//')
    # Two boots differ in what the kernel computes from the memory that was free at that moment; of the largest buffers,
    # which nettune sets, whole MiB are compared.
    local mib='{ print }'
    if [[ $(grep '^boot | ' "$1") != $(grep '^boot | ' "$2") ]]; then
        drop+=(-e '/^sysctl | \(vm\.\(user\|admin\)_reserve_kbytes\|net\.ipv4\.\(tcp\|udp\)_mem\) /d')
        mib="/^sysctl \\| net\\.ipv4\\.tcp_[rw]mem = / { \$NF = int(\$NF / 1048576) } $mib"
    fi
    if ! diff -U0 <(sed "${drop[@]}" "$1" | awk "$mib") <(sed "${drop[@]}" "$2" | awk "$mib") >"$WORK/diff"; then
        grep -v -E '^(@@|---|\+\+\+)' "$WORK/diff" | head -n 80
        fail "${3:-the node is not as it was}: $(grep -c -E '^[-+][^-+]' "$WORK/diff") lines differ"
    fi
}

# Returns when udev, systemd jobs and duplicate address detection are through and the uplink answers.
settle() {
    local i
    udevadm settle
    for i in {1..60}; do
        if [[ -z $(systemctl list-jobs --no-legend) && -z $(ip -6 addr show tentative) ]] &&
            [[ $(<"/sys/class/net/$NIC/operstate") == up ]]; then
            return
        fi
        sleep 0.25
    done
    note "still busy after $i rounds: $(systemctl list-jobs --no-legend; ip -6 addr show tentative)"
}

quick_irqbalance() {
    echo 'IRQBALANCE_ARGS="--interval=1"' >>/etc/default/irqbalance
    systemctl restart irqbalance || fail "cannot restart irqbalance"
}

tuned_profile() {
    local said
    said=$(busctl --auto-start=no call com.redhat.tuned /Tuned com.redhat.tuned.control active_profile 2>/dev/null)
    said=${said#s \"}
    echo "${said%\"}"
}

# nettune apply with every impact accepted; it must end with 0.
IMPACTS=link-reset,path,bypass
apply_all() { expect 0 nettune apply --accept "$IMPACTS" "$@"; }

# The same apply once more has nothing to change: what we changed must not change what we want.
again() {
    OUT=$(nettune --json apply --dry-run --accept "$IMPACTS" "$@" 2>&1)
    python3 - "$OUT" <<'PY' || fail "apply $* once more is not the same"
import json, sys
planned = [c for tweak in json.loads(sys.argv[1])["tweaks"] for c in tweak["changes"] if c["outcome"] == "planned"]
for change in planned:
    print("%(resource)s: %(before)s -> %(after)s" % change)
sys.exit(bool(planned))
PY
}

# Is anything applied now? (verify, and so this, fails the scenario on drift)
anything_applied() {
    OUT=$(nettune verify 2>&1)
    case $? in
        0) return 0 ;;
        3) return 1 ;;
        *) printf "%s\n" "$OUT" | head -n 100; fail "verify does not find what was just applied" ;;
    esac
}

# Rolls back everything, by force where drift is named ($CODE is 4 then); then nothing may be applied.
roll_back_what_drifted() {
    nettune rollback >"$WORK/out" 2>&1
    CODE=$?
    case $CODE in
        0) ;;
        4) note "rollback: $(cat "$WORK/out")"; expect 0 nettune rollback --force ;;
        *) fail "rollback ended with $CODE: $(cat "$WORK/out")" ;;
    esac
    expect 3 nettune status
    settle
}

# Rolls back everything; then nothing may be applied.
roll_back() {
    expect 0 nettune rollback
    expect 3 nettune status
    settle
}

back_as() {
    roll_back
    snapshot "$WORK/after"
    same "$1" "$WORK/after" "after the rollback"
}

link_mtu() {
    local link
    for link; do echo "$(<"/sys/class/net/$link/mtu")"; done | xargs
}
