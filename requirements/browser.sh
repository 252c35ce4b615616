#!/bin/sh
# Installs Chromium, in which the tests open the report, where there is none: on Debian and Ubuntu as root.
set -eu
for name in chromium chromium-browser google-chrome; do
    ! command -v "$name" >/dev/null || exit 0
done
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo 'error: the tests open the report in Chromium, which was not found: install it, then run this again' >&2
    exit 2
fi
echo 'Chromium not found: installing it, for the tests of the report' >&2
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
{ apt-get update && apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 chromium; } >"$log" 2>&1 || {
    tail -n 5 "$log" >&2
    exit 2
}
