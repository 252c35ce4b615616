#!/bin/sh
# Installs packages into .venv: sh requirements/install.sh OPTION... -r FILE
#
# Uses uv, which pip installs first, or pip if uv is not available or fails. Every requirement of a FILE has a version
# and hashes, which both verify (not by uv's --require-hashes, which refuses constraints that are version ranges).
# uv compiles to bytecode, as pip does by default, since .venv may be read-only when Python runs. On a terminal both
# show their progress; otherwise the output of pip is printed if both fail.
set -eu
cd "$(dirname "$0")/.."
python=.venv/bin/python log=.venv/install.log
export PIP_DISABLE_PIP_VERSION_CHECK=1
run() { if [ -t 2 ]; then "$@" >&2; else "$@" >"$log" 2>&1; fi; }

if [ -z "$(find .venv/.uv -newer requirements/uv.txt 2>/dev/null)" ]; then
    rm -f .venv/.uv
    run $python -m pip install --retries 1 --only-binary :all: --require-hashes -r requirements/uv.txt && touch .venv/.uv
fi || echo 'note: uv is not available: installing with pip' >&2
if [ -e .venv/.uv ]; then
    run $python requirements/uv.py pip install --python $python --compile-bytecode --verify-hashes "$@" && exit
    echo 'note: uv failed: installing with pip' >&2
fi
run $python -m pip install --no-warn-script-location "$@" && exit
[ -t 2 ] || cat "$log" >&2
exit 1
