"""What of an upload needs no network: refusals, plan, likeness."""

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

# ---- refusals


def exact(folder: Path, **image: Any) -> artifact.Artifact:
    """Put an artifact of an exact image in place, validated."""
    plain = manifests.create_manifest(b"pickle")
    base = f"ghcr.io/a/b@{plain.image.identity}"
    changed = {"kind": "exact", "base": base, **image}
    made = dataclasses.replace(plain, image=dataclasses.replace(plain.image, **changed))
    folder.mkdir(exist_ok=True)
    (folder / artifact.PICKLE).write_bytes(b"pickle")
    (folder / artifact.MANIFEST).write_bytes(manifest.to_bytes(made))
    uploads.write_validation(folder, made)
    return artifact.load(folder)


def test_what_is_proved_is_not_refused(tmp_path: Path) -> None:
    assert local_checks.check_artifact(exact(tmp_path), wanted="v5.2") == local_checks.ValidationFacts(
        data_version="v5.2", notes=()
    )


def test_a_validation_that_came_with_a_folder_without_a_config_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = exact(tmp_path / "theirs")
    with pytest.raises(errors.RefusedError, match="was not validated on this machine") as caught:
        local_checks.check_artifact(made, wanted=None)
    assert f"`python -m builder validate {made.folder}`" in caught.value.fix
    report.mark_local((made.folder / artifact.VALIDATION).read_bytes())
    assert local_checks.check_artifact(made, wanted=None).data_version == "v5.2"
    uploads.write_validation(made.folder, made.manifest, limits={"cpus": 1, "memory": 4 << 30, "seconds": 601})
    with pytest.raises(errors.RefusedError, match="was not validated on this machine"):
        local_checks.check_artifact(made, wanted=None)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"good": False, "checks": [{"name": "index", "good": False, "detail": "ids"}]}, "is not valid: index: ids"),
        ({"good": "yes"}, "is not valid"),
        ({"pickle": "cd" * 32}, "is of another pickle"),
        ({"image": {"kind": "exact", "identity": f"sha256:{'9' * 64}"}}, "in another image"),
        ({"image": {"kind": "stand_in", "identity": f"sha256:{'2' * 64}"}}, "in another image"),
        ({"image": None}, "in another image"),
        ({"data": {"version": "v5.1"}}, "for data version v5.1, and the config names v5.2"),
        ({"data": {}}, "for no data version"),
        ({"data": None}, "for no data version"),
    ],
)
def test_a_validation_that_proves_nothing(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    made = exact(tmp_path)
    uploads.write_validation(tmp_path, made.manifest, **changed)
    with pytest.raises(errors.RefusedError, match=said) as caught:
        local_checks.check_artifact(made, wanted="v5.2")
    assert "`make validate CONFIG=" in str(caught.value)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("sort", ["fifo", "link", "large"])
def test_a_report_of_a_stranger_is_refused_and_blocks_nothing(tmp_path: Path, sort: str) -> None:
    made = exact(tmp_path)
    path = tmp_path / artifact.VALIDATION
    path.unlink(missing_ok=True)
    if sort == "fifo":
        os.mkfifo(path)
    elif sort == "link":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    with pytest.raises(errors.ArtifactError, match=artifact.VALIDATION):
        local_checks.check_artifact(made, wanted=None)


def test_a_limit_that_no_float_holds_is_a_note_too(tmp_path: Path) -> None:
    made = exact(tmp_path)
    uploads.write_validation(tmp_path, made.manifest, limits={"cpus": 1, "memory": 10**399, "seconds": 600})
    [note] = local_checks.check_artifact(made, wanted="v5.2").notes
    assert "1e+15 bytes" in note


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{", b"\xff"])
def test_no_validation(tmp_path: Path, content: bytes | None) -> None:
    made = exact(tmp_path)
    (tmp_path / artifact.VALIDATION).unlink()
    if content is not None:
        (tmp_path / artifact.VALIDATION).write_bytes(content)
    with pytest.raises(errors.RefusedError, match="run `make validate CONFIG="):
        local_checks.check_artifact(made, wanted="v5.2")


@pytest.mark.parametrize(("kind", "said"), [("stand_in", "stand-in"), ("local", "local image")])
def test_an_image_that_is_not_the_tournaments(tmp_path: Path, kind: str, said: str) -> None:
    with pytest.raises(errors.RefusedError, match=said) as caught:
        local_checks.check_artifact(exact(tmp_path, kind=kind), wanted="v5.2")
    assert "`make pickle CONFIG=... PULL=1`, then `make validate CONFIG=...`" in str(caught.value)


def test_larger_limits_than_the_tournaments_are_said(tmp_path: Path) -> None:
    made = exact(tmp_path)
    uploads.write_validation(tmp_path, made.manifest, limits={"cpus": 4, "memory": 4 << 30, "seconds": 600})
    (note,) = local_checks.check_artifact(made, wanted="v5.2").notes
    assert "4 CPUs" in note


# ---- the plan


def planned(folder: Path, **changes: Any) -> plan.UploadPlan:
    """Return a plan for an empty slot, while a round is open."""
    now = dt.datetime(2026, 3, 10, 12, 30, tzinfo=dt.UTC)
    current = tournament.Round(
        number=900,
        open_time="2026-03-10T12:00:00Z",
        close_time="2026-03-10T13:00:00Z",
        close_staking_time="2026-03-10T13:00:00Z",
    )
    version = tournament.DataVersion(
        id="d1", name="v5.2", version="v5.2", type="", default=True, deprecated=False, experimental=False
    )
    plain = plan.UploadPlan(
        request=plan.UploadRequest(artifact=exact(folder), slot="mine", data_version="v5.2"),
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


def shown(made: plan.UploadPlan) -> str:
    """Return the plan's lines as one text."""
    return " ".join(" ".join(made.lines()).split())


def test_a_plan_says_what_follows_from_yes(tmp_path: Path) -> None:
    text = shown(planned(tmp_path))
    assert "it is run for round 900, which is open until 2026-03-10 13:00 UTC (in 30 minutes)" in text
    assert "takes no submissions over the API any more" in text
    assert "Numerai can unpickle and read the model" in text
    assert "stake" not in text


def test_a_plan_with_a_stake_says_what_cannot_be_taken_back(tmp_path: Path) -> None:
    text = shown(planned(tmp_path, slot=accounts.make_slot("mine", stake="12.5")))
    assert "with the slot's stake of 12.5: a staked submission, which no rollback takes back" in text


def test_a_plan_while_no_round_is_open(tmp_path: Path) -> None:
    later = dt.datetime(2026, 3, 10, 11, 0, tzinfo=dt.UTC)
    text = shown(planned(tmp_path, now=later, slot=accounts.make_slot("mine", stake="12.5")))
    assert "no round is open; round 900 opens 2026-03-10 12:00 UTC (in 1 hour)" in text
    assert "which no rollback takes back" not in text
    assert "no round is open, and the API names none" in shown(planned(tmp_path, round=None))


def test_a_plan_of_what_is_done_already(tmp_path: Path) -> None:
    there = accounts.make_pickle("p9")
    text = shown(planned(tmp_path, existing=there, slot=accounts.make_slot("mine", pickle=there)))
    assert "finds it assigned already" in text
    assert "sends" not in text


def test_what_the_api_says_cannot_paint_the_terminal(tmp_path: Path) -> None:
    odd = accounts.make_pickle("p9", filename="a\x1b[2Jb\n  to  elsewhere")
    text = "\n".join(planned(tmp_path, account="me\x1b]0;x\x07", slot=accounts.make_slot("mine", pickle=odd)).lines())
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\n  to  elsewhere" not in text


# ---- likeness


numbers = st.floats(min_value=-1e3, max_value=1e3, allow_nan=False).map(lambda value: round(value, 3))


@given(rows=st.lists(st.tuples(numbers, numbers), min_size=3, max_size=40))
def test_correlations_are_those_of_scipy(rows: list[tuple[float, float]]) -> None:
    first, second = (np.array(column) for column in zip(*rows, strict=True))
    found = compare.compare(*({str(i): float(v) for i, v in enumerate(one)} for one in (first, second)))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert (found.pearson, found.spearman) == (None, None)
        return
    # scipy loses the digits of what is nearly constant.
    assert found.spearman == pytest.approx(scipy.stats.spearmanr(first, second).statistic, abs=1e-9)
    assert found.pearson == pytest.approx(np.corrcoef(first, second)[0, 1], abs=1e-6)


def test_only_what_both_predicted_counts() -> None:
    found = compare.compare({"a": 0.1, "b": 0.2, "c": 0.3, "x": 9.0}, {"c": 0.9, "b": 0.5, "a": 0.1, "y": 1.0})
    assert found.rows == 3
    assert found.spearman == pytest.approx(1.0)
    assert str(found).startswith("correlation ")
    assert "they have 0 rows in common" in str(compare.compare({"a": 1.0}, {"b": 1.0}))


def test_a_csv_of_predictions() -> None:
    assert compare.read_csv(b"id,prediction\nn1,0.5\nn2,\nn3,nan\n007,0.25\n") == {"n1": 0.5, "007": 0.25}


@given(content=st.binary(max_size=200))
def test_any_bytes_are_predictions_or_an_error(content: bytes) -> None:
    try:
        found = compare.read_csv(content)
    except errors.DataError:
        return
    assert found
    assert all(np.isfinite(value) for value in found.values())
