"""Print the words and names that ``words.yaml`` refuses, in the files that git tracks; exit with 1 if there are any."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
_EXAMPLES = "tests/unit/test_words.py"  # contains words that the check must find
_TEXT = {".j2", ".md", ".py", ".sh", ".toml", ".yaml", ".yml"}


def find_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and name of each function, class, argument and variable that a module defines."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id


def find_problems(text: str, rules: dict[str, dict[str, str]], *, python: bool) -> Iterator[tuple[int, str]]:
    """Yield the line and description of each word or name in ``text`` that a rule refuses."""
    for expression, instead in rules["words"].items():
        for match in re.finditer(rf"(?<![^\W_])(?:{expression})(?![^\W_])", text, re.IGNORECASE):
            yield text.count("\n", 0, match.start()) + 1, f"{match[0]!r}; write: {instead}"
    for line, name in find_names(ast.parse(text)) if python else ():
        for expression, instead in rules["names"].items():
            if re.fullmatch(expression, name, re.IGNORECASE):
                yield line, f"the name {name!r}; write: {instead}"


def main() -> int:
    """Check every text file of the repository."""
    rules = yaml.safe_load((HERE / "words.yaml").read_text(encoding="utf-8"))
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=HERE.parent, capture_output=True, check=True, text=True)
    count = 0
    for name in listed.stdout.split("\0"):
        path = HERE.parent / name
        if (
            path.parent == HERE
            or name == _EXAMPLES
            or not (path.suffix in _TEXT or path.name == "Makefile")
            or not path.is_file()
        ):
            continue
        text = path.read_text(encoding="utf-8")
        for line, problem in sorted(find_problems(text, rules, python=path.suffix == ".py")):
            count += 1
            print(f"{name}:{line}: {problem}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
