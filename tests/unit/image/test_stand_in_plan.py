"""Test the inputs, bases and identities of stand-in images, without an engine."""

from __future__ import annotations

import re

import pytest

from builder import errors, paths
from builder.image import stand_in

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


@python_versions
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
    assert len(set(hashes)) == len(hashes) == 16
    assert hashes == [stand_in.compute_inputs_hash(name, base) for name in names for base in stand_in.list_bases(name)]


def test_identity_and_tag_depend_on_the_python_release() -> None:
    inputs = stand_in.compute_inputs_hash("3.11", stand_in.StandInBase(suite="bookworm"))
    old, new = (stand_in.compute_spec_hash(inputs, release) for release in ("3.11.2", "3.11.13"))
    assert old != new
    assert re.fullmatch(r"[0-9a-f]{64}", old)
    assert stand_in.format_tag("3.11", old) == f"numerai-builder/stand-in:3.11-{old[:16]}"
