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
# As the image's own entry point does.
if [ "$(id -u)" = 0 ] && id redis >/dev/null 2>&1 && command -v gosu >/dev/null 2>&1; then
    chown redis "$made"
    chown -R redis .
    exec gosu redis "$@" --aclfile "$made"
fi
exec "$@" --aclfile "$made"
