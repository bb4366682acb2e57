#!/usr/bin/env bash
# Twenty steps of training, and their weights' SHA-256. BEFORE is another `tercet`, with its tercet-worker beside it, or
# a revision of git, which is built here first; then the two are compared. `make same-numbers` calls this.
set -euo pipefail
cd "$(dirname "$0")/.."
export LIBTORCH=${LIBTORCH:-$PWD/.deps/libtorch}
target=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")

# The programs of a revision. Third-party crates are those of this checkout, which are there already.
build() {
    local programs=$target/before/$1 sources=$target/before/sources-$1
    if [ ! -x "$programs/tercet-worker" ]; then
        echo "same-numbers: building $1" >&2
        rm -rf "$sources" "$programs"
        mkdir -p "$sources" "$programs"
        git archive "$1" | tar --extract --directory "$sources"
        (cd "$sources" && CARGO_TARGET_DIR=$target cargo build --release --package tercet --package tercet-worker)
        cp "$target/release/tercet" "$target/release/tercet-worker" "$programs"
        rm -rf "$sources"
    fi
}

before=${BEFORE:-}
if [ -n "$before" ] && [ ! -f "$before" ]; then
    revision=$(git rev-parse --quiet --verify "$before^{commit}") ||
        { echo "same-numbers: BEFORE=$before is neither a program nor a revision" >&2; exit 2; }
    build "$revision"
    before=$target/before/$revision/tercet
fi
# After the other revision's, which cargo has put into the same place.
cargo build --release --package tercet --package tercet-worker
BEFORE=$before cargo test --release --workspace --test system same_numbers:: -- --ignored --nocapture
