"""Generate live data in the published format, the same on every machine.

Index ``id``; columns ``era`` (always ``X``), ``data_type``, int8 features from 0 to 4 (some of them constantly 2, as if
unavailable) and targets (NaN). The benchmark models are in a separate file, with the rows in another order and not for
exactly the same ids. Both have columns that no bundle uses, and another order of columns than the bundles.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from builder import data_versions
from builder.sandbox.example import EXAMPLE

if TYPE_CHECKING:
    from collections.abc import Iterable

LIVE, BENCHMARKS, FEATURES = "live.parquet", "live_benchmark_models.parquet", "features.json"
_TARGETS = ("target", "target_ender_20", "target_ender_60")
_UNAVAILABLE_EVERY = 50  # every 50th feature is constantly 2, as one that is not available in a live round
_UNCOVERED_EVERY = 100  # of the ids, one has no benchmark predictions, and one has them that is not live
# The set that v5.3 added; no bundle is trained on these.
_QUANTUM = tuple(f"feature_quantum_{number}" for number in range(24))
_UNUSED_BENCHMARK = f"{data_versions.DEFAULT_BENCHMARK}_unused"


class LiveData:
    """Live data files in a temporary folder; a context manager that removes it.

    Args:
        bundles: The folders and ``.bundle.zip`` files whose features the data contains; by default the example's.
        rows: The number of rows.
    """

    def __init__(self, bundles: Iterable[Path] = (EXAMPLE.parent / "bundles" / "mlp",), *, rows: int = 5_500) -> None:
        self._bundles = tuple(bundles)
        self._rows = rows
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="numerai-sandbox-live-")
        self._files: dict[str, Path] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def write_files(self) -> dict[str, Path]:
        """Return the paths of the files by name; the first call writes them."""
        with self._lock:
            if not self._files:
                self._files = _write(Path(self._folder.name), self._bundles, self._rows)
            return self._files


def find_bundles(folder: Path) -> list[Path]:
    """Find the bundles in a folder: folders and zips."""
    return sorted({path.parent for path in folder.glob("*/bundle.json")} | set(folder.glob("*.bundle.zip")))


def find_columns(bundles: Iterable[Path]) -> tuple[list[str], list[str]]:
    """Return the features and the benchmark columns that any of the bundles uses."""
    features: set[str] = set()
    benchmarks = {data_versions.DEFAULT_BENCHMARK}
    for bundle in bundles:
        header = _read_header(bundle)
        features.update(header["features"])
        benchmarks.update(header["benchmarks"])
        for step in header.get("post", ()):
            features.update(name for name in _iterate_strings(step) if name.startswith("feature_"))
    return sorted(features), sorted(benchmarks)


def _read_header(bundle: Path) -> Any:
    if bundle.is_dir():
        return json.loads((bundle / "bundle.json").read_bytes())
    with zipfile.ZipFile(bundle) as archive:
        return json.loads(archive.read("bundle.json"))


def _iterate_strings(value: Any) -> Iterable[str]:
    """Yield the strings in a JSON value."""
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _iterate_strings(item)


def _write(folder: Path, bundles: Iterable[Path], rows: int) -> dict[str, Path]:
    import numpy as np
    import pandas as pd

    features, benchmarks = find_columns(bundles)
    random = np.random.default_rng(20_260)
    uncovered = 1 + rows // _UNCOVERED_EVERY
    all_ids = [f"n{hashlib.sha256(str(index).encode()).hexdigest()[:15]}" for index in range(rows + uncovered)]
    ids, covered = (pd.Index(names, name="id") for names in (all_ids[:rows], all_ids[uncovered:]))
    quantum = [name for name in _QUANTUM if name not in features]
    columns = random.permutation([*features, *quantum])
    values = random.integers(0, 5, size=(rows, len(columns)), dtype=np.int8)
    values[:, ::_UNAVAILABLE_EVERY] = 2
    live = pd.concat(
        [
            pd.DataFrame({"era": "X", "data_type": "live"}, index=ids),
            pd.DataFrame(values, index=ids, columns=columns),
            pd.DataFrame(np.float32("nan"), index=ids, columns=list(_TARGETS), dtype="float32"),
        ],
        axis=1,
    )
    models = random.permutation([*benchmarks, _UNUSED_BENCHMARK])
    scores = {name: random.random(len(covered), dtype=np.float32) for name in models}
    benchmark_rows = pd.DataFrame({"era": "X", **scores}, index=covered).iloc[random.permutation(len(covered))]
    files = {name: folder / name for name in (LIVE, BENCHMARKS, FEATURES)}
    live.to_parquet(files[LIVE], version="2.4")  # the oldest version with int8, readable in the oldest images
    benchmark_rows.to_parquet(files[BENCHMARKS], version="2.4")
    sets = {
        "small": features[:40],
        "medium": features[:700],
        "all": [*features, *quantum],
        "quantum": quantum,
    }
    files[FEATURES].write_text(json.dumps({"feature_sets": sets, "targets": list(_TARGETS)}))
    return files
