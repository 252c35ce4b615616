"""Find the configs of the current project: the YAML files in ``configs/`` of the current folder, except bundles."""

from __future__ import annotations

from pathlib import Path

from builder import commands, errors, text

_CONFIGS, _BUNDLES = Path("configs"), "bundles"
_MAX_LISTED = 10


def list_configs() -> list[Path]:
    """Return the paths of the configs, sorted, without hidden files such as an editor's backups."""
    paths = (path for path in sorted(_CONFIGS.rglob("*.yaml")) if path.is_file())
    return [path for path in paths if _is_config(path.relative_to(_CONFIGS).parts)]


def choose_config(argument: str | None, *, alternative: str = "") -> str:
    """Return the argument of a command line, or else the path of the only config.

    Args:
        argument: The argument, or None. An empty one is not None: it may come from an unset variable of a script.
        alternative: What else the error says may be named, such as ``, or a slot``.

    Raises:
        errors.UsageError: There are several configs, which the message lists, or there is none.
    """
    if argument is not None:
        return argument
    configs = list_configs()
    folder = Path.cwd() / _CONFIGS
    if not configs:
        raise errors.UsageError(
            f"{folder}: no config found; write one with `{commands.suggest_plain('init', '--bundle=BUNDLE')}`, "
            f"or pass one{alternative}"
        )
    if len(configs) > 1:
        nearest_first = sorted(configs, key=lambda path: (len(path.parts), path))
        names = text.format_list([text.escape(str(path)) for path in nearest_first], most=_MAX_LISTED)
        raise errors.UsageError(
            f"{folder}: contains {len(configs):,} configs: {names}; pass the one to use (make: CONFIG=...){alternative}"
        )
    return str(configs[0])


def _is_config(parts: tuple[str, ...]) -> bool:
    return parts[0] != _BUNDLES and not any(part.startswith(".") for part in parts)
