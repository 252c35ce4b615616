"""The training example: rows fetched with pip, a network trained on them, and bundles that predict the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from builder import errors
from builder.bundle import prediction
from builder.bundle.storage import read
from configs.train import mlp, rows, wide

if TYPE_CHECKING:
    from builder.bundle import model

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = ROOT / "configs" / "bundles"

# Training is the same to some 1e-15 over BLAS kernels (tried with three); another version of scikit-learn may shuffle
# its batches differently. 0.02 is under half of the standard error of the mean over twelve eras.
SCORE_TOLERANCE = 0.02


def run_script(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a training script from the repository's root, as a person does."""
    command = [sys.executable, "-m", f"configs.train.{script}", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def trained(rows_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[model.Bundle, str]:
    folder = tmp_path_factory.mktemp("trained") / "mlp"
    result = run_script("mlp", "--rows", str(rows_folder), "--out", str(folder))
    assert result.returncode == 0, result.stderr
    return read.read(folder), result.stdout


def load_validation(folder: Path) -> pd.DataFrame:
    frame = mlp.load(folder, "validation")
    return frame[frame["data_type"] == "validation"]


def compute_score(bundle: model.Bundle, frame: pd.DataFrame) -> mlp.Score:
    inputs = frame[list(bundle.features)].to_numpy("float64")
    return mlp.score(frame, prediction.predict(bundle.model, inputs))


def compute_parity(bundle: model.Bundle) -> tuple[float, float]:
    """Return the largest difference of the golden predictions from the reference, and the allowed one."""
    expected = prediction.predict(bundle.model, bundle.golden.inputs.astype(np.float64))
    return float(np.abs(bundle.golden.predictions - expected).max()), prediction.compute_tolerance(expected)


@pytest.mark.parametrize(
    ("stem", "count", "kinds"),
    [
        ("train", 4970, {"train": 120}),
        ("validation", 3261, {"validation": 12, "test": 54}),
        ("live", 50, {"live": 1}),
    ],
)
def test_the_rows_have_the_format_of_todays_files(
    rows_folder: Path, stem: str, count: int, kinds: dict[str, int]
) -> None:
    frame = pd.read_parquet(rows_folder / f"{stem}.parquet")
    assert (frame.index.name, frame.index.is_unique, len(frame)) == ("id", True, count)
    assert frame.index.str.fullmatch("n[0-9a-f]{15}").all()
    assert list(frame.columns[:3]) == ["era", "data_type", "feature_x1"]
    assert frame.groupby("data_type")["era"].nunique().to_dict() == kinds
    assert frame["era"].str.fullmatch("X" if stem == "live" else r"\d{4}").all()
    features = frame.filter(regex="^feature_")
    assert (features.shape[1], set(features.dtypes)) == (50, {np.dtype("float32")})
    assert features.min().min() >= 0
    assert features.max().max() <= 1
    known_rows = frame["data_type"].isin(["train", "validation"])
    targets = frame.filter(regex="^target")
    assert targets.shape[1] == 8
    assert (targets.notna().all(axis="columns") == known_rows).all()
    assert (targets["target"].dropna() == targets["target_bernie"].dropna()).all()


@pytest.mark.parametrize("stem", ["validation", "live"])
def test_the_benchmarks_have_the_same_rows_in_another_order(rows_folder: Path, stem: str) -> None:
    frame = pd.read_parquet(rows_folder / f"{stem}.parquet")
    benchmarks = pd.read_parquet(rows_folder / f"{stem}_benchmark_models.parquet")
    assert list(benchmarks.columns) == ["era", rows.BENCHMARK]
    assert set(benchmarks.index) == set(frame.index)
    assert list(benchmarks.index) != list(frame.index)
    assert (benchmarks["era"].loc[frame.index] == frame["era"]).all()
    assert benchmarks[rows.BENCHMARK].between(0, 1).all()


def test_the_folder_contains_only_the_rows(rows_folder: Path) -> None:
    stems = ["live", "live_benchmark_models", "train", "validation", "validation_benchmark_models"]
    assert sorted(path.name for path in rows_folder.iterdir()) == [f"{stem}.parquet" for stem in stems]


def test_an_error_of_pip_is_shown_and_nothing_is_written(tmp_path: Path) -> None:
    result = run_script("rows", "--out", str(tmp_path / "rows"), PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    assert result.returncode == errors.NetworkError.exit_code
    assert "No matching distribution found for numerox==4.1.8" in result.stderr
    assert "Check the network and pip's own settings" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_another_hash_is_refused(tmp_path: Path) -> None:
    changed = tmp_path / "rows.txt"
    changed.write_text(f"numerox==4.1.8 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    (tmp_path / "work").mkdir()
    with pytest.raises(errors.NetworkError, match="DO NOT MATCH THE HASHES"):
        rows.fetch(tmp_path / "work", changed)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.DataError, match=r"file/rows: cannot be written .*--out"):
        rows.write({"live": pd.DataFrame()}, tmp_path / "file" / "rows")


def test_rows_with_other_columns_are_refused() -> None:
    with pytest.raises(errors.DataError, match=r"no column era, region, x1, .*not the file of numerox 4\.1\.8"):
        rows.reshape(pd.DataFrame({"x2": [0.5]}, index=["n0"]))


def test_training_without_rows_is_an_error_with_the_command_to_fetch_them(tmp_path: Path) -> None:
    result = run_script("mlp", "--rows", str(tmp_path), "--out", str(tmp_path / "mlp"))
    assert result.returncode == errors.DataError.exit_code
    assert f"{tmp_path / 'train.parquet'}: cannot read the file" in result.stderr
    assert "fetch the rows first: make rows" in result.stderr
    assert not (tmp_path / "mlp").exists()


def test_the_retrained_bundle_scores_like_the_committed_one(
    rows_folder: Path, trained: tuple[model.Bundle, str]
) -> None:
    frame = load_validation(rows_folder)
    retrained, committed = compute_score(trained[0], frame), compute_score(read.read(BUNDLES / "mlp"), frame)
    assert retrained.eras == committed.eras == 12
    assert retrained.mean == pytest.approx(committed.mean, abs=SCORE_TOLERANCE)


def test_the_score_is_printed_and_recorded(rows_folder: Path, trained: tuple[model.Bundle, str]) -> None:
    bundle, output = trained
    measured = compute_score(bundle, load_validation(rows_folder))
    assert f"mean {measured.mean:+.4f}, std {measured.std:.4f}, 12 eras" in output
    assert bundle.trained["validation_correlation_mean"] == pytest.approx(measured.mean, abs=1e-6)
    assert bundle.trained["validation_eras"] == 12


def test_the_retrained_bundle_predicts_its_golden_rows(trained: tuple[model.Bundle, str]) -> None:
    difference, allowed = compute_parity(trained[0])
    assert difference <= allowed


@pytest.mark.parametrize("name", ["mlp", "wide"])
def test_the_committed_bundle_predicts_its_golden_rows(name: str) -> None:
    bundle = read.read(BUNDLES / name)
    difference, allowed = compute_parity(bundle)
    assert difference <= allowed
    assert np.isnan(bundle.golden.inputs).any(), "so that imputation is tested too"


def test_no_golden_row_is_a_row_of_the_tournament(rows_folder: Path) -> None:
    bundle = read.read(BUNDLES / "mlp")
    frames = [pd.read_parquet(rows_folder / f"{stem}.parquet") for stem in rows.FILES]
    known_rows = pd.concat(frames)[list(bundle.features)].to_numpy("float64")
    for golden in bundle.golden.inputs:
        same = np.isclose(known_rows, golden, rtol=0, atol=1e-5).sum(axis=1)
        assert same.max() < len(bundle.features) // 2


def test_the_wide_bundle_is_reproducible(tmp_path: Path) -> None:
    result = run_script("wide", "--out", str(tmp_path / "wide"))
    assert result.returncode == 0, result.stderr
    retrained, committed = read.read(tmp_path / "wide"), read.read(BUNDLES / "wide")
    assert (retrained.features, retrained.benchmarks) == (committed.features, committed.benchmarks)
    assert (len(retrained.features), retrained.benchmarks) == (3555, wide.BENCHMARKS)
    for ours, theirs in zip(retrained.model.layers, committed.model.layers, strict=True):
        np.testing.assert_array_equal(ours["weights"], theirs["weights"])
        np.testing.assert_array_equal(ours["bias"], theirs["bias"])
    np.testing.assert_array_equal(retrained.golden.inputs, committed.golden.inputs)
    np.testing.assert_allclose(retrained.golden.predictions, committed.golden.predictions, rtol=1e-12, atol=1e-12)


def test_the_committed_bundles_are_small() -> None:
    sizes = {name: sum(path.stat().st_size for path in (BUNDLES / name).iterdir()) for name in ("mlp", "wide")}
    assert sizes["mlp"] < 100_000
    assert sizes["wide"] < 1_200_000
