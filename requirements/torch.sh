#!/bin/sh
# Installs PyTorch into .venv for the tests of its exporter: the CPU build if pip's settings find one, else the default
# package of the same release, which includes several GB of GPU libraries.
set -eu
cd "$(dirname "$0")/.."
if [ -z "${VENV_IS_LOCKED:-}" ]; then
    export VENV_IS_LOCKED=yes
    exec .venv/bin/python requirements/alone.py sh requirements/torch.sh
fi
if [ -e .venv/.torch ] && [ -z "$(find requirements/torch.txt requirements/torch.sh .venv/.test -newer .venv/.torch)" ]; then
    exit 0 # another process installed it
fi
printf 'installing PyTorch into .venv\n' >&2
# The dependencies of the CPU build are in test.txt.
if ! sh requirements/install.sh --no-deps -r requirements/torch.txt 2>.venv/torch.log; then
    printf 'no CPU build is available: installing the default package\n' >&2
    sh requirements/install.sh torch==2.13.0 || exit 4
fi
touch .venv/.torch
