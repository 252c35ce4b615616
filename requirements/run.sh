#!/bin/sh
# Runs a command of numerai-builder with the Makefile's variables: sh requirements/run.sh COMMAND VARIABLE...
#
# Their values come from the environment, where make puts them, so that no shell executes a value as code. CONFIG, PICKLE and
# SLOT (not of adopt) are the command's argument, MODEL=x is --model=x, and a switch such as DRY_RUN is --dry-run if it is 1,
# and nothing if it is 0 or empty.
set -eu
command=$1
shift
target=
for name; do
    shift
    eval "value=\${$name-}"
    [ -n "$value" ] || continue
    option=--$(printf %s "$name" | tr A-Z_ a-z-)
    case $command.$name in
        adopt.SLOT) set -- "$@" "$option=$value" ;;
        *.CONFIG | *.PICKLE | *.SLOT | rollback.MODEL) target=$value ;;
        *.BUNDLE | *.MODEL | *.NAME | *.PYTHON | *.TO | *.IMAGE | *.LIVE | *.BENCHMARKS | *.STAND_IN | *.REPORT) set -- "$@" "$option=$value" ;;
        *)
            case $value in
                0) ;;
                1) set -- "$@" "$option" ;;
                *) printf 'error: %s=%s: expected 1 (on) or 0 (off)\n' "$name" "$value" >&2 && exit 2 ;;
            esac
            ;;
    esac
done
[ -z "$target" ] || set -- "$@" -- "$target"
export NUMERAI_BUILDER_UNDER_MAKE=1 # messages then suggest variables, not options
exec .venv/bin/python -m builder "$command" "$@"
