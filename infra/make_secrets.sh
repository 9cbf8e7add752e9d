#!/bin/sh
# Makes the passwords of compose.yaml, once, each in a file of .secrets that nobody else may read.
set -eu
umask 077
cd "$(dirname "$0")/.."
# In the second are those of receivers of alerts, which are yours.
mkdir -p .secrets/receivers
for name in postgres_admin tidemark tidemark_writer tidemark_ledger tidemark_ops \
            redis_tidemark_services redis_tidemark_meter redis_tidemark_reader; do
    [ -s ".secrets/$name" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > ".secrets/$name"
done
