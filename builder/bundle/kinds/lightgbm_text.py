"""Reads LightGBM's native text format tree by tree, and writes it without the parts that prediction does not need.

The text is a header of ``key=value`` lines, the last of which has the size of each tree's text; an empty line; the
trees; ``end of trees``; then feature importances and training parameters, which include paths of the training machine.
LightGBM also reads a text that ends after the trees. Of a tree, prediction needs the splits and the leaf values only;
gains, weights and counts are half of the text and reveal statistics of the training data.

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
"""Limit of the decompressed text: more would not fit into the tournament's 4 GB together with the loaded booster."""
MAX_HEADER_BYTES = 1 << 26
MAX_TREE_BYTES = 1 << 26
"""Limit of the text of one tree: LightGBM's trees have at most 131,072 leaves."""
GZIP_LEVEL = 6
"""Compresses half a gigabyte in about ten seconds; level 9 takes minutes and saves another 3 %."""

_VERSION = "v4"
_READ_BYTES = 1 << 16
_INFLATE_BYTES = 1 << 20
"""Bytes that are inflated at once. ``_READ_BYTES`` is smaller because zlib copies the unconsumed input at each call."""
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
    """A text is not a valid LightGBM model; the message is ``what is wrong; what to do``, without the file's name."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """The header of a LightGBM text.

    Attributes:
        lines: All lines except the trees' sizes, unchanged.
        objective: Objective and its constants; empty for a custom objective.
        outputs: Trees in an iteration, which is also the number of values a row.
        features: Names, in which LightGBM has replaced blanks by ``_``.
        infos: For each feature: ``none`` if it was constant, ``[low:high]``, or its categories ``1:0:4``.
        averaged: Whether the trees' values are averaged and not summed.
        sizes: Bytes of each tree's text.
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
    """A LightGBM text without the parts that prediction does not need.

    Attributes:
        text: Compressed with gzip, without a file name and a time.
        header: Header of the text.
        leaves: Number of leaves of all trees.
    """

    text: bytes
    header: Header
    leaves: int


class _GzipReader(io.RawIOBase):
    """Decompresses a gzip stream as ``pack_text`` writes it: one member, without a file name and a time.

    ``gzip.open`` would also accept several members, but the pickle decompresses with zlib, which stops after the first.
    """

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._inflate = zlib.decompressobj(31)
        head = source.read(8)
        if head[:2] != b"\x1f\x8b":
            raise BoosterTextError("is not a gzip file; export the model again")
        if head[2:] != b"\x08" + bytes(5):
            raise BoosterTextError("has a file name or a time in its gzip header; export the model again")
        self._ahead = head

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            while not self._inflate.eof:
                data = self._inflate.unconsumed_tail or self._ahead or self._source.read(_READ_BYTES)
                self._ahead = b""
                text = self._inflate.decompress(data, len(buffer))
                buffer[: len(text)] = text
                if text:
                    return len(text)
                if not data:
                    raise BoosterTextError("is truncated; export the model again")
        except zlib.error as error:
            raise BoosterTextError(f"is damaged ({error}); export the model again") from error
        if self._inflate.unused_data or self._source.read(1):
            raise BoosterTextError("has trailing data after its gzip stream; export the model again")
        return 0

    def close(self) -> None:
        self._source.close()
        super().close()


def open_text(content: bytes | Path) -> IO[bytes]:
    """Open the compressed text as a stream of the decompressed one.

    Raises:
        OSError: The file cannot be opened.
        BoosterTextError: It is not a gzip file. Later problems raise this error while the stream is read.
    """
    source = io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
    try:
        return io.BufferedReader(_GzipReader(source), _INFLATE_BYTES)
    except BoosterTextError:
        source.close()
        raise


def read_header(stream: IO[bytes]) -> Header:
    """Read the header, up to the first tree.

    Raises:
        BoosterTextError: It is not a LightGBM text, or of another version.
    """
    lines = _read_header_lines(stream)
    if lines[:1] != [b"tree"]:
        raise BoosterTextError("is not a model in LightGBM's text format; export the model again")
    pairs = dict(line.split(b"=", 1) for line in lines if b"=" in line)
    values = {key.decode("latin-1"): value.decode("utf-8", "replace") for key, value in pairs.items()}
    missing = [key for key in ("version", "max_feature_idx", "feature_names", "tree_sizes") if key not in values]
    if missing:
        raise BoosterTextError(f"{', '.join(missing)} missing in its header; export the model again")
    if values["version"] != _VERSION:
        raise BoosterTextError(
            f"has version {values['version'][:20]!r}, not {_VERSION} of LightGBM 4; export the model again"
        )
    sizes = tuple(_parse_integer(size, "tree_sizes") for size in values["tree_sizes"].split())
    features = tuple(values["feature_names"].split(" "))
    if len(features) != _parse_integer(values["max_feature_idx"], "max_feature_idx") + 1:
        raise BoosterTextError(f"lists {len(features):,} features, but declares another number; export the model again")
    outputs = _parse_integer(values.get("num_tree_per_iteration", "1"), "num_tree_per_iteration")
    if outputs < 1 or len(sizes) % outputs or not sizes:
        raise BoosterTextError(f"has {len(sizes):,} trees for {outputs:,} values a row; export the model again")
    if sum(sizes) > MAX_TEXT_BYTES or max(sizes) > MAX_TREE_BYTES:
        raise BoosterTextError(
            f"declares {sum(sizes):,} bytes of trees, {max(sizes):,} in the largest; "
            f"expected at most {MAX_TEXT_BYTES:,}, and {MAX_TREE_BYTES:,} in one tree"
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
    """Yield the text of each tree, then check that the end of the trees follows.

    Raises:
        BoosterTextError: The sizes in the header are not those of the trees; LightGBM relies on them.
    """
    for index, size in enumerate(header.sizes):
        tree = stream.read(size)
        if len(tree) != size or not tree.startswith(b"Tree=%d\n" % index) or not tree.endswith(b"\n"):
            raise BoosterTextError(
                f"tree {index} is not at the position that its header declares; export the model again"
            )
        yield tree
    if not stream.read(len(_END) + 1).startswith(_END):
        raise BoosterTextError("does not end after its last tree; export the model again")


def read_end(stream: IO[bytes]) -> None:
    """Check that nothing follows the trees.

    Raises:
        BoosterTextError: Something does.
    """
    if stream.read(1):
        raise BoosterTextError("has trailing data after its trees; export the model again")


def strip_text(text: str) -> StrippedText:
    """Remove the parts of a text that prediction does not need, among them all paths and names of the machine.

    Args:
        text: As ``Booster.model_to_string`` returns it.

    Raises:
        BoosterTextError: It is not a LightGBM text.
    """
    stream = io.BytesIO(text.encode())
    header = read_header(stream)
    leaves = 0
    stripped = []
    for tree in read_trees(stream, header):
        lines = [line for line in tree.rstrip(b"\n").split(b"\n") if not line.startswith(_UNUSED)]
        leaves += next((int(line[11:]) for line in lines if line.startswith(b"num_leaves=")), 0)
        stripped.append(b"\n".join(lines) + b"\n\n\n")
    header = replace(header, sizes=tuple(map(len, stripped)))
    return StrippedText(text=pack_text(header, stripped), header=header, leaves=leaves)


def pack_text(header: Header, trees: list[bytes]) -> bytes:
    """Compress the text of a header and its trees; with the same zlib, the same text always gives the same bytes."""
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
    remaining = MAX_HEADER_BYTES
    while True:
        line = stream.readline(remaining)
        remaining -= len(line)
        if line == b"\n":
            return lines
        if not line.endswith(b"\n"):
            raise BoosterTextError("is not a model in LightGBM's text format, or is truncated; export the model again")
        lines.append(line[:-1])


def _parse_integer(text: str, key: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise BoosterTextError(f"has {key} {text[:20]!r}; expected an integer: export the model again")
    return int(text)
