#!/bin/sh
# Makes the passwords of compose.yaml, once, each in a file of .secrets. That folder keeps everybody else on this machine out;
# the files can be read, because the users of the containers, to which they are mounted one by one, are others.
set -eu
umask 077
cd "$(dirname "$0")/.."
# In the second are those of receivers of alerts, which are yours: let others read them, as these.
mkdir -p .secrets/receivers
chmod 0700 .secrets
chmod 0755 .secrets/receivers
for name in postgres_admin tidemark tidemark_writer tidemark_ledger tidemark_ops \
            redis_tidemark_services redis_tidemark_meter redis_tidemark_reader; do
    [ -s ".secrets/$name" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > ".secrets/$name"
    chmod 0444 ".secrets/$name"
done
