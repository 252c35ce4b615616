"""``python -m benchmarks [NAME ...]``: run the named benchmarks of ``BENCHMARKS``, or all of them.

Each row is printed as soon as it is measured. A failed benchmark prints a row with the error, and the next one runs.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from benchmarks import table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Imported only when it runs, so that a missing library fails one benchmark instead of all.
BENCHMARKS = {
    "help": "commands:time_help",
    "unchanged": "commands:time_unchanged_build",
    "changed": "commands:time_changed_build",
    "validate": "commands:time_validate",
    "predict": "predict:measure_rows",
    "neutralize": "neutralize:measure_rows",
    "trees": "trees:measure_rows",
    "boosters": "boosters:measure_rows",
    "deep": "deep:measure_usage",
    "upload": "upload:measure_rows",
}


def main(names: list[str]) -> int:
    """Run benchmarks and print their rows; return 1 if a target is missed or a benchmark fails."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"unknown benchmark: {', '.join(unknown)}; expected one of {', '.join(BENCHMARKS)}")
        return 2
    table.print_header()
    success = True
    for name in names or BENCHMARKS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        try:
            for row in find(name)():
                table.print_row(row)
                success = success and row.is_met
        except Exception as error:  # noqa: BLE001 - any error fails only this benchmark
            table.print_failure(name, error)
            success = False
    return 0 if success else 1


def find(name: str) -> Callable[[], Iterable[table.Row]]:
    """Import the function of a benchmark."""
    module, _, function = BENCHMARKS[name].partition(":")
    benchmark: Callable[[], Iterable[table.Row]] = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    return benchmark


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
