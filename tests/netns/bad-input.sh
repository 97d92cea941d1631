# What is wrong is said in one line, with the exit code that the documents name.
. "$(dirname "$0")/lib.sh"
uplink
chmod 700 "$work"
printf '[tpc]\n' > "$work/p.toml"
expect 78 nettune check -p "$work/p.toml"
says 'p.toml:1: unknown table "tpc", did you mean "tcp"?'
printf '[tcp.sysctl]\n"../../etc/passwd" = 1\n' > "$work/p.toml"
expect 78 nettune apply -p "$work/p.toml"
chmod 666 "$work/p.toml"
expect 78 nettune apply -p "$work/p.toml"
says "others than root may write it"
expect 78 nettune check -p no-such-profile
expect 2 nettune apply
expect 2 nettune check --only nosuch
expect 2 nettune check --link '../../etc/passwd'
expect 2 nettune check --accept nosuch
expect 2 nettune frobnicate
expect 2 nettune explain nosuch
expect 78 nettune check --set mtu
# bad VALUE WORDS: a value that no node takes is a bad profile, and the message says what it may be.
bad() { expect 78 nettune check -p cilium-max --set "$1"; says "$2"; }
bad nic.channels=0 "a link has at least one"
bad 'nic.channels="many"' 'it is "auto", "leave" or a number'
bad nic.rings=0 '"leave" says so'
bad 'nic.coalesce={}' "coalesce names no value"
bad 'nic.coalesce={ rx-usec = 5 }' "rx-usecs"
bad 'irq.cpus="a-b"' "is no CPU list"
bad 'irq.cpus=""' "is no CPU list"
bad 'cpu.governor=""' "is no word"
bad cpu.energy-perf-bias=16 "is more than 15"
bad cpu.min-perf-pct=101 "is more than 100"
bad 'mtu.mtu="big"' 'it is "max" or a number of bytes'
bad 'mtu.probe=["127.0.0.1"]' "no address of one peer"
bad 'mtu.probe=["fe80::1"]' "no address of one peer"
bad 'tuned.profile="../x"' "is not the name of a TuneD profile"
printf 'links = ["nosuch*"]\n[nic]\n' > "$work/p.toml"
chmod 600 "$work/p.toml"
expect 0 nettune check -p "$work/p.toml"
says "no link here is what the profile's links name: nosuch*"
# A write that the kernel refuses: its tweak is undone, the rest goes on.
snapshot "$work/before"
printf '[tcp.sysctl]\n"net.ipv4.tcp_syn_retries" = 5\n"net.ipv4.tcp_fastopen" = 99999999999\n[notrack]\ncidrs = ["10.9.0.0/16"]\n' > "$work/p.toml"
chmod 600 "$work/p.toml"
# shellcheck disable=SC2086
expect 7 nettune apply -p "$work/p.toml" --accept bypass $signature
says "tcp"
says "net.ipv4.tcp_fastopen to 99999999999"
says "Invalid argument"
nft list tables | grep -q nettune-notrack || fail "the rest did not go on"
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"
# Two at once.
( exec 9> "$state/lock"; flock 9; echo $$ > "$work/locker"; printf '%s\n' 4711 > "$state/lock"; sleep 3 ) &
sleep 0.5
expect 11 nettune rollback
says "pid 4711"
wait
