#!/bin/sh
# Resolves requirements/*.in to hashed requirement files that name no index.
set -eu
cd "$(dirname "$0")"
[ -e ../.venv/.uv ] || { echo 'error: uv could not be installed in .venv: rm -r .venv, then make lock' >&2 && exit 4; }
# torch itself is torch.sh's business. Its CPU build stands in for it here (from pip's find-links), since the plain one
# would bring the libraries of other hardware into every test environment.
compile() {
    echo 'torch==2.13.0+cpu' | ../.venv/bin/python uv.py pip compile -q --universal --python-version 3.11 \
        --generate-hashes --no-emit-index-url --no-header --no-annotate --no-emit-package torch --override - "$@"
}
# The largest set first: the others are held to its versions, so that one .venv serves them all.
compile bench.in -o bench.txt
for name in test train run; do compile -c bench.txt "$name.in" -o "$name.txt"; done
compile uv.in -o uv.txt
