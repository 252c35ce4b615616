"""Print what bytecode and the standard library of this Python look like: one entry of ``pythons.json``.

Runs alone, on every Python from 3.7 on: ``python3.12 describe_python.py``. ``pythons.json`` contains the output of all
versions, so that a pickle of any of them can be read on any other.
"""

from __future__ import annotations

import json
import opcode
import sys
from typing import Any


def describe() -> dict[str, Any]:
    """Return the opcodes (number, inline cache entries), the first one with an argument, and the standard library."""
    entries: Any = getattr(opcode, "_inline_cache_entries", {})  # a list by number (3.11, 3.12), or a dict by name
    opcodes = {}
    for name, number in sorted(opcode.opmap.items(), key=lambda item: item[1]):
        if number < 256 and not name.startswith("INSTRUMENTED_"):
            opcodes[name] = [number, entries[number] if isinstance(entries, list) else entries.get(name, 0)]
    modules = sorted(name for name in getattr(sys, "stdlib_module_names", ()) if not name.startswith("_test"))
    return {"opcodes": opcodes, "first_with_argument": opcode.HAVE_ARGUMENT, "modules": modules}


if __name__ == "__main__":
    print(json.dumps(describe()))  # noqa: T201 - a script
