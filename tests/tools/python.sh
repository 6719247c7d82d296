#!/usr/bin/env bash
# The Python package in an environment of its own, as `pip install ./bindings/python` makes it, with what its tests need
# from their lock file. python.sh install | test [PYTEST ARGUMENT ..] | interpreter
set -euo pipefail

cd "$(dirname "$0")/../.."
home=${CARGO_TARGET_DIR:-target}/python
case "$home" in /*) ;; *) home=$PWD/$home ;; esac

case "${1:-}" in
    install)
        [ -x "$home/bin/python" ] || python3 -m venv "$home"
        "$home/bin/pip" install --quiet --disable-pip-version-check --require-hashes \
            -r bindings/python/tests/requirements.txt
        rm -rf "$home/wheels"
        "$home/bin/pip" wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$home/wheels" ./bindings/python
        "$home/bin/pip" install --quiet --disable-pip-version-check --no-deps --force-reinstall "$home"/wheels/*.whl
        ;;
    test)
        shift
        cd bindings/python
        exec "$home/bin/python" -m pytest -q "$@"
        ;;
    interpreter) echo "$home/bin/python" ;;
    *)
        sed -n '2,3s/^# //p' "$0" >&2
        exit 2
        ;;
esac
