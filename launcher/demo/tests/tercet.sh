#!/bin/sh
# Stands in for tercet: `tercet.sh COMMAND CODE WORDS` says the words and ends with the code.
command=$1 code=$2
shift 2
echo "$command: $*" >&2
exit "$code"
