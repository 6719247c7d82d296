# The front door. Each target does its own set-up and says what is missing and how to install it.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup install uninstall demo test bench bench-scale bench-move bench-bindings sim fuzz tsan lint header abi

help: ## this list
	@sed -nE 's/^([a-z-]+): ## (.*)/  make \1\t\2/p' Makefile | expand -t 20

setup: ## check the tools; install them as root, else name the command
	@tests/tools/setup.sh lint && echo "setup: all there"

install: ## the C library: PREFIX=/usr/local LIBDIR=PREFIX/lib DESTDIR= PROFILE=release
	@PREFIX="$(PREFIX)" LIBDIR="$(LIBDIR)" DESTDIR="$(DESTDIR)" PROFILE="$(PROFILE)" ffi/package/install.sh install

uninstall: ## takes away what install put there, with the same PREFIX, LIBDIR and DESTDIR
	@PREFIX="$(PREFIX)" LIBDIR="$(LIBDIR)" DESTDIR="$(DESTDIR)" ffi/package/install.sh uninstall

demo: ## a transfer that survives its connections, 20 s; FILE=path sends your file
	@tests/tools/demo.sh

test: ## format, clippy, all tests, the simulator; the last line sums up
	@tests/tools/test.sh

bench: ## measure speed on this machine beside raw TLS, 2 min; BENCH_JSON=file for figures
	@tests/tools/bench.sh

bench-scale: ## many sessions, storms, slow paths, 10 min; SESSIONS=n ONLY=F5,F12 BENCH_JSON=file
	@tests/tools/bench-scale.sh

bench-move: ## how long a session stands still when its path breaks, beside kernel MPTCP, 7 min; needs root
	@tests/tools/bench-move.sh

bench-bindings: ## what a call and a stream cost from Python and Node beside C, 1 min; ROUNDS=n
	@tests/tools/bench-bindings.sh

sim: ## simulator: SEEDS=n many seeds (FROM=first), SEED=n one seed with a trace
	@tests/tools/setup.sh
	@if [ -n "$${SEED:-}" ]; then set -- --seed "$$SEED" --trace; \
	else set -- --seeds "$${SEEDS:-2000}" $${FROM:+--from "$$FROM"}; fi; \
	cargo run --profile sim --locked -p clerver-sim -- "$$@"

fuzz: ## each fuzz target for FUZZ_SECONDS (60); TARGET=name runs one
	@tests/tools/fuzz.sh

tsan: ## the test programs in C under ThreadSanitizer; PROGRAMS="a b" runs these
	@tests/tools/tsan.sh $${PROGRAMS:-}

header: ## make include/clerver.h anew from ffi/src
	@CLERVER_UPDATE=1 cargo test --quiet --locked -p clerver-ffi --test header

abi: ## accept a changed ABI: make ffi/abi/clerver.abi.txt anew
	@CLERVER_UPDATE=1 cargo test --quiet --locked -p clerver-ffi --test abi

lint: ## format, clippy, house rules; licences and sources if cargo-deny is installed
	@tests/tools/setup.sh lint
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked -- -D warnings
	@cargo test --quiet --locked -p clerver-tidy
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --offline check licenses bans sources; \
	else echo "lint: licences and sources NOT checked; for that: cargo install --locked cargo-deny"; fi
