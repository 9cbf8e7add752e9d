#!/bin/sh
# Runs a Postgres program inside the Debian tree, with one stack's data directory at /srv/tidemark.
# To be started under `unshare --mount`: the mounts exist in that namespace only. They end with the program, other stacks
# on the same tree do not see them, and no `rm` outside can reach through them.
set -eu
rootfs=$1 data=$2
shift 2
mount --bind "$data" "$rootfs/srv/tidemark"
mount --rbind /dev "$rootfs/dev"
exec chroot --userspec=postgres:postgres "$rootfs" "$@"
