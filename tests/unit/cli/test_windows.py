"""On Windows itself no command runs, and says so before anything is imported that is not there."""

from __future__ import annotations

import json
import sys

import pytest

from builder import __main__ as entry


@pytest.mark.parametrize("arguments", [["pickle"], ["bundle", "show", "x"], ["--help"], ["status", "--json"]])
def test_every_command_says_that_it_needs_wsl2(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(sys, "argv", ["numerai-builder", *arguments])
    monkeypatch.setitem(sys.modules, "builder.cli.main", None)
    with pytest.raises(SystemExit) as ended:
        entry.run()
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    message = "no command runs on Windows itself, only `builder.export`"
    assert err == f"error: {message}; run it in WSL2\n"
    report = {"format": 1, "error": {"code": 2, "message": message, "fix": "run it in WSL2"}}
    assert (json.loads(out) if "--json" in arguments else out) == (report if "--json" in arguments else "")
