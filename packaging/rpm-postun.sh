# The package's own folders, which cargo-generate-rpm cannot say that it owns.
if [ "$1" = 0 ]; then
    rmdir /usr/lib/nettune/profiles /usr/lib/nettune /usr/share/doc/nettune/docs /usr/share/doc/nettune /usr/share/licenses/nettune 2> /dev/null
fi
exit 0
