#!/bin/sh
# Runs once, in the container of Postgres: the owner of the database, who may act as it, and a login of each role. What each
# may do comes with `tidemark db migrate` (schemas/postgres/grants.yaml). psql reads the passwords from the secrets: none is
# in an argument.
set -eu
secrets=${SECRETS:-/run/secrets}
run() { psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB"; }
for role in tidemark_owner tidemark_reader tidemark_tenant; do
    echo "CREATE ROLE $role NOLOGIN;" | run
done
for login in tidemark tidemark_writer tidemark_ledger tidemark_ops; do
    printf '%s\n' "\\set password \`cat $secrets/$login\`" "CREATE ROLE $login LOGIN PASSWORD :'password';" | run
done
printf '%s\n' 'GRANT tidemark_owner TO tidemark;' 'ALTER DATABASE :"DBNAME" OWNER TO tidemark_owner;' \
    'CREATE EXTENSION IF NOT EXISTS timescaledb;' | run
