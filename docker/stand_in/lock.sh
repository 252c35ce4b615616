#!/bin/sh
# Write requirements-3.X.txt for each pins/py3.X.TAG.txt: the packages of requirements.in and their dependencies, with
# the hash of each file and without an index URL. The published pins of the runner image are the constraints, so that a
# stand-in has the versions of the image.
# Requires uv. For a new image: replace the list in pins/ and run this script.
set -eu
cd "$(dirname "$0")"
unset PIP_FIND_LINKS UV_FIND_LINKS # local wheels may differ from the published ones

# Usage: compile NAME PYTHON REQUIREMENTS [OPTION...]
compile() {
    name=$1 python=$2 packages=$3
    shift 3
    # Wheels only: a stand-in is built without network, and without a compiler.
    uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate \
        --only-binary :all: --python-version "$python" --python-platform x86_64-manylinux_2_28 \
        "$@" --output-file "requirements-$name.txt" "$packages"
    echo "requirements-$name.txt: $(grep -c '==' "requirements-$name.txt") packages"
}

for pins in pins/py3.*.txt; do
    version=${pins#pins/py}
    version=${version%.*.txt}
    compile "$version" "$version" requirements.in --constraint "$pins"
done

# More sets for tests: the oldest packages of any image and the newest ones, on Pythons that Debian has; and two with more
# packages of the default image, of which xgboost and tensorflow have builds without GPU libraries under other names.
compile oldest 3.11 requirements.in --constraint pins/py3.10.a78dedd.txt
compile newest 3.13 requirements.in --upgrade
for name in boosters full; do
    sed -E 's/^(xgboost|tensorflow)==/\1-cpu==/' pins/py3.12.*.txt |
        compile "$name" 3.12 "requirements-$name.in" --constraint -
done
