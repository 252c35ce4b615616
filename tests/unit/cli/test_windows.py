"""On Windows, every command exits with 2 before it imports a module that only POSIX has."""

from __future__ import annotations

import json
import sys

import pytest

from builder import __main__ as entry


@pytest.mark.parametrize("arguments", [["pickle"], ["bundle", "show", "x"], ["--help"], ["status", "--json"]])
def test_every_command_suggests_wsl2(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(sys, "argv", ["numerai-builder", *arguments])
    monkeypatch.setitem(sys.modules, "builder.cli.main", None)
    with pytest.raises(SystemExit) as raised:
        entry.run()
    out, err = capsys.readouterr()
    assert raised.value.code == 2
    message = "no command runs on Windows itself, only `builder.export`"
    assert err == f"error: {message}; run it in WSL2\n"
    report = {"format": 1, "error": {"code": 2, "message": message, "fix": "run it in WSL2"}}
    assert (json.loads(out) if "--json" in arguments else out) == (report if "--json" in arguments else "")
