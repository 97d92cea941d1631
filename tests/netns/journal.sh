# A journal that is damaged, of no known boot, or of others' making: no verb that writes touches the node, the
# journal or undo.sh, and no verb that looks says that nothing is applied.
. "$(dirname "$0")/lib.sh"
uplink
mtu() { cat /sys/class/net/up0/mtu; }
apply="apply -p cilium-max --only mtu --set mtu.mtu=4000 --accept link-reset,path"
ip -n peer link set peer0 mtu 9000
kept() { (cd "$state" && sha256sum journal.jsonl undo.sh) > "$1" 2> /dev/null || true; }
# Every verb, with the code of those that write.
refuses() {
    kept "$work/was"
    sysctl -a 2> /dev/null | grep '^net' > "$work/net"
    for verb in "$apply --set mtu.probe=[\"10.77.0.1\"]" "apply -p cilium-max --only tcp" rollback "rollback --force" \
        "apply -p cilium-max --only tcp --confirm 60"; do
        # shellcheck disable=SC2086
        expect 78 nettune $verb
        says "$1"
        [ "$(wc -l < "$work/err")" = 1 ] || fail "more than a line: $(cat "$work/err")"
    done
    kept "$work/is"
    same "$work/was" "$work/is"
    sysctl -a 2> /dev/null | grep '^net' > "$work/net2"
    same "$work/net" "$work/net2"
    [ ! -e /run/nettune/pending.json ] || fail "a run waits that was never made"
}
# Verbs that look, where something is applied.
unsure() {
    expect 78 nettune verify
    says "what is applied is unknown"
    expect 78 nettune status
    says "what is applied is unknown"
    expect 78 nettune rollback --dry-run
    expect 78 nettune status --format prometheus --output "$work/metrics"
    grep -qx "nettune_journal_unreadable 1" "$work/metrics" || fail "$(cat "$work/metrics")"
    grep -q "^nettune_applied " "$work/metrics" && fail "it does not know"
    for verb in check plan; do
        expect 0 nettune $verb -p cilium-max --only tcp
        says "what is applied is unknown"
        expect 0 nettune $verb -p cilium-max --only tcp --json
        says '"unknown":"'
    done
    expect 0 nettune check -p cilium-max --only tcp
    says "applied: unknown"
}

# A control: all of it goes where nothing is wrong.
run="$apply --set mtu.probe=[\"10.77.0.1\"]"
# shellcheck disable=SC2086
expect 0 nettune $run
expect 0 nettune verify
expect 0 nettune journal
[ "$(mtu)" = 4000 ] || fail "mtu $(mtu)"

# One bit of a whole line.
cp "$state/journal.jsonl" "$work/good"
python3 - "$state/journal.jsonl" <<'PY'
import sys
text = bytearray(open(sys.argv[1], "rb").read())
text[text.find(b'"changes":[') + 10] ^= 1
open(sys.argv[1], "wb").write(text)
PY
refuses "journal.jsonl:2 cannot be read"
says "nettune journal repair"
unsure
expect 78 nettune journal repair
says 'mtu:up0: "1500" -> "4000"'
says "nothing was written"
kept "$work/is"
same "$work/was" "$work/is"
expect 0 nettune journal repair --write --json
says '"written":true'
says '"resource":"mtu:up0","before":"1500","after":"4000"'
cp "$state/undo.sh" "$work/undo.sh"
expect 0 nettune journal
expect 3 nettune verify
expect 0 nettune rollback
[ "$(mtu)" = 4000 ] || fail "the lost run was taken for known"
# What repair has kept knows it.
cmp "$work/undo.sh" "$state"/undo.sh.damaged-* || fail "undo.sh was not kept"
[ "$(stat -c %a "$state"/journal.jsonl.damaged-*)" = 600 ] || fail "the copy is for everybody"
sh "$state"/undo.sh.damaged-* > "$work/undone" 2>&1 || fail "$(cat "$work/undone")"
[ "$(mtu)" = 1500 ] || fail "mtu $(mtu)"
expect 0 nettune journal repair --write
says "nothing is nettune's"

# No /proc, or parts of it: first with nothing applied, then with something.
# hidden PATH COMMAND...: without what is below PATH.
hidden() { (path=$1; shift; exec unshare -m sh -c "mount -t tmpfs none $path; exec \"\$@\"" sh "$@"); }
rm -r "$state"
for path in /proc /proc/sys/kernel/random; do
    # shellcheck disable=SC2086
    expect 78 hidden $path "$NETTUNE" --state-dir "$state" $run
    says "and without it nothing is written"
    [ ! -e "$state/journal.jsonl" ] && [ ! -e "$state/undo.sh" ] || fail "written without $path"
    expect 0 hidden $path "$NETTUNE" --state-dir "$state" check -p cilium-max --only mtu
    expect 3 hidden $path "$NETTUNE" --state-dir "$state" status
done
[ "$(mtu)" = 1500 ] || fail "mtu $(mtu)"
# shellcheck disable=SC2086
expect 0 nettune $run
kept "$work/was"
for path in /proc /proc/sys/kernel/random; do
    for verb in rollback verify status "apply -p cilium-max --only tcp"; do
        # shellcheck disable=SC2086
        expect 78 hidden $path "$NETTUNE" --state-dir "$state" $verb
        says "cannot be read"
    done
done
kept "$work/is"
same "$work/was" "$work/is"
expect 0 nettune rollback
[ "$(mtu)" = 1500 ] || fail "mtu $(mtu)"

# A journal in a folder that others may write; the same in one of our own is carried out.
victim=$work/victim.conf
planted() {
    rm -rf "$state"
    mkdir -m "$1" "$state"
    echo ours > "$victim"
    cat > "$state/journal.jsonl" <<X
{"schema":1,"type":"owned","owned":[{"resource":"file:$victim","before":"mode=0644 owner=0:0\nplanted\n","wrote":["$(stat -c 'mode=0%a owner=%u:%g' "$victim")\nours\n"],"claims":{"irq":{"exactly":"x"}},"boot":"$(cat /proc/sys/kernel/random/boot_id)","netns":$(stat -Lc %i /proc/self/ns/net),"profile":null,"time":"2026-11-28T00:00:00Z"}],"links":[]}
X
    chmod 600 "$state/journal.jsonl"
}
planted 700
expect 0 nettune rollback
[ "$(cat "$victim")" = planted ] || fail "a folder of our own was not believed"
for mode in 777 1777 770; do
    planted $mode
    refuses "is refused: others than root own it or may write it"
    unsure
    [ "$(cat "$victim")" = ours ] || fail "written for somebody else"
done
planted 700
chmod 666 "$state/journal.jsonl"
refuses "journal.jsonl is refused"
unsure
if chown 65533:65533 "$state/journal.jsonl" 2> /dev/null; then
    chmod 600 "$state/journal.jsonl"
    refuses "journal.jsonl is refused"
    unsure
fi
[ "$(cat "$victim")" = ours ] || fail "written for somebody else"
# The run folder says what root is to write as well.
rm -r "$state"
mkdir -m 777 "$work/run"
# shellcheck disable=SC2086
expect 78 nettune --run-dir "$work/run" $run --confirm 60
says "run is refused"
[ "$(mtu)" = 1500 ] || fail "mtu $(mtu)"
