"""LightGBM's trees as flat arrays, many at a time, every number of them checked.

LightGBM itself checks next to nothing: a child that is not there is read all the same.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from builder.bundle.kinds import lightgbm_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

Int64Array = NDArray[np.int64]

CATEGORICAL = 1
DEFAULT_LEFT = 2
MISSING_ZERO, MISSING_NAN = 1, 2
"""Of ``decision >> 2``; 0: a missing value counts as zero."""

_BATCH = 1 << 22
"""Bytes of trees that are parsed at once."""
_EXPORT = "export it again"


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearLeaves:
    """What linear leaves add: ``constant + sum(coefficient * x[feature])``, the leaf's value where such an x is NaN.

    Attributes:
        constant: float64 (l,).
        leaf: int64 (c,): the leaf of each coefficient.
        feature: int64 (c,).
        coefficient: float64 (c,).
    """

    constant: NDArray[np.float64]
    leaf: Int64Array
    feature: Int64Array
    coefficient: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Some trees. ``m`` is the number of their splits, ``l`` that of their leaves.

    Attributes:
        leaves: int64 (t,): leaves of each tree.
        feature: int64 (m,).
        threshold: float64 (m,); of a categorical split the place of its bits among the tree's.
        decision: int64 (m,): ``CATEGORICAL``, ``DEFAULT_LEFT``, and from the third bit on what is missing.
        left: int64 (m,): a split's left child, among all trees' splits; a leaf is ``-1 - its place`` in ``value``.
        right: int64 (m,).
        value: float64 (l,).
        roots: int64 (t,): as a child is.
        first_bits: int64 (m,): where the bits of a categorical split begin.
        words: int64 (m,): how many words of 32 bits they are; 0 of a numerical split.
        bits: int64: the words.
        linear: What linear leaves add; None where no tree has them.
    """

    leaves: Int64Array
    feature: Int64Array
    threshold: NDArray[np.float64]
    decision: Int64Array
    left: Int64Array
    right: Int64Array
    value: NDArray[np.float64]
    roots: Int64Array
    first_bits: Int64Array
    words: Int64Array
    bits: Int64Array
    linear: LinearLeaves | None


def read_batches(stream: IO[bytes], header: lightgbm_text.Header) -> Iterator[Batch]:
    """Yield the trees in batches, in their order.

    Raises:
        lightgbm_text.TextError: A tree is not one, or has numbers that LightGBM would not have written.
    """
    trees = lightgbm_text.read_trees(stream, header)
    first = 0
    while batch := list(_take_batch(trees)):
        yield parse_trees(batch, first, len(header.features))
        first += len(batch)


def parse_trees(trees: Sequence[bytes], first: int, features: int) -> Batch:
    """Return trees as arrays.

    Args:
        trees: Their texts.
        first: The place of the first one, for messages.
        features: How many inputs there are.

    Raises:
        lightgbm_text.TextError: As of ``read``.
    """
    return _TreeParser(trees, first, features).parse()


def _take_batch(trees: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    while size < _BATCH:
        tree = next(trees, None)
        if tree is None:
            return
        size += len(tree)
        yield tree


class _TreeParser:
    """One batch on its way from text to arrays."""

    def __init__(self, trees: Sequence[bytes], first: int, features: int) -> None:
        self._trees = [dict(line.split(b"=", 1) for line in tree.split(b"\n") if b"=" in line) for tree in trees]
        self._first = first
        self._features = features
        one = np.ones(len(trees), dtype=np.int64)
        self._leaves = self._integers(b"num_leaves", one)
        self._raise_if_any(self._leaves < 1, one, "num_leaves", "has no leaves")
        # Before anything of that length is made: a text that is long enough has a value and a blank for each leaf.
        most = np.array([len(tree.get(b"leaf_value", b"")) // 2 + 1 for tree in self._trees], dtype=np.int64)
        self._raise_if_any(self._leaves > most, one, "num_leaves", "is more than there are values of leaves")
        self._splits = self._leaves - 1
        self._first_split = _compute_offsets(self._splits)
        self._first_leaf = _compute_offsets(self._leaves)
        self._tree = np.repeat(np.arange(len(trees)), self._splits)

    def parse(self) -> Batch:
        feature = self._integers(b"split_feature", self._splits)
        self._raise_if_any((feature < 0) | (feature >= self._features), self._splits, "split_feature", "is no feature")
        decision = self._integers(b"decision_type", self._splits)
        bad = (decision < 0) | (decision >> 2 > MISSING_NAN)
        self._raise_if_any(bad, self._splits, "decision_type", "is no way to decide")
        left, right = (self._integers(key, self._splits) for key in (b"left_child", b"right_child"))
        self._check_children(left, right)
        first_bits, words, bits, threshold = self._parse_categories(decision)
        value = self._floats(b"leaf_value", self._leaves)
        return Batch(
            leaves=self._leaves,
            feature=feature,
            threshold=threshold,
            decision=decision,
            left=self._to_batch_indices(left),
            right=self._to_batch_indices(right),
            value=value,
            roots=np.where(self._splits > 0, self._first_split, -1 - self._first_leaf),
            first_bits=first_bits,
            words=words,
            bits=bits,
            linear=self._parse_linear_leaves(value),
        )

    def _check_children(self, left: Int64Array, right: Int64Array) -> None:
        """Make sure that each split but the first, and each leaf, is one split's child: then every walk ends."""
        own = np.arange(len(left)) - self._first_split[self._tree]
        for key, child in (("left_child", left), ("right_child", right)):
            bad = (child >= 0) & ((child <= own) | (child >= self._splits[self._tree]))
            bad |= (child < 0) & (-1 - child >= self._leaves[self._tree])
            self._raise_if_any(bad, self._splits, key, "is no split after its own, and no leaf")
        placed = np.concatenate([self._to_batch_indices(left), self._to_batch_indices(right)])
        times = np.bincount(placed[placed >= 0], minlength=len(left))
        times[self._first_split[self._splits > 0]] += 1
        self._raise_if_any(times != 1, self._splits, "left_child", "has two parents, or none")
        many = self._leaves > 1
        times = np.bincount(-1 - placed[placed < 0], minlength=int(self._leaves.sum()))
        times[self._first_leaf[~many]] += 1
        self._raise_if_any(times != 1, self._leaves, "left_child", "leads to a leaf twice, or never")

    def _parse_categories(self, decision: Int64Array) -> tuple[Int64Array, Int64Array, Int64Array, NDArray[np.float64]]:
        """Return each split's place among the words of bits, how many it has, the words, and the thresholds."""
        threshold = self._floats(b"threshold", self._splits)
        counts = self._integers(b"num_cat", np.ones(len(self._trees), dtype=np.int64))
        self._raise_if_any(counts < 0, np.ones_like(counts), "num_cat", "is no number of splits")
        is_category = decision & CATEGORICAL != 0
        index = np.where(is_category, threshold, 0)
        bad = is_category & ((index < 0) | (index >= counts[self._tree]) | (index != np.trunc(index)))
        self._raise_if_any(bad, self._splits, "threshold", "is no categorical split")
        ends = np.where(counts > 0, counts + 1, 0)
        boundaries = self._integers(b"cat_boundaries", ends)
        held = np.zeros_like(counts)
        held[counts > 0] = boundaries[np.cumsum(ends)[counts > 0] - 1]
        self._raise_if_any(
            (held < 0) | (held > len(self._join(b"cat_threshold"))), np.ones_like(held), "cat_boundaries"
        )
        bits = self._integers(b"cat_threshold", held)
        self._raise_if_any((bits < 0) | (bits >= 1 << 32), held, "cat_threshold", "is no word of 32 bits")
        first, words = np.zeros_like(decision), np.zeros_like(decision)
        at = (_compute_offsets(ends)[self._tree] + index.astype(np.int64))[is_category]
        first[is_category] = boundaries[at] + _compute_offsets(held)[self._tree[is_category]]
        words[is_category] = boundaries[at + 1] - boundaries[at]
        bad = (words < 0) | (first + words > len(bits)) | (first < 0)
        self._raise_if_any(bad, self._splits, "cat_boundaries")
        return first, words, bits, threshold

    def _parse_linear_leaves(self, value: NDArray[np.float64]) -> LinearLeaves | None:
        linear = np.array([tree.get(b"is_linear", b"0").strip() == b"1" for tree in self._trees])
        if not linear.any():
            return None
        counted = np.where(linear, self._leaves, 0)
        is_linear = np.repeat(linear, self._leaves)
        constant = value.copy()
        constant[is_linear] = self._floats(b"leaf_const", counted)
        counts = self._integers(b"num_features", counted)
        self._raise_if_any(
            (counts < 0) | (counts > self._features), counted, "num_features", "is no number of features"
        )
        tree = np.repeat(np.arange(len(self._trees)), counted)
        of_tree = np.bincount(tree, weights=counts, minlength=len(self._trees)).astype(np.int64)
        feature = self._integers(b"leaf_features", of_tree)
        self._raise_if_any((feature < 0) | (feature >= self._features), of_tree, "leaf_features", "is no feature")
        leaf = np.repeat(np.flatnonzero(is_linear), counts)  # so many features are there: it was just made sure
        coefficient = self._floats(b"leaf_coeff", of_tree)
        return LinearLeaves(constant=constant, leaf=leaf, feature=feature, coefficient=coefficient)

    def _to_batch_indices(self, child: Int64Array) -> Int64Array:
        """Return children as places among the splits and leaves of all trees."""
        return np.where(child >= 0, child + self._first_split[self._tree], child - self._first_leaf[self._tree])

    def _integers(self, key: bytes, counts: Int64Array) -> Int64Array:
        numbers: Int64Array = self._parse_numbers(key, counts, np.int64)
        return numbers

    def _floats(self, key: bytes, counts: Int64Array) -> NDArray[np.float64]:
        numbers: NDArray[np.float64] = self._parse_numbers(key, counts, np.float64)
        # A split of the missing values from all others has an infinite threshold.
        bad = np.isnan(numbers) if key == b"threshold" else ~np.isfinite(numbers)
        self._raise_if_any(bad, counts, key.decode(), "is not finite")
        return numbers

    def _join(self, key: bytes) -> bytes:
        return b" ".join(tree.get(key, b"") for tree in self._trees)

    def _parse_numbers(self, key: bytes, counts: Int64Array, kind: Any) -> Any:
        """Return the numbers of all trees under a key, as many of each as counted."""
        if not counts.any():
            return np.empty(0, dtype=kind)
        for index, (tree, count) in enumerate(zip(self._trees, counts.tolist(), strict=True)):
            line = tree.get(key, b"")
            held = line.count(b" ") + 1 if line else 0
            if held != count:
                held = len(line.split())  # some lines have more blanks than they need
            if count != held:
                raise self._make_error(index, key.decode(), f"has {held:,} numbers; expected {count:,}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", DeprecationWarning)  # what numpy 2 has for text that is no number
                numbers = np.fromstring(self._join(key), dtype=kind, sep=" ")
        except (ValueError, DeprecationWarning) as error:
            raise self._make_error(0, key.decode(), "has something that is no number") from error
        if len(numbers) != counts.sum():
            raise self._make_error(0, key.decode(), "has something that is no number")
        return numbers

    def _raise_if_any(
        self, bad: NDArray[np.bool_], counts: Int64Array, key: str, what: str = "does not fit the rest"
    ) -> None:
        """Raise the fault of the first bad number, ``counts`` of them being each tree's."""
        if bad.any():
            index = int(np.flatnonzero(bad)[0])
            tree = int(np.searchsorted(np.cumsum(counts), index, side="right"))
            raise self._make_error(tree, key, f"{what} (at [{index - int(counts[:tree].sum())}])")

    def _make_error(self, tree: int, key: str, what: str) -> lightgbm_text.BoosterTextError:
        return lightgbm_text.BoosterTextError(f"tree {self._first + tree:,}: {key}: {what}; {_EXPORT}")


def _compute_offsets(counts: Int64Array) -> Int64Array:
    """Return where each one's part begins when they lie one after the other."""
    return np.array([0, *itertools.accumulate(counts.tolist())][:-1], dtype=np.int64)
