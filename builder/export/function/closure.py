"""Convert the data that a function closes over to Python expressions and files: ``weights = bundle.arrays["weights"]``.

Only data of known types is converted, compared by exact type, since a subclass may have state that would be lost.
"""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from builder import errors
from builder.bundle.storage import tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_INLINE_CHARS = 2_000
"""Characters of a value that is written into the code; a longer one is written to a file, if it is JSON."""

_LITERAL_TYPES = (type(None), bool, int, str, bytes)


class NotDataError(errors.ExportError):
    """A value, or an item of it, is not data of a known type."""


@dataclass(kw_only=True)
class ClosureData:
    """Collects the data of a bundle.

    Attributes:
        arrays: The arrays of ``arrays.safetensors``, by name.
        files: The contents of ``files/``, by name.
        imports: The modules that the expressions use.
    """

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    imports: set[str] = field(default_factory=set)
    _expressions: dict[int, tuple[object, str]] = field(default_factory=dict)

    def to_expression(self, value: Any, name: str) -> str:
        """Return a Python expression of the value, which may use ``bundle`` and the modules of ``imports``.

        Raises:
            errors.ExportError: The value, or an item of it, is not data; the error gives its name.
        """
        kind = type(value)
        if kind in _LITERAL_TYPES or (kind is float and math.isfinite(value)):
            return repr(value)
        if kind is float:
            return f'float("{value}")'
        if kind in (list, tuple, dict, set, frozenset):
            return self._write_container(value, name)
        # item() of a numpy.longdouble returns a longdouble again, since Python has no number of that precision.
        if isinstance(value, np.generic) and value.dtype.kind in "biuf" and not isinstance(value.item(), np.generic):
            self.imports.add("numpy")
            return f'numpy.dtype("{value.dtype.name}").type({self.to_expression(value.item(), name)})'
        return self._write_library_value(value, name)

    def _write_library_value(self, value: Any, name: str) -> str:
        if type(value) is np.ndarray:
            return self._store_once(value, name, self._store_array)
        if type(value) is pd.DataFrame:
            return self._store_once(value, name, self._store_frame)
        if type(value) is pd.Series:
            title = self.to_expression(value.name, f"{name}.name")
            frame = self._store_once(
                value, name, lambda series, title: self._store_frame(series.to_frame("value"), title)
            )
            return f'{frame}["value"].rename({title})'
        if type(value) is pd.Index:
            self.imports.add("pandas")
            title = self.to_expression(value.name, f"{name}.name")
            return f"pandas.Index({self.to_expression(value.to_numpy(), name)}, name={title})"
        raise NotDataError(explain_refusal(value, name))

    def _write_container(self, value: Any, name: str) -> str:
        kind = type(value)
        if is_json(value) and len(text := json.dumps(value, indent=1)) > MAX_INLINE_CHARS:
            self.imports.add("json")
            return f'json.loads(bundle.read("{self.add_file(f"{name}.json", text.encode())}"))'
        if kind is dict:
            pairs = [
                f"{self.to_expression(key, f'a key of {name}')}: {self.to_expression(item, f'{name}[{key!r}]')}"
                for key, item in value.items()
            ]
            return "{" + ", ".join(pairs) + "}"
        # The order of a set depends on the hash seed, and the same function must give the same bundle.
        items = sorted(value, key=repr) if kind in (set, frozenset) else list(value)
        contents = ", ".join(self.to_expression(item, f"{name}[{index}]") for index, item in enumerate(items))
        if kind is list:
            return f"[{contents}]"
        if kind is tuple:
            return f"({contents},)" if len(items) == 1 else f"({contents})"
        return f"{kind.__name__}([{contents}])"

    def _store_array(self, value: NDArray[Any], name: str) -> str:
        if value.dtype.kind == "O":
            if value.ndim != 1 or not is_json(value.tolist()):
                raise NotDataError(f"export: `{name}` is an array of Python objects; convert it to an array of numbers")
            self.imports.add("numpy")
            return f"numpy.array({self.to_expression(value.tolist(), name)}, dtype=object)"
        # ascontiguousarray makes a 0-dimensional array 1-dimensional; reshape undoes that.
        plain = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("=")).reshape(value.shape)
        if plain.dtype.name in tensors.TYPES and plain.ndim in (1, 2) and plain.size:
            key = _make_unique(_clean_name(name), self.arrays)
            self.arrays[key] = plain
            return f'bundle.arrays["{key}"]'
        stream = io.BytesIO()
        np.save(stream, plain, allow_pickle=False)
        self.imports.add("numpy")
        return f'numpy.load(bundle.path("{self.add_file(f"{name}.npy", stream.getvalue())}"))'

    def _store_frame(self, value: pd.DataFrame, name: str) -> str:
        stream = io.BytesIO()
        try:
            value.to_parquet(stream)
            restored = pd.read_parquet(io.BytesIO(stream.getvalue()))
            pd.testing.assert_frame_equal(restored, value, check_freq=False)
        except ImportError as error:
            raise errors.ExportError(
                f"export: `{name}` is a pandas object, which is stored as a parquet file; install pyarrow for that: "
                "`pip install pyarrow`"
            ) from error
        except Exception as error:
            reason = str(error).strip().split("\n", 1)[0][:120]
            raise NotDataError(
                f"export: the frame `{name}` changes when it is saved to a parquet file ({reason}); use strings as "
                "column names and one type for each column, or close over its arrays"
            ) from error
        self.imports.add("pandas")
        return f'pandas.read_parquet(bundle.path("{self.add_file(f"{name}.parquet", stream.getvalue())}"))'

    def _store_once(self, value: Any, name: str, store: Any) -> str:
        """Return the expression of a value, which may have been stored before under another name."""
        if id(value) not in self._expressions:
            # With a reference to the value, so that its id is not used again.
            self._expressions[id(value)] = (value, store(value, name))
        return self._expressions[id(value)][1]

    def add_file(self, name: str, content: bytes) -> str:
        """Add a file of ``files/``; return its name, which is unique."""
        stem, _, suffix = name.rpartition(".")
        unique = _make_unique(_clean_name(stem), {file.rpartition(".")[0] for file in self.files})
        self.files[f"{unique}.{suffix}"] = content
        return f"{unique}.{suffix}"


def can_store_frame(value: Any) -> bool:
    """Return whether a frame or series is the same after it was saved to a parquet file."""
    if type(value) not in (pd.DataFrame, pd.Series):
        return False
    try:
        ClosureData().to_expression(value, "value")
    except NotDataError:
        return False
    return True


def is_json(value: Any) -> bool:
    """Return whether a value is the same after it was written and read as JSON."""
    kind = type(value)
    if kind is list:
        return all(is_json(item) for item in value)
    if kind is dict:
        return all(type(key) is str for key in value) and all(is_json(item) for item in value.values())
    return value is None or kind in (bool, int, str, float)


def explain_refusal(value: Any, name: str) -> str:
    """Return the error message for a value that cannot be included in the bundle, with what to do instead."""
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    type_name = f"{kind.__module__}.{kind.__qualname__}" if package != "builtins" else kind.__qualname__
    if isinstance(value, io.IOBase):
        advice = "read it before, and close over its contents"
    elif isinstance(value, (dict, list, tuple, set)):
        plain = next(base.__name__ for base in (dict, list, tuple, set) if isinstance(value, base))
        advice = f"convert it to a plain {plain}"
    else:
        advice = "create it in the function, or use what it contains"
    return f"export: `{name}` has type {type_name}, which a bundle cannot contain; {advice}"


def _clean_name(name: str) -> str:
    """Return the name of a file or array for a value, such as ``params_w`` for ``params['w']``."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:60] or "value"


def _make_unique(name: str, existing: Any) -> str:
    unique, count = name, 2
    while unique in existing:
        unique, count = f"{name}_{count}", count + 1
    return unique
