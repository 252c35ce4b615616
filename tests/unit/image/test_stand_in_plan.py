"""Test the inputs, bases and identities of stand-in images, without an engine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from builder import errors, paths, progress
from builder.image import stand_in
from tests.support import pythons

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_engine import FakeEngine

FOLDER = paths.docker_folder() / "stand_in"
DEBIAN_ROOT = stand_in.Host(debian=True, amd64=True, root=True, mmdebstrap=False)
SUITES = {"3.11": "bookworm", "3.13": "trixie"}
REQUIRED = {
    *("numpy", "pandas", "scipy", "pyarrow", "cloudpickle", "numerapi"),
    *("requests", "scikit-learn", "lightgbm", "threadpoolctl", "joblib"),
}

python_versions = pytest.mark.parametrize("python", stand_in.PYTHONS)


def read_locked(python: str) -> dict[str, str]:
    text = (FOLDER / f"requirements-{python}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def read_published(python: str) -> dict[str, str]:
    (pins,) = FOLDER.glob(f"pins/py{python}.*.txt")
    return dict(line.split("==") for line in pins.read_text().split())


# ---- the pins


@python_versions
def test_locked_versions_equal_the_published_ones(python: str) -> None:
    versions, pins = read_locked(python), read_published(python)
    assert {name: pins.get(name) for name in versions} == versions
    assert versions.keys() >= REQUIRED


@pytest.mark.parametrize("python", [*stand_in.PYTHONS, *stand_in.EDITIONS])
def test_requirements_have_hashes_and_no_index(python: str) -> None:
    text = (FOLDER / f"requirements-{python}.txt").read_text()
    blocks = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(read_locked(python))
    for block in blocks:
        assert re.fullmatch(r"[a-z0-9-]+==\S+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", block)


def test_the_dockerfile_works_with_the_classic_builder() -> None:
    text = (FOLDER / "Dockerfile").read_text().replace("\\\n", " ")
    steps = [line.split()[0] for line in text.splitlines() if line and not line.startswith("#")]
    assert set(steps) <= {"FROM", "ARG", "LABEL", "ENV", "WORKDIR", "COPY", "RUN", "ENTRYPOINT"}
    assert not re.search(r"<<|--mount|--chmod|--link|# *syntax", text)
    assert 'ENTRYPOINT ["python", "predict.py"]' in text
    assert text.count("--network") == 0


# ---- the base


@pytest.mark.parametrize("python", SUITES)
def test_debians_own_pythons_are_built_from_packages(python: str) -> None:
    assert stand_in.choose_bases(python, DEBIAN_ROOT)[0] == stand_in.StandInBase(suite=SUITES[python])
    as_user = stand_in.Host(debian=True, amd64=True, root=False, mmdebstrap=True)
    assert stand_in.choose_bases(python, as_user)[0] == stand_in.StandInBase(suite=SUITES[python])


@pytest.mark.parametrize(
    ("python", "host"),
    [
        ("3.10", DEBIAN_ROOT),
        ("3.12", DEBIAN_ROOT),
        ("3.11", stand_in.Host(debian=False, amd64=True, root=True, mmdebstrap=True)),
        ("3.11", stand_in.Host(debian=True, amd64=False, root=True, mmdebstrap=True)),
        ("3.13", stand_in.Host(debian=True, amd64=True, root=False, mmdebstrap=False)),
    ],
)
def test_other_bases_are_pulled(python: str, host: stand_in.Host) -> None:
    assert stand_in.choose_bases(python, host)[0] == stand_in.StandInBase(reference=f"python:{python}-slim")


def test_a_python_of_this_machine_is_the_last_choice_and_requires_debian_packages() -> None:
    pulled, copied = stand_in.StandInBase(reference="python:3.12-slim"), stand_in.StandInBase(from_host=True)
    assert stand_in.choose_bases("3.12", DEBIAN_ROOT) == [pulled, copied]
    elsewhere = stand_in.Host(debian=False, amd64=True, root=True, mmdebstrap=True)
    assert stand_in.choose_bases("3.12", elsewhere) == [pulled]


def test_a_base_on_the_engine_is_not_pulled(engine: FakeEngine) -> None:
    engine.add_image("python:3.12-slim")
    bases = stand_in.list_bases("3.12")
    assert stand_in._find_base(engine, "3.12", bases, progress.Silent()) == (bases[0], None)
    assert engine.asked == []


def test_if_no_base_can_be_pulled_a_python_of_this_machine_is_used(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pythons.hide(monkeypatch, tmp_path)
    pythons.write(tmp_path / "pyenv" / "versions" / "3.12.7", "3.12.7")
    base, python = stand_in._find_base(engine, "3.12", stand_in.list_bases("3.12"), progress.Silent())
    assert base.from_host
    assert python is not None
    assert python.release == "3.12.7"
    assert engine.asked == ["python:3.12-slim"]


def test_a_machine_without_a_base_is_an_error_with_all_reasons_and_alternatives(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pythons.hide(monkeypatch, tmp_path)
    bases = stand_in.list_bases("3.12")
    with pytest.raises(stand_in.NoBaseError) as raised:
        stand_in._find_base(engine, "3.12", bases, progress.Silent())
    for text in (
        "cannot build the Python 3.12 stand-in image: python:3.12-slim is not on the engine, and could not pull",
        "no route to the registry; this machine has no Python 3.12 in a folder of its own",
        "Pull or load python:3.12-slim by hand",
        "install Python 3.12 with pyenv or uv, or use Python 3.11 or 3.13",
    ):
        assert text in str(raised.value)
    with pytest.raises(stand_in.NoBaseError) as raised:
        stand_in._find_base(engine, "3.12", bases[:1], progress.Silent())
    assert "this machine" not in str(raised.value)


def test_an_engine_that_stops_while_a_base_is_pulled_is_an_error(engine: FakeEngine) -> None:
    class GoesDown(progress.Silent):
        def step(self, text: str, /) -> None:
            engine.down = text.startswith("pulling")

    with pytest.raises(errors.EngineError, match="does not answer; start it"):
        stand_in._find_base(engine, "3.12", stand_in.list_bases("3.12"), GoesDown())


def test_a_build_that_another_users_build_disturbs_uses_that_image(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = stand_in.compute_inputs_hash("3.11", stand_in.list_bases("3.11")[0])
    spec = stand_in.compute_spec_hash(inputs, "3.11.2")
    labels = {stand_in.STAND_IN_LABEL: "3.11", stand_in.INPUTS_LABEL: inputs, stand_in.SPEC_LABEL: spec}

    def build(*_: object) -> None:
        raise errors.EngineError("could not build: the engine says: no such image")

    monkeypatch.setattr(stand_in, "_build", build)
    with pytest.raises(errors.EngineError, match="no such image"):
        stand_in.find_or_build(engine, "3.11", progress.Silent())

    def build_after_another_user(*_: object) -> None:
        engine.add_image(stand_in.format_tag("3.11", spec), labels=labels)
        build()

    monkeypatch.setattr(stand_in, "_build", build_after_another_user)
    assert stand_in.find_or_build(engine, "3.11", progress.Silent()).spec == spec


@pytest.mark.parametrize("python", ["oldest", "newest"])
def test_editions_are_built_on_a_python_of_debian(python: str, engine: FakeEngine) -> None:
    (suite, *_) = bases = stand_in.choose_bases(python, DEBIAN_ROOT)
    assert stand_in._find_base(engine, python, bases, progress.Silent()) == (suite, None)
    assert suite.suite == SUITES[stand_in.EDITIONS[python]]


@pytest.mark.parametrize("python", ["3.9", "3.14", "3", "", "3.1", "../3.11"])
def test_an_unsupported_python_is_an_error_with_the_list(python: str) -> None:
    with pytest.raises(errors.ImageError, match=r"3\.10, 3\.11, 3\.12, 3\.13"):
        stand_in.list_bases(python)


def test_the_oldest_edition_has_the_packages_of_the_oldest_image() -> None:
    oldest, pins = read_locked("oldest"), read_published("3.10")
    assert {name: pins[name] for name in oldest if name in pins} == {
        name: oldest[name] for name in oldest if name in pins
    }
    assert (oldest["numpy"], oldest["pandas"]) == ("1.26.4", "2.0.0")
    assert oldest.keys() >= REQUIRED


@pytest.mark.parametrize(
    ("edition", "more"),
    [
        ("boosters", {"catboost", "xgboost-cpu"}),
        ("full", {"catboost", "keras", "onnx", "tensorflow-cpu", "xgboost-cpu"}),
    ],
)
def test_an_edition_has_more_of_the_default_image(edition: str, more: set[str]) -> None:
    locked, pins = read_locked(edition), read_published("3.12")
    assert {name: pins.get(name.removesuffix("-cpu")) for name in locked} == locked
    assert locked.keys() >= {*REQUIRED, *more}
    assert not [name for name in locked if name.startswith("nvidia-")]


def test_the_newest_edition_is_newer_than_every_image() -> None:
    def release(version: str) -> list[int]:
        return [int(part) for part in version.split(".")]

    newest = read_locked("newest")
    assert newest.keys() >= REQUIRED
    for name in ("numpy", "pandas", "scipy", "lightgbm"):
        assert all(release(newest[name]) > release(read_published(python)[name]) for python in stand_in.PYTHONS)


# ---- the identity


def test_every_stand_in_has_its_own_identity() -> None:
    names = (*stand_in.PYTHONS, *stand_in.EDITIONS)
    hashes = [stand_in.compute_inputs_hash(name, base) for name in names for base in stand_in.list_bases(name)]
    assert len(set(hashes)) == len(hashes) == 20
    assert hashes == [stand_in.compute_inputs_hash(name, base) for name in names for base in stand_in.list_bases(name)]


def test_identity_and_tag_depend_on_the_python_release() -> None:
    inputs = stand_in.compute_inputs_hash("3.11", stand_in.StandInBase(suite="bookworm"))
    old, new = (stand_in.compute_spec_hash(inputs, release) for release in ("3.11.2", "3.11.13"))
    assert old != new
    assert len({old, *(stand_in.compute_spec_hash(inputs, "3.11.2", tree) for tree in ("a", "b"))}) == 3
    assert re.fullmatch(r"[0-9a-f]{64}", old)
    assert stand_in.format_tag("3.11", old) == f"numerai-builder/stand-in:3.11-{old[:16]}"
