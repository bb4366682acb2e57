#!/usr/bin/env bash
# Packs what ranks need into one folder, to be copied to a shared disk or to a local one of every machine.
#
#   cluster/setup/dist.sh PROGRAMS [FOLDER]
#
# PROGRAMS is the folder of `tercet`, `tercet-worker`, `tercet-curate` and `tercet-test-gpu`, as cargo built them
# against LIBTORCH or .deps/libtorch. The folder (else dist/tercet-VERSION-KIND) runs wherever it lies: the worker finds
# lib/torch/lib beside its own folder, and libtorch finds NVIDIA's libraries beside that. It holds no MPI and no driver:
# those are the machine's. TAR=1 also makes FOLDER.tar.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
programs=${1:?usage: dist.sh PROGRAMS [FOLDER]}
libtorch=${LIBTORCH:-$root/.deps/libtorch}
stop() { printf '%s\n' "$@" >&2; exit 2; }

lib=$(dirname "$(realpath "$libtorch/lib/libtorch_cpu.so")")
wheels=$(realpath "$lib/../..")
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
kind=cpu
[ ! -e "$lib/libtorch_cuda.so" ] || kind=cuda
if read -r _ stamped _ 2>/dev/null < "$libtorch/flavour"; then kind=${stamped/%cuda/cu130}; fi
folder=${2:-$root/dist/tercet-$version-$kind}

# A worker that was linked against the other kind would look for libraries that are not packed, or leave CUDA unloaded.
needs_cuda=0
if grep -q libtorch_cuda.so "$programs/tercet-worker"; then needs_cuda=1; fi
if [ -e "$lib/libtorch_cuda.so" ] && [ $needs_cuda = 0 ] || [ ! -e "$lib/libtorch_cuda.so" ] && [ $needs_cuda = 1 ]; then
  stop "$programs/tercet-worker was not built against $libtorch ($kind): run \`make build\` first"
fi

new="$folder.new"
rm -rf "$new"
trap 'rm -rf "$new"' EXIT
mkdir -p "$new"/{bin,lib/torch/lib,cluster,licences}
cp "$programs"/tercet{,-worker,-test-gpu} "$new/bin/"
# `make build CURATE=no` leaves it out.
[ ! -e "$programs/tercet-curate" ] || cp "$programs/tercet-curate" "$new/bin/"
cp "$lib"/*.so* "$new/lib/torch/lib/"
for nvidia in "$wheels"/nvidia/*/lib; do
  compgen -G "$nvidia/*.so*" >/dev/null || continue
  mkdir -p "$new/lib/nvidia/$(basename "$(dirname "$nvidia")")/lib"
  cp -a "$nvidia"/*.so* "$new/lib/nvidia/$(basename "$(dirname "$nvidia")")/lib/"
  # Some have their licence here, and most beside the wheel's description.
  for licence in "$(dirname "$nvidia")"/LICENSE*; do
    [ ! -e "$licence" ] || install -D -m 644 "$licence" "$new/licences/wheels/$(basename "$(dirname "$nvidia")")/${licence##*/}"
  done
done
mkdir "$new/configs"
cp "$root"/configs/*.{toml,json} "$new/configs/"
rm -f "$new/configs/Cargo.toml"
cp -r "$root"/cluster/{hosts,slurm} "$new/cluster/"
cp -r "$root"/{README.md,docs} "$new/"

# Licences: ours, those of the crates that the programs are built of, and those of the wheels that are packed.
cp "$root"/LICENSE-* "$new/licences/"
(cd "$root" && cargo metadata --format-version 1 --locked --filter-platform "$(rustc -vV | sed -n 's/^host: //p')") |
  python3 "$root/cluster/setup/licences.py" "$new/licences/crates"
for about in "$wheels"/{torch,nvidia_}*.dist-info; do
  [ -e "$about" ] || continue
  find "$about" -type f \( -iname 'licen[cs]e*' -o -iname 'notice*' -o -path '*/licenses/*' \) -printf '%P\n' |
    while read -r file; do
      mkdir -p "$new/licences/wheels/$(basename "$about" .dist-info)"
      cp "$about/$file" "$new/licences/wheels/$(basename "$about" .dist-info)/${file//\//-}"
    done
done

# The newest symbol of a library that the programs ask of the machine, such as GLIBC_2.34.
newest() { grep -aoh "$1_[0-9.]*[0-9]" "$new"/bin/* | sort -Vu | tail -n 1; }
driver='none: it computes on CPUs'
case $kind in cu130) driver='580 or newer' ;; cu126) driver='525 or newer' ;; cuda) driver="the one of your libtorch's CUDA" ;; esac
mpi=$(grep -ao 'libmpi\.so\.[0-9]*' "$new/bin/tercet-worker" | head -n 1)
# Inside a container's build there is no repository, but a file.
commit=$(git -C "$root" describe --always --dirty 2>/dev/null || cat "$root/COMMIT" 2>/dev/null || echo unknown)
cat > "$new/CONTENTS" <<END
Tercet $version, commit $commit, libtorch $kind.

    bin/tercet doctor            # is this machine fit?
    bin/tercet train RECIPE

Put the folder under the same path on all hosts, on a shared or on a local disk. Each host needs

    an MPI                       Open MPI, of the same major version as at the build ($mpi), its mpirun in PATH
    an NVIDIA driver             $driver
    glibc, libstdc++             $(newest GLIBC), $(newest GLIBCXX) or newer

docs/use/cluster.md says how runs are started. licences/ has the licences of all that is packed here.
END
rm -rf "$folder"
mv "$new" "$folder"
echo "$folder: $(du -sh "$folder" | cut -f 1); CONTENTS says what a host needs" >&2
if [ -n "${TAR:-}" ]; then
  tar -C "$(dirname "$folder")" -cf "$folder.tar" "$(basename "$folder")"
  echo "$folder.tar: $(du -h "$folder.tar" | cut -f 1)" >&2
fi
