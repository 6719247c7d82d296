#!/usr/bin/env bash
# What a call and a stream cost from Python and Node beside C, all with the same server in C. ROUNDS is 7.
set -euo pipefail

cd "$(dirname "$0")/../.."
tests/tools/setup.sh lint
tests/tools/python.sh install
tests/tools/node.sh install
cargo build --release --locked -p clerver-ffi
release=${CARGO_TARGET_DIR:-target}/release
cc -O2 -Wall -Wextra -Iinclude tests/bench/bindings/bench.c -o "$release/bench-bindings" "$release/libclerver.a" \
    -lssl -lcrypto -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc
python=$(tests/tools/python.sh interpreter)
exec "$python" tests/bench/bindings/run.py "$release/bench-bindings" \
    "Python=$python tests/bench/bindings/blocking.py" \
    "asyncio=$python tests/bench/bindings/coroutines.py" \
    "Node=$(tests/tools/node.sh interpreter) tests/bench/bindings/client.mjs"
