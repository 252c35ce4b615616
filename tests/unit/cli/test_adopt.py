"""``adopt``, and ``pickle`` and ``verify`` of an adopted pickle; the fake engine has this machine's Python."""

from __future__ import annotations

import functools
import gzip
import json
import os
import pickle
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from builder import adopt, errors, progress
from builder.build import artifact
from builder.config import adopted, model
from tests.support import clones
from tests.support.command import call, read_output

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.fake_engine import FakeEngine

THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
RECORDED = clones.ROOT / "tests" / "data" / "pickles"


def dump(name: str) -> bytes:
    """Pickle a function that reads a column of this name."""

    def predict(live_features: Any) -> Any:
        for _ in range(1):  # a loop has other bytecode in each version of Python
            values = live_features[[name]]
        return values.rank(pct=True)

    return bytes(cloudpickle.dumps(predict))


@pytest.fixture
def folder(tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the working directory, in which ``model.pkl`` outside of it can be adopted."""
    assert engine.list_leftovers() == []
    root = tmp_path / "empty"
    root.mkdir()
    monkeypatch.chdir(root)
    (tmp_path / "model.pkl").write_bytes(dump("feature_able"))
    return root


def run(name: str, *options: str, code: int = 0) -> None:
    assert call("adopt", "../model.pkl", "--name", name, "--image", "runner:1", *options) == code


def list_files(root: Path) -> list[str]:
    return sorted(
        path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and path.name != ".lock"
    )


def test_the_bytes_are_unchanged_and_are_adopted_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = (folder / "../model.pkl").read_bytes()
    run("mine")
    out = read_output(capsys)[0]
    assert out.startswith(f"{folder / 'dist/mine/model.pkl'}  (adopted)\n")
    assert "contains  function predict with 1 parameter" in out
    assert list_files(folder) == [
        "configs/adopted/mine.pkl",
        "configs/mine.yaml",
        "dist/mine/manifest.json",
        "dist/mine/model.pkl",
    ]
    assert (folder / "dist/mine/model.pkl").read_bytes() == content
    assert (folder / "configs/adopted/mine.pkl").read_bytes() == content
    built, config = artifact.load(folder / "dist/mine"), model.load(folder / "configs/mine.yaml")
    assert built.manifest.is_adopted
    assert (built.manifest.bundle.hash, built.manifest.bundle.features) == (built.manifest.pickle.sha256, 1)
    assert (config.bundle, config.pickle) == (None, folder / "configs/adopted/mine.pkl")

    # The same again, from the copy too, and by `pickle`: nothing changes, and reports about it stay.
    (folder / "dist/mine/validation.json").write_text("{}")
    run("mine")
    assert call("adopt", "configs/adopted/mine.pkl", "--name", "mine") == 0
    assert call("pickle", "configs/mine.yaml") == 0
    assert read_output(capsys)[0].count("(nothing changed since it was adopted)") == 3
    assert (folder / "dist/mine/validation.json").exists()

    # Other bytes replace it and the reports; what was edited in the config stays.
    text = (folder / "configs/mine.yaml").read_text() + "# a comment of the user\n"
    (folder / "configs/mine.yaml").write_text(text)
    (folder / "../model.pkl").write_bytes(dump("feature_baker"))
    assert call("adopt", "../model.pkl", "--name", "mine", "--json") == 0
    answer = json.loads(read_output(capsys)[0])
    assert (answer["made"], answer["reading"]["features"]) == (True, ["feature_baker"])
    assert not (folder / "dist/mine/validation.json").exists()
    assert (folder / "configs/mine.yaml").read_text() == text
    assert (folder / "dist/mine/model.pkl").read_bytes() == (folder / "../model.pkl").read_bytes()


def test_it_is_compared_with_what_is_on_record(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("mine")
    read_output(capsys)
    for target in ("configs/mine.yaml", "dist/mine"):
        assert call("verify", target) == 0
        out = read_output(capsys)[0]
        assert f"equal: {folder / 'dist/mine/model.pkl'}" in out
        assert "an adopted pickle cannot be built again" in out
    # The config's pickle is replaced by hand: `verify` names it, and `pickle` adopts it.
    (folder / "configs/adopted/mine.pkl").write_bytes(dump("feature_baker"))
    assert call("verify", "configs/mine.yaml", "--json") == 1
    answer = json.loads(read_output(capsys)[0])
    assert [record["equal"] for record in answer["records"]] == [True, False]
    assert call("validate", "configs/mine.yaml") == 2
    error = read_output(capsys)[1]
    assert (
        "mine.pkl changed since it was adopted; run `python -m builder pickle configs/mine.yaml` to adopt it" in error
    )
    assert call("pickle", "configs/mine.yaml") == 0
    assert call("verify", "configs/mine.yaml") == 0
    # It is missing, as in a checkout without it: adopting it again is enough.
    text = (folder / "configs/mine.yaml").read_text() + "# a comment of the user\n"
    (folder / "configs/mine.yaml").write_text(text)
    (folder / "configs/adopted/mine.pkl").unlink()
    read_output(capsys)
    for command in ("pickle", "validate", "verify"):
        assert call(command, "configs/mine.yaml") == 2
        assert "configs/adopted/mine.pkl: cannot be read: No such file or directory; " in read_output(capsys)[1]
    run("mine")
    assert (folder / "configs/mine.yaml").read_text() == text
    assert call("render", "configs/mine.yaml") == 2
    assert "a finished pickle has no bundle" in read_output(capsys)[1]


def test_a_build_of_the_same_name_is_replaced_completely(project: Path, engine: FakeEngine) -> None:
    assert call("pickle", "configs/small.yaml") == 0
    (project / "model.pkl").write_bytes(dump("feature_able"))
    assert call("adopt", "model.pkl", "--name", "small", "--image", "runner:1") == 5
    assert (project / "dist/small/Dockerfile").exists()
    assert call("adopt", "model.pkl", "--name", "small", "--image", "runner:1", "--force") == 0
    assert list_files(project / "dist") == ["small/manifest.json", "small/model.pkl"]
    assert engine.list_leftovers() == []


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "compressed": (
        lambda: gzip.compress(dump("feature_able")),
        "the file is not a pickle: it is compressed with gzip; decompress it",
    ),
    "truncated": (lambda: dump("feature_able")[:-20], "the pickle is truncated: "),
    "LFS": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n",
        "the file is not a pickle: it is a Git LFS pointer, not the file itself; run `git lfs pull`",
    ),
    "module": (
        lambda: b"cno_such_module\npredict\n.",
        "the pickle needs the module 'no_such_module', which no image has: loading it fails; pickle the module",
    ),
    "array": (lambda: pickle.dumps([0.5]), "the runner calls the pickle as a function, but it contains: list of 1"),
    "other Python": (
        (RECORDED / f"python{'3.13' if THIS_PYTHON == '3.11' else '3.11'}.pkl").read_bytes,
        f"but the image runner:1 has Python {THIS_PYTHON}.",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_run_is_refused_and_nothing_is_written(
    folder: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = REFUSED[kind]
    (folder / "../model.pkl").write_bytes(make())
    run("mine", code=5)
    error = read_output(capsys)[1]
    assert error.startswith("error: ../model.pkl: ")
    assert message in error
    assert "make pickle" not in error
    assert errors.find_fix(error)
    if kind == "other Python":
        assert "numerai_predict_py_3_1" in error
    assert list_files(folder) == []


def test_a_module_that_only_a_call_needs_is_a_note(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def predict(live_features: Any) -> Any:
        try:
            import no_such_module  # type: ignore[import-not-found]
        except ImportError:
            return live_features
        return no_such_module

    (folder / "../model.pkl").write_bytes(cloudpickle.dumps(predict))
    run("mine")
    assert "note:  the pickle needs the module 'no_such_module'" in read_output(capsys)[0]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "pass a pickle, or --slot=SLOT for what a slot runs now, and not both"),
        (("model.pkl", "--slot", "fresh"), 2, "and not both"),
        (("no.pkl",), 2, "no.pkl: cannot be read: No such file or directory; pass the path of a pickle"),
        (("configs",), 2, "configs: "),
        (("no.pkl", "--name", "other"), 5, "other.yaml: already exists, and is the config of "),
        (("model.pkl", "--name", "Small"), 2, '--name "Small": invalid name of a config'),
        (("model.pkl", "--image", "a b"), 2, "--image: a b has an invalid repository; expected lower case"),
        (("model.pkl", "--stand-in", "2.7"), 2, '--stand-in: "2.7" is invalid; expected'),
        (
            ("model.pkl", "--name", "small"),
            5,
            "small.yaml: already exists, and is the config of a bundle; pass --force",
        ),
        (
            ("model.pkl", "--name", "deep"),
            5,
            "deep.yaml: has the name deep too, and dist/deep is its folder; pass another",
        ),
        (("model.pkl", "--name", "taken"), 5, "taken.pkl: already exists and is not this pickle; move it away"),
        (("model.pkl", "--name", "other"), 5, "other.yaml: already exists, and is the config of "),
        (("model.pkl", "--name", "mine", "--image", "runner:2"), 5, "mine.yaml: already exists with image.ref: "),
        (
            ("model.pkl", "--name", "mine", "--stand-in", "3.13"),
            5,
            "already exists with image.stand_in: none; change it",
        ),
        (("model.pkl", "--name", "new", "--locked"), 5, "allows only what it contains"),
    ],
)
def test_what_the_command_refuses(
    project: Path, arguments: tuple[str, ...], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = project / "configs"
    (configs / "adopted").mkdir()
    (configs / "deep").mkdir()
    for name in ("adopted/taken", "adopted/mine", "theirs"):
        (configs / f"{name}.pkl").write_bytes(dump(name))
    for name, path in {"mine": "adopted/mine.pkl", "other": "theirs.pkl", "deep/deep": "../theirs.pkl"}.items():
        text = f"name: {name.rpartition('/')[2]}\nimage: {{ref: runner:1}}\npickle: {path}\n"
        (configs / f"{name}.yaml").write_text(text)
    (project / "model.pkl").write_bytes(dump("feature_able"))
    before = list_files(project)
    assert call("adopt", *arguments) == code
    assert message in read_output(capsys)[1]
    assert list_files(project) == before


def test_an_interrupt_restores_the_earlier_files(folder: Path) -> None:
    run("mine")
    before = {name: (folder / name).read_bytes() for name in list_files(folder)}
    other = folder.parent / "other.pkl"
    other.write_bytes(dump("feature_baker"))

    def write_and_fail(plan: adopted.AdoptPlan) -> None:
        with adopted.publish(plan, other):
            assert plan.copy.read_bytes() == other.read_bytes()
            raise KeyboardInterrupt

    def interrupt(name: str, *, force: bool = False) -> None:
        request = adopted.AdoptRequest(pickle=other, root=folder, name=name, image="runner:1", force=force)
        plan = adopted.plan(request)
        with pytest.raises(KeyboardInterrupt):
            write_and_fail(plan)

    interrupt("mine")
    interrupt("mine", force=True)
    interrupt("new")
    assert {name: (folder / name).read_bytes() for name in list_files(folder)} == before


def test_a_file_that_changes_while_it_is_read_and_one_that_is_too_large_are_refused(
    folder: Path, engine: FakeEngine
) -> None:
    path = folder.parent / "model.pkl"
    plan = adopted.plan(adopted.AdoptRequest(pickle=path, root=folder, name="mine", image="runner:1"))
    source = adopt.read_source(plan.config, path, locked=False)
    path.write_bytes(dump("feature_baker"))
    with pytest.raises(errors.UsageError, match="changed while it was read; run the command again"):
        adopt.adopt(
            *(source, engine),
            pull=False,
            locked=False,
            progress=progress.Silent(),
            watch=progress.Stopwatch(),
            publish=functools.partial(adopted.publish, plan),
        )
    assert list_files(folder) == []
    os.truncate(path, artifact.MAX_PICKLE_BYTES + 1)  # sparse
    with pytest.raises(errors.UsageError, match="is larger than 17,179,869,184 bytes, the limit for a pickle"):
        adopt.read_source(plan.config, path, locked=False)
