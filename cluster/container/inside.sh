#!/usr/bin/env bash
# What both definitions of the container do in a bare Debian, as root.
#
#   inside.sh build FOLDER   set up, build and pack (cluster/setup/dist.sh) the source that this script lies in
#   inside.sh run            install what the packed programs need of the system
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive
install() {
  apt-get -qq update
  apt-get -qq install --yes --no-install-recommends "$@" >/dev/null
  rm -rf /var/lib/apt/lists/*
}

case ${1:-} in
  build)
    cd "$(dirname "$0")/../.."
    install ca-certificates curl make
    export PATH="$HOME/.cargo/bin:$PATH"
    if ! command -v cargo >/dev/null; then
      curl --fail --silent --show-error --location --output /tmp/rustup-init \
        "https://static.rust-lang.org/rustup/dist/$(uname -m)-unknown-linux-gnu/rustup-init"
      chmod +x /tmp/rustup-init
      /tmp/rustup-init -y --quiet --profile minimal --default-toolchain stable
    fi
    make setup dist DIST="${2:?usage: inside.sh build FOLDER}" ;;
  run)
    # Open MPI and what its mpirun starts ranks of other hosts with; the programs' own libraries.
    install openmpi-bin openssh-client libgomp1 libstdc++6 ;;
  *) echo "usage: inside.sh build FOLDER | run" >&2; exit 2 ;;
esac
