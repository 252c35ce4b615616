"""What a look-alike is made of, and what it is called: everything that needs no engine."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pytest

from builder import errors, paths
from builder.image import stand_in

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = paths.docker_folder() / "stand_in"
DEBIAN_ROOT = stand_in.Host(debian=True, amd64=True, root=True, mmdebstrap=False)
SUITES = {"3.11": "bookworm", "3.13": "trixie"}
WANTED = {
    *("numpy", "pandas", "scipy", "pyarrow", "cloudpickle", "numerapi"),
    *("requests", "scikit-learn", "lightgbm", "threadpoolctl", "joblib"),
}

python_versions = pytest.mark.parametrize("python", stand_in.PYTHONS)


def locked(python: str) -> dict[str, str]:
    text = (FOLDER / f"requirements-{python}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def published(python: str) -> dict[str, str]:
    (pins,) = FOLDER.glob(f"pins/py{python}.*.txt")
    return dict(line.split("==") for line in pins.read_text().split())


# ---- the pins


@python_versions
def test_every_locked_version_is_the_published_one(python: str) -> None:
    versions, pins = locked(python), published(python)
    assert {name: pins.get(name) for name in versions} == versions
    assert versions.keys() >= WANTED


@python_versions
def test_every_requirement_is_hashed_and_names_no_index(python: str) -> None:
    text = (FOLDER / f"requirements-{python}.txt").read_text()
    blocks = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(locked(python))
    for block in blocks:
        assert re.fullmatch(r"[a-z0-9-]+==\S+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", block)


def test_the_dockerfile_needs_nothing_newer_than_the_classic_builder() -> None:
    text = (FOLDER / "Dockerfile").read_text().replace("\\\n", " ")
    steps = [line.split()[0] for line in text.splitlines() if line and not line.startswith("#")]
    assert set(steps) <= {"FROM", "ARG", "LABEL", "ENV", "WORKDIR", "COPY", "RUN", "ENTRYPOINT"}
    assert not re.search(r"<<|--mount|--chmod|--link|# *syntax", text)
    assert 'ENTRYPOINT ["python", "predict.py"]' in text
    assert text.count("--network") == 0


# ---- the base


@pytest.mark.parametrize("python", SUITES)
def test_debian_makes_its_own_pythons_from_packages(python: str) -> None:
    assert stand_in.choose_base(python, DEBIAN_ROOT) == stand_in.StandInBase(suite=SUITES[python])
    as_user = stand_in.Host(debian=True, amd64=True, root=False, mmdebstrap=True)
    assert stand_in.choose_base(python, as_user) == stand_in.StandInBase(suite=SUITES[python])


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
def test_everything_else_is_pulled(python: str, host: stand_in.Host) -> None:
    assert stand_in.choose_base(python, host) == stand_in.StandInBase(reference=f"python:{python}-slim")


@pytest.mark.parametrize("python", ["3.9", "3.14", "3", "", "3.1", "../3.11"])
def test_a_python_without_pins_is_refused_with_the_list(python: str) -> None:
    with pytest.raises(errors.ImageError, match=r"3\.10, 3\.11, 3\.12, 3\.13"):
        stand_in.list_bases(python)


def test_the_oldest_is_what_the_oldest_image_has_on_a_python_that_can_be_had() -> None:
    oldest, pins = locked("oldest"), published("3.10")
    assert {name: pins[name] for name in oldest if name in pins} == {
        name: oldest[name] for name in oldest if name in pins
    }
    assert (oldest["numpy"], oldest["pandas"]) == ("1.26.4", "2.0.0")
    assert oldest.keys() >= WANTED


def test_the_newest_is_newer_than_every_image() -> None:
    def release(version: str) -> list[int]:
        return [int(part) for part in version.split(".")]

    newest = locked("newest")
    assert newest.keys() >= WANTED
    for name in ("numpy", "pandas", "scipy", "lightgbm"):
        assert all(release(newest[name]) > release(published(python)[name]) for python in stand_in.PYTHONS)


# ---- the identity


def test_every_look_alike_has_an_identity_of_its_own() -> None:
    names = (*stand_in.PYTHONS, *stand_in.EDITIONS)
    hashes = [stand_in.compute_inputs_hash(name, base) for name in names for base in stand_in.list_bases(name)]
    assert len(set(hashes)) == len(hashes) == 10
    assert hashes == [stand_in.compute_inputs_hash(name, base) for name in names for base in stand_in.list_bases(name)]


def test_the_release_of_python_is_part_of_the_identity_and_the_name_carries_it() -> None:
    inputs = stand_in.compute_inputs_hash("3.11", stand_in.StandInBase(suite="bookworm"))
    old, new = (stand_in.compute_spec_hash(inputs, release) for release in ("3.11.2", "3.11.13"))
    assert old != new
    assert re.fullmatch(r"[0-9a-f]{64}", old)
    assert stand_in.format_tag("3.11", old) == f"numerai-builder/stand-in:3.11-{old[:16]}"


# ---- the wheels


def test_a_folder_of_wheels_is_used_only_when_it_is_whole(tmp_path: Path) -> None:
    one, two = b"first wheel", b"second wheel"
    lines = [
        f"{name}==1 \\\n    --hash=sha256:{hashlib.sha256(data).hexdigest()}\n"
        for name, data in (("a", one), ("b", two))
    ]
    requirements = "".join(lines)
    folder = tmp_path / "wheels"
    assert not stand_in.has_all_wheels(folder, requirements)
    folder.mkdir()
    (folder / "a.whl").write_bytes(one)
    assert not stand_in.has_all_wheels(folder, requirements)
    (folder / "b.whl").write_bytes(two[:-1])
    assert not stand_in.has_all_wheels(folder, requirements)
    (folder / "b.whl").write_bytes(two)
    assert stand_in.has_all_wheels(folder, requirements)
    (folder / "c.whl").write_bytes(two)
    assert not stand_in.has_all_wheels(folder, requirements)
