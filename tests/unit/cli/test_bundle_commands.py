"""``bundle show`` and ``bundle check`` by the command, and pickles built from a zip or a downloaded bundle."""

from __future__ import annotations

import dataclasses
import gzip
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest_socket

from builder.build import artifact
from builder.bundle import model
from builder.bundle.kinds import lightgbm_text
from builder.bundle.storage import files, write
from tests.support import bundles, command, ensembles, http_files, pickles
from tests.support.command import call, find_loaded_modules, read_output

if TYPE_CHECKING:
    import pytest

    from tests.support.fake_engine import FakeEngine


def test_show_prints_the_contents_of_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = tuple(f"feature_{index}" for index in range(9))
    trained: dict[str, model.Fact] = {
        "framework": "lightgbm",
        "eras": tuple(f"{era:04d}" for era in range(1, 575)),
        "target": "target",
        "evil": "red \x1b[31m\u202e text\nnext",
        "seed": 7,
        "early": True,
    }
    built = dataclasses.replace(bundles.make_bundle(9, ("bench",)), features=names, trained=trained)
    path = tmp_path / "mine.bundle.zip"
    write.write(path, built)
    assert call("bundle", "show", str(path)) == 0
    out, err = read_output(capsys)
    assert err == ""
    for text in (
        "mlp, 49 parameters",
        "9: feature_0, feature_1, feature_2, feature_3, feature_4 and 4 more",
        "bench\n",
        "rank (scope: era, ties: average)",
        "6 rows, 1 of them with a missing input; predictions ",
        f"{files.hash_content(path)[0]}  (of the zip: for {{url, sha256}} in a config)",
        "574, from 0001 to 0574",
        r"red \x1b[31m\u202e text\nnext",
        "true",
    ):
        assert text in out
    assert "\x1b" not in out

    assert call("bundle", "show", str(path), "--json") == 0
    answer = json.loads(read_output(capsys)[0])
    assert (answer["format"], answer["kind"], answer["parameters"]) == (1, "mlp", 49)
    assert answer["features"] == list(names)
    assert answer["trained"]["evil"] == trained["evil"]
    assert answer["sha256"] == files.hash_content(path)[0]
    assert answer["golden"]["rows"] == 6
    assert list(answer["files"]) == ["bundle.json", "arrays.safetensors", "golden.safetensors"]

    folder = bundles.write_bundle(tmp_path / "mine", built)
    assert call("bundle", "show", str(folder), "--json") == 0
    folder_answer = json.loads(read_output(capsys)[0])
    assert folder_answer["sha256"] is None
    assert folder_answer["hash"] == answer["hash"] == files.hash_bundle(folder)


def test_check_accepts_a_good_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.bundle.zip"
    write.write(path, bundles.make_bundle())
    assert call("bundle", "check", str(path)) == 0
    out, _ = read_output(capsys)
    assert out.startswith(f"ok: {path}: mlp, 3 features, 21 parameters; ")
    assert call("bundle", "check", "--json", str(path)) == 0
    answer = json.loads(read_output(capsys)[0])
    assert (answer["good"], answer["faults"]) == (True, [])


def test_check_prints_every_problem_of_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = bundles.write_bundle(tmp_path / "mine")
    bundles.edit_json(folder, lambda data: data.update(features=["a", "a", "b"], trained={"user": "me"}))
    contents = {path.name: path.read_bytes() for path in files.list_paths(folder)}
    bundles.pack(tmp_path / "mine.bundle.zip", contents)
    for path in (folder, tmp_path / "mine.bundle.zip"):
        assert call("bundle", "check", str(path)) == 2
        out, err = read_output(capsys)
        assert out == ""
        lines = err.splitlines()
        assert lines[0].startswith(f"error: {path}/bundle.json: features: 1 of 2 names are duplicates: a")
        assert lines[1].startswith(f"{path}/bundle.json: trained.user: ")
        assert call("bundle", "check", str(path), "--json") == 2
        out, err = read_output(capsys)
        assert err == ""
        answer = json.loads(out)
        assert answer["good"] is False
        assert [problem.partition(": ")[0] for problem in answer["faults"]] == [f"{path}/bundle.json"] * 2


def test_arrays_that_do_not_give_the_golden_predictions_are_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built = bundles.make_bundle()
    wrong = built.golden.predictions + np.array([0, 0, 0, 1, 0, 0])
    golden = model.GoldenRows(inputs=built.golden.inputs, predictions=wrong)
    folder = bundles.write_bundle(tmp_path / "mine", dataclasses.replace(built, golden=golden))
    assert call("bundle", "check", str(folder)) == 2
    err = read_output(capsys)[1]
    assert f"{folder}/golden.safetensors: predictions: the bundle's predictions differ from the framework's by" in err
    assert "by up to 1 (row 3); at most" in err


def test_a_booster_is_compared_only_if_its_library_is_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = pickles.scenario_bundle("lightgbm")
    booster: Any = built.model
    good, bad = bundles.write_bundle(tmp_path / "good", built), tmp_path / "bad"
    golden = dataclasses.replace(built.golden, predictions=built.golden.predictions + 1)
    write.write(bad, dataclasses.replace(built, golden=golden))
    assert call("bundle", "check", str(good)) == 0
    assert read_output(capsys)[1] == ""
    assert call("bundle", "check", str(bad)) == 2
    assert "export the model again" in read_output(capsys)[1]
    text = gzip.decompress(booster.text).replace(b"objective=regression", b"objective=nonsense")
    smaller = lightgbm_text.strip_text(text.decode())
    nonsense = dataclasses.replace(booster, text=smaller.text, objective="nonsense")
    write.write(tmp_path / "nonsense", dataclasses.replace(built, model=nonsense))
    assert call("bundle", "check", str(tmp_path / "nonsense")) == 2
    assert f"{tmp_path / 'nonsense'}: LightGBM cannot read the booster" in read_output(capsys)[1]
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    assert call("bundle", "check", str(bad), "--json") == 0
    out, err = read_output(capsys)
    assert json.loads(out)["good"]
    assert err.startswith("note: the golden rows are not compared here: lightgbm is not installed")
    assert "pip install lightgbm" in err


def test_ranks_that_float32_may_swap_are_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = np.random.default_rng(7).normal(2, 1, size=(12, 2))
    inputs[4] = inputs[3] + 1e-10  # a framework that computes in float32 may have either first
    built = ensembles.make_bundle([ensembles.make_member("ab", transform="rank", scope="frame")], inputs=inputs)
    for rows, code in (([4, 3], 0), ([3, 5], 2)):
        swapped = built.golden.predictions.copy()
        swapped[rows] = swapped[rows[::-1]]
        assert len(set(swapped)) == 12
        golden = model.GoldenRows(inputs=inputs, predictions=swapped)
        folder = bundles.write_bundle(tmp_path / f"code_{code}", dataclasses.replace(built, golden=golden))
        assert call("bundle", "check", str(folder)) == code, read_output(capsys)


def test_a_missing_bundle_is_an_error(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command_name in ("show", "check"):
        assert call("bundle", command_name, "absent.bundle.zip") == 2
        assert "absent.bundle.zip: does not exist; expected a folder with bundle.json" in read_output(capsys)[1]
    assert call("bundle") == 2
    assert call("bundle", "shwo", "x") == 2


def test_folder_zip_and_downloaded_zip_give_the_same_pickle(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = project / "configs"
    write.write(configs / "small.bundle.zip", bundles.make_bundle())
    raw = (configs / "small.bundle.zip").read_bytes()
    assert call("pickle", "configs/small.yaml") == 0
    first = artifact.load(project / "dist" / "small").manifest
    read_output(capsys)
    pytest_socket.enable_socket()
    with http_files.serve({"/small.bundle.zip": http_files.respond(raw)}) as server:
        digest = files.hash_content(raw)[0]
        for bundle in (
            "small.bundle.zip",
            f"{{url: small.bundle.zip, sha256: '{digest}'}}",
            f"{{url: '{server.url}/small.bundle.zip?token=sesame', sha256: '{digest}'}}",
        ):
            text = command.CONFIG.replace("bundles/small", bundle)
            (configs / "small.yaml").write_text(text)
            assert call("pickle", "configs/small.yaml") == 0
            assert "(nothing changed since it was built)" in read_output(capsys)[0]
            (project / "dist" / "small" / "manifest.json").unlink()
            assert call("pickle", "configs/small.yaml") == 0
            assert "(built)" in read_output(capsys)[0]
            assert artifact.load(project / "dist" / "small").manifest == first
        assert len(server.requests) == 1
    assert "sesame" not in (project / "dist" / "small" / "manifest.json").read_text()
    # Offline, the cached bundle is used; verify reports the bundle that changed.
    assert call("render", "configs/small.yaml", "--json") == 0
    report = json.loads(read_output(capsys)[0])
    assert f" {report['base']} " in Path(report["dockerfile"]).read_text()
    write.write(configs / "small.bundle.zip", bundles.make_bundle(4))
    (configs / "small.yaml").write_text(command.CONFIG.replace("bundles/small", "small.bundle.zip"))
    read_output(capsys)
    assert call("verify", "configs/small.yaml") == 2
    assert f"{configs}/small.bundle.zip changed since it was built" in read_output(capsys)[1]


def test_a_bundle_that_cannot_be_downloaded_is_a_network_error(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest_socket.enable_socket()
    with http_files.serve({}) as server:
        url = f"{server.url}/small.bundle.zip?token=sesame"
        bundle = f"{{url: '{url}', sha256: '{'0' * 64}'}}"
        (project / "configs" / "small.yaml").write_text(command.CONFIG.replace("bundles/small", bundle))
        assert call("pickle", "configs/small.yaml") == 4
    err = read_output(capsys)[1]
    assert "small.bundle.zip: HTTP 404, the file was not found: check the address" in err
    assert "sesame" not in err
    assert engine.list_leftovers() == []


def test_pickle_and_render_report_an_invalid_zip(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "configs" / "small.bundle.zip").write_bytes(b"no zip")
    (project / "configs" / "small.yaml").write_text(command.CONFIG.replace("bundles/small", "small.bundle.zip"))
    for command_name in ("pickle", "render"):
        assert call(command_name, "configs/small.yaml") == 2
        assert "configs/small.bundle.zip: is not a zip" in read_output(capsys)[1]


def test_without_a_download_no_network_library_is_imported() -> None:
    assert not {"httpx", "zipfile", "numpy"} & find_loaded_modules(
        "from builder.config import resolve, fetch; from builder.bundle.storage import store"
    )
