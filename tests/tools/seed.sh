#!/usr/bin/env bash
# Prints the first seed of the simulator's run: 60 bits of the commit's hash, so that each commit brings new seeds
# and the same commit always runs the same ones.
set -euo pipefail

cd "$(dirname "$0")/../.."
if hash=$(git rev-parse --verify --quiet HEAD 2>/dev/null); then
    printf '%d\n' "0x${hash:0:15}"
else
    echo "seed: *** no git commit here: the simulator runs from the FIXED seed 20020923 ***" >&2
    echo 20020923
fi
