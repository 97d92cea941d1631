# Killed at random moments of apply, rollback and switch: then rollback, and nothing is left.
. "$(dirname "$0")/bpf-lib.sh"
router
profile
printf '[xdp]\ndeny = ["tcp/23", "10.9.0.0/16"]\n' > "$work/xdp.toml"
printf '[host-routing]\nmode = "full"\n[xdp]\ndeny = ["udp/9"]\n' > "$work/both.toml"
snapshot "$work/before"
round=0
while [ $round -lt 60 ]; do
    delay=$(awk -v s="$(od -An -N2 -tu2 /dev/urandom)" 'BEGIN { printf "%.4f", 0.002 + (s % 400) / 10000 }')
    case $((round % 4)) in
        0) set -- apply $full ;;
        1) set -- apply -p "$work/both.toml" --accept bypass,link-reset ;;
        2) set -- rollback ;;
        3) set -- apply -p "$work/xdp.toml" --accept link-reset ;;
    esac
    timeout --signal=KILL "$delay" "$NETTUNE" --state-dir "$state" "$@" > /dev/null 2>&1 || true
    round=$((round + 1))
done
# One that was killed in the middle of a system call holds its lock until that has returned.
expect 0 nettune --wait 20 rollback
nothing_left
snapshot "$work/after"
same "$work/before" "$work/after"
expect 3 nettune verify
