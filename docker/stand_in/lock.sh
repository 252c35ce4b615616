#!/bin/sh
# Write requirements-3.X.txt for each pins/py3.X.TAG.txt: the packages of requirements.in and what they need, every
# file by its hash, naming no index. The published pins are constraints, so nothing drifts from the image.
# Needs uv on PATH. For a new image: put its list into pins/ in place of the old one, and run this.
set -eu
cd "$(dirname "$0")"
unset PIP_FIND_LINKS UV_FIND_LINKS # wheels of this machine must not enter

for pins in pins/py3.*.txt; do
    version=${pins#pins/py}
    version=${version%.*.txt}
    uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate \
        --only-binary :all: --python-version "$version" --python-platform x86_64-manylinux_2_28 \
        --constraint "$pins" --output-file "requirements-$version.txt" requirements.in
    echo "requirements-$version.txt: $(grep -c '==' "requirements-$version.txt") packages"
done

# The oldest packages that any image has, and the newest that there are, on Pythons that can be had everywhere.
edition() {
    name=$1 version=$2
    shift 2
    uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate \
        --only-binary :all: --python-version "$version" --python-platform x86_64-manylinux_2_28 \
        "$@" --output-file "requirements-$name.txt" requirements.in
    echo "requirements-$name.txt: $(grep -c '==' "requirements-$name.txt") packages"
}
edition oldest 3.11 --constraint pins/py3.10.a78dedd.txt
edition newest 3.13 --upgrade
