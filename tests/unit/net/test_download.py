"""What a downloaded pickle is called here, and the digits of its hash in the name it is stored under."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import errors, progress
from builder.net import download


@pytest.mark.parametrize(
    ("filename", "digits"),
    [
        ("8d7f0a12-mlp-0123456789ab.pkl", "0123456789ab"),
        ("mlp-0123456789abc.pkl", None),
        ("mlp-0123456789AB.pkl", None),
        ("mlp.pkl", None),
        ("0123456789ab-mlp.pkl", None),
        ("123e4567-e89b-12d3-a456-426614174000.pkl", None),
        ("mlp-123e4567-e89b-12d3-a456-426614174000.pkl", None),
        ("", None),
    ],
)
def test_the_digits_are_the_last_of_the_name(filename: str, digits: str | None) -> None:
    assert download.digits_of(filename) == digits


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("a-b.pkl", "a-b.pkl"),
        ("../../etc/passwd", "passwd"),
        ("/root/.ssh/config", "config"),
        ("..\\..\\a.pkl", "a.pkl"),
        (".bashrc", "bashrc"),
        ("..", "model.pkl"),
        ("", "model.pkl"),
        ("a b\n\x1b.pkl", "a_b__.pkl"),
    ],
)
def test_a_name_of_the_api_stays_in_the_folder(filename: str, name: str) -> None:
    assert download.local_name(filename) == name


@pytest.mark.parametrize(
    "url", ["http://192.0.2.2/a/b.pkl?X=SECRET", "https://[bad/x.pkl?X=SECRET", "ftp://h/x?X=SECRET", "", "file:///x"]
)
def test_nothing_is_fetched_in_clear_or_from_what_is_no_address(url: str, tmp_path: Path) -> None:
    with pytest.raises(errors.NetworkError, match=r"the pickle p: is not fetched from there: only https is") as raised:
        download.download(url, tmp_path / "x.pkl", what="the pickle p", progress=progress.Silent())
    assert "SECRET" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=300))
def test_any_name_is_a_plain_file_name(filename: str) -> None:
    name = download.local_name(filename)
    assert Path(name).name == name
    assert not name.startswith(".")
    assert len(name) <= 150
