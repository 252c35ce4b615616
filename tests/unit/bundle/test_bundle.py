"""Bundles written and read back: the same numbers, the same bytes, all or nothing."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import errors
from builder.bundle import activations, model
from builder.bundle.kinds import catalog as kinds
from builder.bundle.storage import files, read, write
from tests.support import bundles, formulas

FILES = ("bundle.json", "arrays.safetensors", "golden.safetensors")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_bundle_reads_back_as_written(tmp_path: Path) -> None:
    names = ("leaky_relu", "softplus", "gelu_tanh")
    network = bundles.make_network(5, widths=(7, 3, 2), names=names, dtype="float64")
    built = bundles.make_bundle(3, ("v52_lgbm_ender20", "v52_lgbm_ender60"), network=network)
    back = read.read(bundles.write_bundle(tmp_path / "mlp", built))
    bundles.assert_same(built, back)
    assert kinds.count_parameters(back.model) == 5 * 7 + 7 + 7 * 3 + 3 + 3 * 2 + 2 + 2 + 1


def test_arrays_are_writeable_contiguous_and_native(tmp_path: Path) -> None:
    back = read.read(bundles.write_bundle(tmp_path / "mlp"))
    for array in bundles.arrays_of(back).values():
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.dtype.isnative


def test_checksums_are_optional(tmp_path: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "mlp")
    bundles.edit_json(folder, lambda data: data.pop("checksums"))
    bundles.assert_same(read.read(folder), bundles.make_bundle())


def test_the_same_bundle_has_the_same_bytes(tmp_path: Path) -> None:
    first, second = bundles.write_bundle(tmp_path / "one"), bundles.write_bundle(tmp_path / "two")
    assert contents(first) == contents(second)
    assert files.hash_bundle(first) == files.hash_bundle(second)


def test_layout_in_memory_and_nan_bits_do_not_reach_the_bytes(tmp_path: Path) -> None:
    plain = bundles.make_bundle()
    layers = tuple(
        layer.with_arrays(weights=np.asfortranarray(layer["weights"]), bias=layer["bias"].astype(">f4"))
        for layer in plain.model.layers
    )
    inputs = plain.golden.inputs.astype(np.float64)
    inputs[np.isnan(inputs)] = np.array([0x7FF8000000000123], dtype=np.uint64).view(np.float64)[0]
    other = replace(plain, model=replace(plain.model, layers=layers), golden=replace(plain.golden, inputs=inputs))  # type: ignore[arg-type]
    assert contents(bundles.write_bundle(tmp_path / "one", plain)) == contents(
        bundles.write_bundle(tmp_path / "two", other)
    )


def test_the_hash_changes_with_any_byte_of_any_file(tmp_path: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "mlp")
    seen = {files.hash_bundle(folder)}
    for name in FILES:
        raw = (folder / name).read_bytes()
        (folder / name).write_bytes(raw + b"\n")
        seen.add(files.hash_bundle(folder))
    assert len(seen) == 4


def test_hash_refuses_a_folder_that_is_not_a_bundle(tmp_path: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "mlp")
    (folder / "golden.safetensors").unlink()
    (folder / "extra").mkdir()
    with pytest.raises(errors.BundleError) as caught:
        files.hash_bundle(folder)
    assert len(caught.value.problems) == 2


def test_the_hash_needs_no_numpy(tmp_path: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "mlp")
    program = (
        "import sys; from pathlib import Path; from builder.bundle.storage import files; "
        "print(files.hash_bundle(Path(sys.argv[1]))); assert 'numpy' not in sys.modules"
    )
    command = [sys.executable, "-c", program, str(folder)]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == files.hash_bundle(folder)


def test_the_docstring_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = doctest.testmod(write)
    assert outcome.attempted > 0
    assert outcome.failed == 0
    back = read.read(Path("bundles/tiny"))
    np.testing.assert_allclose(
        formulas.predict(back.model, np.asarray(back.golden.inputs, dtype=np.float64)), back.golden.predictions
    )


def test_a_bundle_replaces_an_older_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "mlp")
    before = files.hash_bundle(folder)
    write.write(folder, bundles.make_bundle(4))
    assert files.hash_bundle(folder) != before
    assert [path.name for path in tmp_path.iterdir()] == ["mlp"]


def test_an_interrupt_while_it_is_replaced_keeps_the_old_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundles.write_bundle(tmp_path / "mlp")
    before, rename = contents(folder), Path.rename

    def interrupt(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write.write(folder, bundles.make_bundle(4))
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["mlp"]


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(errors.BundleError, match=r"thesis\.tex"):
        write.write(folder, bundles.make_bundle())
    assert contents(folder) == {"thesis.tex": b"years of work"}


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlp").write_text("")
    with pytest.raises(errors.BundleError, match="is not a folder"):
        write.write(tmp_path / "mlp", bundles.make_bundle())


def test_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.BundleError, match="cannot write the bundle"):
        write.write(tmp_path / "file" / "mlp", bundles.make_bundle())


def test_write_refuses_what_read_refuses_and_leaves_nothing(tmp_path: Path) -> None:
    good = bundles.make_bundle()
    layer = good.model.layers[0]
    bad = layer.with_arrays(weights=np.full((3, 4), np.nan, dtype=np.float32), bias=np.zeros(3, dtype=np.float32))
    built = replace(good, features=("a", "b", "b"), model=replace(good.model, layers=(bad, good.model.layers[1])))  # type: ignore[arg-type]
    with pytest.raises(errors.BundleError) as caught:
        write.write(tmp_path / "mlp", built)
    assert len(caught.value.problems) == 3
    assert not list(tmp_path.iterdir())


def test_write_reports_an_invalid_dtype(tmp_path: Path) -> None:
    good = bundles.make_bundle()
    whole = np.ones(3, dtype=np.int64)
    built = replace(good, model=replace(good.model, scale=whole))  # type: ignore[arg-type]
    with pytest.raises(errors.BundleError, match=r'arrays\.scale\.dtype: "int64"'):
        write.write(tmp_path / "mlp", built)


def test_write_reports_an_invalid_fact(tmp_path: Path) -> None:
    built = replace(bundles.make_bundle(), trained={"score": np.float32(0.5), "seed": 7})  # type: ignore[dict-item]
    with pytest.raises(errors.BundleError, match=r"bundle\.json: trained\.score: the type numpy\.float32 is invalid"):
        write.write(tmp_path / "mlp", built)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        (activations.Activation(name="swish"), '"swish"'),
        (activations.Activation(name="elu", constants={"alpha": float("nan")}), "invalid value nan for alpha of elu"),
        (activations.Activation(name="tanh", constants={"alpha": 1.0}), "expected no constants"),
    ],
)
def test_write_reports_an_invalid_activation(activation: activations.Activation, message: str, tmp_path: Path) -> None:
    good = bundles.make_bundle()
    layers = (replace(good.model.layers[0], activation=activation), good.model.layers[1])
    with pytest.raises(errors.BundleError, match=message):
        write.write(tmp_path / "mlp", replace(good, model=replace(good.model, layers=layers)))  # type: ignore[arg-type]


def test_constants_that_are_left_out_have_their_defaults() -> None:
    assert activations.from_data({"activation": "softplus", "beta": 2}) == activations.Activation(
        name="softplus", constants={"beta": 2.0, "threshold": 20.0}
    )
    assert activations.Activation(name="leaky_relu").constants == {"slope": 0.01}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.write_bundle(tmp_path_factory.mktemp("fuzz") / "mlp")


def mutate(raw: bytes, edits: list[tuple[float, int]], cut: float) -> bytes:
    mutated = bytearray(raw)
    for index, octet in edits:
        mutated[int(index * (len(raw) - 1))] = octet
    return bytes(mutated[: round(cut * len(raw))])


def read_or_none(folder: Path) -> model.Bundle | None:
    """Return the bundle, or None where it is refused as it should be: any other exception fails the test."""
    try:
        return read.read(folder)
    except errors.BundleError:
        return None


EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4)
CUTS = st.sampled_from([1.0, 1.0, 1.0, 0.999, 0.9, 0.5, 0.01])
FUZZ = settings(max_examples=20)


@FUZZ
@given(name=st.sampled_from(FILES), edits=EDITS, cut=CUTS)
def test_damaged_file_is_a_problem_or_harmless(
    good: Path, name: str, edits: list[tuple[float, int]], cut: float
) -> None:
    raw = (good / name).read_bytes()
    expected = read.read(good)
    (good / name).write_bytes(mutate(raw, edits, cut))
    try:
        back = read_or_none(good)
    finally:
        (good / name).write_bytes(raw)
    if back is not None and name != "bundle.json":  # a changed letter in a feature's name cannot be noticed
        bundles.assert_same(expected, back)


@FUZZ
@given(name=st.sampled_from(FILES[1:]), edits=EDITS, cut=CUTS)
def test_damaged_header_with_correct_checksum_is_a_problem_or_harmless(
    good: Path, name: str, edits: list[tuple[float, int]], cut: float
) -> None:
    path = good / name
    raw, text = path.read_bytes(), (good / "bundle.json").read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    numbers = raw[end:]
    path.write_bytes(mutate(raw[:end], edits, 1.0) + numbers[: round(cut * len(numbers))])
    bundles.seal(path)
    try:
        back = read_or_none(good)
    finally:
        path.write_bytes(raw)
        (good / "bundle.json").write_bytes(text)
    if back is not None:
        assert {array.dtype.name for array in bundles.arrays_of(back).values()} <= {"float32", "float64"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 1 << 70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def list_key_paths(data: Any, trail: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the trail of every value in plain data."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [trail] * bool(trail) + [index for key, value in items for index in list_key_paths(value, (*trail, key))]


@FUZZ
@given(data=st.data(), value=JSON)
def test_changed_json_value_is_a_problem_or_harmless(good: Path, data: st.DataObject, value: Any) -> None:
    path = good / "bundle.json"
    raw = path.read_bytes()
    text = json.loads(raw)
    trail = data.draw(st.sampled_from(list_key_paths(text)))
    holder = text
    for key in trail[:-1]:
        holder = holder[key]
    holder[trail[-1]] = value
    path.write_text(json.dumps(text))
    try:
        read_or_none(good)
    finally:
        path.write_bytes(raw)


@pytest.mark.parametrize("name", ["id", "era", "data_type", "target", "target_ender_20"])
def test_reserved_feature_name_is_refused(tmp_path: Path, name: str) -> None:
    built = replace(bundles.make_bundle(), features=(name, "feature_b", "feature_c"))
    with pytest.raises(errors.BundleError, match=f"features: {name}: reserved for another column"):
        write.write(tmp_path / "bundle", built)
