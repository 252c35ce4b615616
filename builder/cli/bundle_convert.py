"""``bundle convert``: write a bundle of format 1 in the present format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from builder import paths
from builder.bundle.storage import files, store
from builder.text import escape

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Convert a bundle, and print its new hashes."""
    from builder.bundle.storage import convert  # noqa: PLC0415 - numpy

    old, cache = Path(options.bundle), paths.cache_folder()
    new = Path(options.new) if options.new else old
    is_converted = convert.convert(old, new, cache)
    digest = files.content_hash(store.folder_of(new, cache))
    sha256 = None if new.is_dir() else files.hash_content(new)[0]
    if options.json:
        report = {"format": 1, "path": str(new), "converted": is_converted, "hash": digest, "sha256": sha256}
        print(json.dumps(report))
        return 0
    state = "converted" if is_converted else f"nothing to do, is of format {files.FORMAT}"
    print(f"{state}: {escape(str(new))}: {digest}")
    if sha256:
        print(f"sha256 of the zip, for {{url, sha256}} in a config: {sha256}")
    return 0
