#!/bin/sh
# Installs a release of nettune: the tarball for this machine's architecture, only with a valid signature and the right sum.
#   sh install.sh [--from URL|FOLDER] [--prefix FOLDER]
# --from    where the files of the release are: https://.., http://.., file://.. or a folder (a node without a network)
# --prefix  what is written below: bin/nettune, manual pages, completions; default /usr/local
# Needs openssl, sha256sum, tar and gzip, and curl or wget for a URL. Nothing is asked of this machine but its architecture, no
# setting is changed, and what is downloaded is run by no shell.
set -eu
umask 022

# packaging/release fills these in.
VERSION='@VERSION@'
BASE='@BASE@'
PUBLIC_KEY='@PUBLIC_KEY@'

die() {
    echo "install.sh: $*" >&2
    exit 1
}

usage() {
    echo "usage: sh install.sh [--from URL|FOLDER] [--prefix FOLDER]" >&2
    exit 2
}

clean() {
    [ -z "$work" ] || rm -rf "$work"
    [ -z "$new" ] || rm -f "$new"
}

has() {
    command -v "$1" > /dev/null 2>&1
}

# fetch NAME: a file of the release into the work folder. What went wrong is one line of whatever was used.
fetch() {
    case $BASE in
        http://* | https://*)
            if has curl; then
                said=$(curl -fsSL -o "$work/$1" "$BASE/$1" 2>&1) && return
            elif has wget; then
                said=$(wget -q -O "$work/$1" "$BASE/$1" 2>&1) && return
            else
                die "neither curl nor wget is here: install one, or give the files of the release as a folder (--from FOLDER)"
            fi
            ;;
        file:///*) said=$(cp "${BASE#file://}/$1" "$work/$1" 2>&1) && return ;;
        *://*) die "no way is known to fetch from $BASE: https, http, file or a folder" ;;
        *) said=$(cp "$BASE/$1" "$work/$1" 2>&1) && return ;;
    esac
    said=$(printf '%s\n' "$said" | tail -n 1)
    die "cannot fetch $1 from $BASE${said:+: $said}"
}

# write FILE PLACE MODE: below the prefix, under a name of its own that `new` has until it is PLACE.
write() {
    new=$prefix/${2%/*}/.${2##*/}.$$
    said=$({ mkdir -p "${new%/*}" && cp "$1" "$new" && chmod "$3" "$new"; } 2>&1) || die "cannot write $prefix/$2: $said"
}

# Whoever looks meanwhile sees the old file or the new one.
put() {
    write "$@"
    mv -f "$new" "$prefix/$2"
    new=
}

main() {
    prefix=/usr/local work='' new=''
    while [ $# -gt 0 ]; do
        [ $# -gt 1 ] || usage
        case $1 in
            --from) BASE=${2%/} ;;
            --prefix) prefix=${2%/} ;;
            *) usage ;;
        esac
        shift 2
    done
    case $BASE in '' | @*) die "where is the release? --from URL or --from FOLDER" ;; esac
    case $PUBLIC_KEY in *'BEGIN PUBLIC KEY'*) ;; *) die "this script has no public key: take the one of a signed release" ;; esac

    [ "$(uname -s)" = Linux ] || die "nettune is for Linux, and this is $(uname -s)"
    case $(uname -m) in
        x86_64 | amd64) arch=amd64 ;;
        aarch64 | arm64) arch=arm64 ;;
        *) die "no nettune is released for $(uname -m): x86_64 and aarch64 are" ;;
    esac
    for tool in openssl sha256sum tar gzip find; do has $tool || die "$tool is needed and not here"; done

    trap clean EXIT
    trap 'exit 1' HUP INT TERM
    work=$(mktemp -d) || die "no temporary folder can be made"
    name=nettune-$VERSION-linux-$arch
    fetch SHA256SUMS
    fetch SHA256SUMS.sig
    printf '%s\n' "$PUBLIC_KEY" > "$work/key.pem"
    openssl dgst -sha256 -verify "$work/key.pem" -signature "$work/SHA256SUMS.sig" "$work/SHA256SUMS" > /dev/null 2>&1 ||
        die "SHA256SUMS of $BASE is not signed by the key of this script: nothing is installed"
    # By the name of this version: an older release that was signed as well is none.
    sum=
    while read -r first second; do [ "$second" != "$name.tar.gz" ] || sum=$first; done < "$work/SHA256SUMS"
    [ -n "$sum" ] || die "$name.tar.gz is not in the SHA256SUMS of $BASE"
    fetch "$name.tar.gz"
    [ "$(sha256sum < "$work/$name.tar.gz" | cut -d' ' -f1)" = "$sum" ] ||
        die "$name.tar.gz is not what SHA256SUMS says: nothing is installed"

    gzip -d < "$work/$name.tar.gz" > "$work/$name.tar" || die "cannot unpack $name.tar.gz"
    tar -xf "$work/$name.tar" -C "$work" || die "cannot unpack $name.tar.gz"
    # Where it is to be and not in the temporary folder, from which nothing may be run on some nodes.
    write "$work/$name/bin/nettune" bin/nettune 755
    "$new" --version > "$work/version" 2>&1 || die "nettune does not start here: $(tail -n 1 "$work/version")"
    mv -f "$new" "$prefix/bin/nettune"
    new=
    for file in $(cd "$work/$name" && find share -type f); do put "$work/$name/$file" "$file" 644; done
    echo "$(cat "$work/version") is $prefix/bin/nettune; no setting of this machine is changed. Next: nettune check"
}

main "$@"
