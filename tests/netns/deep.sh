# check --deep really attaches to a driver and takes the program off again, or says why not.
. "$(dirname "$0")/bpf-lib.sh"
uplink
deep="check --deep --accept link-reset --link"
expect 2 nettune check --deep
says "--link NAME"
expect 2 nettune check --deep --link up0
says "--accept link-reset"
expect 2 nettune $deep nosuch
snapshot "$work/before"
expect 0 nettune $deep up0
says "up0 (veth) takes a program in native mode"
says "with a program"
says "helper redirect_peer"
expect 0 nettune --json $deep up0
python3 - "$work/out" <<'PY'
import json, sys
deep = json.load(open(sys.argv[1]))["deep"]
assert deep["native"] is True and deep["max_mtu_with_program"] > 0, deep
answers = {p["name"]: p["answer"] for p in deep["kernel"]}
assert answers["program xdp"] is True and answers["tcx"] is True, answers
PY
snapshot "$work/after"
same "$work/before" "$work/after"
# The driver's own words.
ip link add few0 numrxqueues 1 type veth peer name few1 numtxqueues 2
ip link set few0 up
ip link set few1 up
ethtool -L few1 tx 2
expect 0 nettune $deep few0
says "takes no program in native mode as it is"
says "XDP expects number of rx queues not less than peer tx queues"
# What has a program already is left alone.
bpftool prog load "$(dirname "$0")/../../bpf/bare_xdp.bpf.o" /sys/fs/bpf/theirs type xdp
bpftool net attach xdpdrv pinned /sys/fs/bpf/theirs dev up0
expect 0 nettune $deep up0
says "a program is attached already"
says "was not asked"
bpftool net detach xdpdrv dev up0
ip link show up0 | grep -q xdp && fail "a program is left"
exit 0
