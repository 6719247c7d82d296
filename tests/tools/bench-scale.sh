#!/usr/bin/env bash
# What many sessions cost on this machine, what a storm of them does, and what a slow path does to a beat. Takes minutes.
# SESSIONS=n live sessions (100000), as many as descriptors allow; ONLY=F5,F12 measures these only; BENCH_JSON=file
# writes the figures as JSON.
set -euo pipefail

cd "$(dirname "$0")/../.."
tests/tools/setup.sh
# The director builds the library too, but says nothing meanwhile.
cargo build --release --locked -p clerver-ffi
cargo build --locked -p clerver-bench
exec cargo run --quiet --locked -p clerver-bench -- --scale --sessions "${SESSIONS:-100000}" ${ONLY:+--only "$ONLY"}
