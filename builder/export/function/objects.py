"""Write objects that are not plain data, such as fitted models, as pickles that the image's libraries load.

A pickle here contains only globals of the standard library and of packages that the images have. The functions and
classes of the user, and boosters of XGBoost, are persistent ids: names of ``code/model.py``, where they are defined.
See https://docs.python.org/3/library/pickle.html#persistence-of-external-objects.
"""

from __future__ import annotations

import io
import pickle
import sys
import sysconfig
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from builder import errors, secret_scan
from builder.export.function import closure, stored_model
from builder.inside import custom

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_OBJECT_BYTES = 2 << 30
"""Bytes of all stored objects and data; the tournament has 4 GB of memory to load and predict with them."""

_WRAPPERS = (("lightgbm", "LGBMModel"), ("xgboost", "XGBModel"))
"""Classes whose attributes differ between versions: an object is created by the image's version, then updated."""
_MAX_DEPTH = 8


class ModuleNeeded(Exception):  # noqa: N818 - a request, not an error
    """A function uses a module of the user as a whole, which the bundle must contain."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Names(Protocol):
    """Where the definitions of the user's code are collected."""

    def find_importable(self, value: Any) -> bool:
        """Return whether a function or class is found under its own name in a package or an included module."""

    def find_name(self, value: Any) -> str | None:
        """Return the name of ``code/model.py`` that has the value already; None if there is none."""

    def define(self, value: Any, hint: str, user: str) -> str:
        """Return the name of ``code/model.py`` that has the value, after defining it."""


class _ObjectPickler(pickle.Pickler):
    """Pickles an object, and collects the names of ``code/model.py`` that it refers to."""

    def __init__(self, stream: io.BytesIO, names: Names, location: str) -> None:
        super().__init__(stream, protocol=5)
        self.needs: dict[str, None] = {}
        self._root: Any = None
        self._names = names
        self._location = location
        self._defined: dict[int, tuple[Any, str]] = {}

    def dump(self, value: Any) -> None:
        """Pickle an object, which must be the only one."""
        self._root = value
        super().dump(value)

    def persistent_id(self, value: Any) -> str | None:
        known = None if value is self._root else self._names.find_name(value)
        if known is not None:
            self.needs[known] = None
            return known
        if isinstance(value, (str, bytes, dict)):
            _check_secrets(value, self._location)
            return None
        if value is custom.restore_object:
            return custom.RESTORE
        if not self._is_defined_in_code(value):
            return None
        if id(value) not in self._defined:
            hint = getattr(value, "__name__", None) or f"{self._location}_part"
            self._defined[id(value)] = (value, self._names.define(value, str(hint), self._location))
        name = self._defined[id(value)][1]
        self.needs[name] = None
        return name

    def reducer_override(self, value: Any) -> Any:
        if any(is_instance(value, *names) for names in _WRAPPERS):
            return custom.restore_object, (type(value), vars(value))
        if is_instance(value, "torch.jit", "ScriptModule"):
            stream = io.BytesIO()
            sys.modules["torch"].jit.save(value, stream)
            return stored_model.ScriptedModule, (stream.getvalue(),)
        return NotImplemented

    def _is_defined_in_code(self, value: Any) -> bool:
        if isinstance(value, (type, types.FunctionType)):
            return not self._names.find_importable(value)
        if isinstance(value, types.ModuleType) or is_instance(value, "xgboost", "Booster"):
            return True
        if isinstance(value, (pd.DataFrame, pd.Series)):
            return closure.can_store_frame(value)
        return is_wrapper(value)


def dump(value: Any, name: str, names: Names) -> tuple[bytes, tuple[str, ...]]:
    """Return the pickle of an object, and the names of ``code/model.py`` that it refers to.

    Raises:
        errors.ExportError: A part of it cannot be pickled, or is a secret.
    """
    stream = io.BytesIO()
    pickler = _ObjectPickler(stream, names, name)
    try:
        pickler.dump(value)
    except (errors.ExportError, ModuleNeeded):
        raise
    except Exception as error:
        part, location = _find_failing_part(value, name, names)
        message = closure.explain_refusal(part, location)
        raise errors.ExportError(f"{message} ({type(error).__name__}: {str(error)[:200]})") from error
    return stream.getvalue(), tuple(pickler.needs)


def find_modules(content: bytes) -> set[str]:
    """Return the modules whose globals a pickle refers to, without importing any."""
    modules: set[str] = set()

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            modules.add(module)
            return type(name.rpartition(".")[2], (_Recorder,), {})

        def persistent_load(self, _name: str) -> Any:
            return type("Definition", (_Recorder,), {})

    Reader(io.BytesIO(content)).load()
    return modules


class _Recorder:
    """Replaces any object while a pickle is read: it accepts all operations, and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> _Recorder:  # noqa: PYI034 - also for subclasses made above
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> _Recorder:
        return self

    def __setstate__(self, _state: Any) -> None:
        pass

    def __setitem__(self, _key: Any, _value: Any) -> None:
        pass

    def append(self, _item: Any) -> None:
        pass

    def add(self, _item: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        pass


def is_wrapper(value: Any) -> bool:
    """Return whether a callable was made by a decorator of a library, so that its code is not the user's."""
    if isinstance(value, (type, types.MethodType)) or not callable(value) or not hasattr(value, "__wrapped__"):
        return False
    return not isinstance(value, types.FunctionType) or is_library_file(value.__code__.co_filename)


def is_library_file(file: str) -> bool:
    """Return whether a file is of Python or of an installed package."""
    path = Path(file)
    is_package = not {"site-packages", "dist-packages"}.isdisjoint(path.parts)
    return is_package or Path(sysconfig.get_path("stdlib")) in path.parents


def is_instance(value: Any, package: str, name: str) -> bool:
    """Return whether a value is an instance of a class of a package, which need not be installed."""
    kind = getattr(sys.modules.get(package), name, None)
    return kind is not None and isinstance(value, kind)


def _check_secrets(value: str | bytes | dict[Any, Any], location: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            is_text = isinstance(item, (str, bytes)) and len(item) >= secret_scan.MIN_LENGTH
            if isinstance(key, str) and is_text and secret_scan.is_secret_key(key):
                raise errors.ExportError(
                    f"export: `{location}` has `{key}`, which is named like a secret: others can read a bundle, so it "
                    "must not contain secrets; remove it, or rename it if it is not one"
                )
    elif len(value) < 4_000 and secret_scan.has_secret(value if isinstance(value, str) else value.decode("latin-1")):
        raise errors.ExportError(
            f"export: `{location}` contains what looks like a secret: others can read a bundle, so it must not "
            "contain secrets; remove it"
        )


def _find_failing_part(value: Any, name: str, names: Names) -> tuple[Any, str]:
    """Return the smallest part of an object that cannot be pickled, and where it is: ``model.steps[0].lock``."""
    for _ in range(_MAX_DEPTH):
        for location, part in _iter_parts(value, name):
            try:
                _ObjectPickler(io.BytesIO(), names, location).dump(part)
            except Exception:  # noqa: BLE001 - objects raise anything when they cannot be pickled
                value, name = part, location
                break
        else:
            break
    return value, name


def _iter_parts(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f"{name}[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, (list, tuple)):
        yield from ((f"{name}[{index}]", item) for index, item in enumerate(value))
    elif not isinstance(value, (type, types.ModuleType, types.FunctionType)):
        yield from ((f"{name}.{key}", item) for key, item in getattr(value, "__dict__", {}).items())
