#!/usr/bin/env bash
# How long a session stands still when its path breaks, and how much of two paths bulk uses, beside kernel MPTCP. Takes
# about 7 minutes, and needs root for its network namespaces. ONLY=stall or ONLY=bulk measures a part;
# BENCH_JSON=file writes the figures as JSON.
set -euo pipefail

cd "$(dirname "$0")/../.."
if [ "$(id -u)" != 0 ]; then
    echo "bench-move: needs root, for it makes network namespaces: sudo make bench-move" >&2
    exit 2
fi
tests/tools/setup.sh
cargo build --release --locked -p clerver-bench-move

# What it leaves behind when it is interrupted is removed here.
tidy() {
    for name in $(ip netns list | grep -o "^clv-$program-[a-z0-9-]*"); do ip netns del "$name"; done
}
"${CARGO_TARGET_DIR:-target}/release/clerver-bench-move" &
program=$!
trap 'kill "$program" 2>/dev/null || true; tidy' EXIT
wait "$program"
