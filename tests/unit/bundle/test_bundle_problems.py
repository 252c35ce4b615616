"""Every row of the bad-input table that is about bundles: one clear fault, at its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from builder import errors
from builder.bundle.storage import read, tensors
from tests.support import bundles

Damage = Callable[[Path], object]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A damage to a good bundle, the file that the fault names and what it says."""

    row: int
    name: str
    damage: Damage
    file: str
    message: tuple[str, ...]


def rewrite(change: Callable[[bytes], bytes]) -> Damage:
    """Change the bytes of the arrays; the checksum is right afterwards, so that the rest has to be found."""

    def damage(folder: Path) -> None:
        path = folder / "arrays.safetensors"
        path.write_bytes(change(path.read_bytes()))
        bundles.seal(path)

    return damage


def header(change: Callable[[dict[str, Any]], object]) -> Damage:
    """Change the header of the arrays."""

    def rewritten(raw: bytes) -> bytes:
        data, numbers = split(raw)
        change(data)
        return join(json.dumps(data).encode(), numbers)

    return rewrite(rewritten)


def split(raw: bytes) -> tuple[dict[str, Any], bytes]:
    end = 8 + int.from_bytes(raw[:8], "little")
    return json.loads(raw[8:end]), raw[end:]


def join(text: bytes, numbers: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text + numbers


def twice(raw: bytes) -> bytes:
    """Name an array a second time, at the same place: the library takes it."""
    data, numbers = split(raw)
    return join(json.dumps(data).encode()[:-1] + b', "w0": ' + json.dumps(data["w0"]).encode() + b"}", numbers)


def flip_last_number(folder: Path) -> None:
    path = folder / "arrays.safetensors"
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))


def grow(folder: Path) -> None:
    """Add 3 GB that take no room on the disk."""
    with (folder / "arrays.safetensors").open("r+b") as file:
        file.truncate(3 << 30)


def declare_four_terabytes(folder: Path) -> None:
    bundles.edit_json(folder, lambda data: data["arrays"]["w0"].update(shape=[1 << 20, 1 << 20]))


def not_finite(folder: Path) -> None:
    weights = np.ones((3, 4), dtype=np.float32)
    weights[1, 2] = np.nan
    weights[2, 0] = np.inf
    bundles.replace_array(folder / "arrays.safetensors", "w0", weights)


def array(name: str, replacement: Any) -> Damage:
    return lambda folder: bundles.replace_array(folder / "arrays.safetensors", name, replacement)


def golden(name: str, replacement: Any) -> Damage:
    return lambda folder: bundles.replace_array(folder / "golden.safetensors", name, replacement)


def edit(change: Callable[[dict[str, Any]], object]) -> Damage:
    return lambda folder: bundles.edit_json(folder, change)


def drop_array(folder: Path) -> None:
    path = folder / "arrays.safetensors"
    rest = safetensors.numpy.load_file(path)
    del rest["b1"]
    tensors.write(path, rest)
    bundles.seal(path)


def redeclare(name: str, shape: list[int]) -> Damage:
    def damage(folder: Path) -> None:
        bundles.edit_json(folder, lambda data: data["arrays"][name].update(shape=shape))
        bundles.replace_array(folder / "arrays.safetensors", name, np.ones(shape, dtype=np.float32))

    return damage


def text(old: str, new: str) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "bundle.json"
        before = path.read_text()
        assert old in before
        path.write_text(before.replace(old, new, 1))

    return damage


def link(folder: Path) -> None:
    outside = folder.parent / "elsewhere.safetensors"
    (folder / "arrays.safetensors").rename(outside)
    (folder / "arrays.safetensors").symlink_to(outside)


ACTIVATIONS = "identity, relu, leaky_relu, elu, selu, gelu, gelu_tanh, silu, mish, tanh, sigmoid, softplus, relu6, "
SMALL = np.zeros(3, dtype=np.float32)

CASES = [
    Case(
        row=14,
        name="truncated",
        damage=rewrite(lambda raw: raw[:-4]),
        file="arrays.safetensors",
        message=("not a valid safetensors file", "not fully covered"),
    ),
    Case(
        row=14,
        name="trailing bytes",
        damage=rewrite(lambda raw: raw + b"0"),
        file="arrays.safetensors",
        message=("not a valid safetensors file", "not fully covered"),
    ),
    Case(
        row=14,
        name="seven bytes",
        damage=rewrite(lambda raw: raw[:7]),
        file="arrays.safetensors",
        message=("not a valid safetensors file", "header too small"),
    ),
    Case(
        row=14,
        name="header beyond the end",
        damage=rewrite(lambda raw: raw[:200]),
        file="arrays.safetensors",
        message=("not a valid safetensors file", "invalid header length"),
    ),
    Case(
        row=14,
        name="header too long",
        damage=rewrite(lambda raw: join(json.dumps(split(raw)[0]).encode().ljust(1 << 25), split(raw)[1])),
        file="arrays.safetensors",
        message=("a header of 33,554,432 bytes; expected at most 16,777,216",),
    ),
    Case(
        row=14,
        name="not UTF-8",
        damage=rewrite(lambda raw: raw.replace(b"w0", b"w\xff")),
        file="arrays.safetensors",
        message=("not a valid safetensors file", "invalid UTF-8"),
    ),
    Case(
        row=14,
        name="not JSON",
        damage=rewrite(lambda raw: raw.replace(b"{", b"[", 1)),
        file="arrays.safetensors",
        message=("not a valid safetensors file", "invalid JSON"),
    ),
    Case(
        row=14,
        name="nested deeply",
        damage=rewrite(lambda _: join(b"[" * 100_000, b"")),
        file="arrays.safetensors",
        message=("not a valid safetensors file", "invalid JSON"),
    ),
    Case(
        row=14,
        name="metadata of numbers",
        damage=header(lambda data: data.update(__metadata__={"seed": 1})),
        file="arrays.safetensors",
        message=("not a valid safetensors file", "invalid JSON"),
    ),
    Case(
        row=14,
        name="overlap",
        damage=header(lambda data: data["b1"].update(data_offsets=data["b0"]["data_offsets"])),
        file="arrays.safetensors",
        message=("not a valid safetensors file", "invalid"),
    ),
    Case(
        row=14,
        name="gap",
        damage=header(lambda data: data["w1"].update(data_offsets=[at + 4 for at in data["w1"]["data_offsets"]])),
        file="arrays.safetensors",
        message=("not a valid safetensors file", "invalid offset"),
    ),
    Case(
        row=14,
        name="out of range",
        damage=header(lambda data: data["w1"].update(data_offsets=[1 << 50, (1 << 50) + 16])),
        file="arrays.safetensors",
        message=("not a valid safetensors file", "invalid offset"),
    ),
    Case(
        row=14,
        name="negative offset",
        damage=header(lambda data: data["b0"].update(data_offsets=[-16, 0])),
        file="arrays.safetensors",
        message=("not a valid safetensors file", "invalid JSON"),
    ),
    Case(
        row=14,
        name="shape of more numbers than there are",
        damage=header(lambda data: data["w0"].update(shape=[1 << 20, 1 << 20])),
        file="arrays.safetensors",
        message=("not a valid safetensors file", "invalid shape"),
    ),
    Case(
        row=14,
        name="shape beyond any memory",
        damage=header(lambda data: data["w0"].update(shape=[1 << 40, 1 << 40])),
        file="arrays.safetensors",
        message=("not a valid safetensors file", "overflow"),
    ),
    Case(
        row=14,
        name="unknown type",
        damage=header(lambda data: data["w0"].update(dtype="F128")),
        file="arrays.safetensors",
        message=("not a valid safetensors file", "unknown variant"),
    ),
    Case(
        row=14,
        name="not a safetensors file",
        damage=rewrite(lambda _: b"PK\x03\x04 and more"),
        file="arrays.safetensors",
        message=("not a valid safetensors file",),
    ),
    Case(
        row=14,
        name="other numbers",
        damage=flip_last_number,
        file="arrays.safetensors",
        message=("is damaged", "its sha256 is", "bundle.json declares"),
    ),
    Case(
        row=14,
        name="other golden numbers",
        damage=lambda folder: tensors.write(
            folder / "golden.safetensors", {"inputs": np.zeros((6, 3)), "predictions": np.zeros(6)}
        ),
        file="golden.safetensors",
        message=("is damaged", "its sha256 is"),
    ),
    Case(
        row=14,
        name="empty",
        damage=lambda folder: (folder / "golden.safetensors").write_bytes(b""),
        file="golden.safetensors",
        message=("not a valid safetensors file", "too small"),
    ),
    Case(
        row=15,
        name="bfloat16",
        damage=header(lambda data: data["w0"].update(dtype="BF16", shape=[3, 8])),
        file="arrays.safetensors: w0",
        message=("is BF16 (3, 8)", "declares float32 (3, 4)"),
    ),
    Case(
        row=15,
        name="complex",
        damage=array("b0", SMALL.astype(np.complex64)),
        file="arrays.safetensors: b0",
        message=("is C64 (3,)",),
    ),
    Case(
        row=15,
        name="whole numbers",
        damage=array("b0", SMALL.astype(np.int64)),
        file="arrays.safetensors: b0",
        message=("is I64 (3,)",),
    ),
    Case(
        row=15,
        name="booleans",
        damage=array("imputation", np.array([True, False, True])),
        file="arrays.safetensors: imputation",
        message=("is BOOL (3,)", "declares float32"),
    ),
    Case(
        row=17,
        name="NaN weights",
        damage=not_finite,
        file="arrays.safetensors: w0",
        message=("nan at [1, 2]", "2 of 12 values"),
    ),
    Case(
        row=18,
        name="chain",
        damage=redeclare("w1", [5, 1]),
        file="bundle.json: arrays.w1.shape",
        message=("w0 (3, 4) does not fit w1 (5, 1)", "expected 4 rows"),
    ),
    Case(
        row=18,
        name="bias",
        damage=redeclare("b0", [5]),
        file="bundle.json: arrays.b0.shape",
        message=("(5,) does not fit w0 (3, 4)", "expected (4,)"),
    ),
    Case(
        row=18,
        name="several outputs",
        damage=redeclare("w1", [4, 2]),
        file="bundle.json: arrays.w1.shape",
        message=("2 values a row", "expected 1"),
    ),
    Case(
        row=18,
        name="flat weights",
        damage=redeclare("w0", [12]),
        file="bundle.json: arrays.w0.shape",
        message=("(12,)", "(inputs, outputs)"),
    ),
    Case(
        row=18,
        name="undeclared shape",
        damage=array("b0", SMALL),
        file="arrays.safetensors: b0",
        message=("(3,)", "(4,)"),
    ),
    Case(row=19, name="missing", damage=drop_array, file="arrays.safetensors: b1", message=("missing",)),
    Case(
        row=19,
        name="extra",
        damage=array("w7", SMALL),
        file='arrays.safetensors: "w7"',
        message=("not declared", "expected b0, b1"),
    ),
    Case(row=19, name="duplicate", damage=rewrite(twice), file="arrays.safetensors: w0", message=("duplicate",)),
    Case(
        row=19,
        name="evil name",
        damage=array("../evil\n", SMALL),
        file='arrays.safetensors: "../evil\\n"',
        message=("not declared",),
    ),
    Case(
        row=19,
        name="undeclared",
        damage=edit(lambda data: data["arrays"].pop("centre")),
        file="bundle.json: arrays",
        message=("missing centre",),
    ),
    Case(
        row=19,
        name="array of no layer",
        damage=edit(lambda data: data["arrays"].update(center=data["arrays"].pop("centre"))),
        file="bundle.json: arrays.center",
        message=("not an array of an mlp", "did you mean centre?"),
    ),
    Case(
        row=20,
        name="4 TB declared",
        damage=declare_four_terabytes,
        file="arrays.safetensors: w0",
        message=("bundle.json declares float32 (1048576, 1048576)",),
    ),
    Case(
        row=20,
        name="3 GB of arrays",
        damage=grow,
        file="arrays.safetensors",
        message=("has 3,221,", "at most 1,073,741,824"),
    ),
    Case(
        row=21,
        name="duplicates",
        damage=edit(lambda data: data.update(features=["feature_0", "feature_1", "feature_0"])),
        file="bundle.json: features",
        message=("1 of 2 names", "feature_0"),
    ),
    Case(
        row=21,
        name="too few",
        damage=edit(lambda data: data.update(features=["feature_0", "feature_1"])),
        file="bundle.json: features",
        message=("2 features and 0 benchmarks make 2 inputs", "w0 (3, 4) takes 3"),
    ),
    Case(
        row=21,
        name="a feature as benchmark",
        damage=edit(lambda data: data.update(features=["feature_0", "feature_1"], benchmarks=["feature_1"])),
        file="bundle.json: benchmarks",
        message=("feature_1", "list each column in one of them"),
    ),
    Case(
        row=21,
        name="not a list",
        damage=edit(lambda data: data.update(features="feature_0")),
        file="bundle.json: features",
        message=('"feature_0"', "a list"),
    ),
    Case(
        row=22,
        name="unknown activation",
        damage=edit(lambda data: data["layers"].__setitem__(0, {"activation": "reluu"})),
        file="bundle.json: layers.0",
        message=('"reluu"', "did you mean relu?", ACTIVATIONS),
    ),
    Case(
        row=22,
        name="no activation",
        damage=edit(lambda data: data["layers"].__setitem__(0, {"slope": 1})),
        file="bundle.json: layers.0",
        message=("activation is missing", ACTIVATIONS),
    ),
    Case(
        row=22,
        name="unknown constant",
        damage=edit(lambda data: data["layers"].__setitem__(0, {"activation": "elu", "slope": 1})),
        file="bundle.json: layers.0",
        message=('unknown constant "slope" of elu', "alpha from -100 to 100 (default 1)"),
    ),
    Case(
        row=22,
        name="wrong constant",
        damage=edit(lambda data: data["layers"].__setitem__(0, {"activation": "softplus", "beta": 0})),
        file="bundle.json: layers.0",
        message=("invalid value 0 for beta", "beta from 0.001 to 1000"),
    ),
    Case(
        row=22,
        name="boolean constant",
        damage=edit(lambda data: data["layers"].__setitem__(0, {"activation": "elu", "alpha": True})),
        file="bundle.json: layers.0",
        message=("invalid value true for alpha",),
    ),
    Case(
        row=22,
        name="NaN constant",
        damage=text('{"activation":"relu"}', '{"activation":"leaky_relu","slope":NaN}'),
        file="bundle.json: layers.0.slope",
        message=("NaN is not a finite number",),
    ),
    Case(
        row=23,
        name="NaN imputation",
        damage=array("imputation", np.array([2, np.nan, 2], dtype=np.float32)),
        file="arrays.safetensors: imputation",
        message=("nan for feature_1", "-1e+06 to 1e+06"),
    ),
    Case(
        row=23,
        name="huge imputation",
        damage=array("imputation", np.array([2e6, 2, 2e6], dtype=np.float32)),
        file="arrays.safetensors: imputation",
        message=("2000000.0 for feature_0", "2 of 3"),
    ),
    Case(
        row=23,
        name="scale zero",
        damage=array("scale", np.array([1, 0, 1], dtype=np.float32)),
        file="arrays.safetensors: scale",
        message=("0.0 for feature_1", "1e-09 to 1e+09"),
    ),
    Case(
        row=23,
        name="scale negative",
        damage=array("scale", np.array([1, 1, -1], dtype=np.float32)),
        file="arrays.safetensors: scale",
        message=("-1.0 for feature_2",),
    ),
    Case(
        row=24,
        name="NaN",
        damage=text('"score":0.5', '"score":NaN'),
        file="bundle.json: trained.score",
        message=("NaN is not a finite number",),
    ),
    Case(
        row=24,
        name="duplicate key",
        damage=text('"dtype":"float32",', '"dtype":"float32","dtype":"float64",'),
        file="bundle.json: arrays.b0.dtype",
        message=("duplicate key",),
    ),
    Case(
        row=24,
        name="not JSON",
        damage=lambda folder: (folder / "bundle.json").write_text("{"),
        file="bundle.json",
        message=("line 1, column 2",),
    ),
    Case(
        row=24,
        name="unknown key",
        damage=edit(lambda data: data.update(feature=[])),
        file="bundle.json: feature",
        message=("unknown key",),
    ),
    Case(
        row=24,
        name="later format",
        damage=edit(lambda data: data.update(format=3)),
        file="bundle.json: format",
        message=("3", "reads format 2", "update"),
    ),
    Case(
        row=24,
        name="unknown kind",
        damage=edit(lambda data: data.update(kind="mpl")),
        file="bundle.json: kind",
        message=('"mpl"', "did you mean mlp?"),
    ),
    Case(
        row=24,
        name="a path in trained",
        damage=edit(lambda data: data["trained"].update(script="/home/ann/train.py")),
        file="bundle.json: trained.script",
        message=("/home/ann/train.py", "path"),
    ),
    Case(
        row=24,
        name="a user in trained",
        damage=edit(lambda data: data["trained"].update(user="ann")),
        file="bundle.json: trained.user",
        message=("must not contain a path, user or host",),
    ),
    Case(
        row=13,
        name="link inside",
        damage=link,
        file="arrays.safetensors",
        message=("is a link", "replace it with the file itself"),
    ),
    Case(
        row=13,
        name="extra file",
        damage=lambda folder: (folder / "notes.txt").write_text("x"),
        file="",
        message=("notes.txt", "only: move the other files away"),
    ),
    Case(
        row=13,
        name="absent file",
        damage=lambda folder: (folder / "golden.safetensors").unlink(),
        file="golden.safetensors",
        message=("missing", "bundle.json, arrays.safetensors, golden.safetensors"),
    ),
    Case(
        row=26,
        name="golden NaN",
        damage=golden("predictions", np.array([0, 1, np.nan, 0, 0, 0])),
        file="golden.safetensors: predictions",
        message=("nan at [2]", "the only one"),
    ),
    Case(
        row=26,
        name="golden infinity",
        damage=golden("inputs", np.full((6, 3), np.inf)),
        file="golden.safetensors: inputs",
        message=("inf at [0, 0]", "18 of 18"),
    ),
    Case(
        row=26,
        name="golden of float32",
        damage=edit(lambda data: data["golden"]["predictions"].update(dtype="float32")),
        file="bundle.json: golden.predictions.dtype",
        message=("expected float64",),
    ),
    Case(
        row=26,
        name="golden columns",
        damage=edit(lambda data: data["golden"]["inputs"].update(shape=[6, 4])),
        file="bundle.json: golden.inputs.shape",
        message=("(6, 4)", "expected (rows, 3)"),
    ),
    Case(
        row=26,
        name="no golden rows",
        damage=edit(lambda data: data["golden"]["inputs"].update(shape=[0, 3])),
        file="bundle.json: golden.inputs.shape.0",
        message=("from 1",),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row}-{case.name}")
def test_problem_has_file_key_path_and_expected_value(case: Case, tmp_path: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "mlp")
    case.damage(folder)
    with pytest.raises(errors.BundleError) as caught:
        read.read(folder)
    index = str(folder / case.file) if case.file else str(folder)
    about = [problem for problem in caught.value.problems if problem.startswith(f"{index}: ")]
    assert about, caught.value.problems
    assert any(all(words in problem for words in case.message) for problem in about), about


def test_problems_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "mlp")
    not_finite(folder)
    bundles.edit_json(folder, lambda data: data.update(features=["feature_0", "feature_0", "feature_2"]))
    bundles.edit_json(folder, lambda data: data["layers"].__setitem__(0, {"activation": "swish"}))
    (folder / "golden.safetensors").write_bytes(b"")
    with pytest.raises(errors.BundleError) as caught:
        read.read(folder)
    files = [Path(problem.split(": ", 1)[0]).name for problem in caught.value.problems]
    assert sorted(files) == ["arrays.safetensors", "bundle.json", "bundle.json", "golden.safetensors"]


def test_json_problems_do_not_hide_a_damaged_file(tmp_path: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "mlp")
    (folder / "bundle.json").write_text("[]")
    (folder / "arrays.safetensors").write_bytes(b"junk")
    with pytest.raises(errors.BundleError) as caught:
        read.read(folder)
    assert len(caught.value.problems) == 2


def test_missing_folder_error_explains_how_to_create_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(errors.BundleError, match=r"does not exist; .*builder\.bundle\.storage\.write"):
        read.read(tmp_path / "absent")


@pytest.mark.parametrize(
    ("key", "value", "secret"),
    [
        ("api_key", "sesame-open", "sesame-open"),
        ("note", "ABCDEF123456$GHIJKL123456", "GHIJKL123456"),
        ("notes", ["fine", "Token abcdefgh"], "abcdefgh"),
        ("Z1B2" * 16, 1, "Z1B2" * 16),
    ],
)
def test_a_secret_in_trained_is_refused_and_not_shown(tmp_path: Path, key: str, value: object, secret: str) -> None:
    folder = bundles.write_bundle(tmp_path / "mlp")
    bundles.edit_json(folder, lambda data: data["trained"].update({key: value}))
    with pytest.raises(errors.BundleError, match="looks like a secret; remove it, and make a new key") as caught:
        read.read(folder)
    assert secret not in str(caught.value)
