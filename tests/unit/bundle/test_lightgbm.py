"""The ``lightgbm`` kind: its text, what is wrong with one, and how a large one is predicted."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest

from builder import errors
from builder.bundle import activations, model, post
from builder.bundle.kinds import catalog as kinds
from builder.bundle.kinds import lightgbm_text, lightgbm_trees
from builder.bundle.storage import files, read, write
from builder.inside.fold import lightgbm as fold_lightgbm
from builder.inside.predict import boosters, runners
from builder.inside.predict import lightgbm as lightgbm_source
from tests.support import bundles, deep_lightgbm, formulas, pickles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILE = "model.txt.gz"
QUIET: dict[str, Any] = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}


def rows(count: int = 200, features: int = 4) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(4).integers(0, 5, size=(count, features)).astype(np.float64)


def booster(features: int = 4, **more: Any) -> lgb.Booster:
    x = rows(features=features)
    y = x[:, 0] * x[:, -1] + np.random.default_rng(5).normal(size=len(x))
    data = lgb.Dataset(x, (y > 2) if more.get("objective") == "binary" else y, categorical_feature=[features - 1])
    return lgb.train({**QUIET, **more}, data, 6)


def kind_of(text: str, **more: Any) -> Any:
    smaller = lightgbm_text.strip_text(text)
    header = smaller.header
    facts: dict[str, Any] = {
        "text": smaller.text,
        "objective": header.objective,
        "outputs": header.outputs,
        "trees": len(header.sizes),
        "leaves": smaller.leaves,
        "averaged": header.averaged,
    }
    return model.LightGbm(**{**facts, **more})


def bundle(of: model.LightGbm, features: int = 4) -> model.Bundle:
    inputs = rows(6, features)
    inputs[1, 0] = np.nan
    return model.Bundle(
        features=tuple(f"feature_{index}" for index in range(features)),
        model=of,
        golden=model.GoldenRows(inputs=inputs, predictions=formulas.predict(of, inputs)),
        post=(post.make_step("rank"),),
    )


def frame(x: Any) -> pd.DataFrame:
    return pd.DataFrame(x, columns=[f"feature_{index}" for index in range(x.shape[1])])


@pytest.fixture(scope="module")
def small() -> lgb.Booster:
    return booster()


def test_a_bundle_reads_back_as_it_was_written(small: lgb.Booster, tmp_path: Path) -> None:
    of = kind_of(small.model_to_string(), categories=(model.Categories(inputs=(1, 2), values=(0.0, 2.0, 1.0)),))
    write.write(tmp_path / "it", bundle(of))
    back = read.read(tmp_path / "it").model
    for name in ("objective", "outputs", "trees", "leaves", "averaged", "categories", "head"):
        assert getattr(back, name) == getattr(of, name)
    assert back.text.read_bytes() == of.text
    assert kinds.count_parameters(back) == 2 * of.leaves - 6
    assert [path.name for path in files.list_paths(tmp_path / "it")][-1] == FILE


def test_the_same_booster_gives_the_same_bytes_with_no_name_and_no_time(small: lgb.Booster) -> None:
    text = small.model_to_string()
    item, two = lightgbm_text.strip_text(text), lightgbm_text.strip_text(text)
    assert item.text == two.text
    assert item.text[3:8] == bytes(5)
    again = lightgbm_text.strip_text(gzip.decompress(item.text).decode())
    assert again.text == item.text
    assert len(zlib.decompress(item.text, 31)) < 0.7 * len(text)


def damage_text(text: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return a text with its trees changed and the header's sizes right."""
    head, body = gzip.decompress(text).split(b"\n\nTree=", 1)
    trees = (b"Tree=" + body).split(b"\n\n\n")[:-1]
    trees = [change(tree) + b"\n\n\n" for tree in trees]
    head = re.sub(rb"tree_sizes=.*", b"tree_sizes=" + b" ".join(b"%d" % len(tree) for tree in trees), head)
    return pack_trees(head + b"\n\n" + b"".join(trees) + b"end of trees\n")


def number(key: bytes, index: int, value: bytes, *, tree: int = 0) -> Callable[[bytes], bytes]:
    """Return a change of one number of a tree."""

    def change(text: bytes) -> bytes:
        if not text.startswith(b"Tree=%d\n" % tree):
            return text
        line = re.search(rb"^" + key + rb"=(.*)$", text, re.MULTILINE)
        assert line is not None
        values = line.group(1).split()
        values[index] = value
        return text.replace(line.group(0), key + b"=" + b" ".join(values))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (number(b"split_feature", 0, b"9"), "tree 0: split_feature: is not a feature (at [0])"),
        (number(b"split_feature", 1, b"-1", tree=2), "tree 2: split_feature: is not a feature (at [1])"),
        (number(b"left_child", 0, b"0"), "left_child: is not a later split or a leaf"),
        (number(b"right_child", 0, b"5000"), "right_child: is not a later split or a leaf"),
        (number(b"left_child", 1, b"-5000"), "left_child: is not a later split or a leaf"),
        (number(b"right_child", -1, b"-1"), "left_child: does not lead to each leaf exactly once"),
        (number(b"leaf_value", 0, b"nan"), "leaf_value: is not finite"),
        (number(b"leaf_value", 0, b"x"), "leaf_value: has text that is not a number"),
        (number(b"threshold", 0, b"nan"), "threshold: is not finite"),
        (number(b"decision_type", 0, b"64"), "decision_type: is not a valid decision type"),
        (number(b"num_leaves", 0, b"3", tree=1), "tree 1: split_feature: has"),
        (number(b"num_leaves", 0, b"-3", tree=1), "tree 1: num_leaves: has no leaves"),
        (
            number(b"num_leaves", 0, b"8589934592", tree=1),
            "tree 1: num_leaves: is more than the number of leaf values",
        ),
        (number(b"num_leaves", 0, b"9223372036854775807"), "tree 0: num_leaves: is more than the number of"),
    ],
)
def test_out_of_range_number_is_reported(small: lgb.Booster, tmp_path: Path, change: Any, message: str) -> None:
    good = kind_of(small.model_to_string())
    bad = replace(good, text=damage_text(good.text, change))
    with pytest.raises(errors.BundleError) as caught:
        write.write(tmp_path / "it", replace(bundle(good), model=bad))
    assert f"{FILE}: " in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(("key", "value"), [(b"cat_boundaries", b"70"), (b"cat_threshold", b"-1"), (b"num_cat", b"0")])
def test_categorical_splits_are_checked_too(key: bytes, value: bytes) -> None:
    good = kind_of(booster(max_cat_to_onehot=1, min_data_per_group=5, cat_smooth=1).model_to_string())
    assert lgb_trees(good.text)[0].words.any()
    tree = next(index for index, text in enumerate(trees_of(good.text)) if b"cat_threshold" in text)
    with pytest.raises(lightgbm_text.BoosterTextError, match=f"tree {tree}: "):
        lgb_trees(damage_text(good.text, number(key, 0 if key != b"cat_boundaries" else 1, value, tree=tree)))


def test_huge_count_is_refused_before_allocation() -> None:
    text = trees_of(kind_of(booster(linear_tree=True).model_to_string()).text)[1]
    batch = lightgbm_trees.parse_trees([text], 0, 4)
    assert batch.linear is not None
    for index in range(int(batch.leaves[0])):
        text = number(b"num_features", index, b"1000000000000000", tree=1)(text)
    with pytest.raises(lightgbm_text.BoosterTextError, match="leaf_features: has"):
        lightgbm_trees.parse_trees([text], 0, 1 << 60)


def trees_of(text: bytes) -> list[bytes]:
    with lightgbm_text.open_text(text) as stream:
        return list(lightgbm_text.read_trees(stream, lightgbm_text.read_header(stream)))


def lgb_trees(text: bytes) -> list[lightgbm_trees.Batch]:
    with lightgbm_text.open_text(text) as stream:
        return list(lightgbm_trees.read_batches(stream, lightgbm_text.read_header(stream)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda _: b"", "is not a gzip file"),
        (lambda _: b"tree\n", "is not a gzip file"),
        (lambda text: text[:-20], "is truncated"),
        (lambda text: text[:200] + bytes(4) + text[204:], "is damaged"),
        (lambda text: text + b"more", "has trailing data after its gzip stream"),
        (lambda text: text + text, "has trailing data after its gzip stream"),
        (lambda text: gzip.compress(gzip.decompress(text)), "has a file name or a time in its gzip header"),
        (
            lambda text: pack_trees(gzip.decompress(text) + b"\nparameters:\n[data: /srv/x]\n"),
            "has trailing data after its trees",
        ),
        (
            lambda text: pack_trees(gzip.decompress(text)[:-20]),
            "tree 5 is not at the position that its header declares",
        ),
        (lambda text: pack_trees(gzip.decompress(text).replace(b"Tree=3", b"Tree=4")), "tree 3 is not at the position"),
        (lambda text: pack_trees(gzip.decompress(text).replace(b"version=v4", b"version=v9")), "has version 'v9'"),
        (lambda text: pack_trees(gzip.decompress(text).replace(b"max_feature_idx=3", b"max_feature_idx=7")), "lists 4"),
        (lambda text: pack_trees(re.sub(rb"tree_sizes=\d+", b"tree_sizes=999999999", gzip.decompress(text))), "in one"),
        (lambda text: pack_trees(gzip.decompress(text).replace(b"feature_names", b"names")), "feature_names missing"),
        (lambda _: pack_trees(b"tree\n" + b"x" * 70_000_000), "is not a model in LightGBM's text format"),
        (lambda _: pack_trees(b"{}\n\n"), "is not a model in LightGBM's text format"),
    ],
)
def test_invalid_text_is_reported(small: lgb.Booster, tmp_path: Path, spoil: Any, message: str) -> None:
    good = bundle(kind_of(small.model_to_string()))
    with pytest.raises(errors.BundleError) as caught:
        write.write(tmp_path / "it", replace(good, model=replace(good.model, text=spoil(good.model.text))))
    assert message in str(caught.value)


def pack_trees(text: bytes) -> bytes:
    stream = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0, compresslevel=6) as file:
        file.write(text)
    return stream.getvalue()


def test_declared_facts_are_compared_to_the_text(small: lgb.Booster, tmp_path: Path) -> None:
    of = kind_of(small.model_to_string())
    good, wrong = bundle(of), replace(of, trees=7, leaves=1, objective="binary", averaged=True)
    with pytest.raises(errors.BundleError) as caught:
        write.write(tmp_path / "it", replace(good, model=wrong))
    message = str(caught.value)
    assert "has trees 6; bundle.json declares 7" in message
    assert "declares 1" in message
    assert "has objective 'regression'; bundle.json declares 'binary'" in message
    assert "has averaged False" in message


def test_inputs_and_outputs_are_the_texts(small: lgb.Booster, tmp_path: Path) -> None:
    of = kind_of(small.model_to_string())
    good, inputs = bundle(of), rows(6, 3)
    narrow = replace(good, features=good.features[:3], golden=replace(good.golden, inputs=inputs))
    with pytest.raises(errors.BundleError, match="takes 4 features, but 3 features and 0 benchmarks make 3 inputs"):
        write.write(tmp_path / "it", narrow)
    with pytest.raises(errors.BundleError, match="outputs: returns 3 values a row"):
        write.write(tmp_path / "it", replace(good, model=replace(of, outputs=3)))


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ([{"inputs": [4], "values": [1]}], "categories.0.inputs: 4; expected the index of an input, from 0 to 3"),
        ([{"inputs": [1], "values": [1, 2, 1]}], "categories.0.values: duplicate value"),
        ([{"inputs": [1, 2], "values": [1]}, {"inputs": [2], "values": [3]}], "categories: inputs in several lists: 2"),
        ([{"inputs": [], "values": [1]}], "categories.0.inputs"),
        ([{"inputs": [0], "values": ["a"]}], "categories.0.values"),
    ],
)
def test_invalid_categories_are_reported(
    small: lgb.Booster, tmp_path: Path, categories: list[Any], message: str
) -> None:
    folder = bundles.write_bundle(tmp_path / "it", bundle(kind_of(small.model_to_string())))
    bundles.edit_json(folder, lambda data: data.update(categories=categories))
    with pytest.raises(errors.BundleError) as caught:
        read.read(folder)
    assert message in str(caught.value)


def test_unexpected_and_missing_files_are_problems(small: lgb.Booster, tmp_path: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "it", bundle(kind_of(small.model_to_string())))
    (folder / FILE).rename(folder / "m0.model.txt.gz")
    bundles.edit_json(folder, lambda data: data.update(files={f"m0.{FILE}": data["files"][FILE]}))
    with pytest.raises(errors.BundleError) as caught:
        read.read(folder)
    assert "a booster has model.txt.gz only" in str(caught.value)
    assert "model.txt.gz is missing" in str(caught.value)


def test_inputs_are_prepared_and_outputs_finished(small: lgb.Booster) -> None:
    identity = activations.Activation(name="identity")
    prepare = model.Preprocessing(
        imputation=np.array([2.0, np.nan, np.nan, 1.0, 3.0]),
        centre=np.array([0.0, 1.0, 0.0, 0.0, 0.5]),
        scale=np.array([1.0, 2.0, 1.0, 0.5, 1.0]),
        layers=(model.make_node("select", places=np.array([4, 1, 0, 3], dtype=np.int32)),),
    )
    finish = (model.make_node("affine", gain=np.array([0.5]), shift=np.array([1.0]), activation=identity),)
    of = kind_of(
        small.model_to_string(),
        preprocessing=prepare,
        head=finish,
        categories=(model.Categories(inputs=(3,), values=(4.0, 0.0, 6.0)),),
    )
    x = rows(300, 5)
    x[::5, :3] = np.nan
    filled = np.where(np.isnan(x), prepare.imputation, x)
    inputs = ((filled - prepare.centre) / prepare.scale)[:, [4, 1, 0, 3]]
    inputs[:, 3] = np.select([inputs[:, 3] == 4, inputs[:, 3] == 0, inputs[:, 3] == 6], [0, 1, 2], np.nan)
    theirs = np.asarray(small.predict(inputs)) * 0.5 + 1
    raw = pickles.get_predict_raw(pickles.load_predict(bundle(of, 5)))
    np.testing.assert_array_equal(raw(frame(x), None), theirs)


def test_a_bounded_objective_is_known(small: lgb.Booster) -> None:
    assert not kinds.is_bounded(kind_of(small.model_to_string()))
    assert kinds.is_bounded(kind_of(booster(objective="binary").model_to_string()))


@pytest.fixture(scope="module")
def deep() -> str:
    """Return the text of a booster that is larger than one step."""
    return deep_lightgbm.deep_text(130, 4, 5, seed=1).decode()


def test_deep_texts_are_boosters_of_that_size(deep: str) -> None:
    built = lgb.Booster(model_str=deep)
    assert built.num_trees() == 130
    assert built.feature_name() == [f"feature_{index}" for index in range(5)]
    of = kind_of(deep)
    assert of.trees == 130
    assert 8 * 130 < of.leaves <= 16 * 130


def test_a_large_booster_is_summed_some_trees_at_a_time(deep: str) -> None:
    built, x = lgb.Booster(model_str=deep), rows(60, 5)
    for step in (7, 129, 130, 500):
        ours = lightgbm_source.predict_lightgbm(built, {"step": step}, 1, x)
        np.testing.assert_allclose(ours, built.predict(x), rtol=1e-13)


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({}, 106),
        ({"trees": 2_000, "leaves": 300_000}, 0),
        ({"averaged": True}, 0),
        ({"objective": "binary sigmoid:1"}, 0),
        ({"objective": "regression sqrt"}, 0),
        ({"objective": "quantile alpha:0.7"}, 106),
        ({"objective": ""}, 106),
        ({"features": ["f"] * 3_555}, 442),
        ({"outputs": 3}, 36),
    ],
)
def test_how_many_trees_are_taken_at_a_time(changes: dict[str, Any], step: int) -> None:
    header = {
        "objective": "regression",
        "outputs": 1,
        "trees": 30_000,
        "leaves": 4_500_000,
        "averaged": False,
        "features": ["f"] * 42,
        "benchmarks": [],
    }
    assert fold_lightgbm.choose_step({**header, **changes}) == step


def test_the_booster_is_made_once_but_for_a_member_of_an_ensemble(
    small: lgb.Booster, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded = pickles.fold_bundle(bundle(kind_of(small.model_to_string())))
    opened = []
    once = lightgbm_source.open_lightgbm

    def counted(model: Any) -> Any:
        opened.append(1)
        return once(model)

    monkeypatch.setattr(lightgbm_source, "open_lightgbm", counted)
    run = runners.RUNNERS["lightgbm"]
    np.testing.assert_array_equal(run(folded, frame(rows()), None), run(folded, frame(rows()), None))
    assert len(opened) == 1
    member = {**folded, "keep": False}
    del member["booster"]
    run(member, frame(rows()), None)
    run(member, frame(rows()), None)
    assert len(opened) == 3
    assert "booster" not in member


@pytest.mark.parametrize("dtype", ["int8", "float32", "float64", "Int8", "Float64", "int32"])
def test_every_type_of_column_predicts_alike(small: lgb.Booster, dtype: str) -> None:
    raw = pickles.get_predict_raw(pickles.load_predict(bundle(kind_of(small.model_to_string()))))
    x = rows(100)
    np.testing.assert_array_equal(raw(frame(x).astype(dtype), None), small.predict(x))


def test_float64_inputs_are_not_rounded() -> None:
    x = 1 + np.arange(200)[:, None] * 2.0**-40  # all alike in float32
    built = lgb.train({**QUIET, "min_data_in_bin": 1}, lgb.Dataset(x, np.arange(200)), 5)
    raw = pickles.get_predict_raw(pickles.load_predict(bundle(kind_of(built.model_to_string()), 1)))
    assert len(np.unique(built.predict(x))) > 10
    np.testing.assert_array_equal(raw(frame(x), None), built.predict(x))


def test_rows_are_taken_in_blocks(small: lgb.Booster, monkeypatch: pytest.MonkeyPatch) -> None:
    folded = pickles.fold_bundle(bundle(kind_of(small.model_to_string())))
    monkeypatch.setattr(boosters, "BLOCK_BYTES", 4_000)
    x = rows(1_000)
    blocks = list(boosters.iter_booster_blocks(folded, frame(x), None))
    assert len(blocks) > 5
    assert (blocks[0][0], blocks[-1][1]) == (0, 1_000)
    np.testing.assert_array_equal(runners.RUNNERS["lightgbm"](folded, frame(x), None), small.predict(x))


def test_missing_columns_and_no_rows_are_named(small: lgb.Booster) -> None:
    raw = pickles.get_predict_raw(pickles.load_predict(bundle(kind_of(small.model_to_string()))))
    with pytest.raises(ValueError, match="is missing 1 of 4 columns: 'feature_2'"):
        raw(frame(rows()).drop(columns="feature_2"), None)
    with pytest.raises(ValueError, match="no rows"):
        raw(frame(rows())[:0], None)


def test_the_pickle_is_the_text_and_little_more(small: lgb.Booster) -> None:
    text = lightgbm_text.strip_text(small.model_to_string()).text
    content = pickles.pickle_bundle(bundle(kind_of(small.model_to_string())))
    assert text in content
    assert len(content) < len(text) + 60_000
