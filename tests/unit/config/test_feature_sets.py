"""Reading the tournament's features.json."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import paths
from builder.config import feature_sets

if TYPE_CHECKING:
    from pathlib import Path

SETS = {"small": ["a", "b"], "medium": ["a", "b", "c"], "empty": []}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "features.json"
    path.write_text(json.dumps({"feature_sets": SETS, "feature_stats": {"a": {"autocorrelation": 0.5}}, "targets": []}))
    return path


def test_the_names_of_a_set_are_in_the_order_of_the_file(file: Path) -> None:
    assert feature_sets.read_names(file.parent, "v5.3", "medium") == ("a", "b", "c")
    assert list(feature_sets.read(file)) == ["small", "medium", "empty"]


def test_the_file_of_the_data_version_is_preferred(file: Path) -> None:
    assert feature_sets.find(file.parent, "v5.3") == file
    versioned = file.parent / "v5.3" / "features.json"
    versioned.parent.mkdir()
    versioned.write_text('{"feature_sets": {"medium": ["z"]}}')
    assert feature_sets.read_names(file.parent, "v5.3", "medium") == ("z",)
    assert feature_sets.read_names(file.parent, "v5.2", "medium") == ("a", "b", "c")


def test_a_missing_or_empty_set_is_an_error(file: Path) -> None:
    for name, message in (
        ("medum", f'"medum" is not a feature set of {file}; did you mean medium?'),
        ("zzz", f'"zzz" is not a feature set of {file}; expected one of small, medium, empty'),
        ("empty", f'"empty" has no features in {file}; expected one of small, medium, empty'),
    ):
        with pytest.raises(ValueError, match=r"feature set|has no features") as raised:
            feature_sets.read_names(file.parent, "v5.3", name)
        assert str(raised.value) == message


def test_a_missing_file_is_an_error_with_the_command_to_fetch_it(tmp_path: Path) -> None:
    assert feature_sets.find(tmp_path, "v5.3") is None
    with pytest.raises(ValueError, match=r"fetch the file \(`make data`\)"):
        feature_sets.read_names(tmp_path, "v5.3", "small")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "line 1, column 2: not valid JSON"),
        ("[]", "the file does not contain a JSON object"),
        ("{}", "feature_sets: missing; expected a mapping of names to lists of features"),
        ('{"feature_sets": ["a"]}', "feature_sets: a list is invalid"),
        ('{"feature_sets": {"a": ["x", 1], "b": "x"}}', "feature_sets.a.1: 1 is invalid"),
        ('{"feature_sets": {"a": ["x", 1], "b": "x"}}', 'feature_sets.b: "x" is invalid; expected a list'),
        ('{"feature_sets": {"a": ["x", "y", "x"]}}', "feature_sets.a: duplicates: x; list each once"),
        ('{"feature_sets": {"a": [], "a": []}}', "feature_sets.a: duplicate key"),
        ('{"feature_sets": {"a": ["x\\n"]}}', "feature_sets.a.0: "),
    ],
)
def test_problems_are_reported_with_their_key_path(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "features.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="fetch it again") as raised:
        feature_sets.read(path)
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"{path} is invalid (")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*: Is a directory"):
        feature_sets.read(tmp_path)


@given(content=st.binary(max_size=100) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=50)
def test_any_bytes_raise_only_a_value_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "features.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"features\.json"):
        feature_sets.read(path)


def test_the_file_of_a_data_version_is_found_in_the_project_or_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    root = tmp_path / "project"
    assert feature_sets.find(root, "v5.3") is None
    cached = paths.cached_features_file("v5.3")
    cached.parent.mkdir(parents=True)
    cached.write_text("{}")
    assert feature_sets.find(root, "v5.3") == cached
    assert feature_sets.find(root, "v5.2") is None
    # A version that is not one is not part of a path.
    assert feature_sets.find(root, "../data/v5.3") is None
    own = root / "v5.3" / "features.json"
    own.parent.mkdir(parents=True)
    own.write_text("{}")
    assert feature_sets.find(root, "v5.3") == own
