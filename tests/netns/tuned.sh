# TuneD's own daemon on a bus of its own: asked for a profile and brought back to exactly what it had,
# told, chosen by itself, or off; what it does by itself is drift. Sysctls outside namespaces are the
# machine's, so its profiles here set nothing, the stock ones are hidden, and /proc/sys and /sys are
# read-only to it.
if [ "${1-}" != inside ]; then
    unshare -pf --mount-proc true || exit 77
    exec unshare -pf --mount-proc --kill-child sh "$0" inside
fi
. "$(dirname "$0")/lib.sh"
for tool in dbus-daemon dbus-send tuned; do
    command -v "$tool" > /dev/null || skip "$tool is not installed"
done
grep -q 4294967295 /proc/self/uid_map || skip "the bus takes real root"

# A kernel's warning that another test brought about taints it.
machine() {
    sysctl -a 2> /dev/null | grep -E '^(kernel|vm|net|dev)\.' |
        grep -vE '^kernel\.(random|ns_last_pid|pty\.nr|tainted)|conntrack_count'
}
machine > "$work/machine"
for folder in /etc/tuned /usr/lib/tuned /var/log; do mount -t tmpfs tmpfs "$folder"; done
mkdir -p /run/dbus /run/tuned
for name in a b c last; do
    mkdir "/etc/tuned/nettune-$name"
    printf '[main]\nsummary=sets nothing\n' > "/etc/tuned/nettune-$name/tuned.conf"
done
printf '[nettune-a]\n' > /etc/tuned/recommend.conf
printf 'daemon = 1\ndynamic_tuning = 0\nsleep_interval = 1\n' > /etc/tuned/tuned-main.conf

dbus-daemon --system --nofork --nopidfile 2> "$work/bus" &
for _ in $(seq 50); do [ -S /run/dbus/system_bus_socket ] && break; sleep 0.1; done
[ -S /run/dbus/system_bus_socket ] || fail "no bus: $(cat "$work/bus")"

# Answers in one line: "true", "nettune-b", "manual" of ("manual", "").
ask() {
    member=$1; shift
    answer=$(dbus-send --system --print-reply=literal --dest=com.redhat.tuned /Tuned \
        "com.redhat.tuned.control.$member" "$@" 2> "$work/refused") || return 1
    echo "$answer" | tr -s ' \n' ' ' | sed -E 's/struct \{ ?//; s/ ?,? ?\}//; s/boolean //; s/^ //; s/ $//'
}
has() { echo "$(ask active_profile) $(ask profile_mode)"; }

start() {
    unshare -m sh -c 'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys &&
        mount -o remount,bind,ro /sys && exec tuned' > "$work/tuned" 2>&1 &
    tuned=$!
    for _ in $(seq 100); do [ "$(ask is_running)" = true ] && return; sleep 0.1; done
    fail "TuneD did not start: $(cat "$work/tuned" "$work/refused")"
}
stop() { kill "$tuned"; wait "$tuned" || true; }
# until WANTED: TuneD switches in a thread of its own.
until_has() {
    for _ in $(seq 100); do [ "$(has)" = "$1" ] && return; sleep 0.1; done
    fail "TuneD has $(has), not $1: $(cat "$work/tuned")"
}
by_hand() { ask switch_profile "string:$1" > /dev/null; until_has "$1 manual"; }
files() { grep -s . /etc/tuned/active_profile /etc/tuned/profile_mode /etc/tuned/post_loaded_profile || true; }

printf '[tuned]\nprofile = "nettune-b"\n' > "$work/p.toml"
set -- -p "$work/p.toml"

# round BEFORE: applied, verified, and back to what was active.
round() {
    until_has "$1"
    files > "$work/files"
    expect 0 nettune check -p "$work/p.toml"
    [ "$(has)" = "$1" ] || fail "looking switched TuneD to $(has)"
    expect 0 nettune apply -p "$work/p.toml"
    [ "$(has)" = "nettune-b manual" ] || fail "TuneD has $(has) after apply"
    expect 0 nettune verify
    expect 0 nettune apply -p "$work/p.toml"
    expect 0 nettune rollback
    until_has "$1"
    files > "$work/files-after"
    same "$work/files" "$work/files-after"
}

expect 0 nettune check "$@"
says "TuneD is installed and stopped"
start
# It chose by itself.
round "nettune-a auto"
by_hand nettune-c
round "nettune-c manual"
# Two at once.
by_hand "nettune-a nettune-c"
round "nettune-a nettune-c manual"
# Off: it has no profile, and its thread does not run.
ask disable > /dev/null
until_has " manual"
round " manual"
[ "$(ask is_running)" = false ] || fail "TuneD was off: $(ask is_running)"

# With one that it loads after every other.
stop
printf 'nettune-last\n' > /etc/tuned/post_loaded_profile
printf 'nettune-c\n' > /etc/tuned/active_profile
start
until_has "nettune-c nettune-last manual"
expect 0 nettune apply "$@"
[ "$(has)" = "nettune-b nettune-last manual" ] || fail "TuneD has $(has)"
expect 0 nettune verify
expect 0 nettune rollback
[ "$(has)" = "nettune-c nettune-last manual" ] || fail "TuneD has $(has)"
stop
: > /etc/tuned/post_loaded_profile
start

# It is as wanted already, and what is not ours is not taken back.
by_hand nettune-b
expect 0 nettune apply "$@"
expect 0 nettune rollback
[ "$(has)" = "nettune-b manual" ] || fail "rollback switched TuneD to $(has)"

# Stopped and started in between: it begins with what it was told last.
by_hand nettune-c
expect 0 nettune apply "$@"
stop
expect 4 nettune verify
says "TuneD does not run"
start
until_has "nettune-b manual"
expect 0 nettune verify
expect 0 nettune rollback
until_has "nettune-c manual"
# Stopped while it should go back.
expect 0 nettune apply "$@"
stop
expect 6 nettune rollback
says "TuneD does not run"
start
expect 0 nettune rollback
until_has "nettune-c manual"

# It switches by itself, or by somebody: drift, which only force overwrites.
expect 0 nettune apply "$@"
by_hand nettune-a
expect 4 nettune verify
says "nettune-a"
expect 4 nettune rollback
[ "$(has)" = "nettune-a manual" ] || fail "overwritten: $(has)"
expect 0 nettune rollback --force
until_has "nettune-c manual"

# A profile that there is not: it says so and keeps what it has.
expect 7 nettune apply -p "$work/p.toml" --set 'tuned.profile="nettune-nosuch"'
says "nettune-nosuch"
until_has "nettune-c manual"
machine > "$work/machine-after"
same "$work/machine" "$work/machine-after"
