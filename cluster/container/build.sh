#!/usr/bin/env bash
# Builds the container's image from what is committed here.
#
#   cluster/container/build.sh apptainer|docker|podman|buildah [IMAGE]
#
# IMAGE is a .sif file for Apptainer (tercet.sif) and else a tag (tercet). TORCH=cu130 (if unset), cu126 or cpu chooses
# libtorch: no driver is asked, because the image runs elsewhere. OPTIONS are handed on to the program that builds.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
tool=${1:?usage: build.sh apptainer|docker|podman|buildah [IMAGE]}
torch=${TORCH:-cu130}
read -ra options <<< "${OPTIONS:-}"

# The source as committed: no target, no .deps, no runs.
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
git -C "$root" archive HEAD | tar -x -C "$context"
git -C "$root" describe --always --dirty > "$context/COMMIT"
cd "$context"
case $tool in
  apptainer)
    image=$(realpath -m "${2:-$OLDPWD/tercet.sif}")
    apptainer build --build-arg torch="$torch" "${options[@]}" "$image" cluster/container/tercet.def ;;
  docker|podman|buildah)
    "$tool" build --build-arg TORCH="$torch" --tag "${2:-tercet}" --file cluster/container/Dockerfile "${options[@]}" . ;;
  *) echo "$tool: expected apptainer, docker, podman or buildah" >&2; exit 2 ;;
esac
