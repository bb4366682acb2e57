#!/usr/bin/env bash
# Puts libtorch, taken from the PyPI wheels, into a folder of the checkout.
#
#   cluster/setup/libtorch.sh FOLDER
#
# FOLDER/libtorch then has the lib/ and include/ that the torch-sys crate expects in LIBTORCH.
# TORCH=cpu|cuda chooses the build; without it what is there stays, and else an NVIDIA driver decides. The CPU build is
# a subset of the same wheel (about 450 MB on disk in place of several GB): libtorch_cpu.so needs no CUDA library but
# the runtime and CUPTI. A LIBTORCH that is set is only looked at: it is the user's.
set -euo pipefail

TORCH_VERSION=2.13.0   # what the tch crate of Cargo.toml binds
folder=${1:?usage: libtorch.sh FOLDER}

if [ -n "${LIBTORCH:-}" ]; then
  [ -e "$LIBTORCH/lib/libtorch_cpu.so" ] && exit 0
  echo "LIBTORCH=$LIBTORCH: no lib/libtorch_cpu.so there: name a libtorch $TORCH_VERSION folder, or unset LIBTORCH" >&2
  exit 2
fi

stamp="$folder/libtorch/flavour"
installed=
if [ -e "$folder/libtorch/lib/libtorch_cpu.so" ]; then installed=$(cat "$stamp" 2>/dev/null || true); fi

flavour=${TORCH:-}
if [ -z "$flavour" ]; then
  case $installed in "$TORCH_VERSION "*) exit 0 ;; esac
  if [ -e /proc/driver/nvidia/version ] || nvidia-smi -L >/dev/null 2>&1; then flavour=cuda; else flavour=cpu; fi
fi
case $flavour in cpu|cuda) ;; *) echo "TORCH=$flavour: expected cpu or cuda" >&2; exit 2 ;; esac
if [ "$installed" = "$TORCH_VERSION $flavour" ]; then exit 0; fi

echo "libtorch $TORCH_VERSION ($flavour): installing the PyPI wheels into $folder" >&2
rm -rf "$folder/libtorch" "$folder/wheels"
mkdir -p "$folder/libtorch/lib"
if [ ! -x "$folder/venv/bin/pip" ]; then
  python3 -m venv "$folder/venv" || { echo "python3 cannot make a virtual environment: install python3-venv" >&2; exit 2; }
fi
pip=("$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --target "$folder/wheels")
lib="$folder/wheels/torch/lib"
if [ "$flavour" = cpu ]; then
  "${pip[@]}" --no-deps "torch==$TORCH_VERSION" 'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cupti==13.0.*'
  # What only CUDA or Python needs goes again, so that no linker finds it.
  find "$lib" -maxdepth 1 -name '*.so*' ! -name libtorch_cpu.so ! -name libc10.so ! -name 'libgomp*' -delete
  rm -rf "$folder"/wheels/torch/{bin,test,testing,_inductor,onnx,distributed}
  # A linker script: whoever asks for -ltorch gets the two libraries that a CPU build has.
  echo 'INPUT(libtorch_cpu.so libc10.so)' > "$folder/libtorch/lib/libtorch.so"
else
  "${pip[@]}" "torch==$TORCH_VERSION"
fi
# Relative links, so that the checkout can move.
for so in "$lib"/*.so*; do ln -s "../../wheels/torch/lib/$(basename "$so")" "$folder/libtorch/lib/"; done
ln -s ../wheels/torch/include "$folder/libtorch/include"
# torch-sys looks at the flavour once, when it is built.
if [ -n "$installed" ]; then (cd "$(dirname "$0")" && cargo clean --quiet --release --package torch-sys); fi
echo "$TORCH_VERSION $flavour" > "$stamp"
