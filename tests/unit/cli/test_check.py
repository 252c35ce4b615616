"""``check`` prints the reading of a pickle."""

from __future__ import annotations

import json
import os
import pickle
from typing import TYPE_CHECKING

from builder import errors
from builder.cli import engine_session
from tests.support import clones, pickles
from tests.support.command import call, read_output

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_dangers_are_first_and_the_cause_and_fix_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x04cno_such\x1b[31m\nthing\n\x8c\x01x\x85Rcos\nsystem\n\x8c\x01x\x85R\x86.")
    assert call("check", "--no-run", str(path)) == 1
    lines = read_output(capsys)[0].splitlines()
    assert lines[1].split(maxsplit=1) == ["DANGER", "runs a command when it is loaded: os.system (byte 42)"]
    assert [line.partition(":")[0] for line in lines[-2:]] == ["cause", "fix"]
    assert "\x1b" not in "".join(lines)


def test_json_has_a_cause_and_a_fix_whenever_a_pickle_is_not_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise errors.EngineError("no engine answers; start it with `make engine`")

    monkeypatch.setattr(engine_session, "connect", fail)
    path = tmp_path / "model.pkl"
    good = (clones.ROOT / "tests" / "data" / "pickles" / "python3.12.pkl").read_bytes()
    for content, options, cause, fix in (
        (b"\x1f\x8b", [], "the file is not a pickle: it is compressed with gzip", "decompress it"),
        (
            pickle.dumps(pickles.Calls(os.system, "true")),
            ["--no-run"],
            "runs a command when it is loaded",
            "load it only",
        ),
        (good, [], "no engine answers", "start it with `make engine`"),
    ):
        path.write_bytes(content)
        assert call("check", "--json", str(path), *options) != 0
        answer = json.loads(read_output(capsys)[0])
        assert answer["good"] is not True
        assert answer["cause"].startswith(cause)
        assert answer["fix"].startswith(fix)


def test_a_good_pickle_is_described_in_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    path = clones.ROOT / "tests" / "data" / "pickles" / "python3.12.pkl"
    assert call("check", "--no-run", "--json", str(path)) == 0
    answer = json.loads(read_output(capsys)[0])
    assert (answer["format"], answer["good"], answer["reading"]["protocol"]) == (1, True, 5)
    assert answer["reading"]["pythons"] == ["3.12"]
    assert call("check", "--no-run", str(path)) == 0
    assert "only a run in its image shows that it works" in read_output(capsys)[0]


def test_a_page_is_not_written_over_a_pickle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x04N.")
    for options, message in (
        (["--report", str(path)], "is not an HTML file; pass a name that ends in .html"),
        (["--report", str(tmp_path / "no" / "a.html")], "is not a folder; create it, or pass another file"),
        (["--open"], "--open requires --report FILE"),
    ):
        assert call("check", "--no-run", str(path), *options) == 2
        assert message in read_output(capsys)[1]
    page = tmp_path / "a.html"
    assert call("check", "--no-run", str(path), "--report", str(page)) == 1
    assert "it would fail" in page.read_text(encoding="utf-8")
    assert path.read_bytes() == b"\x80\x04N."
