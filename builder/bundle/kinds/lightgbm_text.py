"""LightGBM's native text form: read a tree at a time, written without what no prediction needs.

A header of ``key=value`` lines, the last of which has the size of each tree's text; an empty line; the trees; ``end of
trees``; then what a person may want to know: importances, and the parameters of the training, with the paths of the
machine it ran on. LightGBM reads a text that ends with the trees. Of a tree, it predicts with the splits and the
values of the leaves alone; gains, weights and counts are half of the text and tell of the training data.

The format is that of ``GBDT::SaveModelToString`` and ``Tree::ToString`` in LightGBM 4.0 to 4.7 (``version=v4``).
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_TEXT_BYTES = 1 << 31
"""Bytes that a text may inflate to: twice as much, and the booster, would not fit into the tournament's 4 GB."""
MAX_HEADER_BYTES = 1 << 26
MAX_TREE_BYTES = 1 << 26
"""Bytes of one tree: LightGBM makes no more than 131,072 leaves."""
GZIP_LEVEL = 6
"""Of gzip. Half a gigabyte takes ten seconds or so; the highest level takes minutes for 3 % less."""

_VERSION = "v4"
_READ_BYTES = 1 << 16
_INFLATE_BYTES = 1 << 20
"""Bytes that are inflated at once; what zlib has taken and not yet inflated is copied each time, so that is less."""
_END = b"end of trees"
_UNUSED = (
    b"split_gain=",
    b"leaf_weight=",
    b"leaf_count=",
    b"internal_value=",
    b"internal_weight=",
    b"internal_count=",
)
_INTEGER = re.compile(r"[0-9]{1,9}")


class BoosterTextError(ValueError):
    """It is no such text; the message is ``what is wrong; what next``, without the file's name."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What stands before the trees.

    Attributes:
        lines: All of it but the trees' sizes, as it came.
        objective: The objective and its constants; empty for one of the user's own.
        outputs: Trees an iteration, and values a row.
        features: Their names, as LightGBM has them: it puts ``_`` for blanks.
        infos: For each feature ``none`` where it was constant, ``[low:high]``, or categories ``1:0:4``.
        averaged: Whether the trees' mean is taken and not their sum.
        sizes: Bytes of each tree.
    """

    lines: tuple[bytes, ...]
    objective: str
    outputs: int
    features: tuple[str, ...]
    infos: tuple[str, ...]
    averaged: bool
    sizes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class StrippedText:
    """A text made smaller.

    Attributes:
        text: gzip'd, with no name and no time.
        header: Its header.
        leaves: How many leaves all trees have together.
    """

    text: bytes
    header: Header
    leaves: int


class _GzipReader(io.RawIOBase):
    """The text in a gzip stream of one member, with no name and no time: as ``packed`` writes it.

    The image inflates it by zlib alone, which stops at the end of a member where ``gzip.open`` goes on.
    """

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._inflate = zlib.decompressobj(31)
        head = source.read(8)
        if head[:2] != b"\x1f\x8b":
            raise BoosterTextError("is no gzip file; export it again")
        if head[2:] != b"\x08" + bytes(5):
            raise BoosterTextError("has a name or a time in its gzip header; export it again")
        self._ahead = head

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            while not self._inflate.eof:
                came = self._inflate.unconsumed_tail or self._ahead or self._source.read(_READ_BYTES)
                self._ahead = b""
                text = self._inflate.decompress(came, len(buffer))
                buffer[: len(text)] = text
                if text:
                    return len(text)
                if not came:
                    raise BoosterTextError("is cut short; export it again")
        except zlib.error as error:
            raise BoosterTextError(f"is damaged ({error}); export it again") from error
        if self._inflate.unused_data or self._source.read(1):
            raise BoosterTextError("goes on after the end of its gzip stream; export it again")
        return 0

    def close(self) -> None:
        self._source.close()
        super().close()


def open_text(content: bytes | Path) -> IO[bytes]:
    """Return the text as a stream; whoever reads it says how much.

    Raises:
        OSError: It cannot be opened.
        TextError: It is no gzip file; what is wrong further on comes while it is read.
    """
    source = io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
    try:
        return io.BufferedReader(_GzipReader(source), _INFLATE_BYTES)
    except BoosterTextError:
        source.close()
        raise


def read_header(stream: IO[bytes]) -> Header:
    """Read up to the first tree.

    Raises:
        TextError: It is no LightGBM text, or one of another version.
    """
    lines = _read_header_lines(stream)
    if lines[:1] != [b"tree"]:
        raise BoosterTextError("is no model in LightGBM's text form; export it again")
    named = dict(line.split(b"=", 1) for line in lines if b"=" in line)
    values = {key.decode("latin-1"): value.decode("utf-8", "replace") for key, value in named.items()}
    missing = [key for key in ("version", "max_feature_idx", "feature_names", "tree_sizes") if key not in values]
    if missing:
        raise BoosterTextError(f"has no {', '.join(missing)} in its header; export it again")
    if values["version"] != _VERSION:
        raise BoosterTextError(f"is of version {values['version'][:20]!r}; {_VERSION}, of LightGBM 4, is read")
    sizes = tuple(_parse_integer(size, "tree_sizes") for size in values["tree_sizes"].split())
    features = tuple(values["feature_names"].split(" "))
    if len(features) != _parse_integer(values["max_feature_idx"], "max_feature_idx") + 1:
        raise BoosterTextError(f"names {len(features):,} features, and says there are others; export it again")
    outputs = _parse_integer(values.get("num_tree_per_iteration", "1"), "num_tree_per_iteration")
    if outputs < 1 or len(sizes) % outputs or not sizes:
        raise BoosterTextError(f"has {len(sizes):,} trees for {outputs:,} values a row; export it again")
    if sum(sizes) > MAX_TEXT_BYTES or max(sizes) > MAX_TREE_BYTES:
        raise BoosterTextError(
            f"says it has {sum(sizes):,} bytes of trees, {max(sizes):,} in one; "
            f"at most {MAX_TEXT_BYTES:,} are read, {MAX_TREE_BYTES:,} in one"
        )
    return Header(
        lines=tuple(line for line in lines if not line.startswith(b"tree_sizes=")),
        objective=values.get("objective", ""),
        outputs=outputs,
        features=features,
        infos=tuple(values.get("feature_infos", "").split(" ")),
        averaged=b"average_output" in lines,
        sizes=sizes,
    )


def read_trees(stream: IO[bytes], header: Header) -> Iterator[bytes]:
    """Yield the text of each tree; after the last one, make sure that there is nothing but the end.

    Raises:
        TextError: The sizes are not those of the trees: LightGBM goes by them.
    """
    for index, size in enumerate(header.sizes):
        tree = stream.read(size)
        if len(tree) != size or not tree.startswith(b"Tree=%d\n" % index) or not tree.endswith(b"\n"):
            raise BoosterTextError(f"does not have tree {index} where its header says; export it again")
        yield tree
    if not stream.read(len(_END) + 1).startswith(_END):
        raise BoosterTextError("does not end after its last tree; export it again")


def read_end(stream: IO[bytes]) -> None:
    """Make sure that nothing follows the trees.

    Raises:
        TextError: Something does.
    """
    if stream.read(1):
        raise BoosterTextError("goes on after its trees; export it again")


def strip_text(text: str) -> StrippedText:
    """Return LightGBM's text without what no prediction needs, and so without any path or name of a machine.

    Args:
        text: As ``Booster.model_to_string`` gives it.

    Raises:
        TextError: It is no such text.
    """
    stream = io.BytesIO(text.encode())
    header = read_header(stream)
    leaves = 0
    kept = []
    for tree in read_trees(stream, header):
        lines = [line for line in tree.rstrip(b"\n").split(b"\n") if not line.startswith(_UNUSED)]
        leaves += next((int(line[11:]) for line in lines if line.startswith(b"num_leaves=")), 0)
        kept.append(b"\n".join(lines) + b"\n\n\n")
    header = replace(header, sizes=tuple(map(len, kept)))
    return StrippedText(text=pack_text(header, kept), header=header, leaves=leaves)


def pack_text(header: Header, trees: list[bytes]) -> bytes:
    """Return the text of a header and its trees, gzip'd: the same bytes from the same zlib, whenever and wherever."""
    stream = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=stream, compresslevel=GZIP_LEVEL, mtime=0) as file:
        sizes = b"tree_sizes=" + b" ".join(b"%d" % size for size in header.sizes)
        file.write(b"\n".join([*header.lines, sizes, b"", b""]))
        for tree in trees:
            file.write(tree)
        file.write(_END + b"\n")
    return stream.getvalue()


def _read_header_lines(stream: IO[bytes]) -> list[bytes]:
    lines: list[bytes] = []
    left = MAX_HEADER_BYTES
    while True:
        line = stream.readline(left)
        left -= len(line)
        if line == b"\n":
            return lines
        if not line.endswith(b"\n"):
            raise BoosterTextError("is no model in LightGBM's text form, or is cut short; export it again")
        lines.append(line[:-1])


def _parse_integer(text: str, key: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise BoosterTextError(f"has {key} {text[:20]!r}, expected an integer; export it again")
    return int(text)
