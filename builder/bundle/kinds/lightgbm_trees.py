"""Parses the trees of a LightGBM text into flat arrays, in batches, and checks every number.

LightGBM itself checks almost nothing: it follows the index of a child that does not exist, out of bounds.
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
_EXPORT = "export the model again"


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearLeaves:
    """Linear leaves: ``constant + sum(coefficient * x[feature])``, or the leaf's value if one of these x is NaN.

    c is the number of coefficients of all leaves.

    Attributes:
        constant: float64 (l,).
        leaf: int64 (c,): index of each coefficient's leaf.
        feature: int64 (c,): index of each coefficient's input.
        coefficient: float64 (c,).
    """

    constant: NDArray[np.float64]
    leaf: Int64Array
    feature: Int64Array
    coefficient: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Some trees: t trees with m splits and l leaves together.

    Attributes:
        leaves: int64 (t,): number of leaves of each tree.
        feature: int64 (m,): index of the input that a split compares.
        threshold: float64 (m,); for a categorical split, the index of its set of categories in the tree.
        decision: int64 (m,): bits ``CATEGORICAL`` and ``DEFAULT_LEFT``, and from the third bit on the kind of missing.
        left: int64 (m,): left child: the index of a split of the batch, or ``-1 - index`` of a leaf in ``value``.
        right: int64 (m,): right child.
        value: float64 (l,): values of the leaves.
        roots: int64 (t,): root of each tree, like a child.
        first_bits: int64 (m,): index in ``bits`` of a categorical split's first word.
        words: int64 (m,): number of a categorical split's words; 0 for a numerical split.
        bits: int64: words of 32 bits; a bit is set if its category goes left.
        linear: Linear leaves; None if no tree has them.
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
        lightgbm_text.BoosterTextError: A tree is invalid, or has numbers that LightGBM does not write.
    """
    trees = lightgbm_text.read_trees(stream, header)
    first = 0
    while batch := list(_take_batch(trees)):
        yield parse_trees(batch, first, len(header.features))
        first += len(batch)


def parse_trees(trees: Sequence[bytes], first: int, features: int) -> Batch:
    """Parse trees into arrays.

    Args:
        trees: Texts of the trees.
        first: Index of the first tree, for messages.
        features: Number of inputs.

    Raises:
        lightgbm_text.BoosterTextError: See ``read_batches``.
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
    """Parses one batch: the numbers of all trees under a key become one array, which numpy checks at once."""

    def __init__(self, trees: Sequence[bytes], first: int, features: int) -> None:
        self._trees = [dict(line.split(b"=", 1) for line in tree.split(b"\n") if b"=" in line) for tree in trees]
        self._first = first
        self._features = features
        ones = np.ones(len(trees), dtype=np.int64)
        self._leaves = self._integers(b"num_leaves", ones)
        self._raise_if_any(self._leaves < 1, ones, "num_leaves", "has no leaves")
        # Checked before arrays of that length are allocated: each leaf takes at least a digit and a blank of the text.
        most = np.array([len(tree.get(b"leaf_value", b"")) // 2 + 1 for tree in self._trees], dtype=np.int64)
        self._raise_if_any(self._leaves > most, ones, "num_leaves", "is more than the number of leaf values")
        self._splits = self._leaves - 1
        self._first_split = _compute_offsets(self._splits)
        self._first_leaf = _compute_offsets(self._leaves)
        self._tree = np.repeat(np.arange(len(trees)), self._splits)

    def parse(self) -> Batch:
        feature = self._integers(b"split_feature", self._splits)
        self._raise_if_any(
            (feature < 0) | (feature >= self._features), self._splits, "split_feature", "is not a feature"
        )
        decision = self._integers(b"decision_type", self._splits)
        bad = (decision < 0) | (decision >> 2 > MISSING_NAN)
        self._raise_if_any(bad, self._splits, "decision_type", "is not a valid decision type")
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
        """Check that each leaf and each split except the root is the child of one split, so that every walk ends."""
        split_index = np.arange(len(left)) - self._first_split[self._tree]
        for key, child in (("left_child", left), ("right_child", right)):
            bad = (child >= 0) & ((child <= split_index) | (child >= self._splits[self._tree]))
            bad |= (child < 0) & (-1 - child >= self._leaves[self._tree])
            self._raise_if_any(bad, self._splits, key, "is not a later split or a leaf")
        child_indices = np.concatenate([self._to_batch_indices(left), self._to_batch_indices(right)])
        times = np.bincount(child_indices[child_indices >= 0], minlength=len(left))
        times[self._first_split[self._splits > 0]] += 1
        self._raise_if_any(times != 1, self._splits, "left_child", "is not the child of exactly one split")
        has_splits = self._leaves > 1
        times = np.bincount(-1 - child_indices[child_indices < 0], minlength=int(self._leaves.sum()))
        times[self._first_leaf[~has_splits]] += 1
        self._raise_if_any(times != 1, self._leaves, "left_child", "does not lead to each leaf exactly once")

    def _parse_categories(self, decision: Int64Array) -> tuple[Int64Array, Int64Array, Int64Array, NDArray[np.float64]]:
        """Parse the categorical splits: the arrays ``first_bits``, ``words``, ``bits`` and ``threshold`` of a batch."""
        threshold = self._floats(b"threshold", self._splits)
        counts = self._integers(b"num_cat", np.ones(len(self._trees), dtype=np.int64))
        self._raise_if_any(counts < 0, np.ones_like(counts), "num_cat", "is not a number of splits")
        is_category = decision & CATEGORICAL != 0
        index = np.where(is_category, threshold, 0)
        bad = is_category & ((index < 0) | (index >= counts[self._tree]) | (index != np.trunc(index)))
        self._raise_if_any(bad, self._splits, "threshold", "is not the index of a categorical split")
        ends = np.where(counts > 0, counts + 1, 0)
        boundaries = self._integers(b"cat_boundaries", ends)
        word_counts = np.zeros_like(counts)
        word_counts[counts > 0] = boundaries[np.cumsum(ends)[counts > 0] - 1]
        self._raise_if_any(
            (word_counts < 0) | (word_counts > len(self._join(b"cat_threshold"))),
            np.ones_like(word_counts),
            "cat_boundaries",
        )
        bits = self._integers(b"cat_threshold", word_counts)
        self._raise_if_any((bits < 0) | (bits >= 1 << 32), word_counts, "cat_threshold", "is not a word of 32 bits")
        first, words = np.zeros_like(decision), np.zeros_like(decision)
        boundary_index = (_compute_offsets(ends)[self._tree] + index.astype(np.int64))[is_category]
        first[is_category] = boundaries[boundary_index] + _compute_offsets(word_counts)[self._tree[is_category]]
        words[is_category] = boundaries[boundary_index + 1] - boundaries[boundary_index]
        bad = (words < 0) | (first + words > len(bits)) | (first < 0)
        self._raise_if_any(bad, self._splits, "cat_boundaries")
        return first, words, bits, threshold

    def _parse_linear_leaves(self, value: NDArray[np.float64]) -> LinearLeaves | None:
        linear = np.array([tree.get(b"is_linear", b"0").strip() == b"1" for tree in self._trees])
        if not linear.any():
            return None
        leaf_counts = np.where(linear, self._leaves, 0)
        is_linear = np.repeat(linear, self._leaves)
        constant = value.copy()
        constant[is_linear] = self._floats(b"leaf_const", leaf_counts)
        counts = self._integers(b"num_features", leaf_counts)
        self._raise_if_any(
            (counts < 0) | (counts > self._features), leaf_counts, "num_features", "is not a number of features"
        )
        tree = np.repeat(np.arange(len(self._trees)), leaf_counts)
        coefficient_counts = np.bincount(tree, weights=counts, minlength=len(self._trees)).astype(np.int64)
        feature = self._integers(b"leaf_features", coefficient_counts)
        self._raise_if_any(
            (feature < 0) | (feature >= self._features), coefficient_counts, "leaf_features", "is not a feature"
        )
        leaf = np.repeat(np.flatnonzero(is_linear), counts)  # safe: the text was found to have so many features
        coefficient = self._floats(b"leaf_coeff", coefficient_counts)
        return LinearLeaves(constant=constant, leaf=leaf, feature=feature, coefficient=coefficient)

    def _to_batch_indices(self, child: Int64Array) -> Int64Array:
        """Convert children from indices in their tree to indices in the batch."""
        return np.where(child >= 0, child + self._first_split[self._tree], child - self._first_leaf[self._tree])

    def _integers(self, key: bytes, counts: Int64Array) -> Int64Array:
        numbers: Int64Array = self._parse_numbers(key, counts, np.int64)
        return numbers

    def _floats(self, key: bytes, counts: Int64Array) -> NDArray[np.float64]:
        numbers: NDArray[np.float64] = self._parse_numbers(key, counts, np.float64)
        # A split of missing values from all others has an infinite threshold.
        bad = np.isnan(numbers) if key == b"threshold" else ~np.isfinite(numbers)
        self._raise_if_any(bad, counts, key.decode(), "is not finite")
        return numbers

    def _join(self, key: bytes) -> bytes:
        return b" ".join(tree.get(key, b"") for tree in self._trees)

    def _parse_numbers(self, key: bytes, counts: Int64Array, dtype: Any) -> Any:
        """Parse the numbers of all trees under a key; ``counts`` is the expected number in each tree."""
        if not counts.any():
            return np.empty(0, dtype=dtype)
        for index, (tree, count) in enumerate(zip(self._trees, counts.tolist(), strict=True)):
            line = tree.get(key, b"")
            word_counts = line.count(b" ") + 1 if line else 0
            if word_counts != count:
                word_counts = len(line.split())  # some lines have more blanks than they need
            if count != word_counts:
                raise self._make_error(index, key.decode(), f"has {word_counts:,} numbers; expected {count:,}")
        try:
            with warnings.catch_warnings():
                # numpy 2 only warns about text that is not a number, and returns the numbers before it.
                warnings.simplefilter("error", DeprecationWarning)
                numbers = np.fromstring(self._join(key), dtype=dtype, sep=" ")
        except (ValueError, DeprecationWarning) as error:
            raise self._make_error(0, key.decode(), "has text that is not a number") from error
        if len(numbers) != counts.sum():
            raise self._make_error(0, key.decode(), "has text that is not a number")
        return numbers

    def _raise_if_any(
        self, bad: NDArray[np.bool_], counts: Int64Array, key: str, problem: str = "does not fit the rest"
    ) -> None:
        """Raise an error about the first bad number; ``counts`` is the number of values of each tree."""
        if bad.any():
            index = int(np.flatnonzero(bad)[0])
            tree = int(np.searchsorted(np.cumsum(counts), index, side="right"))
            raise self._make_error(tree, key, f"{problem} (at [{index - int(counts[:tree].sum())}])")

    def _make_error(self, tree: int, key: str, problem: str) -> lightgbm_text.BoosterTextError:
        return lightgbm_text.BoosterTextError(f"tree {self._first + tree:,}: {key}: {problem}; {_EXPORT}")


def _compute_offsets(counts: Int64Array) -> Int64Array:
    """Return the offset of each part when parts of these sizes are stored one after the other."""
    return np.array([0, *itertools.accumulate(counts.tolist())][:-1], dtype=np.int64)
