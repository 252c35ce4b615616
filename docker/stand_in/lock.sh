#!/bin/sh
# Write requirements-3.X.txt for each pins/py3.X.TAG.txt: the packages of requirements.in and their dependencies, with
# the hash of each file and without an index URL. The published pins of the runner image are the constraints, so that a
# stand-in has the versions of the image.
# Requires uv. For a new image: replace the list in pins/ and run this script.
set -eu
cd "$(dirname "$0")"
unset PIP_FIND_LINKS UV_FIND_LINKS # local wheels may differ from the published ones

for pins in pins/py3.*.txt; do
    version=${pins#pins/py}
    version=${version%.*.txt}
    uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate \
        --only-binary :all: --python-version "$version" --python-platform x86_64-manylinux_2_28 \
        --constraint "$pins" --output-file "requirements-$version.txt" requirements.in
    echo "requirements-$version.txt: $(grep -c '==' "requirements-$version.txt") packages"
done

# Two more sets for tests: the oldest packages of any image and the newest ones, on Pythons that Debian has.
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
