#!/bin/sh
# Installs packages into .venv: sh requirements/install.sh OPTION... -r FILE
#
# With uv, which pip installs first; with pip if uv is not available or fails. Every requirement of a FILE has a version
# and hashes, which both check (uv's --require-hashes would refuse a constraint of pip's that is a range of versions).
# Both compile what they install, as pip does unasked: some environments forbid Python to write it down later.
# On a terminal both show their own progress; elsewhere, what pip printed is shown when both fail.
set -eu
cd "$(dirname "$0")/.."
python=.venv/bin/python log=.venv/install.log
export PIP_DISABLE_PIP_VERSION_CHECK=1
logged() { if [ -t 2 ]; then "$@" >&2; else "$@" >"$log" 2>&1; fi; }

if [ -z "$(find .venv/.uv -newer requirements/uv.txt 2>/dev/null)" ]; then
    rm -f .venv/.uv
    logged $python -m pip install --retries 1 --only-binary :all: --require-hashes -r requirements/uv.txt && touch .venv/.uv
fi || echo 'note: uv is not available: installing with pip' >&2
if [ -e .venv/.uv ]; then
    logged $python requirements/uv.py pip install --python $python --compile-bytecode --verify-hashes "$@" && exit
    echo 'note: uv failed: installing with pip' >&2
fi
logged $python -m pip install --no-warn-script-location "$@" && exit
[ -t 2 ] || cat "$log" >&2
exit 1
