#!/bin/sh
# Starts Redis with the users of schemas/redis/users.acl, each with the hash of its secret; one without a secret stays out.
set -eu
rights=${RIGHTS:-/etc/redis/users.acl} secrets=${SECRETS:-/run/secrets} made=${MADE:-/tmp/users.acl}
umask 077
while read -r kind user state rest; do
    [ "$kind" = user ] || continue
    if [ "$state" = off ]; then
        echo "user $user off $rest"
    elif [ -r "$secrets/redis_$user" ]; then
        hash=$(printf %s "$(cat "$secrets/redis_$user")" | sha256sum | cut -d' ' -f1)
        echo "user $user on #$hash $rest"
    fi
done < "$rights" > "$made"
exec "$@" --aclfile "$made"
