"""The tournament's API: client, typed answers, and what their statuses mean.

The typed answers are imported on first use: they need pydantic, which takes a while to import, and commands such as
``pickle`` use only the settings and the images of this package.
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
            loaded = import_module(f"{__name__}.{module}")
            if hasattr(loaded, name):
                return getattr(loaded, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
