"""The official client from PyPI works against the sandbox; only its constant API address is patched."""

from __future__ import annotations

import decimal
import re
from typing import TYPE_CHECKING

import numerapi
import pytest
from numerapi import base_api

from builder.sandbox import faults, runs, storage
from builder.sandbox import state as sandbox_state

if TYPE_CHECKING:
    from pathlib import Path

    from builder.sandbox.server import Sandbox
    from tests.sandbox import client


@pytest.fixture
def official(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> numerapi.NumerAPI:
    monkeypatch.setattr(base_api, "API_TOURNAMENT_URL", sandbox.api_url)
    token = sandbox.state.get_token(sandbox_state.FULL)
    return numerapi.NumerAPI(token.public_id, token.secret_key, show_progress_bars=False)  # type: ignore[no-untyped-call]


@pytest.fixture
def pickle(tmp_path: Path) -> Path:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"as good as any")
    return path


def test_uploads_with_image_and_data_version_by_name(
    sandbox: Sandbox, ask: client.Client, official: numerapi.NumerAPI, pickle: Path
) -> None:
    pickle_id = official.model_upload(
        str(pickle), model_id=sandbox.state.get_slot("fresh").id, data_version="v5.1", docker_image="Python 3.13"
    )
    record = ask.pickle(pickle_id)
    assert (record["validationStatus"], record["dataVersion"]) == (sandbox.state.words.good, "v5.1")
    assert record["dockerImage"] == "numerai_predict_py_3_13:03624a6"
    assert re.fullmatch(r"[0-9a-f]{8}-model\.pkl", record["filename"])
    assert sandbox.read_pickle(record["filename"]) == b"as good as any"


def test_a_refusal_raises_the_servers_message(sandbox: Sandbox, official: numerapi.NumerAPI, pickle: Path) -> None:
    with pytest.raises(ValueError, match="submission webhook"):
        official.model_upload(str(pickle), model_id=sandbox.state.get_slot("hooked").id)
    sandbox.state.get_token(sandbox_state.FULL).revoked = True
    with pytest.raises(ValueError, match="Invalid API token"):
        official.model_upload(str(pickle), model_id=sandbox.state.get_slot("fresh").id)


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(faults.respond_status(500), id="500"),
        pytest.param(faults.respond_status(503), id="503"),
        pytest.param(faults.refuse(storage.EXPIRED), id="expired"),
        pytest.param(faults.truncate(), id="truncated"),
    ],
)
def test_a_file_that_was_not_stored_is_registered_as_a_success(
    sandbox: Sandbox, official: numerapi.NumerAPI, pickle: Path, action: faults.Action
) -> None:
    """The client ignores the storage's answer; the uploader of this project exists to check it."""
    sandbox.faults.add("PUT", action)
    pickle_id = official.model_upload(str(pickle), model_id=sandbox.state.get_slot("fresh").id)
    [registered] = sandbox.state.pickles.values()
    assert registered.id == pickle_id
    assert sandbox.faults.count_remaining() == 0
    if not action.applies:
        assert registered.triggers[0].statuses[-1].description == runs.NOT_STORED


def test_reads_datasets_round_and_models(sandbox: Sandbox, official: numerapi.NumerAPI, tmp_path: Path) -> None:
    assert "v5.2/live.parquet" in official.list_datasets()
    target = tmp_path / "live.parquet"
    official.download_dataset("v5.2/live.parquet", str(target))
    assert target.read_bytes() == sandbox.publish_datasets()["v5.2/live.parquet"].read_bytes()
    assert official.get_current_round() == 1000
    assert official.get_models()["fresh"] == sandbox.state.get_slot("fresh").id


def test_reads_the_account_with_its_tokens_stakes_and_submissions(
    sandbox: Sandbox, official: numerapi.NumerAPI, pickle: Path
) -> None:
    official.model_upload(str(pickle), model_id=sandbox.state.get_slot("staked").id)
    account = official.get_account()
    assert (account["username"], account["availableNmr"]) == (sandbox_state.OWNER, decimal.Decimal(0))
    assert account["insertedAt"] == sandbox.state.accounts[0].inserted_at
    assert (
        sandbox_state.UPLOAD_SCOPE
        in next(token for token in account["apiTokens"] if token["name"] == sandbox_state.FULL)["scopes"]
    )
    assert "secret" not in repr(account)
    models = {model["name"]: model for model in account["models"]}
    assert models["staked"]["v2Stake"]["status"] == "active"
    assert [submission["filename"] for submission in models["staked"]["submissions"]] == [
        submission.filename for submission in sandbox.state.get_slot("staked").submissions
    ]
    assert models["fresh"]["submissions"] == []


def test_reads_the_filenames_of_submissions_by_round(
    sandbox: Sandbox, official: numerapi.NumerAPI, pickle: Path
) -> None:
    slot = sandbox.state.get_slot("fresh")
    assert official.get_submission_filenames(model_id=slot.id) == []
    official.model_upload(str(pickle), model_id=slot.id)
    (submission,) = slot.submissions
    expected = [{"filename": submission.filename, "round_num": 1000, "tournament": sandbox_state.CLASSIC}]
    assert official.get_submission_filenames(model_id=slot.id) == expected
    assert official.get_submission_filenames(sandbox_state.CLASSIC, 1000, slot.id) == expected
    assert official.get_submission_filenames(round_num=999, model_id=slot.id) == []


def test_reads_scores_within_a_round(sandbox: Sandbox, official: numerapi.NumerAPI, pickle: Path) -> None:
    slot = sandbox.state.get_slot("fresh")
    assert official.intra_round_scores(slot.id) == []
    official.model_upload(str(pickle), model_id=slot.id)
    assert official.intra_round_scores(slot.id) == [{"roundNumber": 1000, "intraRoundSubmissionScores": None}]
    at = sandbox.state.now().replace(microsecond=0)
    slot.submissions[0].scores.append(
        sandbox_state.Score(name="v2_corr20", day=1, at=at, value=0.02, percentile=0.7, payout="1.5")
    )
    [[score]] = [
        scores_of_round["intraRoundSubmissionScores"] for scores_of_round in official.intra_round_scores(slot.id)
    ]
    assert (score["date"], score["day"], score["displayName"], score["value"]) == (at, 1, "v2_corr20", 0.02)
    assert (score["payoutPending"], score["payoutSettled"]) == (decimal.Decimal("1.5"), None)
    with pytest.raises(ValueError, match="Model not found"):
        official.intra_round_scores(sandbox_state.create_id())
