# Removing nettune undoes nothing: what is applied stays, and that is said. ($1 is 0 for a removal.)
if [ "$1" = 0 ] && [ -x /usr/bin/nettune ] && /usr/bin/nettune status > /dev/null 2>&1; then
    echo "nettune: values are applied and stay so; nettune rollback puts them back, and without nettune" >&2
    echo "nettune: sh /var/lib/nettune/undo.sh" >&2
fi
exit 0
