#!/usr/bin/env bash
# Installs the system packages that Tercet needs and does not find: an MPI, libclang (its binding is generated from
# the MPI's headers), a C++ compiler, pkg-config, and a python3 that can make virtual environments.
#
#   cluster/setup/system.sh [slurm]
#
# With `slurm` also what `make test-slurm` brings up a Slurm of its own with: munge, Slurm's daemons, ip, namespaces.
# For Debian 12 and Ubuntu 22.04 or newer. What is there, from whatever source, is kept; with everything there it does
# nothing. Ends with 2, and the list of what is missing, where it may not install.
set -euo pipefail

have() { command -v "$1" >/dev/null 2>&1; }
exists() { compgen -G "$1" >/dev/null; }

# The library, and beside it the compiler's own headers, which a bare runtime package lacks.
have_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] && return
  for root in /usr/lib/llvm-*/lib /usr/lib64 /usr/lib; do
    if exists "$root/libclang*.so*" && exists "$root/clang/*/include/stddef.h"; then return; fi
  done
  return 1
}

missing=()
{ have cc && have c++; } || missing+=(g++)
have pkg-config || missing+=(pkg-config)
have mpirun || missing+=(openmpi-bin)
have mpicc || missing+=(libopenmpi-dev)
have_libclang || missing+=(libclang-dev)
have python3 || missing+=(python3)
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ "${1:-}" = slurm ]; then
  PATH="$PATH:/usr/sbin:/sbin"
  have munged || missing+=(munge)
  { have slurmctld && have slurmd && have sbatch; } || missing+=(slurm-wlm)
  have ip || missing+=(iproute2)
  have unshare || missing+=(util-linux)
fi

if [ ${#missing[@]} -gt 0 ]; then
  give_up() {
    echo "$1. Missing packages: ${missing[*]}" >&2
    echo "Have them installed (on Debian or Ubuntu: apt-get install ${missing[*]}) and run this again." >&2
    exit 2
  }
  have apt-get || give_up "no apt-get here: install what these Debian packages stand for"
  apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
  if [ "$(id -u)" != 0 ]; then
    { have sudo && sudo -n true 2>/dev/null; } || give_up "no right to install packages"
    apt=(sudo -n "${apt[@]}")
  fi
  echo "installing ${missing[*]}" >&2
  # Old package lists name files that are gone; a machine may also have none yet.
  "${apt[@]}" update >/dev/null || give_up "apt-get update failed"
  "${apt[@]}" install --yes --no-install-recommends "${missing[@]}" >/dev/null || give_up "apt-get install failed"
fi

if ! have cargo; then
  echo "no Rust toolchain: install one as https://rustup.rs says, and open a new shell" >&2
  exit 2
fi
