"""The packages of the tournament's images, from their published lists, and the modules that each package installs."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from builder import paths

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEFAULT = "3.12"
"""The Python of the tournament's default image."""
EXPERIMENTAL = "3.14"
"""The Python of an image that the tournament marks as experimental, and publishes no list of packages for."""

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
    """Return the versions of Python whose images have a published list, in ascending order: ``("3.10", ...)``."""
    return tuple(_read_all())


def find_tag(python: str) -> str | None:
    """Return the tag of the image of a Python, such as ``a78dedd``; None if no list is known."""
    path = next(_find_folder().glob(f"py{python}.*.txt"), None)
    return path.name.split(".")[-2] if path else None


def get_versions(python: str) -> Mapping[str, str]:
    """Return the version of each package in the image of a Python, by its normalized name; none without a list."""
    return _read_all().get(python, {})


@functools.cache
def list_modules(python: str) -> Mapping[str, str]:
    """Return the package that installs each top-level module in the image of a Python."""
    return {
        module: package
        for package in get_versions(python)
        for module in _NAMES.get(package, package.replace("-", "_")).split()
    }


def _find_folder() -> Path:
    return paths.docker_folder() / "stand_in" / "pins"


@functools.cache
def _read_all() -> Mapping[str, Mapping[str, str]]:
    pins = {}
    for path in _find_folder().glob("py3.*.txt"):
        python = ".".join(path.name.removeprefix("py").split(".")[:2])
        lines = path.read_text(encoding="utf-8").split()
        pins[python] = dict(line.split("==") for line in lines)
    return {python: pins[python] for python in sorted(pins, key=lambda python: int(python.partition(".")[2]))}
