# shellcheck shell=sh
# What the scripts of tests/netns and the scenarios of tests/lab have in common: sourced by the lib.sh of each, which has
#   $work               a folder of its own             $undo             where undo.sh is
#   nettune_itself ARG..  runs the binary               settle            waits until nothing is starting any more
#   snapshot FILE       the node as text                same A B          equal, or it fails with the difference
# and gets
#   fail MSG            ends the test as failed         skip MSG          ends it as skipped
#   expect CODE CMD...  runs CMD, fails unless it ends with CODE; its output is in $OUT, $work/out, $work/err
#   says TEXT           fails unless the last of them printed it, wherever its lines are broken
#   reaches CMD...      within ten seconds, for a path that has just been made
#   nettune ARG...      with BACK=script, undo.sh does what `nettune rollback` would, which then finds nothing to do

# Where a failure is told also from inside of what is redirected.
exec 3>&2

fail() { echo "FAILED: $*" >&3; exit 1; }

skip() { echo "SKIPPED: $*" >&3; exit 77; }

expect() {
    _want=$1
    shift
    _got=0
    "$@" > "$work/out" 2> "$work/err" || _got=$?
    OUT=$(cat "$work/out" "$work/err")
    [ "$_got" = "$_want" ] || { echo "$OUT" | head -n 100 >&3; fail "exit $_got instead of $_want: $*"; }
}

says() {
    cat "$work/out" "$work/err" | tr -s ' \n' ' ' | grep -qF -- "$1" ||
        { cat "$work/out" "$work/err" >&3; fail "nobody said: $1"; }
}

reaches() {
    _tries=50
    until "$@" > "$work/reached" 2>&1; do
        _tries=$((_tries - 1))
        [ "$_tries" -gt 0 ] || { cat "$work/reached" >&3; fail "no answer: $*"; }
        sleep 0.2
    done
}

nettune() {
    if [ "${BACK:-} $*" != "script rollback" ] || [ ! -e "$undo" ]; then
        nettune_itself "$@"
        return
    fi
    sh "$undo" || return
    settle
    snapshot "$work/undone"
    nettune_itself rollback || return
    snapshot "$work/rolled"
    same "$work/undone" "$work/rolled" "undo.sh left something to rollback"
}
