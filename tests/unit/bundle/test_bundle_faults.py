"""Every row of the bad-input table that is about bundles: one clear fault, at its place."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builder import errors
from builder.bundle.storage import read
from tests.support import bundles

Damage = Callable[[Path], object]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A damage to a good bundle, the file that the fault names and what it says."""

    row: int
    name: str
    damage: Damage
    file: str
    says: tuple[str, ...]


def truncate(folder: Path) -> None:
    path = folder / "arrays.npz"
    path.write_bytes(path.read_bytes()[:-40])


def flip_checked_byte(folder: Path) -> None:
    path = folder / "arrays.npz"
    raw = bytearray(path.read_bytes())
    # The last number of w0, which ends where the next member's local header begins.
    start = raw.index(b"w0.npy")
    end = raw.find(b"PK\x03\x04", start)
    raw[(end if end > 0 else raw.index(b"PK\x01\x02")) - 1] ^= 0xFF
    path.write_bytes(bytes(raw))


def duplicate_member(folder: Path) -> None:
    path = folder / "arrays.npz"
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("w0.npy", bundles.npy(np.zeros((3, 4), dtype=np.float32)))


def evil_name(folder: Path) -> None:
    path = folder / "arrays.npz"
    bundles.pack(path, {**bundles.members(path), "../evil.npy": bundles.npy(np.zeros(1))})


def claim_four_terabytes(folder: Path) -> None:
    """A header of an array that would not fit, with the right checksum."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1048576, 1048576), }"
    header += b" " * (127 - 10 - len(header)) + b"\n"
    raw = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    path = folder / "arrays.npz"
    bundles.pack(path, {**bundles.members(path), "w0.npy": raw})


def declare_four_terabytes(folder: Path) -> None:
    claim_four_terabytes(folder)
    bundles.edit_json(folder, lambda data: data["arrays"]["w0"].update(shape=[1 << 20, 1 << 20]))


def inflate(folder: Path) -> None:
    """A zip whose directory claims more than is read: nothing of it is inflated."""
    path = folder / "arrays.npz"
    raw = bytearray(path.read_bytes())
    place = raw.index(b"PK\x01\x02")
    raw[place + 24 : place + 28] = struct.pack("<I", 3 << 30)
    path.write_bytes(bytes(raw))


def not_finite(folder: Path) -> None:
    weights = np.ones((3, 4), dtype=np.float32)
    weights[1, 2] = np.nan
    weights[2, 0] = np.inf
    bundles.replace_array(folder / "arrays.npz", "w0", weights)


def array(name: str, replacement: Any) -> Damage:
    return lambda folder: bundles.replace_array(folder / "arrays.npz", name, replacement)


def golden(name: str, replacement: Any) -> Damage:
    return lambda folder: bundles.replace_array(folder / "golden.npz", name, replacement)


def edit(change: Callable[[dict[str, Any]], object]) -> Damage:
    return lambda folder: bundles.edit_json(folder, change)


def drop_member(folder: Path) -> None:
    path = folder / "arrays.npz"
    rest = bundles.members(path)
    del rest["b1.npy"]
    bundles.pack(path, rest)


def redeclare(name: str, shape: list[int]) -> Damage:
    def damage(folder: Path) -> None:
        bundles.edit_json(folder, lambda data: data["arrays"][name].update(shape=shape))
        bundles.replace_array(folder / "arrays.npz", name, np.ones(shape, dtype=np.float32))

    return damage


def text(old: str, new: str) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "bundle.json"
        before = path.read_text()
        assert old in before
        path.write_text(before.replace(old, new, 1))

    return damage


def link(folder: Path) -> None:
    outside = folder.parent / "elsewhere.npz"
    (folder / "arrays.npz").rename(outside)
    (folder / "arrays.npz").symlink_to(outside)


ACTIVATIONS = "identity, relu, leaky_relu, elu, selu, gelu, gelu_tanh, silu, mish, tanh, sigmoid, softplus, relu6, "
SMALL = np.zeros(3, dtype=np.float32)

CASES = [
    Case(row=14, name="truncated", damage=truncate, file="arrays.npz", says=("not a valid .npz",)),
    Case(row=14, name="bad CRC", damage=flip_checked_byte, file="arrays.npz: w0", says=("CRC", "not a valid .npz")),
    Case(
        row=14,
        name="empty",
        damage=lambda folder: (folder / "golden.npz").write_bytes(b""),
        file="golden.npz",
        says=("empty", "not a valid .npz"),
    ),
    Case(
        row=14,
        name="not a zip",
        damage=lambda folder: (folder / "arrays.npz").write_bytes(bundles.npy(SMALL)),
        file="arrays.npz",
        says=("not a valid .npz", "File is not a zip file"),
    ),
    Case(
        row=15,
        name="objects",
        damage=array("w0", np.array([None, {}], dtype=object)),
        file="arrays.npz: w0",
        says=("Python objects", "float32 or float64"),
    ),
    Case(row=15, name="strings", damage=array("w0", np.array(["a"])), file="arrays.npz: w0", says=("strings",)),
    Case(
        row=15, name="complex", damage=array("b0", SMALL.astype(complex)), file="arrays.npz: b0", says=("complex128",)
    ),
    Case(
        row=15,
        name="datetime",
        damage=array("b0", np.array(["2020-01-01"], dtype="datetime64[D]")),
        file="arrays.npz: b0",
        says=("datetime64[D]",),
    ),
    Case(
        row=15,
        name="structured",
        damage=array("b0", np.zeros(3, dtype=[("a", "f4")])),
        file="arrays.npz: b0",
        says=("structures",),
    ),
    Case(
        row=15,
        name="long double",
        damage=array("b0", SMALL.astype(np.longdouble)),
        file="arrays.npz: b0",
        says=(np.dtype(np.longdouble).name,),
    ),
    Case(
        row=17, name="NaN weights", damage=not_finite, file="arrays.npz: w0", says=("nan at [1, 2]", "2 of 12 values")
    ),
    Case(
        row=18,
        name="chain",
        damage=redeclare("w1", [5, 1]),
        file="bundle.json: arrays.w1.shape",
        says=("w0 (3, 4) to w1 (5, 1)", "needs 4 rows"),
    ),
    Case(
        row=18,
        name="bias",
        damage=redeclare("b0", [5]),
        file="bundle.json: arrays.b0.shape",
        says=("(5,) beside w0 (3, 4)", "(4,) is needed"),
    ),
    Case(
        row=18,
        name="several outputs",
        damage=redeclare("w1", [4, 2]),
        file="bundle.json: arrays.w1.shape",
        says=("2 values a row", "gives 1"),
    ),
    Case(
        row=18,
        name="flat weights",
        damage=redeclare("w0", [12]),
        file="bundle.json: arrays.w0.shape",
        says=("(12,)", "(inputs, outputs)"),
    ),
    Case(row=18, name="undeclared shape", damage=array("b0", SMALL), file="arrays.npz: b0", says=("(3,)", "(4,)")),
    Case(row=19, name="missing", damage=drop_member, file="arrays.npz: b1", says=("missing",)),
    Case(
        row=19,
        name="extra",
        damage=array("w7", SMALL),
        file="arrays.npz: 'w7.npy'",
        says=("not declared", "it may hold b0, b1"),
    ),
    Case(row=19, name="duplicate", damage=duplicate_member, file="arrays.npz: w0", says=("twice",)),
    Case(row=19, name="evil name", damage=evil_name, file="arrays.npz: '../evil.npy'", says=("not declared",)),
    Case(
        row=19,
        name="undeclared",
        damage=edit(lambda data: data["arrays"].pop("centre")),
        file="bundle.json: arrays",
        says=("centre: missing",),
    ),
    Case(
        row=19,
        name="array of no layer",
        damage=edit(lambda data: data["arrays"].update(center=data["arrays"].pop("centre"))),
        file="bundle.json: arrays.center",
        says=("no such array", "did you mean centre?"),
    ),
    Case(
        row=20,
        name="4 TB in a header",
        damage=claim_four_terabytes,
        file="arrays.npz: w0",
        says=("(1048576, 1048576)",),
    ),
    Case(
        row=20,
        name="4 TB declared",
        damage=declare_four_terabytes,
        file="arrays.npz",
        says=("declares 4,398,046,511,", "at most 1,073,741,824"),
    ),
    Case(
        row=20, name="3 GB inflated", damage=inflate, file="arrays.npz", says=("claims 3,221,", "at most 1,073,741,824")
    ),
    Case(
        row=21,
        name="duplicates",
        damage=edit(lambda data: data.update(features=["feature_0", "feature_1", "feature_0"])),
        file="bundle.json: features",
        says=("1 of 2 names", "feature_0"),
    ),
    Case(
        row=21,
        name="too few",
        damage=edit(lambda data: data.update(features=["feature_0", "feature_1"])),
        file="bundle.json: features",
        says=("2 features and 0 benchmarks make 2 inputs", "w0 (3, 4) takes 3"),
    ),
    Case(
        row=21,
        name="a feature as benchmark",
        damage=edit(lambda data: data.update(features=["feature_0", "feature_1"], benchmarks=["feature_1"])),
        file="bundle.json: benchmarks",
        says=("feature_1", "one or the other"),
    ),
    Case(
        row=21,
        name="not a list",
        damage=edit(lambda data: data.update(features="feature_0")),
        file="bundle.json: features",
        says=('"feature_0"', "a list"),
    ),
    Case(
        row=22,
        name="unknown activation",
        damage=edit(lambda data: data["layers"].__setitem__(0, {"activation": "reluu"})),
        file="bundle.json: layers.0",
        says=("'reluu'", "did you mean relu?", ACTIVATIONS),
    ),
    Case(
        row=22,
        name="no activation",
        damage=edit(lambda data: data["layers"].__setitem__(0, {"slope": 1})),
        file="bundle.json: layers.0",
        says=("no activation", ACTIVATIONS),
    ),
    Case(
        row=22,
        name="unknown constant",
        damage=edit(lambda data: data["layers"].__setitem__(0, {"activation": "elu", "slope": 1})),
        file="bundle.json: layers.0",
        says=("no constant 'slope'", "alpha from -100 to 100 (default 1)"),
    ),
    Case(
        row=22,
        name="wrong constant",
        damage=edit(lambda data: data["layers"].__setitem__(0, {"activation": "softplus", "beta": 0})),
        file="bundle.json: layers.0",
        says=("beta is 0", "beta from 0.001 to 1000"),
    ),
    Case(
        row=22,
        name="boolean constant",
        damage=edit(lambda data: data["layers"].__setitem__(0, {"activation": "elu", "alpha": True})),
        file="bundle.json: layers.0",
        says=("alpha is True",),
    ),
    Case(
        row=22,
        name="NaN constant",
        damage=text('{"activation":"relu"}', '{"activation":"leaky_relu","slope":NaN}'),
        file="bundle.json: layers.0.slope",
        says=("NaN is not a finite number",),
    ),
    Case(
        row=23,
        name="NaN imputation",
        damage=array("imputation", np.array([2, np.nan, 2], dtype=np.float32)),
        file="arrays.npz: imputation",
        says=("nan for feature_1", "-1e+06 to 1e+06"),
    ),
    Case(
        row=23,
        name="huge imputation",
        damage=array("imputation", np.array([2e6, 2, 2e6], dtype=np.float32)),
        file="arrays.npz: imputation",
        says=("2000000.0 for feature_0", "2 of 3"),
    ),
    Case(
        row=23,
        name="boolean imputation",
        damage=array("imputation", np.array([True, False, True])),
        file="arrays.npz: imputation",
        says=("booleans", "float32 or float64"),
    ),
    Case(
        row=23,
        name="scale zero",
        damage=array("scale", np.array([1, 0, 1], dtype=np.float32)),
        file="arrays.npz: scale",
        says=("0.0 for feature_1", "1e-09 to 1e+09"),
    ),
    Case(
        row=23,
        name="scale negative",
        damage=array("scale", np.array([1, 1, -1], dtype=np.float32)),
        file="arrays.npz: scale",
        says=("-1.0 for feature_2",),
    ),
    Case(
        row=24,
        name="NaN",
        damage=text('"score":0.5', '"score":NaN'),
        file="bundle.json: trained.score",
        says=("NaN is not a finite number",),
    ),
    Case(
        row=24,
        name="duplicate key",
        damage=text('"dtype":"float32",', '"dtype":"float32","dtype":"float64",'),
        file="bundle.json: arrays.b0.dtype",
        says=("twice",),
    ),
    Case(
        row=24,
        name="not JSON",
        damage=lambda folder: (folder / "bundle.json").write_text("{"),
        file="bundle.json",
        says=("line 1, column 2",),
    ),
    Case(
        row=24,
        name="unknown key",
        damage=edit(lambda data: data.update(feature=[])),
        file="bundle.json: feature",
        says=("unknown key",),
    ),
    Case(
        row=24,
        name="later format",
        damage=edit(lambda data: data.update(format=2)),
        file="bundle.json: format",
        says=("2", "reads format 1", "update"),
    ),
    Case(
        row=24,
        name="unknown kind",
        damage=edit(lambda data: data.update(kind="mpl")),
        file="bundle.json: kind",
        says=('"mpl"', "did you mean mlp?"),
    ),
    Case(
        row=24,
        name="a path in trained",
        damage=edit(lambda data: data["trained"].update(script="/home/ann/train.py")),
        file="bundle.json: trained.script",
        says=("/home/ann/train.py", "path"),
    ),
    Case(
        row=24,
        name="a user in trained",
        damage=edit(lambda data: data["trained"].update(user="ann")),
        file="bundle.json: trained.user",
        says=("no path, user or host",),
    ),
    Case(
        row=13,
        name="link inside",
        damage=link,
        file="arrays.npz",
        says=("is a link", "put the file itself there"),
    ),
    Case(
        row=13,
        name="extra file",
        damage=lambda folder: (folder / "notes.txt").write_text("x"),
        file="",
        says=("notes.txt", "nothing else"),
    ),
    Case(
        row=13,
        name="absent file",
        damage=lambda folder: (folder / "golden.npz").unlink(),
        file="golden.npz",
        says=("missing", "bundle.json, arrays.npz, golden.npz"),
    ),
    Case(
        row=26,
        name="golden NaN",
        damage=golden("predictions", np.array([0, 1, np.nan, 0, 0, 0])),
        file="golden.npz: predictions",
        says=("nan at [2]", "the only one"),
    ),
    Case(
        row=26,
        name="golden infinity",
        damage=golden("inputs", np.full((6, 3), np.inf)),
        file="golden.npz: inputs",
        says=("inf at [0, 0]", "18 of 18"),
    ),
    Case(
        row=26,
        name="golden of float32",
        damage=edit(lambda data: data["golden"]["predictions"].update(dtype="float32")),
        file="bundle.json: golden.predictions.dtype",
        says=("float64 is needed",),
    ),
    Case(
        row=26,
        name="golden columns",
        damage=edit(lambda data: data["golden"]["inputs"].update(shape=[6, 4])),
        file="bundle.json: golden.inputs.shape",
        says=("(6, 4)", "(rows, 3) is needed"),
    ),
    Case(
        row=26,
        name="no golden rows",
        damage=edit(lambda data: data["golden"]["inputs"].update(shape=[0, 3])),
        file="bundle.json: golden.inputs.shape.0",
        says=("from 1",),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row}-{case.name}")
def test_a_fault_names_the_file_the_place_and_what_would_do(case: Case, tmp_path: Path) -> None:
    folder = bundles.written(tmp_path / "mlp")
    case.damage(folder)
    with pytest.raises(errors.BundleError) as caught:
        read.read(folder)
    place = str(folder / case.file) if case.file else str(folder)
    about = [fault for fault in caught.value.faults if fault.startswith(f"{place}: ")]
    assert about, caught.value.faults
    assert any(all(words in fault for words in case.says) for fault in about), about


def test_all_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    folder = bundles.written(tmp_path / "mlp")
    not_finite(folder)
    bundles.edit_json(folder, lambda data: data.update(features=["feature_0", "feature_0", "feature_2"]))
    bundles.edit_json(folder, lambda data: data["layers"].__setitem__(0, {"activation": "swish"}))
    (folder / "golden.npz").write_bytes(b"")
    with pytest.raises(errors.BundleError) as caught:
        read.read(folder)
    files = [Path(fault.split(": ", 1)[0]).name for fault in caught.value.faults]
    assert sorted(files) == ["arrays.npz", "bundle.json", "bundle.json", "golden.npz"]


def test_faults_of_the_text_do_not_hide_a_broken_zip(tmp_path: Path) -> None:
    folder = bundles.written(tmp_path / "mlp")
    (folder / "bundle.json").write_text("[]")
    (folder / "arrays.npz").write_bytes(b"junk")
    with pytest.raises(errors.BundleError) as caught:
        read.read(folder)
    assert len(caught.value.faults) == 2


def test_a_folder_that_is_not_there_says_how_one_is_made(tmp_path: Path) -> None:
    with pytest.raises(errors.BundleError, match=r"does not exist; .*builder\.bundle\.storage\.write"):
        read.read(tmp_path / "absent")


def test_a_declared_size_is_refused_before_its_memory_is_asked_for(tmp_path: Path) -> None:
    folder = bundles.written(tmp_path / "mlp")
    declare_four_terabytes(folder)
    with pytest.raises(errors.BundleError, match="declares 4,398"):
        read.read(folder)
