"""What a function closes over, as Python text and as files: ``weights = bundle.arrays["weights"]``.

Only data, by exact type: what a value of another type would need to come back is not known here.
"""

from __future__ import annotations

import io
import json
import math
import re
import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from builder import errors
from builder.bundle.storage import tensors
from builder.export import known

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_TEXT = 2_000
"""Characters of a value that stands in the code; a longer one gets a file, if JSON can hold it."""

_PLAIN = (type(None), bool, int, str, bytes)
_DATA = "numbers, strings, lists, dicts, numpy arrays and pandas frames can be taken in"


@dataclass(kw_only=True)
class Data:
    """The data of a bundle as it is gathered.

    Attributes:
        arrays: For ``arrays.safetensors``.
        files: For ``files/``, by their names there.
        imports: Modules that the expressions take.
    """

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    imports: set[str] = field(default_factory=set)
    _kept: dict[int, tuple[object, str]] = field(default_factory=dict)

    def expression(self, value: Any, name: str) -> str:
        """Return Python text that gives the value; it may use ``bundle`` and the modules of ``imports``.

        Raises:
            errors.ExportError: the value, or something in it, is no data; ``name`` says which.
        """
        kind = type(value)
        if kind in _PLAIN or (kind is float and math.isfinite(value)):
            return repr(value)
        if kind is float:
            return f'float("{value}")'
        if kind in (list, tuple, dict, set, frozenset):
            return self._container(value, name)
        # A long double is a numpy number still, however often it is asked for a plain one.
        if isinstance(value, np.generic) and value.dtype.kind in "biuf" and not isinstance(value.item(), np.generic):
            self.imports.add("numpy")
            return f'numpy.dtype("{value.dtype.name}").type({self.expression(value.item(), name)})'
        return self._of_library(value, name)

    def _of_library(self, value: Any, name: str) -> str:
        if type(value) is np.ndarray:
            return self._kept_once(value, name, self._array)
        if type(value) is pd.DataFrame:
            return self._kept_once(value, name, self._frame)
        if type(value) is pd.Series:
            title = self.expression(value.name, f"{name}.name")
            frame = self._kept_once(value, name, lambda one, at: self._frame(one.to_frame("value"), at))
            return f'{frame}["value"].rename({title})'
        if type(value) is pd.Index:
            self.imports.add("pandas")
            title = self.expression(value.name, f"{name}.name")
            return f"pandas.Index({self.expression(value.to_numpy(), name)}, name={title})"
        raise errors.ExportError(refusal(value, name))

    def _container(self, value: Any, name: str) -> str:
        kind = type(value)
        if is_json(value) and len(text := json.dumps(value, indent=1)) > MOST_TEXT:
            self.imports.add("json")
            return f'json.loads(bundle.read("{self._file(f"{name}.json", text.encode())}"))'
        if kind is dict:
            pairs = [
                f"{self.expression(key, f'a key of {name}')}: {self.expression(one, f'{name}[{key!r}]')}"
                for key, one in value.items()
            ]
            return "{" + ", ".join(pairs) + "}"
        items = sorted(value, key=repr) if kind in (set, frozenset) else list(value)
        inside = ", ".join(self.expression(one, f"{name}[{place}]") for place, one in enumerate(items))
        if kind is list:
            return f"[{inside}]"
        if kind is tuple:
            return f"({inside},)" if len(items) == 1 else f"({inside})"
        return f"{kind.__name__}([{inside}])"

    def _array(self, value: NDArray[Any], name: str) -> str:
        if value.dtype.kind == "O":
            if value.ndim != 1 or not is_json(value.tolist()):
                raise errors.ExportError(f"export: `{name}` is an array of Python objects; make it one of numbers")
            self.imports.add("numpy")
            return f"numpy.array({self.expression(value.tolist(), name)}, dtype=object)"
        plain = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("=")).reshape(value.shape)
        if plain.dtype.name in tensors.TYPES and plain.ndim in (1, 2) and plain.size:
            key = _free(_tidy(name), self.arrays)
            self.arrays[key] = plain
            return f'bundle.arrays["{key}"]'
        stream = io.BytesIO()
        np.save(stream, plain, allow_pickle=False)
        self.imports.add("numpy")
        return f'numpy.load(bundle.path("{self._file(f"{name}.npy", stream.getvalue())}"))'

    def _frame(self, value: pd.DataFrame, name: str) -> str:
        stream = io.BytesIO()
        try:
            value.to_parquet(stream)
            again = pd.read_parquet(io.BytesIO(stream.getvalue()))
            pd.testing.assert_frame_equal(again, value, check_freq=False)
        except Exception as error:
            why = str(error).strip().split("\n", 1)[0][:120]
            raise errors.ExportError(
                f"export: the frame `{name}` does not come back from a parquet file as it was ({why}); give its "
                "columns names that are strings and one type each, or close over its arrays"
            ) from error
        self.imports.add("pandas")
        return f'pandas.read_parquet(bundle.path("{self._file(f"{name}.parquet", stream.getvalue())}"))'

    def _kept_once(self, value: Any, name: str, keep: Any) -> str:
        """Return the expression of a value that may have been kept already, under another name."""
        if id(value) not in self._kept:
            self._kept[id(value)] = (value, keep(value, name))  # the value too: an id is only its own while it lives
        return self._kept[id(value)][1]

    def _file(self, name: str, content: bytes) -> str:
        stem, _, suffix = name.rpartition(".")
        free = _free(_tidy(stem), {one.rpartition(".")[0] for one in self.files})
        self.files[f"{free}.{suffix}"] = content
        return f"{free}.{suffix}"


def is_json(value: Any) -> bool:
    """Whether a value comes back from JSON as it was."""
    kind = type(value)
    if kind is list:
        return all(is_json(one) for one in value)
    if kind is dict:
        return all(type(key) is str for key in value) and all(is_json(one) for one in value.values())
    return value is None or kind in (bool, int, str, float)


def refusal(value: Any, name: str) -> str:
    """Return why a value cannot be taken in, and the way out."""
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    what = f"{kind.__module__}.{kind.__qualname__}" if package != "builtins" else kind.__qualname__
    if isinstance(value, io.IOBase):
        way = "read it where you train, and use what was read"
    elif isinstance(value, type):
        home = "its_module" if value.__module__ == "__main__" else value.__module__
        return (
            f"export: `{name}` is the class {value.__qualname__}, which is no data; have it in a module of yours and "
            f'pass modules=["{home}"], or use functions'
        )
    elif isinstance(value, types.ModuleType):
        return f'export: `{name}` is the module {value.__name__}; pass modules=["{value.__name__}"]'
    elif any(one.__module__.partition(".")[0] in known.MODULES for one in kind.__mro__):
        way = (
            "export the model itself, export(model, ...) with neutralize= or post= for what follows; where that is "
            "refused, save it to a file and read that in load(bundle), with files= (docs/export/custom.md), or use its "
            "arrays"
        )
    elif kind in (dict, list) or isinstance(value, (dict, list, tuple, set)):
        way = f"make it a plain {next(one.__name__ for one in (dict, list, tuple, set) if isinstance(value, one))}"
    else:
        way = f"{_DATA}; or write load(bundle) and pass files= (docs/export/custom.md)"
    return f"export: `{name}` is of the type {what}, which cannot be taken in; {way}"


def _tidy(name: str) -> str:
    """Return a name for a file or an array out of that of a value, such as ``params['w']``."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:60] or "value"


def _free(name: str, taken: Any) -> str:
    found, count = name, 2
    while found in taken:
        found, count = f"{name}_{count}", count + 1
    return found
