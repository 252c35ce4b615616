"""The parts of an upload without network access: local checks, plan, comparison."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from builder import errors, tournament
from builder.build import artifact, manifest
from builder.upload import compare, local_checks, plan
from builder.validate import report
from tests.support import accounts, manifests, uploads

if TYPE_CHECKING:
    from pathlib import Path

# ---- local checks


def write_artifact(folder: Path, **image: Any) -> artifact.Artifact:
    """Write a validated artifact of an exact image."""
    plain = manifests.create_manifest(b"pickle")
    base = f"ghcr.io/a/b@{plain.image.identity}"
    changes = {"kind": "exact", "base": base, **image}
    data = dataclasses.replace(plain, image=dataclasses.replace(plain.image, **changes))
    folder.mkdir(exist_ok=True)
    (folder / artifact.PICKLE).write_bytes(b"pickle")
    (folder / artifact.MANIFEST).write_bytes(manifest.to_bytes(data))
    uploads.write_validation(folder, data)
    return artifact.load(folder)


def test_validated_pickle_is_accepted(tmp_path: Path) -> None:
    assert local_checks.check_artifact(write_artifact(tmp_path), wanted="v5.3") == local_checks.ValidationFacts(
        data_version="v5.3", notes=()
    )


def test_validation_of_a_received_folder_is_rejected_without_a_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    built = write_artifact(tmp_path / "theirs")
    with pytest.raises(errors.RefusedError, match="was not validated on this machine") as caught:
        local_checks.check_artifact(built, wanted=None)
    assert f"`python -m builder validate {built.folder}`" in caught.value.fix
    report.mark_local((built.folder / artifact.VALIDATION).read_bytes())
    assert local_checks.check_artifact(built, wanted=None).data_version == "v5.3"
    uploads.write_validation(built.folder, built.manifest, limits={"cpus": 1, "memory": 4 << 30, "seconds": 601})
    with pytest.raises(errors.RefusedError, match="was not validated on this machine"):
        local_checks.check_artifact(built, wanted=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"good": False, "checks": [{"name": "index", "good": False, "detail": "ids"}]}, "is not valid: index: ids"),
        ({"good": "yes"}, "is not valid"),
        ({"pickle": "cd" * 32}, "belongs to another pickle"),
        ({"format": 1}, "was written by another version of this tool; run `make validate CONFIG=[^`]*` again"),
        ({"format": None}, "was written by another version of this tool"),
        ({"image": {"kind": "exact", "identity": f"sha256:{'9' * 64}"}}, "in another image"),
        ({"image": {"kind": "stand_in", "identity": f"sha256:{'2' * 64}"}}, "in another image"),
        ({"image": None}, "in another image"),
        ({"data": {"version": "v5.2"}}, "for data version v5.2, but the config has v5.3"),
        ({"data": {}}, "for no data version"),
        ({"data": None}, "for no data version"),
    ],
)
def test_wrong_validation_is_rejected(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    built = write_artifact(tmp_path)
    uploads.write_validation(tmp_path, built.manifest, **changes)
    with pytest.raises(errors.RefusedError, match=message) as caught:
        local_checks.check_artifact(built, wanted="v5.3")
    assert "`make validate CONFIG=" in str(caught.value)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("kind", ["fifo", "link", "large"])
def test_irregular_report_is_rejected_and_does_not_block(tmp_path: Path, kind: str) -> None:
    built = write_artifact(tmp_path)
    path = tmp_path / artifact.VALIDATION
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    with pytest.raises(errors.ArtifactError, match=artifact.VALIDATION):
        local_checks.check_artifact(built, wanted=None)


def test_limit_beyond_the_range_of_a_float_is_noted(tmp_path: Path) -> None:
    built = write_artifact(tmp_path)
    uploads.write_validation(tmp_path, built.manifest, limits={"cpus": 1, "memory": 10**399, "seconds": 600})
    [note] = local_checks.check_artifact(built, wanted="v5.3").notes
    assert "1e+15 bytes" in note


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{", b"\xff"])
def test_missing_or_invalid_validation_is_rejected(tmp_path: Path, content: bytes | None) -> None:
    built = write_artifact(tmp_path)
    (tmp_path / artifact.VALIDATION).unlink()
    if content is not None:
        (tmp_path / artifact.VALIDATION).write_bytes(content)
    with pytest.raises(errors.RefusedError, match="run `make validate CONFIG="):
        local_checks.check_artifact(built, wanted="v5.3")


@pytest.mark.parametrize(("kind", "message"), [("stand_in", "stand-in"), ("local", "local image")])
def test_other_image_kinds_are_rejected(tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(errors.RefusedError, match=message) as caught:
        local_checks.check_artifact(write_artifact(tmp_path, kind=kind), wanted="v5.3")
    assert "`make pickle CONFIG=... PULL=1`, then `make validate CONFIG=...`" in str(caught.value)


def test_larger_limits_than_the_tournaments_are_noted(tmp_path: Path) -> None:
    built = write_artifact(tmp_path)
    uploads.write_validation(tmp_path, built.manifest, limits={"cpus": 4, "memory": 4 << 30, "seconds": 600})
    (note,) = local_checks.check_artifact(built, wanted="v5.3").notes
    assert "4 CPUs" in note


# ---- the plan


def create_plan(folder: Path, **changes: Any) -> plan.UploadPlan:
    """Return a plan for an empty slot, while a round is open."""
    now = dt.datetime(2026, 3, 10, 12, 30, tzinfo=dt.UTC)
    current = tournament.Round(
        number=900,
        open_time="2026-03-10T12:00:00Z",
        close_time="2026-03-10T13:00:00Z",
        close_staking_time="2026-03-10T13:00:00Z",
    )
    version = tournament.DataVersion(
        id="d1", name="v5.3", version="v5.3", type="", default=True, deprecated=False, experimental=False
    )
    plain = plan.UploadPlan(
        request=plan.UploadRequest(artifact=write_artifact(folder), slot="mine", data_version="v5.3"),
        account="me",
        slot=accounts.make_slot("mine"),
        name="mine",
        slots=(1, 5),
        image=accounts.make_image(),
        ref="ghcr.io/numerai/numerai_predict_py_3_12:abc",
        data_version=version,
        existing=None,
        round=current,
        now=now,
        notes=(),
    )
    return dataclasses.replace(plain, **changes)


def format_plan(plan_: plan.UploadPlan) -> str:
    """Return the plan's lines as one text."""
    return " ".join(" ".join(plan_.lines()).split())


def test_plan_lists_the_consequences(tmp_path: Path) -> None:
    text = format_plan(create_plan(tmp_path))
    assert "it runs for round 900, which is open until 2026-03-10 13:00 UTC (in 30 minutes)" in text
    assert "no longer accepts submissions over the API" in text
    assert "Numerai can unpickle and read the model" in text
    assert "stake" not in text


def test_plan_with_a_stake_says_what_cannot_be_undone(tmp_path: Path) -> None:
    text = format_plan(create_plan(tmp_path, slot=accounts.make_slot("mine", stake="12.5")))
    assert "with the slot's stake of 12.5: a staked submission, which a rollback does not undo" in text


def test_plan_while_no_round_is_open(tmp_path: Path) -> None:
    later = dt.datetime(2026, 3, 10, 11, 0, tzinfo=dt.UTC)
    text = format_plan(create_plan(tmp_path, now=later, slot=accounts.make_slot("mine", stake="12.5")))
    assert "no round is open; round 900 opens 2026-03-10 12:00 UTC (in 1 hour)" in text
    assert "which a rollback does not undo" not in text
    assert "no round is open, and the API lists no next one" in format_plan(create_plan(tmp_path, round=None))


def test_plan_of_a_completed_upload(tmp_path: Path) -> None:
    existing = accounts.make_pickle("p9")
    text = format_plan(create_plan(tmp_path, existing=existing, slot=accounts.make_slot("mine", pickle=existing)))
    assert "finds it already assigned" in text
    assert "sends" not in text


def test_control_characters_from_the_api_are_escaped(tmp_path: Path) -> None:
    odd = accounts.make_pickle("p9", filename="a\x1b[2Jb\n  to  elsewhere")
    text = "\n".join(
        create_plan(tmp_path, account="me\x1b]0;x\x07", slot=accounts.make_slot("mine", pickle=odd)).lines()
    )
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\n  to  elsewhere" not in text


# ---- comparison


numbers = st.floats(min_value=-1e3, max_value=1e3, allow_nan=False).map(lambda value: round(value, 3))


@given(rows=st.lists(st.tuples(numbers, numbers), min_size=3, max_size=40))
def test_correlations_agree_with_scipy(rows: list[tuple[float, float]]) -> None:
    first, second = (np.array(column) for column in zip(*rows, strict=True))
    similarity = compare.compare(*({str(i): float(v) for i, v in enumerate(x)} for x in (first, second)))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert (similarity.pearson, similarity.spearman) == (None, None)
        return
    # scipy loses digits if the values are nearly constant.
    assert similarity.spearman == pytest.approx(scipy.stats.spearmanr(first, second).statistic, abs=1e-9)
    assert similarity.pearson == pytest.approx(np.corrcoef(first, second)[0, 1], abs=1e-6)


def test_only_common_rows_are_compared() -> None:
    similarity = compare.compare({"a": 0.1, "b": 0.2, "c": 0.3, "x": 9.0}, {"c": 0.9, "b": 0.5, "a": 0.1, "y": 1.0})
    assert similarity.rows == 3
    assert similarity.spearman == pytest.approx(1.0)
    assert str(similarity).startswith("correlation ")
    assert "they have 0 rows in common" in str(compare.compare({"a": 1.0}, {"b": 1.0}))


def test_csv_with_missing_predictions_is_read() -> None:
    csv = b"id,prediction\nn1,0.5\nn2,\nn3,nan\n007,0.25\n"
    assert compare.read_csv(csv, rows=4) == {"n1": 0.5, "007": 0.25}
    with pytest.raises(errors.DataError, match=r"cannot read its CSV: it has more than 1,008 rows"):
        compare.read_csv(b"id,prediction\n" + b"a,1\n" * 1009, rows=4)


@given(content=st.binary(max_size=200))
def test_any_bytes_are_predictions_or_an_error(content: bytes) -> None:
    try:
        predictions = compare.read_csv(content, rows=10)
    except errors.DataError:
        return
    assert predictions
    assert all(np.isfinite(value) for value in predictions.values())
