"""``bundle convert``: convert a bundle from format 1 to the current format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument

from builder import paths
from builder.bundle.storage import files, store
from builder.cli import terminal
from builder.cli.parameters import BundlePath, Json


def run(
    *,
    path: BundlePath,
    target: Annotated[
        Path | None, Argument(metavar="NEW", help="the path of the converted bundle; default: replace BUNDLE")
    ] = None,
    json_wanted: Json = False,
) -> int:
    """Convert a bundle and print its new hashes."""
    from builder.bundle.storage import convert  # noqa: PLC0415 - numpy

    new, cache = target or path, paths.cache_folder()
    is_converted = convert.convert(path, new, cache)
    digest = files.hash_bundle(store.resolve_folder(new, cache))
    sha256 = None if new.is_dir() else files.hash_content(new)[0]
    if json_wanted:
        report = {"format": 1, "path": str(new), "converted": is_converted, "hash": digest, "sha256": sha256}
        terminal.print_json(report)
        return 0
    state = "converted" if is_converted else f"already of format {files.FORMAT}"
    terminal.print_lines(f"{state}: {new}: {digest}")
    if sha256:
        terminal.print_lines(f"sha256 of the zip, for {{url, sha256}} in a config: {sha256}")
    return 0
