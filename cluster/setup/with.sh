#!/usr/bin/env bash
# Runs a command with what setup has put into .deps in place of the system's.
#
#   cluster/setup/with.sh COMMAND...
#
# That is libclang's wheel, where system.sh has taken it. It lacks the compiler's own headers (stddef.h): those of the
# C compiler serve. Where the system has a libclang it changes nothing.
set -euo pipefail

libclang=$(cd "$(dirname "$0")/../.." && pwd)/.deps/libclang/clang/native
if [ -z "${LIBCLANG_PATH:-}" ] && [ -e "$libclang/libclang.so" ]; then
  export LIBCLANG_PATH=$libclang
  headers=$("${CC:-cc}" -print-file-name=include)
  export BINDGEN_EXTRA_CLANG_ARGS="${BINDGEN_EXTRA_CLANG_ARGS:+$BINDGEN_EXTRA_CLANG_ARGS }-isystem $headers"
fi
exec "$@"
