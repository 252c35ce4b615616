"""Load a custom model: import its code, call ``load`` and check the function that it returns.

The files of ``code/`` are read as text and compiled under fixed names into modules without a file, so that no path and
no cached bytecode gets into the pickle. cloudpickle pickles these modules by value. ``code/model.py`` is the
module :data:`MODULE_NAME`, which has the bundle as its global ``bundle``; other files have the dotted name under which
the user's code imports them.

Imports only the standard library at the top, for it also runs where the model is exported.
"""

from __future__ import annotations

import ast
import copyreg
import difflib
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import pickle
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import types
    from collections.abc import Iterator, Mapping, Sequence

MODULE_NAME = "numerai_builder_custom"
RESTORE = "restore_object"
"""The persistent id of :func:`restore_object`."""
MAIN_FILE = "code/model.py"
_FILENAME = "<numerai-builder/{}>"  # in tracebacks
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class CustomCodeError(Exception):
    """The user's code cannot be made into a pickle.

    Each line of the message is ``code/FILE:LINE: problem; fix``.
    """


class CustomBundle:
    """The argument of ``load(bundle)``.

    Attributes:
        features: Names of the feature columns.
        benchmarks: Names of the benchmark columns.
        arrays: The arrays of ``arrays.safetensors`` by name.
    """

    def __init__(self, header: Mapping[str, Any], arrays: Mapping[str, Any], folder: Path) -> None:
        self.features = tuple(header["features"])
        self.benchmarks = tuple(header.get("benchmarks", ()))
        self.arrays = dict(arrays)
        self._folder = folder / "files"

    def path(self, name: str) -> Path:
        """Return the path of the file ``files/NAME`` of the bundle. It only exists while ``load`` runs.

        Raises:
            FileNotFoundError: The bundle does not have this file.
        """
        path = self._folder / name.removeprefix("files/")
        if path.is_file():
            return path
        paths = (path for path in sorted(self._folder.rglob("*")) if path.is_file())
        files = [path.relative_to(self._folder).as_posix() for path in paths]
        matches = difflib.get_close_matches(name, files, n=1)
        hint = f"did you mean {matches[0]!r}?" if matches else f"it has {', '.join(files[:5]) or 'no files'}"
        raise FileNotFoundError(f"the bundle has no file {name!r}; {hint}")

    def read(self, name: str) -> bytes:
        """Return the bytes of the file ``files/NAME``.

        Raises:
            FileNotFoundError: The bundle does not have this file.
        """
        return self.path(name).read_bytes()

    def unpickle(self, name: str) -> Any:
        """Return the object of a pickle that ``export`` wrote; its persistent ids are names of ``code/model.py``.

        Raises:
            FileNotFoundError: The bundle does not have this file.
        """
        with self.path(name).open("rb") as file:
            return _Unpickler(file).load()

    def __reduce__(self) -> NoReturn:
        raise CustomCodeError(
            f"{MAIN_FILE}: what load returns refers to `bundle`, which does not exist when the tournament predicts; in "
            "load, take what predict uses out of it (weights = bundle.arrays['weights']) and use that"
        )


class _Unpickler(pickle.Unpickler):
    """Loads objects with the libraries that are here, which may have other versions than where they were pickled."""

    def persistent_load(self, name: str) -> Any:
        return restore_object if name == RESTORE else getattr(sys.modules[MODULE_NAME], name)

    def find_class(self, module: str, name: str) -> Any:
        # numpy 2 pickles arrays with a module that numpy 1 has under its old name, if at all.
        if module.startswith("numpy._core") and importlib.util.find_spec("numpy._core") is None:
            module = module.replace("numpy._core", "numpy.core", 1)
        return super().find_class(module, name)


def restore_object(kind: Any, attributes: Mapping[str, Any]) -> Any:
    """Return an object with attributes from another version of its class, and the defaults of this version."""
    try:
        value = kind()
    except TypeError:  # a subclass whose constructor has required parameters
        value = kind.__new__(kind)
    vars(value).update(attributes)
    return value


class _CodeImporter(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and loads the modules of a bundle's ``code/`` folder, before all other finders."""

    def __init__(self, names: Sequence[str], folder: Path, bundle: CustomBundle) -> None:
        self._bundle = bundle
        self.files = {MODULE_NAME: MAIN_FILE, **{name: _find_file(name, folder) for name in names}}
        # `a.b.c` also needs the packages `a` and `a.b`, which the header need not list.
        parents = {
            ".".join(parts[:end]) for parts in (name.split(".") for name in names) for end in range(1, len(parts))
        }
        self.names = [*sorted(parents - self.files.keys()), *self.files]
        self._folder = folder

    def find_spec(self, fullname: str, _path: Any, _target: Any = None, /) -> importlib.machinery.ModuleSpec | None:
        """Return a spec without a location for modules of the bundle, None for all others."""
        if fullname not in self.names:
            return None
        package = fullname not in self.files or self.files[fullname].endswith("/__init__.py")
        return importlib.machinery.ModuleSpec(fullname, self, is_package=package)

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the code of a module's file; a package that is not listed has no code."""
        file = self.files.get(module.__name__)
        if module.__name__ == MODULE_NAME:
            vars(module)["bundle"] = self._bundle
        if file is not None:
            exec(_compile(self._folder / file, file), module.__dict__)  # noqa: S102 - the user's code, in the user's image


def fold_custom(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return ``{"function": predict, "arguments": 1 or 2}``, with the function that the user's ``load`` returns.

    Raises:
        CustomCodeError: The code cannot be run here, or does not return a function that the tournament can call.
    """
    function = load_function(header, arrays, folder)
    return {"function": function, "arguments": len(read_parameters(function))}


def load_function(header: Mapping[str, Any], arrays: Mapping[str, Any], folder: Path) -> Any:
    """Call ``load(bundle)`` of ``code/model.py``, return its result, and register the modules to be pickled by value.

    Args:
        header: ``bundle.json``.
        arrays: ``arrays.safetensors``.
        folder: The folder that contains ``code/`` and ``files/``.

    Raises:
        CustomCodeError: A module is missing, or the user's code raised an exception.
    """
    bundle = CustomBundle(header, arrays, folder)
    importer = _CodeImporter(list(header.get("modules", ())), folder, bundle)
    problems = [
        problem
        for file in importer.files.values()
        for problem in _find_missing_imports(folder / file, file, importer.names)
    ]
    if problems:
        raise CustomCodeError("\n".join(problems))
    for name in importer.names:
        sys.modules.pop(name, None)  # a previous bundle in this process may have left one
    sys.meta_path.insert(0, importer)
    try:
        main_module = importlib.import_module(MODULE_NAME)
        function = main_module.load(bundle)
        modules = [importlib.import_module(name) for name in importer.names]
    except CustomCodeError:
        raise
    except Exception as error:
        raise CustomCodeError(explain_error(error)) from error
    finally:
        sys.meta_path.remove(importer)
    for module in modules:
        # If the function refers to a module as a whole, its dictionary is pickled, and these are of this process.
        module.__spec__ = None
        module.__loader__ = None
        vars(module).pop("__warningregistry__", None)  # the warnings that Python has printed in it
    # A dataclass in a function looks up its module, which must exist in the tournament too:
    # https://github.com/python/cpython/blob/v3.12.0/Lib/dataclasses.py#L665
    vars(main_module)["__name__"] = "__main__"
    _register_by_value(modules)
    return function


def read_parameters(function: Any) -> list[str]:
    """Return the names of the parameters of the function that ``load`` returned.

    Raises:
        CustomCodeError: The tournament cannot call it. The tournament counts the parameters, one or two, and passes
            positional arguments.
    """
    if not callable(function):
        raise CustomCodeError(
            f"{MAIN_FILE}: load returned {type(function).__name__}, which cannot be called; return the function that "
            "predicts: def load(bundle): ...; return predict"
        )
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise CustomCodeError(
            f"{MAIN_FILE}: load returned an object without a signature ({error}); return a function"
        ) from error
    all_positional = all(parameter.kind in _POSITIONAL for parameter in parameters.values())
    if not all_positional or len(parameters) not in (1, 2):
        raise CustomCodeError(
            f"{MAIN_FILE}: the function that load returned takes ({', '.join(map(str, parameters.values()))}); the "
            "tournament calls it with (live_features) or (live_features, live_benchmark_models): expected one or two "
            "plain parameters"
        )
    return list(parameters)


def explain_error(error: BaseException) -> str:
    """Return the message for an exception of the user's code: ``code/FILE:LINE: in NAME: error``, innermost line."""
    location = MAIN_FILE
    if isinstance(error, SyntaxError) and (error.filename or "").startswith("<numerai-builder/"):
        location = f"{strip_filename(str(error.filename))}:{error.lineno}"
        version = ".".join(map(str, sys.version_info[:2]))
        return f"{location}: {error.msg}, as the image's Python {version} reads it; write it for that Python"
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename.startswith("<numerai-builder/code/"):
            location = f"{strip_filename(frame.filename)}:{frame.lineno}: in {frame.name}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{location}: {describe_missing_module(error.name)}"
    return f"{location}: {type(error).__name__}: {error}"


def describe_missing_module(name: str) -> str:
    """Return the message for a module that the image does not have."""
    return (
        f"the image has no module {name!r}; if it is yours, list it under `modules` (export: modules=), with its "
        "file in code/, so that it is pickled by value; if it is a library, the model cannot use it"
    )


def _register_by_value(modules: Sequence[types.ModuleType]) -> None:
    try:
        import cloudpickle
    except ImportError:  # nothing is pickled where a model is exported
        return
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    _add_reducers(modules)


def _add_reducers(modules: Sequence[types.ModuleType]) -> None:
    """Make objects of these modules picklable that are pickled by their name, or not at all before Python 3.12."""

    def reduce_cached(function: Any) -> Any:
        if sys.modules.get(function.__module__) not in modules:
            return function.__qualname__
        parameters = function.cache_parameters()
        arguments = (function.__wrapped__, parameters["maxsize"], parameters["typed"], functools._CacheInfo)  # noqa: SLF001
        return functools._lru_cache_wrapper, arguments  # noqa: SLF001 - the class itself, as functools.lru_cache calls it

    def reduce_property(value: Any) -> Any:
        return functools.cached_property, (value.func,), {"attrname": value.attrname}

    copyreg.pickle(functools._lru_cache_wrapper, reduce_cached)  # noqa: SLF001
    copyreg.pickle(functools.cached_property, reduce_property)


def _find_file(name: str, folder: Path) -> str:
    stem = f"code/{name.replace('.', '/')}"
    return f"{stem}/__init__.py" if (folder / stem / "__init__.py").is_file() else f"{stem}.py"


def strip_filename(filename: str) -> str:
    """Return the name of a file of the bundle, such as ``code/model.py``, from that of its code."""
    return filename.removeprefix("<numerai-builder/").removesuffix(">")


def _compile(path: Path, file: str) -> types.CodeType:
    text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    return compile(text, _FILENAME.format(file), "exec", dont_inherit=True, optimize=0)


def _find_missing_imports(path: Path, file: str, own_modules: Sequence[str]) -> list[str]:
    """Return a problem for each import inside a function that would fail when the tournament predicts.

    Imports at the top of a file fail by themselves when it is run. An import inside ``try`` may fail.
    """
    try:
        tree = ast.parse(path.read_bytes().decode("utf-8-sig"))
    except SyntaxError:
        return []  # reported with its line when the file is compiled
    problems = []
    for node, name in _find_deferred_imports(tree):
        top = name.partition(".")[0]
        if top not in own_modules and importlib.util.find_spec(top) is None:
            problems.append(f"{file}:{node.lineno}: {describe_missing_module(top)}")
    return problems


def _find_deferred_imports(tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """Yield the imports that only run when a function is called, with the names of their modules."""
    stack: list[tuple[ast.AST, bool]] = [(tree, False)]
    while stack:
        node, deferred = stack.pop()
        if isinstance(node, ast.Import) and deferred:
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and deferred and not node.level and node.module:
            yield node, node.module
        elif not isinstance(node, ast.Try):
            in_function = deferred or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            stack += [(child, in_function) for child in ast.iter_child_nodes(node)]
