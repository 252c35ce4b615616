"""The page on post-processing: its config loads, and its table matches the definitions of the steps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.config import model as config
from builder.inside import source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PAGE = (Path(__file__).parents[3] / "docs" / "post-processing.md").read_text(encoding="utf-8")


def format_values(entry: Mapping[str, Any]) -> str:
    """Return the possible values of an option, and its default."""
    values = {
        "scope": "`era` or `frame`",
        "choice": " or ".join(f"`{choice}`" for choice in entry.get("choices", ())),
        "number": f"{entry.get('minimum', 0):,} to {entry.get('maximum', 0):,}",
        "features": "names",
        "benchmarks": "names",
        "benchmark": "a name",
        "group": "a name",
    }[entry["type"]]
    default = "era" if entry["type"] == "scope" else entry.get("default")
    return (
        values
        if default is None
        else f"{values}; default {f'{default:g}' if default != str(default) else f'`{default}`'}"
    )


def iter_rows() -> Iterator[str]:
    for name, definition in source.read_steps().items():
        yield f"| `{name}` | | | {definition['text']} |"
        for option, entry in definition["options"].items():
            yield f"| | `{option}` | {format_values(entry)} | {entry['text']} |"


def test_the_example_config_loads(tmp_path: Path) -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "configs" / "bundles" / "mlp").mkdir(parents=True)
    path = tmp_path / "configs" / "mlp.yaml"
    path.write_text(example)
    steps = config.load(path).post
    assert steps is not None
    assert len(steps) == 5


def test_the_table_matches_the_definitions() -> None:
    expected = "\n".join(["| step | option | values | what it does |", "| --- | --- | --- | --- |", *iter_rows()])
    assert expected + "\n\n" in PAGE, f"copy this table into docs/post-processing.md:\n{expected}"
