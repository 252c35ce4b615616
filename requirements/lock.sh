#!/bin/sh
# Resolves requirements/*.in to requirement files with versions and hashes, without the address of an index.
set -eu
cd "$(dirname "$0")"
[ -e ../.venv/.uv ] || { echo 'error: uv could not be installed in .venv: rm -r .venv, then make lock' >&2 && exit 4; }
# torch.sh installs torch. Here its CPU build (from pip's find-links) replaces it, since the default one would add GPU
# libraries to every test environment.
compile() {
    echo 'torch==2.13.0+cpu' | ../.venv/bin/python uv.py pip compile -q --universal --python-version 3.11 \
        --generate-hashes --no-emit-index-url --no-header --no-annotate --no-emit-package torch --override - "$@"
}
# The largest set first: its versions constrain the others, so that all can share one .venv.
compile bench.in -o bench.txt
for name in test train run; do compile -c bench.txt "$name.in" -o "$name.txt"; done
compile uv.in -o uv.txt
