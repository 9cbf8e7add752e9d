#!/bin/sh
# Entry point of the image: writes the passwords of Postgres that this container has as a libpq password file, each for the
# addresses and the database of its settings alone, then starts Flink or a tool. The rest reads its secrets where they are.
set -eu
umask 077
secrets=${SECRETS:-/run/secrets}
place=${TIDEMARK_POSTGRES__URL#*://*@}
database=${place#*/}
hosts=$(echo "${place%%/*}" | tr , ' ')
for secret in "$secrets"/tidemark*; do
    [ -r "$secret" ] || continue
    password=$(sed 's/[\\:]/\\&/g' "$secret")
    for host in $hosts; do
        printf '%s:%s:%s:%s\n' "$host" "${database%%\?*}" "$(basename "$secret")" "$password"
    done
done > "$PGPASSFILE"
case "${1:-}" in
    jobmanager | taskmanager)
        LD_PRELOAD=$(find /usr/lib -name 'libjemalloc.so.2' | head -n 1)
        export LD_PRELOAD
        exec "$FLINK_HOME/bin/$1.sh" start-foreground ;;
    *) exec "$@" ;;
esac
