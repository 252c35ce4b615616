"""Fetches real tournament rows and gives them the shape of today's data files.

The source distribution of ``numerox`` 4.1.8 carries 8,281 rows of the 2018 tournament: 50 features, seven binary
targets, 187 eras. They may not be redistributed, so they are fetched with pip (its settings for indexes, proxies and
certificates hold), by the hash in ``requirements/rows.txt``. From the repository's root ``make rows``, or::

    .venv/bin/python -m configs.train.rows

writes below ``configs/train/fetched/``:

- ``train.parquet``, ``validation.parquet`` (its newest eras are ``test``: targets unknown) and ``live.parquet``: index
  ``id``; ``era`` (four digits, ``X`` when live); ``data_type``; ``feature_x1`` to ``feature_x50``, float32 in [0, 1] as
  they were then (today's are int8 0 to 4); ``target`` and one ``target_NAME`` for each of the seven, float32, NaN where
  unknown.
- ``validation_benchmark_models.parquet`` and ``live_benchmark_models.parquet``: index ``id`` in another order; ``era``;
  ``plain_ridge``, float32, what a ridge regression on the train rows predicts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

import pandas as pd

from builder import errors

try:
    import tables  # noqa: F401 (pandas reads HDF5 with it)
    from sklearn import linear_model
except ModuleNotFoundError as error:
    sys.exit(f"error: {error}; training needs more than the tool does: pip install -r requirements/train.txt")

FOLDER = Path(__file__).resolve().parent / "fetched"
REQUIREMENT = Path(__file__).resolve().parents[2] / "requirements" / "rows.txt"
MEMBER = "numerox-4.1.8/numerox/tests/test_data.hdf"
FEATURES = {f"x{number}": f"feature_x{number}" for number in range(1, 51)}
TARGETS = {name: f"target_{name}" for name in ("bernie", "elizabeth", "jordan", "ken", "charles", "frank", "hillary")}
DATA_TYPES = {0: "train", 1: "validation", 2: "test", 3: "live"}
FILES = {"train": ("train",), "validation": ("validation", "test"), "live": ("live",)}
BENCHMARK = "plain_ridge"

# pip prepares the metadata of every source distribution that it downloads, which would run the project's setup.py. It
# asks the build back end found first on the path; this one answers with name and version alone: nothing fetched runs.
BACK_END = """\
import pathlib
import sys

__legacy__ = sys.modules[__name__]


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = pathlib.Path(metadata_directory, "numerox-4.1.8.dist-info")
    folder.mkdir()
    folder.joinpath("METADATA").write_text("Metadata-Version: 2.1\\nName: numerox\\nVersion: 4.1.8\\n")
    return folder.name
"""


def fetch(folder: Path, requirement: Path = REQUIREMENT) -> Path:
    """Ask pip for the source distribution and take the rows out of it.

    Args:
        folder: An empty folder to work in.
        requirement: A hashed requirement file with the one project in it.

    Returns:
        The HDF5 file, below ``folder``.

    Raises:
        errors.NetworkError: pip could not fetch it, or what it fetched has another hash.
    """
    back_end = folder / "back_end" / "setuptools"
    back_end.mkdir(parents=True)
    (back_end / "__init__.py").touch()
    (back_end / "build_meta.py").write_text(BACK_END, encoding="utf-8")
    paths = [str(back_end.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    # Newer versions of pip always use PEP 517 and have no option for it; all versions accept the variable.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PIP_USE_PEP517": "1"}
    options = ["--no-deps", "--no-binary=:all:", "--no-build-isolation", "--require-hashes"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), "-r", str(requirement)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    sdists = sorted(folder.glob("*.tar.gz"))
    if result.returncode or len(sdists) != 1:
        output = "\n".join(f"  {line}" for line in (result.stdout + result.stderr).strip().splitlines()[-15:])
        raise errors.NetworkError(
            f"{requirement.name}: pip could not fetch the rows (exit code {result.returncode}):\n{output}\n"
            "Check the network and pip's own settings (`python -m pip config list`), then run this again."
        )
    return extract(sdists[0], folder / "rows.hdf")


def extract(sdist: Path, target: Path) -> Path:
    """Copy the rows, and nothing else, out of a source distribution.

    Raises:
        errors.DataError: The file is not a tar archive, or the rows are not in it.
    """
    try:
        with tarfile.open(sdist) as archive:
            member = archive.extractfile(MEMBER)
            content = member.read() if member else b""
    except (tarfile.TarError, zlib.error, KeyError, EOFError) as error:
        raise errors.DataError([f"{sdist.name}: cannot read {MEMBER}: {error}; run this again"]) from error
    target.write_bytes(content)
    return target


def reshape(raw: pd.DataFrame) -> pd.DataFrame:
    """Give the rows of 2018 today's columns.

    Args:
        raw: Index ``id``; ``era`` (1 to 186, 999 for the live one), ``region`` (0 to 3), ``x1`` to ``x50`` and seven
            targets by name, all float64.

    Returns:
        All rows in the same order, with the columns the module's docstring names.

    Raises:
        errors.DataError: Columns, regions or ids are not those of the known file.
    """
    problems = []
    missing = [name for name in ("era", "region", *FEATURES, *TARGETS) if name not in raw]
    if missing:
        problems.append(f"{MEMBER}: no column {', '.join(missing)}; this is not the file of numerox 4.1.8")
    elif not set(raw["region"]) <= set(DATA_TYPES):
        problems.append(f"{MEMBER}: column region: values other than {list(DATA_TYPES)}")
    if not raw.index.is_unique:
        problems.append(f"{MEMBER}: {int(raw.index.duplicated().sum())} ids occur twice; every row needs its own")
    if problems:
        raise errors.DataError(problems)
    data_type = raw["region"].map(DATA_TYPES)
    era = raw["era"].map("{:04.0f}".format).where(data_type != "live", "X")
    features = raw[list(FEATURES)].astype("float32").rename(columns=FEATURES)
    targets = raw[list(TARGETS)].astype("float32").rename(columns=TARGETS)
    # The main target comes first and once more under its own name, as today's files have it.
    main = targets[["target_bernie"]].set_axis(["target"], axis="columns")
    frame = pd.concat([era, data_type.rename("data_type"), features, main, targets], axis="columns")
    return frame.rename_axis("id")


def benchmark(train: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Predict rows with a plain second model, as benchmark frames hold them.

    Args:
        train: Rows with a known ``target``.
        rows: The rows to predict.

    Returns:
        Index ``id``, sorted, so that its order is not that of the features; ``era``; ``plain_ridge``, float32.
    """
    names = list(FEATURES.values())
    model = linear_model.Ridge(alpha=100.0).fit(train[names].to_numpy("float64"), train["target"].to_numpy("float64"))
    predictions = model.predict(rows[names].to_numpy("float64")).astype("float32")
    return rows[["era"]].assign(**{BENCHMARK: predictions}).sort_index()


def write(frames: dict[str, pd.DataFrame], out: Path) -> None:
    """Write each frame as ``NAME.parquet``; a file is complete or absent.

    Raises:
        errors.DataError: The folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".") as unfinished:
            for name, frame in frames.items():
                frame.to_parquet(Path(unfinished, f"{name}.parquet"))
            for name in frames:
                Path(unfinished, f"{name}.parquet").replace(out / f"{name}.parquet")
    except OSError as error:
        raise errors.DataError([f"{out}: cannot be written ({error}); name another folder with --out"]) from error


def make(out: Path) -> dict[str, pd.DataFrame]:
    """Fetch, reshape and write everything; return the frames by file stem."""
    with tempfile.TemporaryDirectory() as folder:
        # HDF5 attributes may hold pickles; these bytes are the pinned ones.
        rows = reshape(pd.read_hdf(fetch(Path(folder))))
    frames = {stem: rows[rows["data_type"].isin(kinds)] for stem, kinds in FILES.items()}
    for stem in ("validation", "live"):
        frames[f"{stem}_benchmark_models"] = benchmark(frames["train"], frames[stem])
    write(frames, out)
    return frames


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    parser = argparse.ArgumentParser(description="Fetch real tournament rows of 2018 in the shape of today's files.")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="FOLDER", help="where to (default: %(default)s)")
    out: Path = parser.parse_args(arguments).out
    try:
        frames = make(out)
    except errors.BuilderError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for stem, frame in frames.items():
        print(f"{out / stem}.parquet: {len(frame):,} rows, {frame['era'].nunique()} eras, {frame.shape[1]} columns")
    print(f"The live rows are all that the file has: {len(frames['live'])}, of {frames['live']['era'].nunique()} era.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
