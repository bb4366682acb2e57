#!/bin/sh
# Process 1 of the lab: the head host, on which people type. All hosts are nested in its namespaces, so its end is
# theirs. It ends when its standard input does: that is a pipe that the test holds, however the test ends.
#
#   head.sh NUM_HOSTS    (in namespaces of its own; see tests/src/lab)
set -eu

hostname head
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t sysfs sysfs /sys
mkdir /run/hosts /run/munge

{
  echo 127.0.0.1 localhost
  echo 10.77.0.1 head
  for i in $(seq "$1"); do echo "10.77.0.$((10 + i)) n$i"; done
} > /run/etc-hosts
mount --bind /run/etc-hosts /etc/hosts

ip link set lo up
# An address of its own: otherwise it has the lowest of its ports', and another one when that host crashes, which the
# other hosts learn of only after a minute.
ip link add switch address 02:00:0a:4d:00:01 type bridge
ip addr add 10.77.0.1/24 dev switch
ip link set switch up
echo ready

# With SIGCHLD ignored the kernel buries the orphans that process 1 inherits.
exec env --ignore-signal=CHLD cat > /dev/null
