"""``bundle show``, ``bundle check`` and ``init``: what is in a bundle, whether it is good, and a config for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import commands, errors, paths
from builder.bundle.storage import files, store
from builder.cli import terminal
from builder.text import escape, listed
from builder.text import show as show_value

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from builder.bundle import model as bundle_model

_SHOWN = 5


def show(options: argparse.Namespace) -> int:
    """Print what is in a bundle."""
    path = Path(options.bundle)
    folder = store.folder_of(path, paths.cache_folder())
    with store.named(path, folder):
        found = _described(path, folder, _read(folder))
    if options.json:
        print(json.dumps(found))
        return 0
    print(escape(str(path)))
    terminal.print_table(_rows(found))
    return 0


def check(options: argparse.Namespace) -> int:
    """Print every fault of a bundle, or that it has none."""
    path = Path(options.bundle)
    try:
        folder = store.folder_of(path, paths.cache_folder())
        with store.named(path, folder):
            bundle = _read(folder)
            _prove(folder, bundle)
            digest = files.content_hash(folder)
    except errors.BundleError as error:
        if not options.json:
            raise
        print(json.dumps({"format": 1, "path": str(path), "good": False, "faults": error.faults}))
        return error.exit_code
    if options.json:
        print(json.dumps({"format": 1, "path": str(path), "good": True, "faults": [], "hash": digest}))
    else:
        print(f"good: {escape(str(path))}: {_kind(bundle)}; {digest}")
    return 0


def write_config(options: argparse.Namespace) -> int:
    """Write the config of a bundle and say what to do next."""
    from builder.config import init  # noqa: PLC0415 - numpy

    if not options.bundle:  # as `make init` is without BUNDLE; Path("") would be the current folder
        raise errors.UsageError("no bundle is named; say which: make init BUNDLE=mymodel.bundle.zip, or init --from")
    wish = init.InitRequest(
        bundle=Path(options.bundle),
        root=Path(options.root),
        name=options.name,
        features=Path(options.features) if options.features else None,
        force=options.force,
    )
    done = init.init(wish, cache=paths.cache_folder())
    following = [commands.with_config(name, done.config) for name in ("pickle", "validate")]
    if options.json:
        answer = {"format": 1, "config": str(done.config), "name": done.name, "bundle": str(done.bundle)}
        print(json.dumps({**answer, "notes": done.notes, "next": following}))
        return 0
    print(f"{done.config}  (written)")
    for note in done.notes:
        print(f"  {escape(note)}")
    print("next:")
    for line in following:
        print(f"  {line}")
    return 0


def _read(folder: Path) -> bundle_model.Bundle:
    from builder.bundle.storage import read  # noqa: PLC0415 - numpy

    return read.read(folder)


def _prove(folder: Path, bundle: bundle_model.Bundle) -> None:
    """Make sure that the numbers predict what the framework predicted for the golden rows.

    Raises:
        errors.BundleError: They do not.
    """
    import numpy as np  # noqa: PLC0415

    from builder import reference  # noqa: PLC0415

    if not reference.has(bundle.model):
        return
    said = bundle.golden.predictions
    exact, bounds = reference.predict_within(bundle.model, bundle.golden.inputs.astype(np.float64))
    difference, bound = reference.compare(said, exact, bounds)
    if not difference <= bound:
        with np.errstate(invalid="ignore"):
            beyond = np.flatnonzero(~(np.abs(said - exact) <= bounds))
        more = f" and {len(beyond) - 1:,} more" if len(beyond) > 1 else ""
        text = (
            f"{folder / files.GOLDEN}: predictions: the model's own numbers give up to {difference:.2g} away from what "
            f"the framework predicted (row {beyond[0]}{more}), {bound:.2g} is allowed; export the model again"
        )
        raise errors.BundleError([text])


def _kind(bundle: bundle_model.Bundle) -> str:
    from builder.bundle.kinds import known as kinds  # noqa: PLC0415

    count = kinds.parameters(bundle.model)
    return f"{kinds.name_of(bundle.model)}, {len(bundle.features):,} features, {count:,} parameters"


def _described(path: Path, folder: Path, bundle: bundle_model.Bundle) -> dict[str, Any]:
    """Return what is in a bundle as plain data."""
    import numpy as np  # noqa: PLC0415

    from builder.bundle import post  # noqa: PLC0415
    from builder.bundle.kinds import known as kinds  # noqa: PLC0415

    golden = bundle.golden
    sizes = {one.relative_to(folder).as_posix(): one.stat().st_size for one in files.paths(folder)}
    found: dict[str, Any] = {
        "format": 1,
        "path": str(path),
        "kind": kinds.name_of(bundle.model),
        "parameters": kinds.parameters(bundle.model),
        "bounded": kinds.is_bounded(bundle.model),
        "features": list(bundle.features),
        "benchmarks": list(bundle.benchmarks),
        "post": post.as_data(bundle.post),
        "files": sizes,
        "bytes": sum(sizes.values()),
        "hash": files.content_hash(folder),
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
        found["members"] = [
            {
                "kind": kinds.name_of(member.model),
                "parameters": kinds.parameters(member.model),
                "features": len(member.features),
                "benchmarks": list(member.benchmarks),
                "weight": member.weight,
                "transform": member.transform,
                "scope": member.scope,
            }
            for member in members
        ]
    return found


def _rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    golden = found["golden"]
    spread = f"predictions {golden['low']:.6g} to {golden['high']:.6g}"
    rows = [
        ("kind", f"{found['kind']}, {found['parameters']:,} parameters"),
        *(("", _member_line(place, member)) for place, member in enumerate(found.get("members", ()))),
        ("features", f"{len(found['features']):,}: {_listed(found['features'])}"),
        ("benchmarks", _listed(found["benchmarks"]) or "none"),
        ("post", ", then ".join(map(_step_line, found["post"])) or "none"),
        ("size", f"{terminal.size(found['bytes'])} in {len(found['files']):,} files"),
        ("golden", f"{golden['rows']:,} rows, {golden['missing']:,} of them with a missing input; {spread}"),
        ("hash", found["hash"]),
    ]
    if found["sha256"]:
        rows.append(("sha256", f"{found['sha256']}  (of the zip: for {{url, sha256}} in a config)"))
    # What the trainer knew, as it is: nothing here vouches for it.
    facts = [(escape(key), _fact_line(fact)) for key, fact in found["trained"].items()]
    width = max((len(key) for key, _ in facts), default=0)
    rows += [("trained" if not at else "", f"{key.ljust(width)}  {text}") for at, (key, text) in enumerate(facts)]
    return rows


def _member_line(place: int, member: Mapping[str, Any]) -> str:
    how = member["transform"] if member["transform"] == "raw" else f"{member['transform']} by {member['scope']}"
    what = f"{member['kind']}, {member['features']:,} features, {member['parameters']:,} parameters"
    return f"{place}: {what}, weight {member['weight']:g}, {how}"


def _step_line(step: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a step on one line; long lists of columns by their first."""
    ((name, keys),) = step.items()
    told = (f"{key}: {_listed(value) if isinstance(value, list) else _plain(value)}" for key, value in keys.items())
    return f"{name} ({', '.join(told)})"


def _fact_line(fact: object) -> str:
    if isinstance(fact, list):
        if len(fact) > 2 * _SHOWN:
            return f"{len(fact):,}, from {_plain(fact[0])} to {_plain(fact[-1])}"
        return ", ".join(map(_plain, fact)) or "none"
    return _plain(fact)


def _listed(names: Sequence[Any]) -> str:
    return listed([_plain(name) for name in names])


def _plain(value: object) -> str:
    return escape(value) if isinstance(value, str) else show_value(value)
