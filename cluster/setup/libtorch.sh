#!/usr/bin/env bash
# Puts libtorch, taken from PyTorch's wheels, into a folder of the checkout.
#
#   cluster/setup/libtorch.sh FOLDER
#
# FOLDER/libtorch then has the lib/ and include/ that the torch-sys crate expects in LIBTORCH. TORCH chooses the kind:
#
#   cpu      no CUDA: about 450 MB on disk. It is a subset of the same wheel as cu130's, whose libtorch_cpu.so needs
#            no CUDA library but the runtime and CUPTI
#   cu130    CUDA 13.0, from PyPI: 4 GB; needs an NVIDIA driver of 580 or newer
#   cu126    CUDA 12.6, from PyTorch's own index (or the mirror of it that TORCH_INDEX names): 4 GB; driver 525 or newer
#   cuda     the newer one of these two that this machine's driver runs
#   (unset)  what is there stays, if this machine's driver runs it; else `cuda` where there is a driver, and `cpu`
#
# The new one is installed beside the old one and takes its place when it is complete. A LIBTORCH that is set is only
# looked at: it is the user's. TELL=1 says what was chosen, and why, also where nothing is to be done.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR source=python.sh
. "$here/python.sh"

TORCH_VERSION=2.13.0   # what the tch crate of Cargo.toml binds
CUDA_13_DRIVER=580     # CUDA 13 runs on no older driver
CUDA_12_DRIVER=525     # CUDA 12.6 runs, as every 12, on the driver of 12.0
INDEX_126=${TORCH_INDEX:-https://download.pytorch.org/whl/cu126}
folder=${1:?usage: libtorch.sh FOLDER}

stop() { printf '%s\n' "$@" >&2; exit 2; }

if [ -n "${LIBTORCH:-}" ]; then
  [ -e "$LIBTORCH/lib/libtorch_cpu.so" ] || stop \
    "LIBTORCH=$LIBTORCH: no lib/libtorch_cpu.so there: name a libtorch $TORCH_VERSION folder, or unset LIBTORCH"
  [ -z "${TELL:-}" ] || echo "libtorch: the one that LIBTORCH names, $LIBTORCH" >&2
  exit 0
fi

# The driver's version, such as 570.124.06; nothing where there is no driver.
driver_version() {
  local said=
  if [ -r /proc/driver/nvidia/version ]; then
    said=$(head -n 1 /proc/driver/nvidia/version)
  elif command -v nvidia-smi >/dev/null 2>&1; then
    said=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1) || said=
  fi
  [[ $said =~ [0-9]{3,}\.[0-9]+(\.[0-9]+)? ]] && echo "${BASH_REMATCH[0]}"
  return 0
}

runs() { case $1 in cu130) [ "$major" -ge $CUDA_13_DRIVER ] ;; cu126) [ "$major" -ge $CUDA_12_DRIVER ] ;; esac; }
words() { case $1 in cpu) echo CPU ;; cu126) echo 'CUDA 12.6' ;; cu130) echo 'CUDA 13.0' ;; esac; }

installed=
if [ -e "$folder/libtorch/lib/libtorch_cpu.so" ]; then
  read -r version installed _ < "$folder/libtorch/flavour" || true
  [ "${version:-}" = "$TORCH_VERSION" ] || installed=
  [ "$installed" != cuda ] || installed=cu130   # as it was called once
fi
driver=$(driver_version)
major=${driver%%.*}
old_driver="this machine's NVIDIA driver $driver is older than $CUDA_12_DRIVER, which libtorch $TORCH_VERSION needs with
CUDA 12.6: have the driver renewed, or compute on the CPU: make TORCH=cpu setup build"

kind=${TORCH:-}
why="as TORCH=$kind says"
case $kind in
  cpu) ;;
  cu126|cu130)
    [ -z "$driver" ] || runs "$kind" || echo "libtorch: this machine's NVIDIA driver $driver is too old for" \
      "$(words "$kind"), which TORCH=$kind asks for: that build will see no GPU here" >&2 ;;
  ''|cuda)
    if [ -z "$driver" ] && { [ "$kind" = '' ] || [ "$installed" = cu126 ] || [ "$installed" = cu130 ]; }; then
      why='there already; no NVIDIA driver was found on this machine'
      [ -n "$installed" ] || why='no NVIDIA driver was found on this machine'
      kind=${installed:-cpu}
    elif [ -z "$driver" ]; then
      kind=cu130
      why="no NVIDIA driver was found on this machine; the one where it runs must be $CUDA_13_DRIVER or newer, and for \
an older one say TORCH=cu126"
    else
      asked=$kind
      why="for NVIDIA driver $driver"
      if runs cu130; then kind=cu130; elif runs cu126; then kind=cu126; else stop "$old_driver"; fi
      if [ "$asked" = '' ] && [ -n "$installed" ]; then
        if [ "$installed" = cpu ]; then
          stop "the libtorch in $folder is the CPU build, and this machine has an NVIDIA driver ($driver). Either run" \
            "    make TORCH=cuda setup build" \
            "which takes libtorch for $(words "$kind") in its place (4 GB), or stay with the CPU by TORCH=cpu with every make"
        elif ! runs "$installed"; then
          stop "the libtorch in $folder is for $(words "$installed"), and this machine's NVIDIA driver ($driver) is too old" \
            "for it. Run" "    make TORCH=$kind setup build"
        fi
      fi
      # The older of the two runs on a newer driver as well.
      if [ -n "$installed" ] && [ "$installed" != cpu ] && runs "$installed"; then
        kind=$installed why="there already; it runs on NVIDIA driver $driver"
      fi
    fi ;;
  *) stop "TORCH=$kind: expected cpu, cuda, cu126 or cu130" ;;
esac
if [ "$installed" = "$kind" ]; then
  [ -z "${TELL:-}" ] || echo "libtorch: $TORCH_VERSION, $(words "$kind") ($why)" >&2
  exit 0
fi

echo "libtorch: installing $TORCH_VERSION, $(words "$kind") ($why), into $folder" >&2
new="$folder/new"
rm -rf "$new"
mkdir -p "$new/libtorch/lib" "$new/tmp"
# From here on an end, whatever its cause, leaves what was there as it was.
trap 'rm -rf "$new"' EXIT
find_pip "$folder"
# The same files whichever python fetches them: nothing of Python runs.
for tag in manylinux_2_{28..5} manylinux2014 manylinux2010 manylinux1; do pip+=(--platform "${tag}_$(uname -m)"); done
pip+=(--python-version 3.12 --implementation cp --abi cp312 --abi abi3 --abi none --only-binary=:all:)
index=()
[ "$kind" != cu126 ] || index=(--index-url "$INDEX_126")
fetch() {
  # Beside the target, because /tmp is small on many machines.
  TMPDIR="$new/tmp" "${pip[@]}" --no-compile --target "$new/wheels" "${index[@]}" "$@" && return
  echo "libtorch: pip could not install it, for the reason above; what was in $folder is as it was" >&2
  if [ "$kind" = cu126 ]; then
    echo "PyPI does not have CUDA 12.6's wheels. They were looked for at $INDEX_126: if this machine cannot reach" \
      "that, name a mirror of it by TORCH_INDEX=URL" >&2
  fi
  exit 2
}
lib="$new/wheels/torch/lib"
case $kind in
  cpu)
    fetch --no-deps "torch==$TORCH_VERSION" 'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cupti==13.0.*'
    # What only CUDA needs goes again, so that no linker finds it.
    find "$lib" -maxdepth 1 -name '*.so*' ! -name libtorch_cpu.so ! -name libc10.so ! -name 'libgomp*' -delete
    # A linker script: whoever asks for -ltorch gets the two libraries that a CPU build has.
    echo 'INPUT(libtorch_cpu.so libc10.so)' > "$new/libtorch/lib/libtorch.so" ;;
  *)
    version=$TORCH_VERSION
    [ "$kind" = cu130 ] || version="$TORCH_VERSION+$kind"
    fetch --no-deps "torch==$version"
    # NVIDIA's libraries in the versions that the wheel names; its Python packages stay away.
    mapfile -t nvidia < <(sed -n 's/^Requires-Dist: \(\(nvidia-\|cuda-toolkit\)[^;]*\).*/\1/p' "$new"/wheels/torch-*/METADATA)
    [ ${#nvidia[@]} -gt 0 ] || stop "libtorch: the wheel of torch $version names no library of NVIDIA's"
    fetch "${nvidia[@]}"
    [ -e "$lib/libtorch_cuda.so" ] || stop "libtorch: the wheel of torch $version has no libtorch_cuda.so"
    rm -f "$lib/libtorch_python.so" ;;
esac
# What only Python needs.
rm -rf "$new"/wheels/torch/{bin,test,testing,_inductor,onnx,distributed}
# Relative links, so that the checkout can move.
for so in "$lib"/*.so*; do ln -s "../../wheels/torch/lib/$(basename "$so")" "$new/libtorch/lib/"; done
ln -s ../wheels/torch/include "$new/libtorch/include"
echo "$TORCH_VERSION $kind" > "$new/libtorch/flavour"

for part in wheels libtorch; do
  rm -rf "$folder/$part.old"
  [ ! -e "$folder/$part" ] || mv "$folder/$part" "$folder/$part.old"
  mv "$new/$part" "$folder/$part"
done
rm -rf "$folder"/{wheels,libtorch}.old
# The worker's build script looks at the kind again by itself (worker/build.rs); torch-sys looks once, when it is built.
if [ -n "$installed" ]; then (cd "$here" && cargo clean --quiet --release --package torch-sys --package tercet-worker); fi
