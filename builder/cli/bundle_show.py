"""``bundle show``: what is in a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import filesize

from builder import paths
from builder.bundle.storage import files, store
from builder.cli import terminal
from builder.cli.parameters import BundlePath, Json
from builder.text import describe as show_value
from builder.text import escape, format_list

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.bundle import model as bundle_model

_SHOWN = 5


def run(*, path: BundlePath, json_wanted: Json = False) -> int:
    """Print what is in a bundle."""
    from builder.bundle.storage import read  # noqa: PLC0415 - numpy

    folder = store.resolve_folder(path, paths.cache_folder())
    with store.report_as(path, folder):
        summary = _describe(path, folder, read.read(folder))
    if json_wanted:
        print(json.dumps(summary))
        return 0
    print(escape(str(path)))
    terminal.print_table(_rows(summary))
    return 0


def _describe(path: Path, folder: Path, bundle: bundle_model.Bundle) -> dict[str, Any]:
    """Return what is in a bundle as plain data."""
    import numpy as np  # noqa: PLC0415

    from builder.bundle import post  # noqa: PLC0415
    from builder.bundle.kinds import catalog as kinds  # noqa: PLC0415

    golden = bundle.golden
    sizes = {file.relative_to(folder).as_posix(): file.stat().st_size for file in files.list_paths(folder)}
    summary: dict[str, Any] = {
        "format": 1,
        "path": str(path),
        "kind": kinds.get_kind_name(bundle.model),
        "parameters": kinds.count_parameters(bundle.model),
        "bounded": kinds.is_bounded(bundle.model),
        "features": list(bundle.features),
        "benchmarks": list(bundle.benchmarks),
        "post": post.as_data(bundle.post),
        "files": sizes,
        "bytes": sum(sizes.values()),
        "hash": files.hash_bundle(folder),
        "sha256": files.hash_content(path)[0] if path != folder else None,
        "golden": {
            "rows": len(golden.predictions),
            "missing": int(np.isnan(golden.inputs).any(axis=1).sum()),
            "low": float(golden.predictions.min()),
            "high": float(golden.predictions.max()),
        },
        "trained": {key: list(fact) if isinstance(fact, tuple) else fact for key, fact in bundle.trained.items()},
    }
    members = getattr(bundle.model, "members", ())
    if members:
        summary["members"] = [
            {
                "kind": kinds.get_kind_name(member.model),
                "parameters": kinds.count_parameters(member.model),
                "features": len(member.features),
                "benchmarks": list(member.benchmarks),
                "weight": member.weight,
                "transform": member.transform,
                "scope": member.scope,
            }
            for member in members
        ]
    return summary


def _rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    golden = summary["golden"]
    spread = f"predictions {golden['low']:.6g} to {golden['high']:.6g}"
    rows = [
        ("kind", f"{summary['kind']}, {summary['parameters']:,} parameters"),
        *(("", _member_line(index, member)) for index, member in enumerate(summary.get("members", ()))),
        ("features", f"{len(summary['features']):,}: {_format_list(summary['features'])}"),
        ("benchmarks", _format_list(summary["benchmarks"]) or "none"),
        ("post", ", then ".join(map(_step_line, summary["post"])) or "none"),
        ("size", f"{filesize.decimal(summary['bytes'])} in {len(summary['files']):,} files"),
        ("golden", f"{golden['rows']:,} rows, {golden['missing']:,} of them with a missing input; {spread}"),
        ("hash", summary["hash"]),
    ]
    if summary["sha256"]:
        rows.append(("sha256", f"{summary['sha256']}  (of the zip: for {{url, sha256}} in a config)"))
    # What the trainer knew, as it is: nothing here vouches for it.
    facts = [(escape(key), _fact_line(fact)) for key, fact in summary["trained"].items()]
    width = max((len(key) for key, _ in facts), default=0)
    rows += [("trained" if not at else "", f"{key.ljust(width)}  {text}") for at, (key, text) in enumerate(facts)]
    return rows


def _member_line(index: int, member: Mapping[str, Any]) -> str:
    how = member["transform"] if member["transform"] == "raw" else f"{member['transform']} by {member['scope']}"
    what = f"{member['kind']}, {member['features']:,} features, {member['parameters']:,} parameters"
    return f"{index}: {what}, weight {member['weight']:g}, {how}"


def _step_line(step: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a step on one line; long lists of columns by their first."""
    ((name, keys),) = step.items()
    parts = (
        f"{key}: {_format_list(value) if isinstance(value, list) else _plain(value)}" for key, value in keys.items()
    )
    return f"{name} ({', '.join(parts)})"


def _fact_line(fact: object) -> str:
    if isinstance(fact, list):
        if len(fact) > 2 * _SHOWN:
            return f"{len(fact):,}, from {_plain(fact[0])} to {_plain(fact[-1])}"
        return ", ".join(map(_plain, fact)) or "none"
    return _plain(fact)


def _format_list(names: Sequence[Any]) -> str:
    return format_list([_plain(name) for name in names])


def _plain(value: object) -> str:
    return escape(value) if isinstance(value, str) else show_value(value)
