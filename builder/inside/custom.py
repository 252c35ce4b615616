"""A model of the user's own: its code files made into modules, ``load`` called, and what it returns looked at.

The files of ``code/`` are read as text and compiled under fixed names into modules without a file, so that no path and
no cached bytecode gets into the pickle; they are entered with cloudpickle to be taken by value. ``code/model.py`` is
the module :data:`MODULE_NAME`; a helper has the dotted name under which the user's code imports it.

Only the standard library at the top; numpy comes in with the arrays.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import types
    from collections.abc import Iterator, Mapping, Sequence

MODULE_NAME = "numerai_builder_custom"
MAIN_FILE = "code/model.py"
_SHOWN_AS = "<numerai-builder/{}>"
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class CustomCodeError(Exception):
    """The user's code cannot be made into a pickle: each line of the message is ``code/FILE:LINE: what; what next``."""


class CustomBundle:
    """What ``load(bundle)`` is handed.

    Attributes:
        features: Names of the feature columns.
        benchmarks: Names of the benchmark columns.
        arrays: What ``arrays.safetensors`` holds, by name.
    """

    def __init__(self, header: Mapping[str, Any], arrays: Mapping[str, Any], folder: Path) -> None:
        self.features = tuple(header["features"])
        self.benchmarks = tuple(header.get("benchmarks", ()))
        self.arrays = dict(arrays)
        self._folder = folder / "files"

    def path(self, name: str) -> Path:
        """Return where the file ``files/NAME`` of the bundle lies while ``load`` runs; nowhere later.

        Raises:
            FileNotFoundError: the bundle has no such file.
        """
        found = self._folder / name.removeprefix("files/")
        if found.is_file():
            return found
        there = [one.relative_to(self._folder).as_posix() for one in sorted(self._folder.rglob("*")) if one.is_file()]
        near = difflib.get_close_matches(name, there, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(there[:5]) or 'no files'}"
        raise FileNotFoundError(f"the bundle has no file {name!r}; {hint}")

    def read(self, name: str) -> bytes:
        """Return the bytes of the file ``files/NAME``.

        Raises:
            FileNotFoundError: the bundle has no such file.
        """
        return self.path(name).read_bytes()

    def __reduce__(self) -> NoReturn:
        raise CustomCodeError(
            f"{MAIN_FILE}: what load returns holds on to `bundle`, which is gone when the tournament predicts; in load, "
            "take what predict needs out of it (weights = bundle.arrays['weights']) and use that"
        )


class _Code(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of a bundle's ``code/`` and the packages above them; comes before all other finders."""

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        self.files = {MODULE_NAME: MAIN_FILE, **{name: _file_of(name, folder) for name in names}}
        above = {".".join(parts[:end]) for parts in (name.split(".") for name in names) for end in range(1, len(parts))}
        self.names = [*sorted(above - self.files.keys()), *self.files]
        self._folder = folder

    def find_spec(self, fullname: str, _path: Any, _target: Any = None, /) -> importlib.machinery.ModuleSpec | None:
        """Return a spec without a place for what is here, None for the rest."""
        if fullname not in self.names:
            return None
        package = fullname not in self.files or self.files[fullname].endswith("/__init__.py")
        return importlib.machinery.ModuleSpec(fullname, self, is_package=package)

    def exec_module(self, module: types.ModuleType) -> None:
        """Run a file's code, compiled as if it lay nowhere; a package that was not listed has none."""
        file = self.files.get(module.__name__)
        if file is not None:
            exec(_compiled(self._folder / file, file), module.__dict__)  # noqa: S102 - the user's code, in the user's image


def fold_custom(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return ``{"function": predict, "arguments": 1 or 2}``: what the user's ``load`` makes of the bundle.

    Raises:
        CustomCodeError: the code cannot be run here, or what it returns is no function that the tournament can call.
    """
    function = load_function(header, arrays, folder)
    return {"function": function, "arguments": len(read_parameters(function))}


def load_function(header: Mapping[str, Any], arrays: Mapping[str, Any], folder: Path) -> Any:
    """Return what ``load(bundle)`` of ``code/model.py`` returns, its modules entered to be pickled by value.

    Args:
        header: ``bundle.json``.
        arrays: ``arrays.safetensors``.
        folder: Where ``code/`` and ``files/`` lie.

    Raises:
        CustomCodeError: a module is missing, or the user's code raised something.
    """
    code = _Code(list(header.get("modules", ())), folder)
    found = [fault for file in code.files.values() for fault in _absent_imports(folder / file, file, code.names)]
    if found:
        raise CustomCodeError("\n".join(found))
    for name in code.names:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, code)
    try:
        module = importlib.import_module(MODULE_NAME)
        function = module.load(CustomBundle(header, arrays, folder))
        modules = [importlib.import_module(name) for name in code.names]
    except CustomCodeError:
        raise
    except Exception as error:
        raise CustomCodeError(explain_error(error)) from error
    finally:
        sys.meta_path.remove(code)
    for one in modules:
        # A module that is taken whole brings its dictionary with it, and these two are objects of this process.
        one.__spec__ = None
        one.__loader__ = None
    _enter(modules)
    return function


def read_parameters(function: Any) -> list[str]:
    """Return the names of the parameters of what ``load`` returned.

    Raises:
        CustomCodeError: the tournament could not call it: one or two parameters are counted, and filled by place.
    """
    if not callable(function):
        raise CustomCodeError(
            f"{MAIN_FILE}: load returned {type(function).__name__}, which cannot be called; return the function that "
            "predicts: def load(bundle): ...; return predict"
        )
    try:
        taken = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise CustomCodeError(
            f"{MAIN_FILE}: load returned something without a signature ({error}); return a function"
        ) from error
    wrong = [name for name, one in taken.items() if one.kind not in _POSITIONAL]
    if wrong or len(taken) not in (1, 2):
        raise CustomCodeError(
            f"{MAIN_FILE}: what load returned takes ({', '.join(map(str, taken.values()))}); the tournament calls it with "
            "(live_features) or (live_features, live_benchmark_models): expected one or two plain parameters"
        )
    return list(taken)


def explain_error(error: BaseException) -> str:
    """Return what the user's code raised, with the innermost line of it: ``code/FILE:LINE: in NAME: what``."""
    where = MAIN_FILE
    if isinstance(error, SyntaxError) and (error.filename or "").startswith("<numerai-builder/"):
        where = f"{_file_in(str(error.filename))}:{error.lineno}"
        version = ".".join(map(str, sys.version_info[:2]))
        return f"{where}: {error.msg}, as the image's Python {version} reads it; write it for that Python"
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename.startswith("<numerai-builder/code/"):
            where = f"{_file_in(frame.filename)}:{frame.lineno}: in {frame.name}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{where}: {describe_missing_module(error.name)}"
    return f"{where}: {type(error).__name__}: {error}"


def describe_missing_module(name: str) -> str:
    """Return what to do about a module that is not in the image."""
    return (
        f"the image has no module {name!r}; if it is yours, list it under `modules` and put its file into code/, so "
        "that it is taken in by value; if it is a library, the model has to do without it"
    )


def _enter(modules: Sequence[types.ModuleType]) -> None:
    try:
        import cloudpickle
    except ImportError:  # where a model is exported nothing is pickled
        return
    for one in modules:
        cloudpickle.register_pickle_by_value(one)


def _file_of(name: str, folder: Path) -> str:
    plain = f"code/{name.replace('.', '/')}"
    return f"{plain}/__init__.py" if (folder / plain / "__init__.py").is_file() else f"{plain}.py"


def _file_in(shown: str) -> str:
    return shown.removeprefix("<numerai-builder/").removesuffix(">")


def _compiled(path: Path, file: str) -> types.CodeType:
    text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    return compile(text, _SHOWN_AS.format(file), "exec", dont_inherit=True, optimize=0)


def _absent_imports(path: Path, file: str, ours: Sequence[str]) -> list[str]:
    """Return a fault for each import inside a function that would fail when the tournament predicts.

    Those at the top fail by themselves when the file is run; those inside a ``try`` are taken to be provided for.
    """
    try:
        tree = ast.parse(path.read_bytes().decode("utf-8-sig"))
    except SyntaxError:
        return []  # compiling it says where
    found = []
    for node, name in _later_imports(tree):
        top = name.partition(".")[0]
        if top not in ours and importlib.util.find_spec(top) is None:
            found.append(f"{file}:{node.lineno}: {describe_missing_module(top)}")
    return found


def _later_imports(tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """Yield the imports that only run when a function is called, with the names of their modules."""
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, later = waiting.pop()
        if isinstance(node, ast.Import) and later:
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and later and not node.level and node.module:
            yield node, node.module
        elif not isinstance(node, ast.Try):
            inside = later or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            waiting += [(child, inside) for child in ast.iter_child_nodes(node)]
