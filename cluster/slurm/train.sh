#!/bin/bash
# Trains stage2 on 12 nodes with 8 GPUs each. Written by `tercet submit`; change what you like:
# the lines that name stage2 are to be changed for another recipe. Submit with sbatch.
#
#SBATCH --job-name=stage2
#SBATCH --nodes=12
#SBATCH --ntasks-per-node=8          # one task per rank
#SBATCH --gpus-per-node=8            # and one rank per GPU
#SBATCH --exclusive                  # all cores of a node: ranks share them out by GPU
#SBATCH --mem=0                      # all memory of a node
#SBATCH --time=1-00:00:00
#SBATCH --signal=B:USR1@600          # seconds before the end: time for a checkpoint
#SBATCH --requeue                    # Slurm may queue it again: node failure, preemption
#SBATCH --open-mode=append           # what was said before a requeue stays
#SBATCH --output=slurm-%j.out        # in the folder that sbatch is called in

# The order in which the nodes' GPUs are counted is that of their slots, so that a rank's GPU and its cores are neighbours.
export CUDA_DEVICE_ORDER=PCI_BUS_ID
# NCCL says what goes wrong, and nothing else.
export NCCL_DEBUG=WARN
# A packet is given up after 4.096 us * 2^22 = 17 s times the retries, not 4 s: a switch that reroutes may take longer, and a
# queue pair that has failed cannot be mended, it ends the run. Hangs are found by heartbeats, not by this.
export NCCL_IB_TIMEOUT=22
export NCCL_IB_RETRY_CNT=7
# The site's choices; NCCL finds good ones itself unless a node has several networks:
# export NCCL_SOCKET_IFNAME==ib0          # the network by which ranks first meet
# export NCCL_IB_HCA==mlx5_0,mlx5_1       # only these adapters, if others lead elsewhere (storage, management)
# export NCCL_CROSS_NIC=0                 # fabrics with a rail per adapter: keep each ring on one
# export NCCL_NET_GDR_LEVEL=PXB           # adapters write to GPUs behind the same PCIe switches only
# export NCCL_IB_GID_INDEX=3              # Ethernet (RoCE v2) in place of InfiniBand
# Nothing is set for NVLink: an A800's is slower than an A100's, and NCCL measures the topology.

cd -- "$SLURM_SUBMIT_DIR" || exit 3   # submit it from the folder that the recipe's paths start from
run_dir=runs/stage2   # as in the recipe
max_losses=5

# Signals go to the launcher, which has all ranks take a checkpoint of the same step and ends with 75.
signalled=0
pass_on() { signalled=1; kill -s "$1" "$launcher" 2> /dev/null; }
trap 'pass_on USR1' USR1
trap 'pass_on TERM' TERM

tercet train configs/stage2.toml --resume &
launcher=$!
# A signal ends `wait` early; the launcher's own code comes from the `wait` that none has disturbed.
while wait "$launcher"; code=$?; [ "$signalled" = 1 ]; do signalled=0; done

# Cancelled, preempted, or queued again by Slurm already: it has decided.
case $(scontrol --oneliner show job "$SLURM_JOB_ID") in
  *JobState=RUNNING*) ;;
  *) exit "$code" ;;
esac
losses_file=$run_dir/losses-$SLURM_JOB_ID
case $code in
  75) # stopped after a checkpoint: goes on where it was
    rm -f "$losses_file"
    scontrol requeue "$SLURM_JOB_ID" ;;
  3) # a machine has failed: other nodes may do
    losses=$(cat "$losses_file" 2> /dev/null)
    losses=$((${losses:-0} + 1))
    if [ "$losses" -le "$max_losses" ]; then
      echo "$losses" > "$losses_file"
      echo "job $SLURM_JOB_ID: machine failure $losses of at most $max_losses: queued again" >&2
      scontrol requeue "$SLURM_JOB_ID"
    fi ;;
esac
# Everything else is done, or would happen again: 2 a mistake in what was asked, 4 bad data, 101 a bug.
exit "$code"
