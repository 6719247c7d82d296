#!/usr/bin/env bash
# Builds the library, the director and the two C programs of the demo, and runs it. FILE=path sends that file.
set -euo pipefail

cd "$(dirname "$0")/../.."
tests/tools/setup.sh
# Said to cargo too: a configuration file of the user may name another directory.
target=${CARGO_TARGET_DIR:-target}
cargo build --release --locked --target-dir "$target" -p clerver-ffi -p clerver-demo

programs=$target/demo
mkdir -p "$programs"
# The loader looks for the soname, beside the program.
ln -sf ../release/libclerver.so "$programs/libclerver.so.0"
for name in demo_keeper demo_sender; do
    "${CC:-cc}" -std=c99 -O2 -Wall -Wextra -Wpedantic -Iinclude -o "$programs/$name" "examples/c/$name.c" \
        -L"$target/release" -lclerver -pthread -Wl,-rpath,'$ORIGIN'
done
exec "$target/release/clerver-demo" --programs "$programs" ${FILE:+--file "$FILE"}
