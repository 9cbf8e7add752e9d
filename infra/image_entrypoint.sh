#!/bin/sh
# Entry point of the image: writes the passwords of Postgres that this container has as a libpq password file, each for the
# addresses and the database of its settings alone, then starts Flink or a tool. The rest reads its secrets where they are.
set -eu
secrets=${SECRETS:-/run/secrets}
lines_of() {
    place=${TIDEMARK_POSTGRES__URL#*://*@}
    database=${place#*/}
    for host in $(echo "${place%%/*}" | tr , ' '); do
        printf '%s:%s:%s:%s\n' "$host" "${database%%\?*}" "$(basename "$1")" "$(sed 's/[\\:]/\\&/g' "$1")"
    done
}
if [ -n "${PGPASSFILE:-}" ]; then
    umask 077
    for secret in "$secrets"/tidemark*; do
        [ ! -r "$secret" ] || lines_of "$secret"
    done > "$PGPASSFILE"
    umask 027
fi
case "${1:-}" in
    jobmanager | taskmanager)
        # Flink makes the last folder of its scratch space, and not those above it.
        mkdir -p /tmp/tidemark/tmp
        LD_PRELOAD=$(find /usr/lib -name 'libjemalloc.so.2' | head -n 1)
        export LD_PRELOAD
        exec "$FLINK_HOME/bin/$1.sh" start-foreground ;;
    *) exec "$@" ;;
esac
