"""``python -m benchmarks [NAME ...]``: run the benchmarks of ``BENCHMARKS`` that are named, or all.

Each row is printed when it is measured. A benchmark that fails is a row that says why, and the others go on.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from benchmarks import table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Each is imported when it runs, so that a library that is missing is a row of its own.
BENCHMARKS = {
    "help": "commands:show_help",
    "unchanged": "commands:unchanged",
    "changed": "commands:changed",
    "validate": "commands:validate",
    "predict": "predict:rows",
    "neutralize": "neutralize:rows",
    "trees": "trees:rows",
    "boosters": "boosters:rows",
    "deep": "deep:within_limits",
    "upload": "upload:rows",
}


def main(names: list[str]) -> int:
    """Run and print; exit 1 if a target is missed or a benchmark fails."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
        return 2
    table.print_head()
    good = True
    for name in names or BENCHMARKS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        try:
            for row in find(name)():
                table.print_row(row)
                good = good and row.met
        except Exception as error:  # noqa: BLE001 - the other benchmarks have results all the same
            table.print_failure(name, error)
            good = False
    return 0 if good else 1


def find(name: str) -> Callable[[], Iterable[table.Row]]:
    """Import a benchmark."""
    module, _, function = BENCHMARKS[name].partition(":")
    found: Callable[[], Iterable[table.Row]] = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
