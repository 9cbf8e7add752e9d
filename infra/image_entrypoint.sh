#!/bin/sh
# Entry point of the image: writes the libpq password file from a mounted secret, then starts Flink or a tool.
set -eu
printf '*:*:*:tidemark:%s\n' "$(cat /run/secrets/postgres_password)" | install -m 0600 -o flink -g flink /dev/stdin "$HOME/.pgpass"
case "${1:-}" in
    tidemark) exec gosu flink "$@" ;;
    *) exec /docker-entrypoint.sh "$@" ;;
esac
