#!/bin/sh
# Sets up .venv with the packages of requirements/NAME.txt, and this package itself: sh requirements/venv.sh NAME
#
# Uses the first Python of 3.11 or newer; if there is none, it installs that of Debian or Ubuntu, as root. The marker
# .venv/.NAME is written last, so that an interrupted set-up is repeated. Only one process sets up .venv at a time: the
# next one waits (requirements/alone.py), and ends when it finds the marker.
set -eu
cd "$(dirname "$0")/.."
name=$1

say() { printf '%s\n' "$*" >&2; }

is_usable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if command -v "$candidate" >/dev/null && is_usable "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

install_python() {
    if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
        say "error: Python 3.11 or newer with its venv module not found: install it (Debian and Ubuntu: python3 and"
        say "python3-venv; macOS: brew install python), then run this again"
        exit 2
    fi
    say "Python 3.11 or newer with its venv module not found: installing python3 and python3-venv"
    log=$(mktemp)
    attempts=0
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C
    until { apt-get update && apt-get install -y --no-install-recommends python3 python3-venv; } >"$log" 2>&1; do
        # Another process, such as the system's automatic updates, may hold the lock of apt.
        if ! grep -q -e 'Could not get lock' -e 'Unable to lock' -e 'Unable to acquire' "$log" || [ "$attempts" -ge 60 ]; then
            tail -n 5 "$log" >&2
            exit 2
        fi
        [ "$attempts" != 0 ] || say "waiting for another apt-get on this machine"
        attempts=$((attempts + 1))
        sleep 5
    done
}

if [ -z "${VENV_IS_LOCKED:-}" ]; then
    python=$(find_python) || { install_python; python=$(find_python); } || {
        say "error: this distribution's Python is older than 3.11: install a newer one, then run this again"
        exit 2
    }
    export VENV_IS_LOCKED="$python"
    exec "$python" requirements/alone.py sh requirements/venv.sh "$name"
fi
python=$VENV_IS_LOCKED

if [ -e ".venv/.$name" ] &&
    [ -z "$(find "requirements/$name.txt" requirements/venv.sh pyproject.toml -newer ".venv/.$name")" ]; then
    exit 0 # another process installed it
fi

if ! .venv/bin/python -c '' 2>/dev/null; then
    say "setting up .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
fi

say "installing requirements/$name.txt into .venv"
# The file lists all packages, so there is no need to resolve dependencies.
if ! sh requirements/install.sh --no-deps -r "requirements/$name.txt"; then
    say "error: could not install requirements/$name.txt: check the package index that pip is set to use (pip config list)"
    exit 4
fi
sh requirements/install.sh --no-deps --no-build-isolation --no-index -e . || exit 2
touch ".venv/.$name"
