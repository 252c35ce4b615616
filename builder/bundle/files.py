"""The files of a bundle's folder: which there are, that nothing else is, and the hash of their bytes.

Imports no numpy: ``make pickle`` with nothing changed reads no more of a bundle than this.
"""

from __future__ import annotations

import hashlib
import stat
from typing import TYPE_CHECKING

from builder import errors

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
JSON = "bundle.json"
ARRAYS = "arrays.npz"
GOLDEN = "golden.npz"
NAMES = (JSON, ARRAYS, GOLDEN)

_CHUNK = 1 << 20
_SHOWN = 5


def content_hash(folder: Path) -> str:
    """Return the sha256 of the names and bytes of the bundle's files, in hexadecimal.

    Raises:
        errors.BundleError: The folder does not hold exactly the files of a bundle, or one cannot be read.
    """
    check(folder)
    total = hashlib.sha256()
    for name in NAMES:
        path = folder / name
        try:
            one, size = _hash_file(path)
        except OSError as error:
            raise errors.BundleError([unreadable(path, error)]) from error
        # Name and size before the hash of the bytes: no two folders run together into the same stream.
        total.update(f"{name} {size} {one}\n".encode())
    return total.hexdigest()


def check(folder: Path) -> None:
    """Make sure that the folder holds the files of a bundle and nothing else.

    Raises:
        errors.BundleError: All that is missing, extra, a link or no plain file.
    """
    found = _folder_faults(folder)
    if found:
        raise errors.BundleError(found)


def unreadable(path: Path, error: OSError) -> str:
    """Return the fault of a file that the system refuses to hand out."""
    return f"{path}: cannot be read ({error.strerror or error}); check its permissions and the disk"


def _folder_faults(folder: Path) -> list[str]:
    whole = f"a bundle is a folder with {', '.join(NAMES)}"
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            return [f"{folder}: is not a folder; {whole}"]
        entries = {entry.name: entry.lstat().st_mode for entry in folder.iterdir()}
    except FileNotFoundError:
        return [f"{folder}: does not exist; {whole}, made by builder.bundle.write"]
    except OSError as error:
        return [unreadable(folder, error)]
    found = [f"{folder / name}: is missing; {whole}" for name in NAMES if name not in entries]
    found += [fault for name in NAMES if name in entries for fault in _entry_faults(folder / name, entries[name])]
    extra = sorted(set(entries) - set(NAMES))
    if extra:
        more = f" and {len(extra) - _SHOWN} more" if len(extra) > _SHOWN else ""
        found.append(
            f"{folder}: also holds {', '.join(extra[:_SHOWN])}{more}; {whole} and nothing else: move the rest away"
        )
    return found


def _entry_faults(path: Path, mode: int) -> list[str]:
    if stat.S_ISLNK(mode):
        return [f"{path}: is a link; put the file itself there"]
    if not stat.S_ISREG(mode):
        return [f"{path}: is not a plain file; put the file itself there"]
    return []


def _hash_file(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
