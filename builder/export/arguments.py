"""What ``export`` is called with, looked at once and first: each mistake is told by the argument's name."""

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


def path_of(path: Any) -> Path:
    """Return where the bundle goes."""
    if not isinstance(path, (str, os.PathLike)) or not str(path):
        raise errors.ExportError(
            f"export: path={path!r}; expected the path of the bundle: NAME.bundle.zip, or a folder"
        )
    return Path(path)


def names_of(option: str, value: Any) -> tuple[str, ...]:
    """Return names of columns that are said as a list."""
    if isinstance(value, (str, Mapping)) or not _is_iterable(value):
        raise errors.ExportError(f"export: {option}={_short(value)}; expected a list of the names of columns")
    names = list(value)
    bad = [name for name in names if not isinstance(name, str)]
    if bad:
        raise errors.ExportError(f"export: {option}: {_short(bad[0])} is no name of a column; they are text")
    return tuple(map(str, names))


def benchmarks_of(value: Any) -> tuple[str, ...]:
    """Return the names of benchmark columns: one, several, or none."""
    if value is None:
        return ()
    return (str(value),) if isinstance(value, str) else names_of("benchmark", value)


def eras_of(value: Any) -> tuple[str, ...]:
    """Return the eras that a model was trained on, each once."""
    if value is None:
        return ()
    if isinstance(value, (str, bytes, Mapping)) or not _is_iterable(value):
        raise errors.ExportError(
            f"export: eras={_short(value)}; expected a list of the eras it was trained on, such as frame['era']"
        )
    names = map(str, value)
    return tuple(sorted(names) if isinstance(value, (set, frozenset)) else dict.fromkeys(names))


def target_of(value: Any) -> str | None:
    """Return what a model was trained to predict."""
    if value is not None and not isinstance(value, str):
        raise errors.ExportError(f"export: target={_short(value)}; expected the name of one column")
    return None if value is None else str(value)


def neutralization_of(value: Any) -> dict[str, Any] | None:
    """Return the keys of a neutralisation."""
    if value is None or isinstance(value, Mapping):
        return plain(value) if value else None
    raise errors.ExportError(
        f'export: neutralize={_short(value)}; expected what to neutralise to: {{"features": [...]}}, with '
        '"proportion" and "scope" as in a config'
    )


def steps_of(value: Any) -> list[dict[str, Any]] | None:
    """Return the steps as a config has them."""
    if value is None:
        return None
    if isinstance(value, (str, Mapping)) or not _is_iterable(value):
        raise errors.ExportError(f'export: post={_short(value)}; expected a list of steps, such as [{{"rank": {{}}}}]')
    steps = list(value)
    bad = [step for step in steps if not isinstance(step, Mapping)]
    if bad:
        raise errors.ExportError(
            f'export: post: {_short(bad[0])}: a step is a mapping of its name to its options, such as {{"rank": {{}}}}'
        )
    return [plain(step) for step in steps]


def imputation_of(value: Any, columns: tuple[str, ...]) -> Array:
    """Return one finite number for each input."""
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.asarray(np.nan)
    if numbers.shape not in ((), (len(columns),)) or not np.isfinite(numbers).all():
        raise errors.ExportError(
            f"export: imputation={_short(value)}; expected one finite number, or a list of {len(columns):,}, one for "
            f"each input in their order ({columns[0]} first)"
        )
    return np.broadcast_to(numbers, (len(columns),)).copy()


def options_of(kind: type[OptionsT], values: Mapping[str, Any], *, common: Sequence[str], hint: str) -> OptionsT:
    """Return the options of one kind of model.

    Args:
        kind: Their type.
        values: What the caller passed by keyword, beyond ``common``.
        common: The keywords that ``export`` takes for all models: a misspelt name may stand for one of them too.
        hint: What to do about an unknown option; may be empty.
    """
    own = [field.name for field in dataclasses.fields(kind)]
    unknown = sorted(set(values) - set(own))
    if unknown:
        names = ", ".join(f"{name}{_meant(name, [*own, *common])}" for name in unknown)
        takes = ", ".join(own) or "none of its own"
        raise errors.ExportError(
            f"export: no such option: {names}; this kind of model takes {takes}{hint and f'; {hint}'}"
        )
    return kind(**values)


def _meant(name: str, known: Sequence[str]) -> str:
    near = find_nearest(name, known)
    return f" (did you mean {near}?)" if near else ""


def plain(value: Any) -> Any:
    """Return options as a YAML file could have given them: no numpy, no pandas."""
    if isinstance(value, Mapping):
        return {plain(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str) or not _is_iterable(value):
        return value
    return [plain(one) for one in value]


def _is_iterable(value: Any) -> bool:
    # An array of no dimension has __iter__ and does not iterate.
    return isinstance(value, Iterable) and getattr(value, "ndim", 1) > 0


def _short(value: Any) -> str:
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 - whatever an object of the user's own does
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
