#!/usr/bin/env bash
# What things cost on this machine: calls, channels and idle sessions from C beside raw TLS, then the simulator's seeds
# per second. BENCH_JSON=file writes the figures of the first part as JSON; ROUNDS and SEEDS are 5 and 500.
set -euo pipefail

cd "$(dirname "$0")/../.."
tests/tools/setup.sh
# The director builds the library too, but says nothing meanwhile.
cargo build --release --locked -p clerver-ffi
cargo build --locked -p clerver-bench
cargo build --profile sim --locked -p clerver-sim
cargo run --quiet --locked -p clerver-bench -- --rounds "${ROUNDS:-5}"
printf '\nsimulator on this machine (%s cores):\n' "$(nproc)"
exec cargo run --quiet --profile sim --locked -p clerver-sim -- --seeds "${SEEDS:-500}" --from 1
