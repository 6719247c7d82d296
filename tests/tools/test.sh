#!/usr/bin/env bash
# Everything `make test` runs. A part that fails does not stop the others; the last line sums them all up.
# What it reads of its parts:
#   cargo test      lines `test result: .. N passed; N failed; N ignored; ..`
#   clerver-sim     the last line that holds `N passed, N failed` or `N passed, N failed, N skipped`
#   pytest          the last line that holds `N passed`, `N failed`, `N errors` and `N skipped`, as far as there are any
#   node:test       the last lines that end with `pass N`, `fail N`, `cancelled N` and `skipped N`
#   a skipped test  one line `name: why` that the test appends to the file named by SKIPPED_TESTS_FILE
set -euo pipefail

cd "$(dirname "$0")/../.."
tests/tools/setup.sh lint

# Other tools for the packages, for the test of this script.
python=${PYTHON_PACKAGE_TOOL:-tests/tools/python.sh}
node=${NODE_PACKAGE_TOOL:-tests/tools/node.sh}

passed=0
failed=0
skipped=0
broken=()
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
export SKIPPED_TESTS_FILE="$logs/skips"
: >"$SKIPPED_TESTS_FILE"

# Runs a part, shows its output, keeps it in $log, and its status in $status.
run() {
    local title=$1
    shift
    log="$logs/log"
    status=0
    part=$title
    started=$SECONDS
    printf '\n== %s: %s\n' "$title" "$*"
    # Colours would hide the numbers.
    "$@" </dev/null 2>&1 | sed -u 's/\x1b\[[0-9;]*m//g' | tee "$log" || status=$?
    printf '== %s: %s, %d s\n' "$title" "$([ "$status" = 0 ] && echo ok || echo "FAILED, status $status")" \
        $((SECONDS - started))
}

# count PASSED FAILED SKIPPED; a failed part counts as one failure even if it named none.
count() {
    local good=$1 bad=$2 passed_over=$3
    if [ "$status" != 0 ] && [ "$bad" = 0 ]; then bad=1; fi
    passed=$((passed + good))
    failed=$((failed + bad))
    skipped=$((skipped + passed_over))
    if [ "$bad" != 0 ]; then broken+=("$part"); fi
}

whole() {
    run "$@"
    count $((status == 0)) 0 0
}

cargo_tests() {
    run "$@"
    # shellcheck disable=SC2046
    count $(sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed; ([0-9]+) ignored;.*/\1 \2 \3/p' "$log" |
        awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }')
}

pytest_tests() {
    local line
    run "$@"
    line=$(grep -oE '^(=+ )?([0-9]+ [a-z]+,? )+in [0-9.]+s' "$log" | tail -n 1) || true
    if [ -z "$line" ]; then status=1; fi
    number() { printf '%s' "$line" | grep -oE "[0-9]+ ($1)" | grep -oE '^[0-9]+' || echo 0; }
    count "$(number passed)" $(($(number failed) + $(number 'errors?'))) "$(number skipped)"
}

node_tests() {
    run "$@"
    number() { sed -nE "s/^.{0,4} ?$1 ([0-9]+)\$/\\1/p" "$log" | tail -n 1 | grep . || echo 0; }
    if [ "$(number tests)" = 0 ]; then status=1; fi
    count "$(number pass)" $(($(number fail) + $(number cancelled))) "$(number skipped)"
}

simulator() {
    local title=$1 line
    shift
    run "$title" cargo run --profile sim --locked -p clerver-sim -- "$@"
    line=$(grep -oE '[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?' "$log" | tail -n 1) || true
    if [ -z "$line" ]; then
        echo "== $title: no line \`N passed, N failed\`: counted as a failure"
        status=1
        line="0 passed, 1 failed"
    fi
    # shellcheck disable=SC2046
    count $(printf '%s, 0 skipped\n' "$line" | sed -E 's/([0-9]+) passed, ([0-9]+) failed, ([0-9]+).*/\1 \2 \3/')
}

first=$(tests/tools/seed.sh)
whole "format" cargo fmt --all --check
whole "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings
# Not of the workspace, for it is run with another toolchain; that it builds is checked with this one.
whole "fuzzer builds" cargo check --manifest-path tests/fuzz/Cargo.toml --all-targets --locked
whole "Python package" "$python" install
TEST_PYTHON=$("$python" interpreter)
export TEST_PYTHON
pytest_tests "tests in Python" "$python" test
whole "Node package" "$node" install
TEST_NODE=$("$node" interpreter)
export TEST_NODE
node_tests "tests in Node" "$node" test
# The simulator apart: its canaries must not be compiled into what the other tests run.
cargo_tests "tests" cargo test --workspace --exclude clerver-sim --locked --no-fail-fast
cargo_tests "tests of the simulator" cargo test -p clerver-sim --locked --no-fail-fast
simulator "scenarios" --scenarios
simulator "canaries" --canaries
simulator "seeds" --seeds "${SEEDS:-2000}" --from "$first"

# A test that could not run here passed as a test, but proved nothing.
while IFS= read -r line; do
    echo "skipped: $line"
    passed=$((passed - 1))
    skipped=$((skipped + 1))
done <"$SKIPPED_TESTS_FILE"

printf '\n'
for part in "${broken[@]+"${broken[@]}"}"; do echo "failed: $part"; done
echo "took $SECONDS s; simulator seeds from $first"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
