# Values of /proc/sys: read and put back whole whatever their length, compared in the form in which the
# kernel prints them, and refused where they are not the profile's alone.
. "$(dirname "$0")/lib.sh"
uplink
ports=/proc/sys/net/ipv4/ip_local_reserved_ports
[ -e $ports ] || skip "this kernel reserves no ports"
profile() { { echo "[tcp.sysctl]"; cat; } > "$work/p.toml"; chmod 600 "$work/p.toml"; }
# A list of exactly so many bytes: numbers of five digits, two apart, after one that is shorter.
list() {
    awk -v bytes="$1" 'BEGIN {
        out = bytes % 6 ? substr("12345", 1, bytes % 6) : "12,345"
        for (port = 20001; length(out) < bytes; port += 2) out = out "," port
        print out
    }'
}
now() { cat $ports | tr -d '\n'; }
# By dd in one write, of which the kernel leaves what is over a page to the next: a shell writes when its
# own buffer is full, in the middle of a number.
set_ports() {
    printf '%s\n' "$1" | dd of=$ports bs=64k iflag=fullblock 2> /dev/null
    [ "$(now)" = "$1" ] || fail "${#1} bytes cannot be set here"
}

echo '"net.ipv4.ip_local_reserved_ports" = "102,100-101,9,9"' | profile
for bytes in 11 31 32 33 200 3999 4095 4096 5000 20000; do
    value=$(list "$bytes")
    [ "${#value}" = "$bytes" ] || fail "a list of ${#value} bytes instead of $bytes"
    set_ports "$value"
    expect 0 nettune apply -p "$work/p.toml"
    [ "$(now)" = 9,100-102 ] || fail "kept $(now)"
    grep -qF "\"before\":\"$value\"" "$state/journal.jsonl" || fail "$bytes bytes were journaled cut"
    expect 0 nettune verify
    cp "$state/undo.sh" "$work/undo.sh"
    expect 0 nettune rollback
    [ "$(now)" = "$value" ] || fail "$bytes bytes came back as $(now | wc -c)"
    for shell in sh bash; do
        command -v "$shell" > /dev/null || continue
        echo 9 > $ports
        FORCE=1 "$shell" "$work/undo.sh" || fail "undo.sh by $shell"
        [ "$(now)" = "$value" ] || fail "undo.sh by $shell put back $(now | wc -c) of $bytes bytes"
    done
    # And the other way: a long list is what the profile wants.
    echo 9 > $ports
    echo "\"net.ipv4.ip_local_reserved_ports\" = \"$value\"" > "$work/long"
    { echo "[tcp.sysctl]"; cat "$work/long"; } > "$work/long.toml"; chmod 600 "$work/long.toml"
    expect 0 nettune apply -p "$work/long.toml"
    [ "$(now)" = "$value" ] || fail "a wish of $bytes bytes became $(now | wc -c)"
    expect 0 nettune verify
    expect 0 nettune rollback
    [ "$(now)" = 9 ] || fail "came back as $(now)"
done
echo > $ports

# Each wish as people write it: what the kernel makes of it is no failure, and a second run finds it met.
snapshot "$work/before"
profile <<P
"net.core.somaxconn" = "0x2000"
"net.ipv4.tcp_rmem" = "0x1000 131072	8388608"
"net.ipv4.tcp_wmem" = { at-least = "0x1000 020000 0x500000" }
"net.ipv4.ip_local_reserved_ports" = "102,100-101,30000,30000"
"net.ipv4.tcp_fin_timeout" = "075"
P
expect 0 nettune apply -p "$work/p.toml"
[ "$(cat /proc/sys/net/core/somaxconn)" = 8192 ] || fail "somaxconn"
[ "$(cat /proc/sys/net/ipv4/tcp_fin_timeout)" = 61 ] || fail "octal"
[ "$(now)" = 100-102,30000 ] || fail "ports"
expect 0 nettune verify
expect 0 nettune check -p "$work/p.toml" --only tcp
says "tcp applied holds"
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"

# A key that nobody may write takes nothing with it.
profile <<P
"net.ipv4.conf.up0.mc_forwarding" = 1
"net.core.somaxconn" = 8192
P
expect 0 nettune apply -p "$work/p.toml"
says "mc_forwarding: it is read-only here"
[ "$(cat /proc/sys/net/core/somaxconn)" = 8192 ] || fail "went with it"
expect 0 nettune rollback

# Keys that write through to others, and one value by two names: before anything is written.
no() {
    profile
    expect 78 nettune apply -p "$work/p.toml"
    for word; do says "$word"; done
}
echo '"net.ipv4.conf.default.arp_ignore" = 1' | no net.ipv4.conf.default.arp_ignore "of each link"
echo '"net/ipv4/conf/default/arp_announce" = 2' | no net/ipv4/conf/default/arp_announce
echo '"net.ipv6.neigh.default.gc_stale_time" = 9' | no net.ipv6.neigh.default.gc_stale_time
echo '"net.ipv4.neigh.up0.unres_qlen" = 9' | no net.ipv4.neigh.up0.unres_qlen unres_qlen_bytes
no net.ipv4.neigh.up0.retrans_time net.ipv4.neigh.up0.retrans_time_ms "one value" <<P
"net.ipv4.neigh.up0.retrans_time_ms" = 2000
"net.ipv4.neigh.up0.retrans_time" = 200
P
no net.core.somaxconn net/core/somaxconn "one value" <<P
"net.core.somaxconn" = 8192
"net/core/somaxconn" = 8192
P

# Why: the kernel itself, asked for what the table of refused keys says of it.
ip link add d0 type veth peer name d1
before=$(cat /proc/sys/net/ipv4/conf/d0/arp_ignore)
echo 3 > /proc/sys/net/ipv4/conf/default/arp_ignore
[ "$(cat /proc/sys/net/ipv4/conf/d0/arp_ignore)" = 3 ] || fail "conf.default leaves links alone here"
echo "$before" > /proc/sys/net/ipv4/conf/default/arp_ignore
hops=$(cat /proc/sys/net/ipv6/conf/d0/hop_limit)
profile <<P
"net.ipv6.conf.default.hop_limit" = 33
P
expect 0 nettune apply -p "$work/p.toml"
[ "$(cat /proc/sys/net/ipv6/conf/d0/hop_limit)" = "$hops" ] || fail "conf.default changed a link"
expect 0 nettune rollback
says "links made meanwhile keep"
snapshot "$work/before"
