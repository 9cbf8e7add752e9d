#!/bin/sh
# Entry point of the image: copies the secrets that this container has to where its user alone reads them, those of Postgres
# as a libpq password file, then starts Flink or a tool.
set -eu
install -d -m 0700 -o flink -g flink "$HOME/secrets"
for secret in /run/secrets/redis_*; do
    [ ! -r "$secret" ] || install -m 0400 -o flink -g flink "$secret" "$HOME/secrets/"
done
install -d -m 0700 -o flink -g flink "$HOME/receivers"
for secret in /run/receivers/*; do
    [ ! -r "$secret" ] || install -m 0400 -o flink -g flink "$secret" "$HOME/receivers/"
done
for secret in /run/secrets/tidemark*; do
    [ ! -r "$secret" ] || printf '*:*:*:%s:%s\n' "$(basename "$secret")" "$(cat "$secret")"
done | install -m 0600 -o flink -g flink /dev/stdin "$HOME/.pgpass"
case "${1:-}" in
    tidemark) exec gosu flink "$@" ;;
    *) exec /docker-entrypoint.sh "$@" ;;
esac
