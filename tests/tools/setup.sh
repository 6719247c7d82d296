#!/usr/bin/env bash
# Checks what a build needs, and names what is missing with the command that installs it.
#   setup.sh [--install] [lint] [fuzz]
# With --install, or when run by root where apt-get exists, it installs what is missing; CLERVER_NO_INSTALL=1 stops it.
set -euo pipefail

install=no
wants=" "
for argument in "$@"; do
    case "$argument" in
        --install) install=yes ;;
        *) wants+="$argument " ;;
    esac
done
wanted() { case "$wants" in *" $1 "*) true ;; *) false ;; esac; }
have() { command -v "$1" >/dev/null 2>&1; }

# Prints one missing thing per line: "apt NAME", "rustup COMPONENT", "cargo NAME" or "rust".
missing() {
    have cc || have gcc || echo "apt gcc"
    have make || echo "apt make"
    if wanted lint; then
        have git || echo "apt git"
        have g++ || echo "apt g++"
        have valgrind || echo "apt valgrind"
        # The tests with hosts of their own.
        { have ip && have tc; } || echo "apt iproute2"
    fi
    if [ -z "${OPENSSL_DIR:-}${OPENSSL_LIB_DIR:-}" ]; then
        have pkg-config || echo "apt pkg-config"
        # Without pkg-config the header tells.
        if have pkg-config; then pkg-config --exists openssl; else [ -e /usr/include/openssl/ssl.h ]; fi ||
            echo "apt libssl-dev"
    fi
    if wanted fuzz && ! wanted lint && ! have g++ && ! have clang++; then echo "apt g++"; fi
    if wanted lint; then
        # The tests of what `make install` installs: a consumer built by CMake, and the manual page.
        have cmake || echo "apt cmake"
        have groff || echo "apt groff-base"
        # The Python package, and the OpenSSL that is built into it.
        if ! python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "apt python3-venv"
        fi
        if ! node -e 'process.exit(process.versions.node.split(".")[0] < 18 ? 1 : 0)' 2>/dev/null; then echo "apt nodejs"; fi
        have npm || echo "apt npm"
        perl -MIPC::Cmd -MFindBin -e 1 2>/dev/null || echo "apt perl"
        # The examples that the tests compile.
        have g++ || echo "apt g++"
        [ -e /usr/include/uv.h ] || { have pkg-config && pkg-config --exists libuv; } || echo "apt libuv1-dev"
    fi
    if ! have cargo; then
        echo rust
        return
    fi
    if wanted lint; then
        cargo fmt --version >/dev/null 2>&1 || echo "rustup rustfmt"
        cargo clippy --version >/dev/null 2>&1 || echo "rustup clippy"
    fi
    if wanted fuzz && ! cargo fuzz --version >/dev/null 2>&1; then echo "cargo cargo-fuzz"; fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install_packages() {
    [ "${CLERVER_NO_INSTALL:-}" != 1 ] && have apt-get || return 1
    if [ "$(id -u)" = 0 ]; then return 0; fi
    { [ "$install" = yes ] || [ "${CI:-}" = true ]; } && have sudo && sudo -n true 2>/dev/null
}

list() { printf '%s\n' "$found" | sed -n "s/^$1 //p" | tr '\n' ' ' | sed 's/ $//'; }

found=$(missing)
packages=$(list apt)
if [ -n "$packages" ] && may_install_packages; then
    echo "setup: installing $packages"
    as_root apt-get update -qq </dev/null || true
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages </dev/null || true
    found=$(missing)
fi
components=$(list rustup)
if [ -n "$components" ] && [ "${CLERVER_NO_INSTALL:-}" != 1 ] && have rustup; then
    echo "setup: installing the Rust components $components"
    # shellcheck disable=SC2086
    rustup component add $components </dev/null || true
    found=$(missing)
fi
tools=$(list cargo)
if [ -n "$tools" ] && [ "${CLERVER_NO_INSTALL:-}" != 1 ]; then
    echo "setup: installing $tools"
    # shellcheck disable=SC2086
    cargo install --locked $tools </dev/null || true
    found=$(missing)
fi

if [ -z "$found" ]; then
    exit 0
fi
echo "setup: something is missing. Install it with:" >&2
packages=$(list apt)
components=$(list rustup)
tools=$(list cargo)
[ -z "$packages" ] || echo "  sudo apt-get update && sudo apt-get install -y $packages" >&2
[ -z "$components" ] || echo "  rustup component add $components" >&2
[ -z "$tools" ] || echo "  cargo install --locked $tools" >&2
if printf '%s\n' "$found" | grep -qx rust; then
    echo "  a Rust toolchain, stable: https://rustup.rs" >&2
fi
exit 1
