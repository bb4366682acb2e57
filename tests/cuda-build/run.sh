#!/usr/bin/env bash
# Proves of the CUDA build what can be proved without a GPU: `make test-cuda-build` calls this.
#
#   tests/cuda-build/run.sh cuda|cu126|cu130
#
# It builds the worker for the CPU, then has set-up take the CUDA build in its place, and builds again, as somebody does
# whose cluster has got GPUs. Then: libtorch_cuda is loaded; GNU ld and lld both link it; each operator that the worker
# calls has a kernel for CUDA; NCCL and NVRTC are found. All is in a folder of its own, .deps/cuda-build or the one that
# CUDA_BUILD names: 9 GB at most while it works, 5.5 GB of which stay.
set -euo pipefail
cd "$(dirname "$0")/../.."

kind=${1:?usage: run.sh cuda|cu126|cu130}
folder=$(realpath -m "${CUDA_BUILD:-.deps/cuda-build}")
unset LIBTORCH TORCH
mkdir -p "$folder"
export CARGO_TARGET_DIR=$folder/target
libtorch=$folder/deps/libtorch
worker=$CARGO_TARGET_DIR/release/tercet-worker
here=tests/cuda-build

failures=0
is() { echo "ok: $*"; }
fails() { echo "FAILED: $*" >&2; failures=$((failures + 1)); }

free=$(df --output=avail -BG "$folder" | tail -n 1 | tr -dc 0-9)
used=$(du -s -BG "$folder" | cut -f 1 | tr -dc 0-9)
if [ $((free + used)) -lt 10 ]; then
  echo "$folder: the CUDA build needs 10 GB, and $((free + used)) are free: free some, or name another place by CUDA_BUILD" >&2
  exit 2
fi

setup() { TORCH=$1 TELL=1 cluster/setup/libtorch.sh "$folder/deps"; }
build() { LIBTORCH=$libtorch cluster/setup/with.sh cargo build --release --package tercet --package tercet-worker; }
# Links the worker again, by this linker. rustc asks `cc` to link; with flags of cargo everything would be compiled
# anew.
link_by() {
  mkdir -p "$folder/bin"
  printf '#!/bin/sh\nexec %s "$@" -fuse-ld=%s\n' "$(command -v cc)" "$1" > "$folder/bin/cc"
  chmod +x "$folder/bin/cc"
  find "$CARGO_TARGET_DIR/release/deps" -name 'tercet_worker-*' ! -name '*.*' -delete
  PATH=$folder/bin:$PATH build
}
# Whether a worker that runs has loaded it. What it has mapped at its end is in $folder/maps.
loads_cuda() {
  rm -f "$folder/maps"
  LD_PRELOAD=$folder/maps.so MAPS=$folder/maps "$worker" doctor > "$folder/doctor.json" || { cat "$folder/doctor.json"; exit 1; }
  grep -q 'libtorch_cuda\.so' "$folder/maps"
}
linker() { if readelf --string-dump=.comment "$worker" | grep 'Linker: LLD' >/dev/null; then echo lld; else echo GNU ld; fi; }

cc -shared -fPIC -o "$folder/maps.so" $here/maps.c

setup cpu
build
if loads_cuda; then fails "the CPU build has loaded libtorch_cuda"; else is "the CPU build has no CUDA (linked by $(linker))"; fi

setup "$kind"
build
if loads_cuda; then is "after the CPU build, without cargo clean: libtorch_cuda is loaded"
else fails "after the CPU build, without cargo clean: libtorch_cuda is not loaded"; fi

default=$(linker)
for ld in bfd lld; do
  name=$([ $ld = lld ] && echo lld || echo GNU ld)
  # rustc brings an lld of its own, if it is new enough; it tells cc where that is.
  if [ "$name" != "$default" ] && ! command -v ld.$ld >/dev/null; then echo "SKIPPED: no ld.$ld here"; continue; fi
  if ! link_by $ld; then fails "$name does not link the worker"
  elif [ "$(linker)" != "$name" ]; then fails "the worker was to be linked by $name, and was by $(linker)"
  elif loads_cuda; then is "$name links it, and libtorch_cuda is loaded"
  else fails "$name links it, but libtorch_cuda is not loaded"; fi
done

wheels=$(realpath "$(dirname "$(realpath "$libtorch/lib/libtorch_cpu.so")")/../..")
# Loaded with libtorch_cuda, or lying where it looks when it first needs them.
for library in nccl nvrtc; do
  found=$(grep -o "/.*/lib$library\.so.*" "$folder/maps" | head -n 1 || true)
  [ -n "$found" ] || found=$(compgen -G "$wheels/nvidia/*/lib/lib$library.so.*" | head -n 1 || true)
  if [ -n "$found" ]; then is "lib$library: $found"; else fails "lib$library is not found"; fi
done

needed=()
for nvidia in "$wheels"/nvidia/*/lib; do needed+=("-Wl,-rpath-link,$nvidia"); done
c++ -std=c++20 -O0 -I "$libtorch/include" $here/kernels.cpp -o "$folder/kernels" -L "$libtorch/lib" \
  "-Wl,-rpath,$wheels/torch/lib" "${needed[@]}" -Wl,--no-as-needed -ltorch_cuda -ltorch_cpu -lc10
if "$folder/kernels" < $here/operators.txt; then is "every operator of operators.txt has a kernel for CUDA"
else fails "operators without a kernel for CUDA"; fi

[ $failures = 0 ] || { echo "$failures failed" >&2; exit 1; }
