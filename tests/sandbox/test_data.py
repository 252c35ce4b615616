"""Live data from the sandbox: the command that fetches them, and the cache."""

from __future__ import annotations

import dataclasses
import json
import shutil
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from builder import errors, paths, progress
from builder.build import target
from builder.bundle import post
from builder.config import feature_sets
from builder.config import model as config
from builder.sandbox import faults, live, server
from builder.tournament import live_files, session, settings
from builder.validate import task
from tests.support import bundles, command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from builder.sandbox.state import State
    from builder.validate import data as validation_data


class Notes(progress.Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


NAMES = ["live.parquet", "live_benchmark_models.parquet", "features.json"]


@pytest.fixture
def data() -> Iterator[live.LiveData]:
    """Live data of one test, which may publish others."""
    with live.LiveData(rows=50) as data:
        yield data


@pytest.fixture(autouse=True)
def _use_sandbox(sandbox: server.Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("NUMERAI_PUBLIC_ID", "NUMERAI_SECRET_KEY", "NUMERAI_MCP_AUTH"):
        monkeypatch.delenv(name, raising=False)  # live data need no account
    monkeypatch.setenv("NUMERAI_API_URL", sandbox.api_url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def fetch() -> live_files.LiveData:
    with session.connect(progress.Silent()) as api:
        return live_files.fetch(api, "v5.3", progress.Silent())


def publish(sandbox: server.Sandbox) -> None:
    """Publish other live rows, as each round has them."""
    path = sandbox.publish_datasets()["v5.3/live.parquet"]
    pd.read_parquet(path).iloc[1:].to_parquet(path)


def count_downloads(sandbox: server.Sandbox) -> int:
    return sum(record.method == "GET" for record in sandbox.requests)


def test_data_fetches_the_files_of_the_last_round_once(
    sandbox: server.Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert command.call("data", "--json") == 0
        (item,) = json.loads(command.read_output(capsys)[0])["data"]
        assert (item["data_version"], item["round"]) == ("v5.3", sandbox.state.rounds[0].number)
    assert [path.rpartition("/")[2] for path in item["files"]] == NAMES
    assert count_downloads(sandbox) == 3
    published = sandbox.publish_datasets()
    for path, name in zip(fetch().files, NAMES, strict=True):
        assert path.read_bytes() == published[f"v5.3/{name}"].read_bytes()
    assert command.call("data") == 0
    out = command.read_output(capsys)[0]
    assert f"v5.3, round {item['round']}, opened 20" in out
    assert all(name in out for name in NAMES)


def test_data_fetches_what_a_config_needs_to_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = command.write_project(tmp_path / "project")
    path = project / "configs" / "small.yaml"
    path.write_text(f"{command.CONFIG}data_version: v5.3\npost:\n  - neutralize: {{group: small}}\n  - rank: {{}}\n")
    with pytest.raises(errors.ConfigError, match="fetch the file"):
        config.load(path)
    assert command.call("data", str(path), "--json") == 0
    assert json.loads(command.read_output(capsys)[0])["data"][0]["data_version"] == "v5.3"
    path.write_text(f"{command.CONFIG}data_version: 5\n")
    assert command.call("data", str(path)) == 2


def test_a_new_round_is_fetched_and_old_ones_are_removed(sandbox: server.Sandbox) -> None:
    fetched = []
    for number in (1001, 1002, 1003):
        sandbox.state.open_round(number)
        publish(sandbox)
        fetched.append(fetch())
    assert [item.folder.exists() for item in fetched] == [False, True, True]
    cached = live_files.find_cached("v5.3", sandbox.api_url)
    assert cached is not None
    assert (cached.round, cached.folder) == (1003, fetched[2].folder)


def test_if_a_round_opens_during_the_download_its_own_files_are_fetched(sandbox: server.Sandbox) -> None:
    def open_round(state: State, _: Mapping[str, Any]) -> None:
        state.open_round(1002)
        publish(sandbox)

    sandbox.faults.add("rounds", faults.call_after(open_round))
    fetched = fetch()
    assert fetched.round == 1002
    assert fetched.live.read_bytes() == sandbox.publish_datasets()["v5.3/live.parquet"].read_bytes()
    assert count_downloads(sandbox) == 6


def test_files_that_are_not_published_yet_are_not_taken_for_those_of_the_round(sandbox: server.Sandbox) -> None:
    first, notes = fetch(), Notes()
    sandbox.state.open_round(first.round + 1)
    with session.connect(progress.Silent()) as api:
        assert live_files.fetch(api, "v5.3", notes) == first
        assert "are not published yet; using those of round" in notes.texts[0]
        publish(sandbox)
        assert live_files.fetch(api, "v5.3", notes).round == first.round + 1
    assert len(notes.texts) == 1


def test_what_was_fetched_from_one_api_is_not_used_for_the_tournament(sandbox: server.Sandbox) -> None:
    fetch()
    assert live_files.find_cached("v5.3", "https://api-tournament.numer.ai") is None


@pytest.mark.usefixtures("waits")
def test_an_interrupted_download_continues(sandbox: server.Sandbox) -> None:
    sandbox.faults.add("GET", faults.reset(), times=3)
    with pytest.raises(errors.NetworkError, match=r"live\.parquet"):
        fetch()
    assert live_files.find_cached("v5.3", sandbox.api_url) is None
    assert fetch().live.is_file()


def test_a_file_that_is_not_parquet_is_refused_and_not_kept(sandbox: server.Sandbox) -> None:
    sandbox.faults.add("GET", faults.respond_status(200, b"<html>maintenance</html>"))
    with pytest.raises(errors.DataError, match=r"live\.parquet: the downloaded file is not a readable parquet file"):
        fetch()
    assert fetch().live.is_file()


def test_the_features_of_a_sandbox_are_not_used_for_the_tournament(tmp_path: Path) -> None:
    fetch()
    assert feature_sets.find(tmp_path, "v5.3") is None


def test_the_features_of_the_tournament_are_kept_for_other_commands(
    sandbox: server.Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "DEFAULT_API", sandbox.api_url.rstrip("/"))
    path = feature_sets.find(tmp_path, "v5.3") if fetch() else None
    assert path is not None
    assert path.read_bytes() == sandbox.publish_datasets()["v5.3/features.json"].read_bytes()


def test_a_version_that_is_not_offered_is_refused(sandbox: server.Sandbox) -> None:
    problem = r"the tournament has no data version v9\.9; offered: v5\.3, v5\.2.*; set data_version in the config"
    with session.connect(progress.Silent()) as api, pytest.raises(errors.UsageError, match=problem):
        live_files.fetch(api, "v9.9", progress.Silent())


@pytest.mark.usefixtures("waits")
def test_validate_uses_the_live_data_of_the_round_or_those_in_the_cache(
    sandbox: server.Sandbox, tmp_path: Path
) -> None:
    names = json.loads(sandbox.publish_datasets()["v5.3/features.json"].read_bytes())["feature_sets"]["all"][:3]
    bundle = bundles.make_bundle()
    bundle = dataclasses.replace(bundle, features=tuple(names))
    options = config.ValidateConfig(data="live")
    notes = Notes()

    def find() -> tuple[validation_data.LiveFiles, str]:
        build_target = target.Target(folder=tmp_path, config=None)
        required = post.find_required_columns(())
        return task.find_live_files(options, bundle, build_target, required, notes, known=())

    files, source = find()
    assert files.live.read_bytes() == sandbox.publish_datasets()["v5.3/live.parquet"].read_bytes()
    assert source == f"live data of round {sandbox.state.rounds[0].number} (v5.3; opened 1 hour ago)"
    sandbox.faults.add("rounds", faults.respond_status(503), times=None)
    assert find()[0] == files
    assert "using the live data of round" in notes.texts[-1]
    shutil.rmtree(paths.cache_folder())
    with pytest.raises(
        errors.NetworkError, match=r"the cache has no v5\.3 live data: try again later, or write data: shaped"
    ):
        find()
