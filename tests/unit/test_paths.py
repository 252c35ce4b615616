"""The cache and state folders, and the migration of those of an earlier version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import platformdirs
import pytest
from platformdirs.macos import MacOS
from platformdirs.unix import Unix

from builder import paths

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOLDERS = [
    (paths.cache_folder, "XDG_CACHE_HOME", ".cache", "Library/Caches"),
    (paths.state_folder, "XDG_STATE_HOME", ".local/state", "Library/Application Support"),
]
each_folder = pytest.mark.parametrize("case", FOLDERS)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for _, variable, _, _ in FOLDERS:
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@each_folder
def test_a_folder_follows_the_system_and_its_variable(
    home: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[Callable[[], Path], str, str, str]
) -> None:
    folder, variable, linux, mac = case
    monkeypatch.setattr(platformdirs, "PlatformDirs", Unix)
    assert folder() == home / linux / "numerai-builder"
    monkeypatch.setenv(variable, str(home / "set"))
    assert folder() == home / "set" / "numerai-builder"
    monkeypatch.setattr(platformdirs, "PlatformDirs", MacOS)
    assert folder() == home / "set" / "numerai-builder"
    assert folder().is_dir()
    assert not (home / mac).exists()


@each_folder
def test_an_earlier_folder_on_macos_is_moved_once(
    home: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[Callable[[], Path], str, str, str]
) -> None:
    folder, variable, linux, mac = case
    monkeypatch.setattr(platformdirs, "PlatformDirs", Unix)
    (folder() / "kept").write_text("before")
    monkeypatch.setattr(platformdirs, "PlatformDirs", MacOS)
    monkeypatch.setenv(variable, str(home / "set"))
    assert list(folder().iterdir()) == []
    monkeypatch.delenv(variable)
    assert folder() == home / mac / "numerai-builder"
    assert (folder() / "kept").read_text() == "before"
    assert not (home / linux / "numerai-builder").exists()
    (home / linux / "numerai-builder").mkdir()
    assert (folder() / "kept").read_text() == "before"


def test_the_state_folder_is_private() -> None:
    assert paths.state_folder().stat().st_mode & 0o777 == 0o700
