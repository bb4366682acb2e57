#!/bin/sh
# Stands in for tercet-worker where a test is about the launcher: does what the test says in $STAND_IN, with the
# worker's arguments in "$@". Under mpirun its rank is $OMPI_COMM_WORLD_RANK.
eval "$STAND_IN"
