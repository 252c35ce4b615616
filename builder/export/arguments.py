"""Check the arguments of ``export`` before anything else happens; each error names the argument."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import errors
from builder.text import find_nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.export.conversion import Array
    from builder.export.frameworks import OptionsT


def parse_path(path: Any) -> Path:
    """Return the path of the bundle."""
    if not isinstance(path, (str, os.PathLike)) or not str(path):
        raise invalid_value(path, "path", "the bundle's path: NAME.bundle.zip, or a folder")
    return Path(path)


def parse_names(option: str, value: Any) -> tuple[str, ...]:
    """Return a list of column names."""
    # A string is iterable, but its letters are not the names that were meant.
    if isinstance(value, (str, Mapping)) or not _is_iterable(value):
        raise invalid_value(value, option, "a list of column names")
    names = list(value)
    invalid = [name for name in names if not isinstance(name, str)]
    if invalid:
        raise errors.ExportError(
            f"export: invalid column name {_format_value(invalid[0])} in {option}; expected a string"
        )
    return tuple(map(str, names))  # numpy's strings, as in an array of names, are a subclass of str


def parse_benchmarks(value: Any) -> tuple[str, ...]:
    """Return the names of the benchmark columns; a single name may be passed as a string."""
    if value is None:
        return ()
    return (str(value),) if isinstance(value, str) else parse_names("benchmark", value)


def parse_eras(value: Any) -> tuple[str, ...]:
    """Return the eras of the training data without repetitions; those of a set are sorted."""
    if value is None:
        return ()
    if isinstance(value, (str, bytes, Mapping)) or not _is_iterable(value):
        raise invalid_value(value, "eras", "a list of the eras of the training data, such as frame['era']")
    # A set has another order in each process, and the same export must give the same bytes.
    names = map(str, value)
    return tuple(sorted(names) if isinstance(value, (set, frozenset)) else dict.fromkeys(names))


def parse_target(value: Any) -> str | None:
    """Return the name of the target."""
    if value is not None and not isinstance(value, str):
        raise invalid_value(value, "target", "one column name")
    return None if value is None else str(value)


def parse_neutralization(value: Any) -> dict[str, Any] | None:
    """Return the options of a ``neutralize`` step."""
    if value is None or isinstance(value, Mapping):
        return to_plain(value) if value else None
    expected = 'a mapping such as {"features": [...]}, with "proportion" and "scope" as in a config'
    raise invalid_value(value, "neutralize", expected)


def parse_steps(value: Any) -> list[dict[str, Any]] | None:
    """Return post-processing steps in the form that a config has."""
    if value is None:
        return None
    if isinstance(value, (str, Mapping)) or not _is_iterable(value):
        raise invalid_value(value, "post", 'a list of steps, such as [{"rank": {}}]')
    steps = list(value)
    invalid = [step for step in steps if not isinstance(step, Mapping)]
    if invalid:
        raise errors.ExportError(
            f"export: invalid step {_format_value(invalid[0])} in post; expected a mapping of its name to its options, "
            'such as {"rank": {}}'
        )
    return [to_plain(step) for step in steps]


def parse_imputation(value: Any, columns: tuple[str, ...]) -> Array:
    """Return one finite number for each input: float64 (n,)."""
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.asarray(np.nan)
    if numbers.shape not in ((), (len(columns),)) or not np.isfinite(numbers).all():
        one_each = f"a list of {len(columns):,}, one for each input in their order ({columns[0]} first)"
        raise invalid_value(value, "imputation", f"one finite number, or {one_each}")
    return np.broadcast_to(numbers, (len(columns),)).copy()


def parse_options(options: type[OptionsT], values: Mapping[str, Any], *, common: Sequence[str], hint: str) -> OptionsT:
    """Return the options that only one kind of model accepts.

    Args:
        options: Their dataclass.
        values: The keyword arguments of ``export`` beyond ``common``.
        common: The keyword arguments that ``export`` has for all models, which a misspelt name may also mean.
        hint: What to do about an unknown option; may be empty.
    """
    accepted = [field.name for field in dataclasses.fields(options)]
    unknown = sorted(set(values) - set(accepted))
    if unknown:
        names = ", ".join(f"{name}{_format_suggestion(name, [*accepted, *common])}" for name in unknown)
        raise errors.ExportError(
            f"export: unknown option: {names}; this kind of model accepts {', '.join(accepted)}{hint and f'; {hint}'}"
        )
    return options(**values)


def invalid_value(value: Any, option: str, expected: str) -> errors.ExportError:
    """Return the error for an invalid value of an argument."""
    return errors.ExportError(f"export: invalid value {_format_value(value)} for {option}; expected {expected}")


def _format_suggestion(name: str, candidates: Sequence[str]) -> str:
    nearest = find_nearest(name, candidates)
    return f" (did you mean {nearest}?)" if nearest else ""


def to_plain(value: Any) -> Any:
    """Return options as a YAML file would give them: without types of numpy and pandas."""
    if isinstance(value, Mapping):
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str) or not _is_iterable(value):
        return value
    return [to_plain(item) for item in value]


def _is_iterable(value: Any) -> bool:
    # A 0-dimensional array has __iter__, which raises TypeError.
    return isinstance(value, Iterable) and getattr(value, "ndim", 1) > 0


def _format_value(value: Any) -> str:
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 - the object's own __repr__ may raise anything
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
