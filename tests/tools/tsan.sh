#!/usr/bin/env bash
# Builds the library with ThreadSanitizer and runs the test programs of tests/c that have threads under it.
#   tsan.sh [PROGRAM..]      default: threads calls channels objects loops descriptors
# std is not built with it, so what its own locks order is not seen; the engine's locks are parking_lot's.
set -euo pipefail

cd "$(dirname "$0")/../.."
tests/tools/setup.sh
# The sanitizer flags are those of nightly; this lets the stable compiler take them.
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
target=$(rustc -vV | sed -n 's/^host: //p')
directory=$(realpath "${CARGO_TARGET_DIR:-target}")/tsan
# As a static library, for the runtime of the sanitizer belongs to the program.
cargo rustc --quiet --locked -p clerver-ffi --lib --crate-type staticlib --target "$target" --target-dir "$directory"
library=$directory/$target/debug/libclerver.a
# The one that fits the compiler; that of gcc lacks functions.
runtime=$(ls "$(rustc --print sysroot)/lib/rustlib/$target/lib/"librustc*_rt.tsan.a)

passed=0
failed=0
for program in "${@:-threads calls channels objects loops descriptors}"; do
    for name in $program; do
        printf '\n== tsan %s\n' "$name"
        gcc -std=c99 -Wall -Wextra -g -O1 -fsanitize=thread -fPIE -Iinclude -c "tests/c/$name.c" -o "$directory/$name.o"
        gcc -pie -pthread -rdynamic "$directory/$name.o" "$library" -Wl,--whole-archive "$runtime" \
            -Wl,--no-whole-archive -o "$directory/$name" -lssl -lcrypto -lrt -lm -ldl -lgcc_s
        home=$(mktemp -d)
        if CLERVER_HOME=$home TSAN_OPTIONS="suppressions=$PWD/tests/tools/tsan.supp exitcode=66 die_after_fork=0" "$directory/$name"; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
        fi
        rm -rf "$home"
    done
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
