"""Load the boosters of a bundle with the image's libraries, so that a file that they cannot read fails the build."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .fold import boosters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILES: Mapping[str, str] = {"xgboost": boosters.XGBOOST_FILE, "catboost": boosters.CATBOOST_FILE}
"""The files by kind, which is also the name of the library. The host has read the texts of LightGBM."""


class BoosterError(Exception):
    """The image's library is missing or cannot read a booster; the message has both versions."""


def check_boosters(header: Mapping[str, Any], folder: Path) -> None:
    """Load each booster of XGBoost and CatBoost.

    Args:
        header: ``bundle.json``.
        folder: The folder of the bundle.

    Raises:
        BoosterError: The image's library is missing, or cannot read a booster.
    """
    packages = header.get("trained", {}).get("packages", ())  # each NAME VERSION, as at the export
    for index, member in enumerate(header.get("members", [header])):
        kind = member["kind"]
        if kind in FILES:
            name = f"m{index}.{FILES[kind]}" if "members" in header else FILES[kind]
            trained_with = next((text for text in packages if text.startswith(f"{kind} ")), f"another {kind}")
            _load(kind, name, (folder / name).read_bytes(), trained_with)


def _load(library: str, name: str, content: bytes, trained_with: str) -> None:
    try:
        version = importlib.import_module(library).__version__
    except ImportError as error:
        raise BoosterError(
            f"{name}: {library}, which the model needs to predict, cannot be imported in this image ({error}); choose "
            "an image that has it"
        ) from error
    source = importlib.import_module(f".predict.{library}", __package__)
    try:
        getattr(source, f"open_{library}")({"content": content})
    except Exception as error:  # each library has its own class
        text = " ".join(str(error).partition("Stack trace:")[0].split())[:300]
        raise BoosterError(
            f"{name}: {library} {version} in this image cannot read the booster, which was exported with "
            f"{trained_with}: {text}; train with {library} {version}, or choose an image with a newer version"
        ) from error
