#!/bin/sh
# Runs a stage's command for its rule (rules.smk), in a job of Slurm's or without.
#
#   run.sh REFUSED COMMAND…
#
# The file REFUSED is there afterwards if the command would end in the same way again.
refused=$1
shift
rm -f "$refused"

# Snakemake's executor keeps from a job's commands most of what Slurm tells of the job, its nodes included.
if [ -n "${SLURM_JOB_ID-}" ] && [ -z "${SLURM_JOB_NODELIST-}" ]; then
  SLURM_JOB_NODELIST=$(squeue --noheader --jobs "$SLURM_JOB_ID" --format %N) || exit 3
  export SLURM_JOB_NODELIST
fi

# Snakemake says how many threads the job has. A program would start as many in each of its ranks, which divide the
# cores themselves.
unset OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS GOTO_NUM_THREADS VECLIB_MAXIMUM_THREADS

# A signal to all processes of a job is the command's as well, which takes a checkpoint. This shell waits for it.
trap : INT TERM USR1
# This shell ends when Snakemake does, and asks the command to do the same.
setpriv --pdeathsig TERM "$@"
code=$?
# Tercet ends with 3 after a machine's failure and with 75 after a checkpoint that was asked for; from 129 on it is a
# signal. Everything else is done, or is a mistake in what was asked, bad data or a bug.
case $code in 0 | 3 | 75) exit $code ;; esac
if [ $code -le 128 ]; then mkdir -p "$(dirname "$refused")" && : > "$refused"; fi
exit $code
