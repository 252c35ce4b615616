"""The predict source follows the rules that make its pickle reproducible and loadable in every image."""

from __future__ import annotations

import ast
import pickle
import pickletools
from pathlib import Path
from typing import Any

import pytest

from builder import paths
from builder.bundle import post
from builder.inside import fold, source
from tests.support import pickles

FOLDER = paths.inside_folder() / "predict"
ORDER = source.resolve_files(
    [*(kind.predict for kind in fold.KINDS.values()), *(f"{step}.py" for step in post.KINDS)], FOLDER
)
FILES = sorted(ORDER)
TOP_LEVEL_IMPORTS = {"__future__", "collections.abc", "dataclasses", "typing", "numpy", "pandas"}
DEFERRED_IMPORTS = {
    "catboost",
    "lightgbm",
    "scipy",
    "threadpoolctl",
    "xgboost",
    "zlib",
}  # slow to load, or not in every image

files = pytest.mark.parametrize("name", FILES)


def parse_file(name: str) -> ast.Module:
    return ast.parse((FOLDER / name).read_text(encoding="utf-8"))


def get_imports(node: ast.AST) -> set[str]:
    """Return the modules that a statement imports, except those of this folder."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom) and not node.level:
        return {str(node.module)}
    return set()


def test_every_file_is_used_by_a_pickle() -> None:
    assert {path.name for path in FOLDER.glob("*.py")} == {*FILES, "__init__.py"}


@pytest.mark.parametrize("name", [name for name in FILES if name != "definitions.py"])  # not part of a pickle
def test_no_class_no_set_no_global_state(name: str) -> None:
    for node in ast.walk(parse_file(name)):
        location = f"{name}:{getattr(node, 'lineno', 0)}"
        assert not isinstance(node, (ast.ClassDef, ast.Set, ast.SetComp, ast.Global, ast.Nonlocal, ast.Lambda)), (
            location
        )
        assert not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "frozenset"), (
            location
        )
        # "x in {...}" with constants is compiled to a frozenset.
        assert not isinstance(getattr(node, "value", None), (set, frozenset)), location


@files
def test_only_numpy_and_pandas_are_imported_and_the_rest_where_it_is_used(name: str) -> None:
    tree = parse_file(name)
    top_level = set().union(*(get_imports(node) for node in tree.body))
    all_imports = set().union(*(get_imports(node) for node in ast.walk(tree)))
    assert top_level <= TOP_LEVEL_IMPORTS
    assert all_imports - top_level <= DEFERRED_IMPORTS


@files
def test_a_file_comes_after_those_that_it_imports(name: str) -> None:
    """The files share one namespace and are compiled in order."""
    for node in parse_file(name).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            modules = [node.module] if node.module else [alias.name for alias in node.names]
            assert {f"{module}.py" for module in modules} <= set(ORDER[: ORDER.index(name)])
            assert all(alias.asname is None for alias in node.names)


def test_no_name_is_defined_twice() -> None:
    names = [
        target
        for name in ORDER
        for node in parse_file(name).body
        for target in (
            [node.name]
            if isinstance(node, (ast.FunctionDef, ast.ClassDef))
            else [
                child.id for child in ast.walk(node) if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store)
            ]
        )
    ]
    assert len(names) == len(set(names))


def test_the_compiled_code_contains_no_path(tmp_path: Path) -> None:
    for name in FILES:
        copy = tmp_path / name
        copy.write_bytes((FOLDER / name).read_bytes().replace(b"\n", b"\r\n"))
        copied_code, code = source.compile_file(copy), source.compile_file(FOLDER / name)
        assert copied_code == code
        assert copied_code.co_filename == f"<numerai-builder/{name}>"


class Recorder(pickle.Unpickler):
    """Load a pickle and record the names that it looks up."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.names: set[tuple[str, str]] = set()

    def find_class(self, module: str, name: str, /) -> Any:
        self.names.add((module, name))
        return super().find_class(module, name)


@pytest.mark.parametrize("name", pickles.SCENARIO_BUNDLES)
def test_the_pickle_refers_to_nothing_of_this_tool(name: str, tmp_path: Path) -> None:
    content = pickles.pickle_bundle(pickles.scenario_bundle(name))
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    with path.open("rb") as file:
        recorder = Recorder(file)
        predict = recorder.load()
    assert {module.partition(".")[0] for module, _ in recorder.names} <= {"cloudpickle", "numpy", "builtins", "types"}
    texts = [value for _, value, _ in pickletools.genops(content) if isinstance(value, str)]
    assert not [text for text in texts if text.split(".")[0] in {"builder", "inside", "tests"}]
    for host in (str(Path.cwd()), str(Path.home()), str(FOLDER), "/build"):
        assert host.encode() not in content
    assert b"Definition" not in content  # of an operator or an activation
    assert predict.__module__ == source.MODEL_MODULE
    assert predict.__qualname__ == "predict"


def test_the_pickle_is_not_much_larger_than_its_numbers() -> None:
    bundle = pickles.scenario_bundle("wide")
    arrays = pickles.fold_bundle(bundle)["layers"]
    numbers = sum(layer["weights"].nbytes for layer in arrays)
    names = sum(len(name) + 3 for name in bundle.features)
    assert numbers + names < len(pickles.pickle_bundle(bundle)) < numbers + names + 45_000
