"""Recognise files that are not pickles by their first bytes: each with what it is and what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from builder import lfs


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with a pickle, and how to fix it.

    Attributes:
        text: What is wrong.
        fix: How to fix it.
        is_certain: Whether each run fails; False if only some calls may.
    """

    text: str
    fix: str
    is_certain: bool = True

    def __str__(self) -> str:
        return f"{self.text}; {self.fix}"


DUMP_AGAIN = "write the function again with `cloudpickle.dump(predict, file)`, opened with mode 'wb'"
GET_AGAIN = "copy or download the whole file again"
_DECOMPRESS = "decompress it: the tournament runs only plain pickles, whose names end in .pkl"
_EXPORT = "export the model to a bundle (docs/export), or load it in a function and dump that with cloudpickle"
_TORCH = "load the model in a function that predicts with it, and dump this function with cloudpickle"

# The first match wins. Sources: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md, and the `file` database,
# https://github.com/file/file/tree/master/magic/Magdir. No valid pickle begins like any of them.
_TYPES = (
    (re.escape(lfs.START), "a Git LFS pointer, not the file itself", "run `git lfs pull`"),
    (rb"\x1f\x8b", "compressed with gzip", _DECOMPRESS),
    (rb"\x28\xb5\x2f\xfd", "compressed with zstd", _DECOMPRESS),
    (rb"\xfd7zXZ\0|\x5d\0\0", "compressed with xz", _DECOMPRESS),
    (rb"BZh[1-9]", "compressed with bzip2", _DECOMPRESS),
    (rb"\x04\x22\x4d\x18", "compressed with lz4", _DECOMPRESS),
    (
        rb"\x78[\x01\x5e\x9c\xda]|ZF0x",
        "compressed with zlib, as `joblib.dump(..., compress=...)` writes it",
        f"load it with `joblib.load`, then {DUMP_AGAIN}",
    ),
    (rb"(?i)\s*(?:<!doctype html|<html|<head)", "an HTML page", "download the file itself, not the page about it"),
    (rb"(?i)(?:\xef\xbb\xbf)?\s*<\?xml", "an XML document, as storages answer with errors", GET_AGAIN),
    (rb"PK\x03\x04.{22}.{4}.{0,200}?/(?:data\.pkl|version|\.format_version)", "a file of `torch.save`", _TORCH),
    (rb"PK\x03\x04.{26}[^/\x00]{1,100}\.npy", "an npz file of numpy arrays", _EXPORT),
    (rb"PK\x03\x04.{26}(?:metadata|config)\.json", "a Keras model", _EXPORT),
    (rb"PK\x03\x04.{26}(?:bundle\.json|arrays\.safetensors)", "a bundle", "build it: `make pickle CONFIG=...`"),
    (rb"PK(?:\x03\x04|\x05\x06)", "a zip archive", "unpack it"),
    (rb"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.", "a file of `torch.save` in its old format", _TORCH),
    (rb"\x08[\x03-\x14](?:\x12|\x1a|\x22|:).{1,40}", "an ONNX model", _EXPORT),
    (rb"PAR1", "a parquet file", "pass the pickle of the function that predicts from it"),
    (rb"ARROW1|FEA1", "an Arrow file", "pass the pickle of the function that predicts from it"),
    (rb"\x89HDF\r\n", "an HDF5 file, such as a Keras model", _EXPORT),
    (rb"\x93NUMPY", "a numpy array", _EXPORT),
    (rb"tree\nversion=", "a LightGBM model as text", _EXPORT),
    (rb"CBM1", "a CatBoost model", _EXPORT),
    (rb'\{L.{0,16}|\{"learner"|\s*\{\s*"learner"', "an XGBoost model", _EXPORT),
    (rb'.{8}\{"', "a safetensors file", _EXPORT),
    (rb'\s*[\[{]\s*(?:["\[{}\]0-9-]|$)', "a JSON file", _EXPORT),
    (rb"\x7fELF|MZ", "a program", DUMP_AGAIN),
    (rb"\x00{16}", "empty: it begins with zero bytes, as an interrupted copy does", GET_AGAIN),
    (rb"(?:#|import |from |def |\"\"\"|#!)", "a Python source file", DUMP_AGAIN),
)
_PATTERNS = tuple((re.compile(pattern, re.DOTALL), text, fix) for pattern, text, fix in _TYPES)


def recognise(head: bytes) -> Problem | None:
    """Return what a file is that begins with these bytes; None if it may be a pickle."""
    if not head:
        return Problem(text="the file is empty", fix=GET_AGAIN)
    for pattern, text, fix in _PATTERNS:
        if pattern.match(head):
            return Problem(text=f"the file is not a pickle: it is {text}", fix=fix)
    return None
