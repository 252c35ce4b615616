"""The ``custom`` kind: a Python file of the user that has ``load(bundle) -> predict``.

``code/model.py`` has ``load``; ``code/NAME.py`` (``code/a/b.py`` for ``a.b``, ``code/a/__init__.py`` for a package) is
a helper module that ``modules`` lists; ``files/...`` is data for ``load``. There may be no arrays. The code
is parsed here and never run: that happens in the image alone.
"""

from __future__ import annotations

import ast
import keyword
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from builder import schema
from builder.bundle import header as bundle_header
from builder.bundle import model as bundle_model
from builder.inside import source
from builder.inside.custom import MAIN_FILE, MODULE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_CODE_BYTES = 1 << 24
"""Bytes of one code file; data belongs into ``files/``."""

_CODE, _FILES = "code/", "files/"
_TAKEN = frozenset({"model", "inside", MODULE_NAME, source.MODEL_MODULE, "numpy", "pandas"})
_LOAD = "def load(bundle): ...; return predict"

Module = Annotated[
    str,
    schema.require_pattern(
        r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,7}", "that is a module's dotted name, such as a.b"
    ),
]


@dataclass(frozen=True, kw_only=True)
class CustomHeader(bundle_header.BundleHeader):
    """``bundle.json`` of a ``custom`` model.

    Attributes:
        modules: Dotted names of the helper modules.
        said_parameters: Declared number of trained numbers; 0 if unknown.
    """

    MODEL: ClassVar[type] = bundle_model.Custom

    modules: Annotated[tuple[Module, ...], schema.require_length(0, 1_000)] = ()
    said_parameters: Annotated[int, schema.require_between(0, 1 << 50)] = 0

    @classmethod
    def dump_keys(cls, model: bundle_model.Custom) -> dict[str, object]:
        return {"modules": list(model.modules), "said_parameters": model.parameters}

    @classmethod
    def dump_arrays(cls, model: bundle_model.Custom) -> dict[str, bundle_model.Numbers]:
        return dict(model.arrays)

    @classmethod
    def dump_files(cls, model: bundle_model.Custom) -> dict[str, bytes | Path]:
        return dict(model.files)

    @classmethod
    def count_parameters(cls, model: bundle_model.Custom) -> int:
        return model.parameters

    @classmethod
    def is_bounded(cls, model: bundle_model.Custom) -> bool:  # noqa: ARG003 - its code is not run here
        """Return True: only running the code shows the range, which ``validate`` checks."""
        return True

    def find_kind_problems(self) -> list[schema.Problem]:
        problems = []
        for index, name in enumerate(self.modules):
            text = self._find_module_problem(index, name)
            if text is not None:
                problems.append(schema.Problem(path=("modules", index), text=text))
        for name in self.files:
            if not name.startswith((_CODE, _FILES)):
                text = f"a custom model has its code in {_CODE} and its data in {_FILES}; move it there"
                problems.append(schema.Problem(path=("files", name), text=text))
        return problems

    def find_value_problems(self, arrays: Mapping[str, bundle_model.Numbers]) -> list[str]:  # noqa: ARG002 - only load knows
        return []

    def find_file_problems(self, contents: Mapping[str, bytes | Path]) -> list[str]:
        module_files = {name: self._find_module_file(name, contents) for name in self.modules}
        problems = []
        if MAIN_FILE not in contents:
            problems.append(f"{MAIN_FILE}: is missing; write the model's code there: {_LOAD}")
        for name, module_file in module_files.items():
            if module_file is None:
                path = f"{_CODE}{name.replace('.', '/')}.py"
                problems.append(
                    f"{path}: is missing, but `modules` lists {name}; put its file there, or remove it from the list"
                )
        for file, content in sorted(contents.items()):
            if not file.startswith(_CODE):
                continue
            if file != MAIN_FILE and file not in module_files.values():
                problems.append(f"{file}: is not the file of a module in `modules`; list it, or move data to {_FILES}")
                continue
            problems += _find_code_problems(file, content, self.modules)
        return problems

    def build_model(
        self, arrays: Mapping[str, bundle_model.Numbers], contents: Mapping[str, bytes | Path]
    ) -> bundle_model.Custom:
        return bundle_model.Custom(
            files=dict(contents), modules=self.modules, arrays=dict(arrays), parameters=self.said_parameters
        )

    def _find_module_problem(self, index: int, name: str) -> str | None:
        return f"duplicate {name}; list it once" if name in self.modules[:index] else find_module_name_problem(name)

    @staticmethod
    def _find_module_file(name: str, contents: Mapping[str, bytes | Path]) -> str | None:
        plain = f"{_CODE}{name.replace('.', '/')}"
        return next((file for file in (f"{plain}/__init__.py", f"{plain}.py") if file in contents), None)


def find_module_name_problem(name: str) -> str | None:
    """Return why a helper module cannot have this name; None if it can."""
    top = name.partition(".")[0]
    if any(keyword.iskeyword(part) for part in name.split(".")):
        return f"{name} contains a Python keyword; rename the module"
    # A module of this name would hide the image's own one from everything that is imported after it.
    if top in sys.stdlib_module_names:
        return f"{name} is in Python's standard library, which the image has; remove it from the list"
    if top in _TAKEN:
        return f"{name} is also the name of another module in the image; rename yours"
    return None


def _find_code_problems(file: str, content: bytes | Path, modules: tuple[str, ...]) -> list[str]:
    """Find the problems of a code file, without running it."""
    try:
        raw = content if isinstance(content, bytes) else content.read_bytes()
    except OSError as error:
        return [f"{file}: cannot read the file: {error.strerror or error}; check its permissions"]
    if len(raw) > MAX_CODE_BYTES:
        text = f"has {len(raw):,} bytes; expected at most {MAX_CODE_BYTES:,} of code; move data to {_FILES}"
        return [f"{file}: {text}"]
    try:
        tree = ast.parse(raw.decode("utf-8-sig"))  # Python accepts a byte order mark too
    except UnicodeDecodeError as error:
        return [f"{file}: is not UTF-8 (byte {error.start}); save it as UTF-8"]
    # ast.parse raises ValueError for null bytes, and the last two for code that is nested too deeply:
    # https://docs.python.org/3/library/ast.html#ast.parse
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        return [f"{file}:{line}: {getattr(error, 'msg', None) or error}; fix the error: Python cannot parse the file"]
    problems = [
        f"{file}:{line}: imports {name} inside a function, but the module does not exist when predict runs; move the "
        "import to the top of the file"
        for line, name in _find_late_imports(tree, modules)
    ]
    if file == MAIN_FILE:
        problems += [
            f"{file}:{node.lineno}: {'.' * node.level}{node.module or ''} is a relative import, but {file} is not in a "
            "package; write the module's full name"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.level
        ]
        problems += _find_load_problems(tree)
    return problems


def _find_late_imports(tree: ast.Module, modules: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield the line and name of each import of a helper module inside a function.

    Helper modules exist only while the pickle is built; their functions are pickled by value. An import that runs later
    would fail in the tournament.
    """
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if function in tree.body and function.name == "load":
            continue  # load runs while the pickle is built
        for node in ast.walk(function):
            names = []
            if isinstance(node, ast.Import):
                names = [(node.lineno, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [(node.lineno, "." * node.level + (node.module or ""))]
            for line, name in names:
                if name.startswith(".") or any(name == module or module.startswith(f"{name}.") for module in modules):
                    yield line, name


def _find_load_problems(tree: ast.Module) -> list[str]:
    """Find a ``load`` that is missing, or that cannot be called with the bundle as its only argument."""
    for node in reversed(tree.body):  # the last definition of a name is the one that counts
        if isinstance(node, ast.FunctionDef) and node.name == "load":
            arguments = node.args
            plain = [*arguments.posonlyargs, *arguments.args]
            required = len(plain) - len(arguments.defaults)
            optional = len(arguments.kw_defaults) == len(
                [module for module in arguments.kw_defaults if module is not None]
            )
            if required <= 1 and (plain or arguments.vararg) and optional:
                return []
            return [
                f"{MAIN_FILE}:{node.lineno}: load takes ({ast.unparse(arguments)}); expected the bundle only: {_LOAD}"
            ]
        if _binds_load(node):
            return []
    return [f"{MAIN_FILE}: the function load is missing at the top level; write one: {_LOAD}"]


def _binds_load(node: ast.stmt) -> bool:
    """Return whether an import or an assignment defines the name ``load``."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return any((alias.asname or alias.name) == "load" for alias in node.names)
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id == "load" for target in node.targets)
    return False
