#!/usr/bin/env bash
# Finds what the build needs of the system, and gets what is missing: a C++ compiler, an MPI, libclang (the binding of
# MPI is generated from the MPI's headers), a python3 that can install wheels, a Rust toolchain.
#
#   cluster/setup/system.sh FOLDER [slurm]
#
# With `slurm` also what `make test-slurm` brings up a Slurm of its own with: munge, Slurm's daemons, ip, namespaces.
#
# What is there, from whatever source, is kept; with everything there it does nothing. What is missing is installed by
# apt where that is allowed (Debian 12, Ubuntu 22.04 and newer). On a cluster it is not: there compiler and MPI are the
# site's modules, and libclang comes from its PyPI wheel into FOLDER/libclang, where with.sh finds it. Ends with 2, and
# the list of what is missing, where there is no way.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR source=python.sh
. "$here/python.sh"

MIN_GCC=11        # libtorch's headers are C++20; older ones were not tried
LIBCLANG=18.1.1   # the wheel's version
folder=${1:?usage: system.sh FOLDER [slurm]}

have() { command -v "$1" >/dev/null 2>&1; }
exists() { compgen -G "$1" >/dev/null; }

# The library, and beside it the compiler's own headers, which a bare runtime package lacks.
have_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] && return
  exists "$folder/libclang/clang/native/libclang.so" && return
  for root in "$(llvm-config --libdir 2>/dev/null || echo /nowhere)" /usr/lib/llvm-*/lib /usr/lib64 /usr/lib; do
    if exists "$root/libclang*.so*" && exists "$root/clang/*/include/stddef.h"; then return; fi
  done
  return 1
}

missing=()
look() {
  missing=()
  { have "${CC:-cc}" && have "${CXX:-c++}"; } || missing+=(g++)
  have mpirun || missing+=(openmpi-bin)
  have "${MPICC:-mpicc}" || missing+=(libopenmpi-dev)
  have_libclang || missing+=(libclang-dev)
  have python3 || missing+=(python3)
  can_install_wheels "$folder" || missing+=(python3-venv)
  [ "${1:-}" = slurm ] || return 0
  PATH="$PATH:/usr/sbin:/sbin"
  have munged || missing+=(munge)
  { have slurmctld && have slurmd && have sbatch; } || missing+=(slurm-wlm)
  have ip || missing+=(iproute2)
  have unshare || missing+=(util-linux)
}

# Leaves in `no_apt` why it did not.
apt_install() {
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
  have apt-get || { no_apt="no apt-get here; these are Debian's names"; return 1; }
  if [ "$(id -u)" != 0 ]; then
    { have sudo && sudo -n true 2>/dev/null; } || { no_apt="no right to install packages"; return 1; }
    apt=(sudo -n "${apt[@]}")
  fi
  echo "installing ${missing[*]}" >&2
  # Old package lists name files that are gone; a machine may also have none yet.
  "${apt[@]}" update >/dev/null || { no_apt="apt-get update failed"; return 1; }
  "${apt[@]}" install --yes --no-install-recommends "${missing[@]}" >/dev/null || { no_apt="apt-get install failed"; return 1; }
}

# The wheel has the library and no headers; with.sh names the C compiler's.
libclang_wheel() {
  local new="$folder/libclang.new"
  echo "libclang: $no_apt: installing its PyPI wheel ($LIBCLANG, 80 MB) into $folder" >&2
  find_pip "$folder"
  rm -rf "$new"
  if "${pip[@]}" --no-deps --no-compile --target "$new" "libclang==$LIBCLANG"; then
    rm -rf "$folder/libclang" && mv "$new" "$folder/libclang"
  else
    rm -rf "$new"
    echo "libclang: pip could not install the wheel, for the reason above" >&2
  fi
}

look "${2:-}"
if [ ${#missing[@]} -gt 0 ] && ! apt_install; then
  # All but libclang is the site's to give, and the wheel needs a python3 and a C compiler.
  if [ "${missing[*]}" = libclang-dev ]; then libclang_wheel; look "${2:-}"; fi
  if [ ${#missing[@]} -gt 0 ]; then
    echo "$no_apt. Missing packages: ${missing[*]}" >&2
    echo "Have them installed (on Debian or Ubuntu: apt-get install ${missing[*]}), or load the modules of your site that" \
      "stand for them (a gcc, an Open MPI, a python), and run this again." >&2
    if [[ " ${missing[*]} " = *' libclang-dev '* ]]; then
      echo "libclang-dev need not be: when the others are there, its PyPI wheel is taken instead." >&2
    fi
    exit 2
  fi
fi

if "${CXX:-c++}" --version 2>/dev/null | grep -qi 'free software foundation'; then
  version=$("${CXX:-c++}" -dumpfullversion)
  if [ "${version%%.*}" -lt $MIN_GCC ]; then
    echo "the C++ compiler, $(command -v "${CXX:-c++}"), is GCC $version: libtorch's headers need $MIN_GCC or newer. Load a" \
      "newer one (module avail gcc), or name it by CC and CXX" >&2
    exit 2
  fi
fi
if [ -n "${TELL:-}" ] && ! mpirun --version 2>/dev/null | grep -q 'Open MPI'; then
  echo "mpirun, $(command -v mpirun), is not Open MPI's: \`tercet\` starts ranks with Open MPI's options only" >&2
fi
if ! have cargo; then
  echo "no Rust toolchain: install one as https://rustup.rs says (it goes into your home), and open a new shell" >&2
  exit 2
fi
