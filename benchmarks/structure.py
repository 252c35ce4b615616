"""``python -m benchmarks.structure [--json] [FOLDER]``: print metrics of a package's layout; default: builder/.

An import arrow leads from a module to another one that it imports at import time: imports in functions and for type
checkers are not counted, and neither are the ``__init__`` modules of packages. A circle is an import cycle: a group of
modules that can all be reached from each other by arrows. Both are also counted between the parts of the package, which
are the modules and folders directly in its folder.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_BUILDER = Path(__file__).resolve().parents[1] / "builder"
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
Arrows = frozenset[tuple[str, str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Module:
    """A module of the package.

    Attributes:
        name: The full dotted name; that of a package's ``__init__`` module ends with ``.__init__``.
        path: Of its file, relative to the folder that contains the outermost package.
    """

    name: str
    path: Path
    lines: int
    tree: ast.Module


@dataclasses.dataclass(frozen=True, kw_only=True)
class Longest:
    """The length of the longest function or module, and its location."""

    lines: int
    where: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Structure:
    """The metrics of a package; circles as the sorted names of their members."""

    lines: int
    modules: int
    top_modules: int
    public_names: int
    imports_in_functions: int
    longest_function: Longest
    longest_module: Longest
    module_arrows: int
    module_circles: list[list[str]]
    part_arrows: int
    part_circles: list[list[str]]


def measure(folder: Path) -> Structure:
    """Measure a package.

    Args:
        folder: Of the package, which may be part of another package.

    Raises:
        ValueError: It is not a package, or one of its files is not valid Python.
    """
    package, modules = _read(folder.resolve())
    arrows = _find_arrows(modules)
    parts = frozenset(
        (_get_part(start, package), _get_part(end, package))
        for start, end in arrows
        if _get_part(start, package) != _get_part(end, package)
    )
    functions = [
        Longest(lines=(node.end_lineno or 0) - node.lineno + 1, where=f"{module.path}:{node.lineno} {node.name}")
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, _FUNCTIONS)
    ]
    files = [Longest(lines=module.lines, where=str(module.path)) for module in modules]
    return Structure(
        lines=sum(module.lines for module in modules),
        modules=len(modules),
        top_modules=sum(module.name.rpartition(".")[0] == package for module in modules),
        public_names=sum(
            isinstance(node, (*_FUNCTIONS, ast.ClassDef)) and not node.name.startswith("_")
            for module in modules
            for node in module.tree.body
        ),
        imports_in_functions=sum(_count_imports_in_functions(module.tree) for module in modules),
        longest_function=max(functions, key=lambda function: function.lines, default=Longest(lines=0, where="none")),
        longest_module=max(files, key=lambda file: file.lines),
        module_arrows=len(arrows),
        module_circles=_find_circles(arrows),
        part_arrows=len(parts),
        part_circles=_find_circles(parts),
    )


def _read(folder: Path) -> tuple[str, list[Module]]:
    """Return the name of a package and its modules."""
    if not (folder / "__init__.py").is_file():
        raise ValueError(f"{folder}: not a Python package: __init__.py is missing")
    root = folder.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    modules = []
    for path in sorted(folder.rglob("*.py")):
        text, relative = path.read_text(encoding="utf-8"), path.relative_to(root)
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            raise ValueError(f"{path}:{error.lineno}: {error.msg}") from error
        name = ".".join(relative.with_suffix("").parts)
        modules.append(Module(name=name, path=relative, lines=len(text.splitlines()), tree=tree))
    return ".".join(folder.relative_to(root).parts), modules


def _get_part(module: str, package: str) -> str:
    """Return the part of the package that a module is in."""
    depth = package.count(".") + 2
    return ".".join(module.split(".")[:depth])


def _count_imports_in_functions(tree: ast.Module) -> int:
    """Count import statements in functions; one in a nested function counts once."""
    statements = {
        node
        for function in ast.walk(tree)
        if isinstance(function, _FUNCTIONS)
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    return len(statements)


def _find_arrows(modules: Sequence[Module]) -> Arrows:
    names = {module.name for module in modules if not module.name.endswith(".__init__")}
    return frozenset(
        (module.name, target)
        for module in modules
        if module.name in names
        for statement in _iter_executed(module.tree.body)
        for target in _iter_targets(statement, module.name)
        if target in names and target != module.name
    )


def _iter_executed(statements: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that are executed when a module is imported, including nested ones."""
    for statement in statements:
        yield statement
        if isinstance(statement, _FUNCTIONS):
            continue
        is_for_types = isinstance(statement, ast.If) and ast.unparse(statement.test).endswith("TYPE_CHECKING")
        for field, value in ast.iter_fields(statement):
            if isinstance(value, list) and not (is_for_types and field == "body"):
                for item in value:
                    inner = [item] if isinstance(item, ast.stmt) else getattr(item, "body", [])
                    yield from _iter_executed(child for child in inner if isinstance(child, ast.stmt))


def _iter_targets(statement: ast.stmt, importer: str) -> Iterator[str]:
    """Yield the names that an import statement may import as modules."""
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names)
    elif isinstance(statement, ast.ImportFrom):
        above = importer.split(".")[: -statement.level] if statement.level else []
        base = ".".join([*above, *([statement.module] if statement.module else [])])
        yield base
        yield from (f"{base}.{alias.name}" for alias in statement.names)


def _find_circles(arrows: Arrows) -> list[list[str]]:
    """Return the groups whose members can all be reached from each other."""
    following: dict[str, set[str]] = {}
    for start, end in arrows:
        following.setdefault(start, set()).add(end)
    reached = {start: _find_reachable(start, following) for start in following}
    groups = {tuple(sorted(end for end in ends if start in reached.get(end, ()))) for start, ends in reached.items()}
    return [list(group) for group in sorted(groups) if group]


def _find_reachable(start: str, following: Mapping[str, set[str]]) -> set[str]:
    """Return the modules that arrows lead to from a module; itself only if it is part of a circle."""
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        new = following.get(waiting.pop(), set()) - reached
        reached |= new
        waiting += new
    return reached


def _print(structure: Structure) -> None:
    rows = [
        ("lines", f"{structure.lines:,}"),
        ("modules", f"{structure.modules:,}"),
        ("modules in its top folder", f"{structure.top_modules:,}"),
        ("public top-level names", f"{structure.public_names:,}"),
        ("imports inside functions", f"{structure.imports_in_functions:,}"),
        ("longest function", f"{structure.longest_function.lines:,} lines  {structure.longest_function.where}"),
        ("longest module", f"{structure.longest_module.lines:,} lines  {structure.longest_module.where}"),
        ("import arrows between modules", f"{structure.module_arrows:,}"),
        ("import arrows between parts", f"{structure.part_arrows:,}"),
        ("circles of modules", _format_circles(structure.module_circles)),
        ("circles of parts", _format_circles(structure.part_circles)),
    ]
    for label, text in rows:
        print(f"{label:<30}  {text}")


def _format_circles(circles: Sequence[Sequence[str]]) -> str:
    return "  ".join([str(len(circles)), "; ".join(", ".join(group) for group in circles)]).rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a package and print the metrics; return 2 if the folder is not a valid package."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.structure", description="Print metrics of a package's layout."
    )
    parser.add_argument("folder", nargs="?", type=Path, default=_BUILDER, metavar="FOLDER", help="default: builder/")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        structure = measure(options.folder)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps({"format": 1, **dataclasses.asdict(structure)}))
    else:
        _print(structure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
