#!/bin/sh
# Puts PyTorch into .venv for the tests of its exporter: the CPU build where pip's settings find one, else the plain
# package of the same release, which brings several GB of libraries for other hardware.
set -eu
cd "$(dirname "$0")/.."
if [ -z "${VENV_IS_LOCKED:-}" ]; then
    export VENV_IS_LOCKED=yes
    exec .venv/bin/python requirements/alone.py sh requirements/torch.sh
fi
if [ -e .venv/.torch ] && [ -z "$(find requirements/torch.txt requirements/torch.sh .venv/.test -newer .venv/.torch)" ]; then
    exit 0 # another make did it
fi
export PIP_DISABLE_PIP_VERSION_CHECK=1
printf 'installing PyTorch into .venv\n' >&2
# What it needs is in test.txt already.
if ! .venv/bin/python -m pip install -q --no-deps --require-hashes -r requirements/torch.txt 2>.venv/pip.log; then
    printf 'no CPU build is to be had: installing the plain package\n' >&2
    .venv/bin/python -m pip install -q torch==2.13.0 2>.venv/pip.log || { cat .venv/pip.log >&2; exit 4; }
fi
touch .venv/.torch
