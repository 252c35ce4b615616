"""``bundle show``: print the contents of a bundle."""

from __future__ import annotations

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

_SHOWN_FACTS = 5


def run(*, path: BundlePath, json_wanted: Json = False) -> int:
    """Print the contents of a bundle."""
    from builder.bundle.storage import read  # noqa: PLC0415 - numpy

    folder = store.resolve_folder(path, paths.cache_folder())
    with store.report_as(path, folder):
        contents = _describe(path, folder, read.read(folder))
    if json_wanted:
        terminal.print_json(contents)
        return 0
    terminal.print_lines(str(path))
    terminal.print_table(_format_rows(contents))
    return 0


def _describe(path: Path, folder: Path, bundle: bundle_model.Bundle) -> dict[str, Any]:
    """Return the contents of a bundle as data for JSON."""
    import numpy as np  # noqa: PLC0415

    from builder.bundle import post  # noqa: PLC0415
    from builder.bundle.kinds import catalog as kinds  # noqa: PLC0415

    golden = bundle.golden
    sizes = {file.relative_to(folder).as_posix(): file.stat().st_size for file in files.list_paths(folder)}
    contents: dict[str, Any] = {
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
    members = getattr(bundle.model, "members", ())  # only ensembles have any
    if members:
        contents["members"] = [
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
    return contents


def _format_rows(contents: Mapping[str, Any]) -> list[tuple[str, str]]:
    golden = contents["golden"]
    spread = f"predictions {golden['low']:.6g} to {golden['high']:.6g}"
    rows = [
        ("kind", f"{contents['kind']}, {contents['parameters']:,} parameters"),
        *(("", _format_member(index, member)) for index, member in enumerate(contents.get("members", ()))),
        ("features", f"{len(contents['features']):,}: {_format_list(contents['features'])}"),
        ("benchmarks", _format_list(contents["benchmarks"]) or "none"),
        ("post", ", then ".join(map(_format_step, contents["post"])) or "none"),
        ("size", f"{filesize.decimal(contents['bytes'])} in {len(contents['files']):,} files"),
        ("golden", f"{golden['rows']:,} rows, {golden['missing']:,} of them with a missing input; {spread}"),
        ("hash", contents["hash"]),
    ]
    if contents["sha256"]:
        rows.append(("sha256", f"{contents['sha256']}  (of the zip: for {{url, sha256}} in a config)"))
    # Written by the training script; not checked.
    facts = [(escape(key), _format_fact(fact)) for key, fact in contents["trained"].items()]
    width = max((len(key) for key, _ in facts), default=0)
    rows += [("trained" if not index else "", f"{key.ljust(width)}  {text}") for index, (key, text) in enumerate(facts)]
    return rows


def _format_member(index: int, member: Mapping[str, Any]) -> str:
    transform = member["transform"] if member["transform"] == "raw" else f"{member['transform']} by {member['scope']}"
    size = f"{member['kind']}, {member['features']:,} features, {member['parameters']:,} parameters"
    return f"{index}: {size}, weight {member['weight']:g}, {transform}"


def _format_step(step: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a step on one line; long lists of columns are shortened."""
    ((name, keys),) = step.items()
    options = (
        f"{key}: {_format_list(value) if isinstance(value, list) else _format_value(value)}"
        for key, value in keys.items()
    )
    return f"{name} ({', '.join(options)})"


def _format_fact(fact: object) -> str:
    if isinstance(fact, list):
        if len(fact) > 2 * _SHOWN_FACTS:
            return f"{len(fact):,}, from {_format_value(fact[0])} to {_format_value(fact[-1])}"
        return ", ".join(map(_format_value, fact)) or "none"
    return _format_value(fact)


def _format_list(names: Sequence[Any]) -> str:
    return format_list([_format_value(name) for name in names])


def _format_value(value: object) -> str:
    return escape(value) if isinstance(value, str) else show_value(value)
