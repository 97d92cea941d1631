# What a shell completes, in a real bash, zsh and fish: values of this node, not only words.
. "$(dirname "$0")/lib.sh"
for shell in bash zsh fish; do
    command -v $shell > /dev/null || { echo "SKIPPED: $shell is not installed" >&2; exit 77; }
done
uplink
mkdir "$work/bin"
cp "$NETTUNE" "$work/bin/nettune"
export PATH="$work/bin:$PATH" HOME="$work"

cat > "$work/ask.bash" << 'BASH'
source <(nettune completions bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
words=("$@")
_clap_complete_nettune nettune "${words[-1]}" "${words[-2]}"
printf '%s\n' "${COMPREPLY[@]}"
BASH
in_bash() { bash "$work/ask.bash" "$@"; }

cat > "$work/ask.fish" << 'FISH'
nettune completions fish | source
complete -C "$argv[1]"
FISH
in_fish() { fish --no-config "$work/ask.fish" "$*" | cut -f 1; }

# A zsh that a person types into, by its own pseudo-terminal.
cat > "$work/ask.zsh" << 'ZSH'
zmodload zsh/zpty
zpty person "TERM=dumb zsh -f -i"
zpty -w person "autoload -U compinit; $3; PS1=READY; unsetopt zle_bracketed_paste"
zpty -r -m person heard '*READY*READY*' || exit 1
zpty -w -n person "$1"$'\t'
for try in {1..50}; do
    sleep 0.1
    while zpty -r -t person part; do heard+=$part; done
    [[ $heard == *$2* ]] && exit 0
done
print -r -- "$heard"
exit 1
ZSH

# completes LINE.. WORD: the last word of the line goes on as WORD, among others.
completes() {
    wanted=$1
    shift
    for shell in bash fish; do
        "in_$shell" "$@" > "$work/out" || fail "$shell: $*"
        grep -qxF -e "$wanted" "$work/out" || fail "$shell does not complete '$*' to $wanted: $(cat "$work/out")"
    done
}
completes cilium-max nettune apply -p ''
completes network-latency nettune apply --profile net
completes tcp,bbr nettune check --only tcp,bb
completes up0 nettune rollback --link ''
completes link-reset nettune apply --accept ''
completes mtu. nettune apply --set mt
completes mtu.mtu= nettune apply --set mtu.m
completes 1.18 nettune cilium values --cilium 1.1
completes apply nettune man ap
completes irq nettune explain ir
# An option where it is taken, and no other.
completes --wait nettune apply --w
! in_bash nettune check -- | grep -q -e --wait || fail "check is offered --wait"

expect 0 nettune apply -p cilium-max --only tcp
run=$(nettune --json log | sed 's/.*"run":"\([0-9a-f]*\)".*/\1/')
mkdir -p "$work/var"
mount -t tmpfs tmpfs /var/lib
cp -a "$state" /var/lib/nettune
completes "$run" nettune log ''
completes last nettune rollback --run l

# Sourced, and as a package brings it.
mkdir "$work/functions"
nettune completions zsh > "$work/functions/_nettune"
for loads in 'compinit -u -D; source <(nettune completions zsh)' "fpath=($work/functions \$fpath); compinit -u -D"; do
    zsh -f "$work/ask.zsh" 'nettune apply -p cil' 'nettune apply -p cilium-max' "$loads" || fail "zsh does not complete a profile: $loads"
    zsh -f "$work/ask.zsh" 'nettune check --link up' 'nettune check --link up0' "$loads" || fail "zsh does not complete a link: $loads"
done
expect 0 nettune rollback
