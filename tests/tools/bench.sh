#!/usr/bin/env bash
# What there is to measure today: the benchmark crate if it exists, else the simulator's seeds per second.
set -euo pipefail

cd "$(dirname "$0")/../.."
tests/tools/setup.sh
if [ -f tests/bench/Cargo.toml ]; then
    exec cargo run --release --locked -p clerver-bench
fi
echo "bench: no throughput benchmark yet; this is the speed of the simulator on this machine ($(nproc) cores)."
exec cargo run --profile sim --locked -p clerver-sim -- --seeds "${SEEDS:-500}" --from 1
