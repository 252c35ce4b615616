"""The tournament's features.json."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.config import feature_sets

if TYPE_CHECKING:
    from pathlib import Path

SETS = {"small": ["a", "b"], "medium": ["a", "b", "c"], "empty": []}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "features.json"
    path.write_text(json.dumps({"feature_sets": SETS, "feature_stats": {"a": {"autocorrelation": 0.5}}, "targets": []}))
    return path


def test_names_of_a_set_in_the_files_order(file: Path) -> None:
    assert feature_sets.names(file.parent, "v5.2", "medium") == ("a", "b", "c")
    assert list(feature_sets.read(file)) == ["small", "medium", "empty"]


def test_the_data_versions_own_file_comes_first(file: Path) -> None:
    assert feature_sets.find(file.parent, "v5.2") == file
    own = file.parent / "v5.2" / "features.json"
    own.parent.mkdir()
    own.write_text('{"feature_sets": {"medium": ["z"]}}')
    assert feature_sets.names(file.parent, "v5.2", "medium") == ("z",)
    assert feature_sets.names(file.parent, "v5.3", "medium") == ("a", "b", "c")


def test_no_such_set(file: Path) -> None:
    for name, said in (
        ("medum", f'"medum" is not a feature set of {file}; did you mean medium?'),
        ("zzz", f'"zzz" is not a feature set of {file}; there are small, medium, empty'),
        ("empty", f'"empty" has no features in {file}; there are small, medium, empty'),
    ):
        with pytest.raises(ValueError, match=r"feature set|has no features") as raised:
            feature_sets.names(file.parent, "v5.2", name)
        assert str(raised.value) == said


def test_no_file_says_how_to_fetch_it(tmp_path: Path) -> None:
    assert feature_sets.find(tmp_path, "v5.2") is None
    with pytest.raises(ValueError, match=r"download_dataset\('v5\.3/features\.json', 'v5\.3/features\.json'\)"):
        feature_sets.names(tmp_path, "v5.3", "small")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "line 1, column 2: not valid JSON"),
        ("[]", "the file does not hold an object"),
        ("{}", "feature_sets: missing; expected a mapping of names to lists of features"),
        ('{"feature_sets": ["a"]}', "feature_sets: a list is invalid"),
        ('{"feature_sets": {"a": ["x", 1], "b": "x"}}', "feature_sets.a.1: 1 is invalid"),
        ('{"feature_sets": {"a": ["x", 1], "b": "x"}}', 'feature_sets.b: "x" is invalid; expected a list'),
        ('{"feature_sets": {"a": ["x", "y", "x"]}}', "feature_sets.a: x more than once"),
        ('{"feature_sets": {"a": [], "a": []}}', "feature_sets.a: duplicate key"),
        ('{"feature_sets": {"a": ["x\\n"]}}', "feature_sets.a.0: "),
    ],
)
def test_faults_are_said_with_their_place(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "features.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="fetch it again") as raised:
        feature_sets.read(path)
    assert said in str(raised.value)
    assert str(raised.value).startswith(f"{path} has faults (")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)"):
        feature_sets.read(tmp_path)


@given(content=st.binary(max_size=100) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=50)
def test_whatever_the_bytes_only_a_value_error_comes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "features.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"features\.json"):
        feature_sets.read(path)
