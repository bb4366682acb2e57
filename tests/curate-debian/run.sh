#!/usr/bin/env bash
# Curates Debian's documentation: GNOME's help in 40 languages, LibreOffice's in four, message catalogues in a hundred.
# `make curate-debian` calls this. Packages are downloaded by name and unpacked, nothing is installed; all that is
# written is below the folder named (default: runs/curate-debian).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath --canonicalize-missing "${1:-runs/curate-debian}")
tercet=${TERCET:-$here/../../target/release/tercet}
packages=(gnome-user-docs iso-codes libreoffice-help-de libreoffice-help-en-us libreoffice-help-ja
    libreoffice-help-zh-cn gimp-data evolution-common git)

mkdir -p "$out/packages"
if [ ! -e "$out/unpacked.done" ]; then
    echo "curate-debian: downloading ${packages[*]}" >&2
    (cd "$out/packages" && apt-get -qq download "${packages[@]}") ||
        { echo "curate-debian: apt-get cannot download: run apt-get update as root, and try again" >&2; exit 3; }
    for package in "$out"/packages/*.deb; do dpkg-deb -x "$package" "$out/unpacked"; done
    touch "$out/unpacked.done"
fi
python3 "$here/texts.py" "$out/unpacked" "$out/texts"
cp "$here/curate.toml" "$out"
"$tercet" curate "$out/curate.toml" --out "$out/curated"
