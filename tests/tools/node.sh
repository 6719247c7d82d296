#!/usr/bin/env bash
# The Node.js package, built where it stands, with what its tests need from their lock file.
# node.sh install | test [NODE ARGUMENT ..] | interpreter
set -euo pipefail

cd "$(dirname "$0")/../../bindings/node"
case "${1:-}" in
    install)
        # What the install script would do twice: it does not know whether the sources are new.
        npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
        npm run --silent build
        ;;
    test)
        shift
        exec node --test --test-reporter=spec "$@" test/*.test.js
        ;;
    interpreter) command -v node ;;
    *)
        sed -n '2,3s/^# //p' "$0" >&2
        exit 2
        ;;
esac
