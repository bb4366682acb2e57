#!/usr/bin/env bash
# Puts libtorch, taken from the PyPI wheels, into a folder of the checkout.
#
#   cluster/setup/libtorch.sh FOLDER
#
# FOLDER/libtorch then has the lib/ and include/ that the torch-sys crate expects in LIBTORCH.
# TORCH=cpu|cuda chooses the build; without it an NVIDIA driver decides. The CPU build is a subset of the same
# wheel (about 450 MB on disk in place of several GB): libtorch_cpu.so needs no CUDA library but the runtime and CUPTI.
set -euo pipefail

TORCH_VERSION=2.13.0   # what the tch crate of Cargo.toml binds
folder=${1:?usage: libtorch.sh FOLDER}

flavour=${TORCH:-}
if [ -z "$flavour" ]; then
  if [ -e /proc/driver/nvidia/version ] || nvidia-smi -L >/dev/null 2>&1; then flavour=cuda; else flavour=cpu; fi
fi
case $flavour in cpu|cuda) ;; *) echo "TORCH=$flavour: expected cpu or cuda" >&2; exit 2 ;; esac

stamp="$folder/libtorch/flavour"
if [ "$(cat "$stamp" 2>/dev/null)" = "$TORCH_VERSION $flavour" ]; then exit 0; fi

echo "libtorch $TORCH_VERSION ($flavour): installing the PyPI wheels into $folder" >&2
rm -rf "$folder/libtorch" "$folder/wheels"
mkdir -p "$folder/libtorch/lib"
folder=$(cd "$folder" && pwd)
if [ ! -x "$folder/venv/bin/pip" ]; then
  python3 -m venv "$folder/venv" || { echo "python3 cannot make a virtual environment: install python3-venv" >&2; exit 2; }
fi
pip=("$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --target "$folder/wheels")
lib="$folder/wheels/torch/lib"
if [ "$flavour" = cpu ]; then
  "${pip[@]}" --no-deps "torch==$TORCH_VERSION" 'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cupti==13.0.*'
  # What only CUDA or Python needs goes again, so that no linker finds it.
  find "$lib" -maxdepth 1 -name '*.so*' ! -name libtorch_cpu.so ! -name libc10.so ! -name 'libgomp*' -delete
  rm -rf "$folder"/wheels/torch/{bin,test,testing,_inductor,onnx,distributed}
  for so in libtorch_cpu.so libc10.so libgomp.so.1; do ln -s "$lib/$so" "$folder/libtorch/lib/$so"; done
  # A linker script: whoever asks for -ltorch gets the two libraries that a CPU build has.
  echo 'INPUT(libtorch_cpu.so libc10.so)' > "$folder/libtorch/lib/libtorch.so"
else
  "${pip[@]}" "torch==$TORCH_VERSION"
  for so in "$lib"/*.so*; do ln -s "$so" "$folder/libtorch/lib/$(basename "$so")"; done
fi
ln -s "$folder/wheels/torch/include" "$folder/libtorch/include"
echo "$TORCH_VERSION $flavour" > "$stamp"
