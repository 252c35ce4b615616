"""Which modules the runner's images have, from their published package lists."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from builder import paths
from builder.validate.reading import bytecode

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a distribution installs, if that is not its own name with underscores.
_NAMES = {
    "absl-py": "absl",
    "argon2-cffi": "argon2",
    "attrs": "attr attrs",
    "beautifulsoup4": "bs4",
    "cuda-bindings": "cuda",
    "cuda-pathfinder": "cuda",
    "fonttools": "fontTools",
    "gitpython": "git",
    "google-api-core": "google",
    "google-auth": "google",
    "google-cloud-core": "google",
    "google-cloud-storage": "google",
    "google-pasta": "pasta",
    "googleapis-common-protos": "google",
    "grpcio": "grpc",
    "ipython": "IPython",
    "libclang": "clang",
    "markdown-it-py": "markdown_it",
    "matplotlib": "matplotlib mpl_toolkits pylab",
    "nvidia-ml-py": "pynvml",
    "pillow": "PIL",
    "proto-plus": "proto",
    "protobuf": "google",
    "pynacl": "nacl",
    "python-dateutil": "dateutil",
    "python-dotenv": "dotenv",
    "python-json-logger": "pythonjsonlogger",
    "python-slugify": "slugify",
    "pyyaml": "yaml",
    "pyzmq": "zmq",
    "rpds-py": "rpds",
    "scikit-learn": "sklearn",
    "setuptools": "setuptools pkg_resources _distutils_hack distutils",  # also on 3.12 (tried with 80.9.0)
    "torch": "torch torchgen functorch",
    "umap-learn": "umap",
    "websocket-client": "websocket",
}


def list_pythons() -> tuple[str, ...]:
    """Return the versions of Python whose images have a published package list."""
    return tuple(_find_pins())


def find_distribution(module: str, python: str) -> str | None:
    """Return the package that has a module in the image of a Python, ``Python`` for its own; None if none has it."""
    name = module.partition(".")[0]
    entry = bytecode.load_pythons().get(python)
    if name == "builtins" or (entry and name in entry["modules"]):
        return "Python"
    return _list_modules(python).get(name)


def find_version(distribution: str, python: str) -> str | None:
    """Return the version of a package in the image of a Python; None if the list has no such package."""
    return _read_pins(python).get(distribution)


@functools.cache
def _find_pins() -> Mapping[str, str]:
    """Return the text of each package list by the version of Python."""
    files = sorted((paths.docker_folder() / "stand_in" / "pins").glob("py3.*.txt"))
    versions = {".".join(path.name.removeprefix("py").split(".")[:2]): path for path in files}
    pythons = sorted(versions, key=lambda python: int(python.partition(".")[2]))
    return {python: versions[python].read_text(encoding="utf-8") for python in pythons}


@functools.cache
def _read_pins(python: str) -> Mapping[str, str]:
    text = _find_pins().get(python, "")
    return {name.lower(): version for name, version in re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^\s;]+)", text)}


@functools.cache
def _list_modules(python: str) -> Mapping[str, str]:
    return {
        module: distribution
        for distribution in _read_pins(python)
        for module in _NAMES.get(distribution, distribution.replace("-", "_")).split()
    }
