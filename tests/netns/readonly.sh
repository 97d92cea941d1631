# Where /proc/sys or /sys is mounted read-only, the rows that would write there are blocked beforehand.
. "$(dirname "$0")/lib.sh"
uplink
profile() { cat > "$work/p.toml"; chmod 600 "$work/p.toml"; }
profile <<P
[tcp.sysctl]
"net.core.somaxconn" = { at-least = 16384 }
[steering]
rps-default-mask = "auto"
P
ip link del up0
ip link add up0 numtxqueues 2 type veth peer name w0 numrxqueues 2
ip link set up0 up; ip link set w0 up
ip addr add 10.77.0.2/24 dev up0
ip route add default via 10.77.0.1
expect 0 nettune check -p "$work/p.toml"
says "steering ready"
says "tcp ready"
mount --bind /proc/sys /proc/sys 2> /dev/null || skip "/proc/sys cannot be bound here"
mount -o remount,ro,bind /proc/sys || skip "/proc/sys cannot be made read-only here"
for verb in check apply; do
    expect 0 nettune $verb -p "$work/p.toml"
    says "/proc/sys is mounted read-only here"
    expect 5 nettune $verb -p "$work/p.toml" --strict
done
[ ! -s "$state/journal.jsonl" ] || fail "something was journaled"
# What holds already needs no write.
profile <<P
[tcp.sysctl]
"net.core.somaxconn" = { at-least = 1 }
P
expect 0 nettune apply -p "$work/p.toml"
says "ALREADY SO tcp"
