"""The configs of the current project: every YAML file below ``configs/`` of the current folder, bundles aside."""

from __future__ import annotations

from pathlib import Path

from builder import errors, text

_CONFIGS, _BUNDLES = Path("configs"), "bundles"
_MOST_LISTED = 10


def list_configs() -> list[Path]:
    """Return the configs, sorted; hidden files, such as an editor's backups, are none."""
    found = (path for path in sorted(_CONFIGS.rglob("*.yaml")) if path.is_file())
    return [path for path in found if _is_config(path.relative_to(_CONFIGS).parts)]


def choose_config(named: str | None, *, alternative: str = "") -> str:
    """Return what the command line names; without that, the path of the only config.

    Args:
        named: The argument, or None. An empty one is no default: it may be a script's variable that is not set.
        alternative: What else may be named, for the error: such as ``, or a slot``.

    Raises:
        errors.UsageError: There are several configs, and the message lists them; or there is none.
    """
    if named is not None:
        return named
    found = list_configs()
    folder = Path.cwd() / _CONFIGS
    if not found:
        raise errors.UsageError(
            f"{folder}: no config found; write one with `python -m builder init --from NAME.bundle.zip`, "
            f"or name one{alternative}"
        )
    if len(found) > 1:
        nearest_first = sorted(found, key=lambda path: (len(path.parts), path))
        listed = text.format_list([text.escape(str(path)) for path in nearest_first], most=_MOST_LISTED)
        raise errors.UsageError(
            f"{folder}: has {len(found):,} configs: {listed}; name the one to use (make: CONFIG=...){alternative}"
        )
    return str(found[0])


def _is_config(parts: tuple[str, ...]) -> bool:
    return parts[0] != _BUNDLES and not any(part.startswith(".") for part in parts)
