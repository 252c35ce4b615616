"""Look up which packages the runner images have, in their published pins, and which modules these packages are here."""

from __future__ import annotations

import functools
import importlib.metadata
import re
import sys
from typing import TYPE_CHECKING

from builder import published_pins
from builder.inside import inventory

if TYPE_CHECKING:
    from collections.abc import Mapping

_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def find_package(module: str) -> str:
    """Return the name of the package that a top-level module belongs to, or would belong to if it were installed."""
    # The module's own name last: tensorflow-cpu and others are what the images have under the module's name.
    packages = [*list_installed().get(module, ()), _list_published().get(module, inventory.normalize_name(module))]
    return next((name for name in packages if find_pythons(name)), packages[0])


def find_pythons(package: str) -> tuple[str, ...]:
    """Return the Python versions of the images that have a package: ``("3.12", "3.13")``."""
    name = inventory.normalize_name(package)
    return tuple(python for python in published_pins.list_pythons() if name in published_pins.get_versions(python))


@functools.cache
def list_modules() -> tuple[str, ...]:
    """Return the top-level modules, Python's own too, that code in an image can import.

    Also those of packages that the installed version of an image's package requires, which may be another version than
    the image's and require others.
    """
    names = set(_list_published().values())
    names |= {
        name for module, names in list_installed().items() if find_pythons(find_package(module)) for name in names
    }
    names = _find_requirements(names)
    modules = {module for module, packages in list_installed().items() if not names.isdisjoint(packages)}
    modules |= set(_list_published()) | {name.replace("-", "_") for name in names}
    return tuple(sorted(modules | sys.stdlib_module_names | set(sys.builtin_module_names)))


@functools.cache
def _list_published() -> Mapping[str, str]:
    """Return the package of each top-level module in any image."""
    return {
        module: package
        for python in published_pins.list_pythons()
        for module, package in published_pins.list_modules(python).items()
    }


@functools.cache
def list_installed() -> Mapping[str, tuple[str, ...]]:
    """Return the normalized names of the installed packages, by their top-level modules."""
    return {
        module: tuple(dict.fromkeys(map(inventory.normalize_name, filter(None, packages))))
        for module, packages in importlib.metadata.packages_distributions().items()
    }


def _find_requirements(packages: set[str]) -> set[str]:
    """Return packages and all that their installed versions require, without extras."""
    requirements = {
        inventory.normalize_name(distribution.name): distribution.requires or []
        for distribution in importlib.metadata.distributions()
        if distribution.name  # an interrupted installation leaves a folder without metadata
    }
    names, remaining = set(packages), list(packages)
    while remaining:
        for requirement in requirements.get(remaining.pop(), ()):
            match = _REQUIREMENT.match(requirement)
            if (
                match
                and "extra" not in requirement.partition(";")[2]
                and (name := inventory.normalize_name(match[0])) not in names
            ):
                names.add(name)
                remaining.append(name)
    return names
