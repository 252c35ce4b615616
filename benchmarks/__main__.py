"""``python -m benchmarks [NAME ...]``: predict, neutralize, unchanged, changed, validate; all when none is named."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks import commands, neutralize, predict, table

if TYPE_CHECKING:
    from collections.abc import Callable

BENCHMARKS: dict[str, Callable[[], list[table.Row]]] = {
    "predict": predict.in_container,
    "neutralize": neutralize.in_container,
    "unchanged": lambda: [commands.unchanged()],
    "changed": lambda: [commands.changed()],
    "validate": lambda: [commands.validate()],
}


def main(names: list[str]) -> int:
    """Run and print."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
        return 2
    rows = []
    for name in names or BENCHMARKS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        rows += BENCHMARKS[name]()
    table.print_rows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
