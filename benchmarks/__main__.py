"""``python -m benchmarks [NAME ...]``: what is named of ``BENCHMARKS``; all of it when nothing is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks import boosters, commands, deep, neutralize, predict, table, trees, upload

if TYPE_CHECKING:
    from collections.abc import Callable

BENCHMARKS: dict[str, Callable[[], list[table.Row]]] = {
    "predict": predict.rows,
    "neutralize": neutralize.rows,
    "trees": trees.rows,
    "boosters": boosters.rows,
    "deep": deep.within_limits,
    "unchanged": lambda: [commands.unchanged()],
    "changed": lambda: [commands.changed()],
    "validate": lambda: [commands.validate()],
    "upload": upload.rows,
}


def main(names: list[str]) -> int:
    """Run and print; exit 1 when an aim is missed."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
        return 2
    rows = []
    for name in names or BENCHMARKS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        rows += BENCHMARKS[name]()
    table.print_rows(rows)
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
