#!/bin/sh
# Entry point of the image: writes the libpq password file from a mounted secret, then starts Flink or a tool.
set -eu
umask 077
printf '*:*:*:tidemark:%s\n' "$(cat /run/secrets/postgres_password)" > "$HOME/.pgpass"
case "${1:-}" in
    tidemark) exec "$@" ;;
    *) exec /docker-entrypoint.sh "$@" ;;
esac
