"""The tournament's API: what it is asked, what it answers, and what that means.

What checks answers is loaded where it is used: ``pickle`` needs the settings and the images of this package alone, and
is not to wait for pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from builder.tournament.api import Tournament
    from builder.tournament.status_words import is_in_progress, is_server_error, is_unknown, judge_status
    from builder.tournament.types import (
        CLASSIC,
        DOWNLOAD_SCOPE,
        NO_ROUND,
        UPLOAD_SCOPE,
        Account,
        DataVersion,
        DockerImage,
        FileAuth,
        LogLine,
        Round,
        Run,
        RunStep,
        Slot,
        Submission,
        TokenInfo,
        UploadedPickle,
        read_time,
    )

__all__ = [
    "CLASSIC",
    "DOWNLOAD_SCOPE",
    "NO_ROUND",
    "UPLOAD_SCOPE",
    "Account",
    "DataVersion",
    "DockerImage",
    "FileAuth",
    "LogLine",
    "Round",
    "Run",
    "RunStep",
    "Slot",
    "Submission",
    "TokenInfo",
    "Tournament",
    "UploadedPickle",
    "is_in_progress",
    "is_server_error",
    "is_unknown",
    "judge_status",
    "read_time",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        for module in ("types", "status_words", "api") if name in __all__ else ():
            found = import_module(f"{__name__}.{module}")
            if hasattr(found, name):
                return getattr(found, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
