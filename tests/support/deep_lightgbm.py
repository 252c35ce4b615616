"""A LightGBM text of the size that people run, made in seconds: a hundred trees trained, then repeated."""

from __future__ import annotations

import re

import lightgbm as lgb
import numpy as np

TRAINED = 100
ROWS, LEAST = 20_000, 80
"""A leaf has at least so many of the rows: of the real ones people ask for 10,000 of 2.7 million."""


def deep_text(trees: int, depth: int, features: int, seed: int) -> bytes:
    """Return the text of a booster of so many trees; at depth 10 they have some 150 leaves each.

    The trees are those of a hundred that are trained on ``feature_0``, ``feature_1`` and so on, over and over; the
    leaves of each are scaled, so that no two are alike and the sum keeps its size.

    Args:
        trees: As many as it shall have.
        depth: Of the deepest leaf.
        features: How many inputs it takes.
        seed: Of the training rows.
    """
    random = np.random.default_rng(seed)
    x = random.integers(0, 5, size=(ROWS, features)).astype(np.float32)
    y = x[:, : max(1, features // 2)].sum(axis=1) + x[:, 0] * x[:, -1] + random.normal(size=ROWS) * 5
    parameters = {
        "verbose": -1,
        "num_threads": 2,
        "seed": seed,
        "num_leaves": 2**depth,
        "max_depth": depth,
        "learning_rate": 0.01,
        "feature_fraction": 0.5,
        "min_data_in_leaf": LEAST,
    }
    names = [f"feature_{index}" for index in range(features)]
    booster = lgb.train(parameters, lgb.Dataset(x, y, feature_name=names), min(trees, TRAINED))
    head, rest = booster.model_to_string().encode().split(b"\nTree=", 1)
    body, tail = (b"Tree=" + rest).split(b"end of trees", 1)
    kept = [tree.partition(b"\n")[2] for tree in body.split(b"\n\n\n")[:-1]]
    built = [
        b"Tree=%d\n" % index
        + _scaled(kept[index % len(kept)], random.uniform(0.5, 1.5) * len(kept) / trees)
        + b"\n\n\n"
        for index in range(trees)
    ]
    sizes = b"tree_sizes=" + b" ".join(b"%d" % len(tree) for tree in built)
    head = re.sub(rb"tree_sizes=.*", sizes, head).rstrip(b"\n")
    text: bytes = head + b"\n\n" + b"".join(built) + b"end of trees" + tail
    return text


def _scaled(tree: bytes, factor: float) -> bytes:
    """Return a tree with each leaf's value times a factor."""
    before, rest = tree.split(b"leaf_value=", 1)
    line, after = rest.split(b"\n", 1)
    values = np.array(line.split(), dtype=np.float64) * factor
    return before + b"leaf_value=" + b" ".join(b"%.17g" % value for value in values.tolist()) + b"\n" + after
