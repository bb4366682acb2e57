#!/bin/sh
# The lab's hosts, worked from its head.
#
#   host.sh boot NAME NUMBER    start a host with the address 10.77.0.(10 + NUMBER)
#   host.sh crash NAME          end all its processes at once; its kernel still says goodbye to its peers
#   host.sh power-off NAME      the same without a goodbye
#   host.sh cut NAME            its port at the switch goes dead; host.sh heal NAME: it works again
set -eu

init() { # in the host's own namespaces
  hostname "$1"
  mount -t sysfs sysfs /sys
  # slurmd looks for control groups and is content with none.
  mount -t tmpfs tmpfs /sys/fs/cgroup
  mount -t tmpfs -o mode=1777 tmpfs /dev/shm
  mkdir -p /dev/shm/slurmd
  exec env --ignore-signal=CHLD sleep infinity
}

boot() {
  unshare --net --mount --uts --ipc --pid --fork --kill-child=KILL --mount-proc "$0" init "$1" &
  outer=$!
  until pid=$(cat "/proc/$outer/task/$outer/children") && [ -n "$pid" ]; do sleep 0.01; done
  pid=${pid% }
  # A port of that name is left where a host of that name died a moment ago.
  until ip link add "port-$1" type veth peer name eth0 netns "$pid" 2> /dev/null; do sleep 0.05; done
  ip link set "port-$1" master switch up
  nsenter --target "$pid" --net sh -c "ip link set lo up; ip addr add 10.77.0.$((10 + $2))/24 dev eth0; ip link set eth0 up"
  until [ "$(nsenter --target "$pid" --uts hostname)" = "$1" ]; do sleep 0.01; done
  until nsenter --target "$pid" --mount test -d /dev/shm/slurmd; do sleep 0.01; done
  echo "$pid" > "/run/hosts/$1"
}

end() {
  kill -KILL "$(cat "/run/hosts/$1")"
  rm "/run/hosts/$1"
}

case $1 in
  init) init "$2" ;;
  boot) boot "$2" "$3" ;;
  crash) end "$2" ;;
  power-off) ip link set "port-$2" down; end "$2" ;;
  cut) ip link set "port-$2" down ;;
  heal) ip link set "port-$2" up ;;
  *) echo "host.sh: unknown: $1" >&2; exit 2 ;;
esac
