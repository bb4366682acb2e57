#!/bin/sh
# A real Slurm over the lab's hosts.
#
#   slurm.sh head FOLDER    munge and the controller, on the head; slurm.conf and all state are in FOLDER
#   slurm.sh node FOLDER    the daemon of this host
set -eu
folder=$2
# Where Slurm's programs look for it. Snakemake's executor starts some of them without SLURM_CONF.
mount --bind "$folder" /etc/slurm
case $1 in
  head)
    mkdir -p "$folder/state"
    chmod 755 /run/munge
    dd if=/dev/urandom of=/run/munge.key bs=1024 count=1 2> /dev/null
    chmod 400 /run/munge.key
    munged --key-file=/run/munge.key --socket=/run/munge/munge.socket.2 --pid-file=/run/munged.pid \
      --seed-file=/run/munge.seed --log-file="$folder/munged.log" --num-threads=2
    slurmctld -c -f "$folder/slurm.conf" -L "$folder/slurmctld.log"
    ;;
  node)
    slurmd -N "$(hostname)" -f "$folder/slurm.conf" -L "$folder/slurmd-$(hostname).log"
    ;;
esac
