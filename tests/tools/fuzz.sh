#!/usr/bin/env bash
# Runs each fuzz target for FUZZ_SECONDS (60), one after the other. TARGET=name runs one. The last line sums up.
set -euo pipefail

cd "$(dirname "$0")/../.."
tests/tools/setup.sh fuzz
# cargo-fuzz needs the sanitizer flags of nightly; this lets the stable compiler take them.
export RUSTC_BOOTSTRAP=1
seconds=${FUZZ_SECONDS:-60}

if [ ! -f tests/fuzz/Cargo.toml ]; then
    echo "fuzz: tests/fuzz/Cargo.toml is not there" >&2
    exit 1
fi
targets=${TARGET:-$(cargo fuzz list --fuzz-dir tests/fuzz)}
passed=0
failed=0
for target in $targets; do
    printf '\n== fuzz %s: %s s\n' "$target" "$seconds"
    if cargo fuzz run --fuzz-dir tests/fuzz "$target" -- -max_total_time="$seconds" -print_final_stats=1 </dev/null; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "fuzz: $target FAILED; the input is in tests/fuzz/artifacts/$target" >&2
    fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
