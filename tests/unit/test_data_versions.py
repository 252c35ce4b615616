"""The default data version, and the tournament's list, which decides what is offered."""

from __future__ import annotations

import re

import pytest

from builder import data_versions
from builder.tournament import DataVersion, versions


def make_version(
    name: str, *, default: bool = False, deprecated: bool = False, experimental: bool = False
) -> DataVersion:
    return DataVersion(
        id=f"id of {name}",
        name=name,
        version=name,
        type="classic",
        default=default,
        deprecated=deprecated,
        experimental=experimental,
    )


OFFERED = (
    make_version("v5.3", default=True),
    make_version("v5.2"),
    make_version("v4.3", deprecated=True),
    make_version("v6.0", experimental=True),
)


@pytest.mark.parametrize(
    ("version", "other", "is_older"),
    [
        ("v5.2", "v5.3", True),
        ("v5.3", "v5.3", False),
        ("v5.9", "v5.10", True),
        ("v5.10", "v5.9", False),
        ("v4", "v4.1", True),
        ("v6", "v5.3", False),
        ("v5.3", "of another kind", False),
    ],
)
def test_versions_are_compared_by_number(version: str, other: str, *, is_older: bool) -> None:
    assert data_versions.is_older(version, other) is is_older


def test_a_note_only_for_a_version_older_than_the_default() -> None:
    note = "data version v5.2 is older than the default, v5.3: train new models on v5.3"
    assert data_versions.format_age_note("v5.2") == note
    assert data_versions.format_age_note(data_versions.DEFAULT) == ""
    assert data_versions.format_age_note("v6.0") == ""


def test_the_default_benchmark_is_of_the_default_version() -> None:
    match = re.match(r"v([0-9])([0-9])_", data_versions.DEFAULT_BENCHMARK)
    assert match
    assert f"v{match[1]}.{match[2]}" == data_versions.DEFAULT


@pytest.mark.parametrize(
    ("version", "problem", "notes"),
    [
        ("v5.3", "", ()),
        ("v5.2", "", ("data version v5.2 is older than the default, v5.3: train new models on v5.3",)),
        ("v6.0", "", ("data version v6.0 is experimental",)),
        ("v4.3", "data version v4.3 is deprecated; offered: v5.3, v5.2, v6.0", None),
        ("v9.9", "the tournament has no data version v9.9; offered: v5.3, v5.2, v6.0", None),
    ],
)
def test_the_list_decides_what_is_offered(version: str, problem: str, notes: tuple[str, ...] | None) -> None:
    assert versions.find_problem(version, OFFERED) == problem
    assert notes is None or versions.find_notes(version, OFFERED) == notes


def test_the_list_decides_what_is_old() -> None:
    offered = (make_version("v5.3"), make_version("v5.4", default=True))
    (note,) = versions.find_notes("v5.3", offered)
    assert note == "data version v5.3 is older than the default, v5.4: train new models on v5.4"
    assert versions.find_notes("v5.3", (make_version("v5.2", default=True), make_version("v5.3"))) == ()


def test_an_empty_list_offers_none() -> None:
    assert versions.find_problem("v5.3", ()) == "the tournament has no data version v5.3; offered: none"
