#!/bin/sh
# The lab's ssh: runs a command line on a host, with an environment of its own. Called on the head.
#
#   shell.sh HOST COMMAND…
set -eu
host=$1
shift
unreachable() {
  echo "shell.sh: connect to host $host: $1" >&2
  exit 255
}
[ -r "/run/hosts/$host" ] || unreachable "no such host"
[ "$(cat "/sys/class/net/port-$host/operstate")" = up ] || unreachable "timed out"
exec nsenter --target "$(cat "/run/hosts/$host")" --net --mount --uts --ipc --pid -- \
  env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME="$HOME" CUDA_VISIBLE_DEVICES= sh -c "$*"
