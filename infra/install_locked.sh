#!/bin/sh
# install_locked.sh PIP FILE...: installs what lock files name, each file with a hash that is in them, from whatever index
# pip is set up with. Wheels alone, but for four packages that have none; those are built by the setuptools of the lock.
set -eu
pip=$1
shift
"$pip" --version > /dev/null
builders=$(mktemp)
trap 'rm -f "$builders"' EXIT
cat "$@" | awk '/^(pip|setuptools)==/ { on = 1 } on { print } on && !/\\$/ { on = 0 }' > "$builders"
locked="--quiet --progress-bar on --require-hashes --only-binary :all:"
# shellcheck disable=SC2086
"$pip" install $locked --requirement "$builders"
files=""
for file in "$@"; do files="$files --requirement $file"; done
# shellcheck disable=SC2086
"$pip" install $locked --no-binary crcmod,dill,docopt,hdfs --no-build-isolation $files
