#!/usr/bin/env bash
# Runs the tests whose path contains $1, in whatever program they are; fails if there is none. `make test T=NAME` calls
# it.
set -uo pipefail
# Programs that have no such test show nothing.
nothing='^$|^running 0 tests$|^test result: ok\. 0 passed; 0 failed; 0 ignored;'
cargo test --release --workspace --tests --no-fail-fast -- "$1" | grep --line-buffered -vE "$nothing"
status=("${PIPESTATUS[@]}")
if [ "${status[0]}" -eq 0 ] && [ "${status[1]}" -ne 0 ]; then
    echo "no test has \"$1\" in its path: \`cargo test --release --workspace --tests -- --list\` names them all" >&2
    exit 1
fi
exit "${status[0]}"
