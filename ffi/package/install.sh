#!/usr/bin/env bash
# Installs the C library, or takes it away again: what `make install` and `make uninstall` run.
#   install.sh install|uninstall
# Read from the environment: PREFIX (/usr/local), LIBDIR (PREFIX/lib), DESTDIR (put before all places, for packages),
# PROFILE (release or debug: which build of the library).
set -euo pipefail

cd "$(dirname "$0")/../.."

fail() {
    echo "install: $1" >&2
    exit 1
}

prefix=${PREFIX:-/usr/local}
libdir=${LIBDIR:-$prefix/lib}
destdir=${DESTDIR:-}
profile=${PROFILE:-release}
# What stands in a file for pkg-config may not have blanks.
usable='^/[^[:space:]|&\\]*$'
for place in "$prefix" "$libdir"; do
    [[ $place =~ $usable ]] || fail "\"$place\" is not an absolute path without blanks"
done
prefix=${prefix%/}
libdir=${libdir%/}
case "$profile" in release | debug) ;; *) fail "PROFILE is release or debug, not \"$profile\"" ;; esac

version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
# The number in the soname.
abi=$(sed -n 's/.*-soname,libclerver\.so\.\([0-9]*\).*/\1/p' ffi/build.rs)
includedir=$prefix/include
cmakedir=$libdir/cmake/clerver
manual=$prefix/share/man/man3/clerver.3
built=${CARGO_TARGET_DIR:-target}/$profile

# Root often has no cargo; then what its user built is installed.
build() {
    local as_release=
    if [ "$profile" = release ]; then as_release=--release; fi
    if command -v cargo >/dev/null 2>&1; then
        tests/tools/setup.sh
        cargo build $as_release --locked -p clerver-ffi
    elif [ -e "$built/libclerver.so" ] && [ -e "$built/libclerver.a" ]; then
        echo "install: no cargo here, so $built is taken as it is"
    else
        fail "build it first: cargo build $as_release --locked -p clerver-ffi"
    fi
    [ -e "$built/libclerver.so" ] || fail "the build is not in $built: set CARGO_TARGET_DIR to where it is"
}

# within PLACE: the place as pkg-config likes it, so that --define-prefix can move it.
within() {
    case "$1" in "$prefix"/*) echo "\${prefix}${1#"$prefix"}" ;; *) echo "$1" ;; esac
}

# fill TEMPLATE PLACE
fill() {
    local from_cmake
    from_cmake=$(realpath --canonicalize-missing --no-symlinks --relative-to="$cmakedir" "$includedir")
    sed -e "s|@VERSION@|$version|g" -e "s|@ABI@|$abi|g" -e "s|@PREFIX@|$prefix|g" \
        -e "s|@LIBDIR@|$(within "$libdir")|g" -e "s|@INCLUDEDIR@|$(within "$includedir")|g" \
        -e "s|@INCLUDE_FROM_CMAKE@|$from_cmake|g" "ffi/package/$1" >"$scratch/$1"
    install -D -m 644 "$scratch/$1" "$destdir$2"
}

install_all() {
    local header before
    build
    before=$(readlink "$destdir$libdir/libclerver.so.$abi" || true)
    for header in include/clerver.h include/clerver.hpp; do
        if [ -e "$header" ]; then install -D -m 644 "$header" "$destdir$includedir/${header#include/}"; fi
    done
    install -D -m 755 "$built/libclerver.so" "$destdir$libdir/libclerver.so.$version"
    install -D -m 644 "$built/libclerver.a" "$destdir$libdir/libclerver.a"
    ln -sfn "libclerver.so.$version" "$destdir$libdir/libclerver.so.$abi"
    ln -sfn "libclerver.so.$abi" "$destdir$libdir/libclerver.so"
    remove_library "$before"
    fill clerver.pc.in "$libdir/pkgconfig/clerver.pc"
    fill clerver-config.cmake.in "$cmakedir/clerver-config.cmake"
    fill clerver-config-version.cmake.in "$cmakedir/clerver-config-version.cmake"
    fill clerver.3.in "$manual"
    echo "install: Clerver $version is in $destdir$prefix, its library in $destdir$libdir"
    refresh_loader
}

# remove_library NAME: the file of another version, that the link named until now.
remove_library() {
    case "$1" in
        "libclerver.so.$version") ;;
        libclerver.so.[0-9]*) rm -f "$destdir$libdir/${1##*/}" ;;
    esac
}

# Directories that others use too stay, as they do with other packages.
uninstall_all() {
    local before
    before=$(readlink "$destdir$libdir/libclerver.so.$abi" || true)
    remove_library "$before"
    rm -f "$destdir$includedir/clerver.h" "$destdir$includedir/clerver.hpp" \
        "$destdir$libdir/libclerver.so" "$destdir$libdir/libclerver.so.$abi" \
        "$destdir$libdir/libclerver.so.$version" "$destdir$libdir/libclerver.a" \
        "$destdir$libdir/pkgconfig/clerver.pc" \
        "$destdir$cmakedir/clerver-config.cmake" "$destdir$cmakedir/clerver-config-version.cmake" \
        "$destdir$manual"
    if [ -d "$destdir$cmakedir" ]; then rmdir --ignore-fail-on-non-empty "$destdir$cmakedir"; fi
    echo "uninstall: Clerver $version is gone from $destdir$prefix"
    refresh_loader
}

# The loader finds a library in a directory of the system only after this. A package does it by its own means.
refresh_loader() {
    if [ -n "$destdir" ]; then return; fi
    if ! command -v ldconfig >/dev/null 2>&1; then return; fi
    if [ "$(id -u)" = 0 ]; then ldconfig; fi
    if [ "$action" = install ] && ! ldconfig -p | grep -qF "$libdir/libclerver.so.$abi"; then
        echo "install: the loader does not look there by itself; for one program: LD_LIBRARY_PATH=$libdir"
    fi
}

[ -n "$version" ] || fail "no version in Cargo.toml"
[ -n "$abi" ] || fail "no soname in ffi/build.rs"
action=${1:-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
case "$action" in
    install) install_all ;;
    uninstall) uninstall_all ;;
    *) fail "say install or uninstall" ;;
esac
