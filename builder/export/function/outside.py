"""Find what the source of a function takes from outside of the bundle: packages, the environment, the clock, chance.

Files and connections are found while the bundle runs in a process of its own (``trial.py``).
"""

from __future__ import annotations

import ast
import importlib.machinery
import random
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder import errors, published_pins
from builder.export.function import image_packages
from builder.text import format_list

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

_ENVIRONMENT = frozenset({"environ", "environb", "getenv", "getenvb"})
_CLOCKS = frozenset({"time.time", "time.time_ns"})
_CLOCK_CLASSES = frozenset({"date", "datetime", "Timestamp"})
_CLOCK_METHODS = frozenset({"now", "today", "utcnow"})
_GENERATORS = frozenset({"default_rng", "RandomState", "Random", "PCG64", "MT19937", "Philox", "SFC64", "SeedSequence"})
_DRAWING = frozenset(name for name in vars(random) if name.islower() and not name.startswith("_"))
_IMPORT_ERRORS = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


@dataclass(kw_only=True)
class Findings:
    """What a function takes from outside of the bundle.

    Attributes:
        notes: Notes for the user.
        causes: Those of them that can be the reason for other predictions, or an error, in another process.
    """

    notes: list[str] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)

    def add_source(self, source: str, name: str, modules: Collection[str] = ()) -> None:
        """Add what the source of a function or module takes from outside.

        Args:
            source: The source.
            name: The function's or module's name, for messages.
            modules: The user's modules that the bundle contains.

        Raises:
            errors.ExportError: It imports a package that no image has or that is not installed, or uses ``__file__``.
        """
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError):
            return  # reported when the source is read
        for line, module, is_guarded in sorted(_iter_imports(tree)):
            self._add_import(module, f"line {line} of {name} imports", modules, is_guarded=is_guarded)
        is_seeded = any(_format_name(node).endswith((".seed", ".manual_seed")) for node in ast.walk(tree))
        assigned = {
            node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        for node in sorted(
            ast.walk(tree), key=lambda node: (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))
        ):
            if isinstance(node, ast.Name) and node.id == "__file__":
                text = (
                    f"line {node.lineno} of {name} uses __file__, which does not exist in a pickle; pass the file with "
                    "files= and read it in load(bundle), or close over its contents (docs/export/custom.md)"
                )
                if name not in modules:
                    raise errors.ExportError(f"export: {text}")
                self._add_cause(text)  # the function may not use this part of the module
            if isinstance(node, (ast.Global, ast.Nonlocal)):
                names = " and ".join(node.names)
                self.causes.append(f"line {node.lineno} of {name} keeps {names} from one call to the next")
            if not isinstance(node, ast.expr):
                continue
            reason = _explain_read(node) or _explain_draw(node, assigned, is_seeded=is_seeded)
            if reason:
                self._add_cause(f"line {node.lineno} of {name} {reason}")

    def add_import(self, module: str, user: str, modules: Collection[str]) -> None:
        """Add a module that was imported outside of the function ``user``; other arguments as for ``add_source``."""
        self._add_import(module, f"{user} uses", modules)

    def _add_import(self, module: str, user: str, modules: Collection[str], *, is_guarded: bool = False) -> None:
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names or any(name.partition(".")[0] == top for name in modules):
            return
        package = image_packages.find_package(top)
        pythons = image_packages.find_pythons(package)
        if not pythons and is_guarded:
            self._add_cause(f"{user} `{top}` inside try: no image has it, so what follows `except` runs there")
        elif not pythons:
            title = f"`{top}`" if package.replace("-", "_") == top else f"`{top}` (of the package {package})"
            raise errors.ExportError(
                f"export: {user} {title}, which no runner image has; if it is your own module, include it with "
                f'modules=["{module}"]; if it is a library, do without it'
            )
        elif importlib.machinery.PathFinder.find_spec(top) is None:
            text = f"{user} `{top}`, which images have, but which is not installed here; install it (package {package})"
            if not is_guarded:
                raise errors.ExportError(f"export: {text}")
            self._add_cause(text)
        elif len(pythons) < len(published_pins.list_pythons()):
            self.notes.append(f"{user} `{top}`, which only the images of Python {format_list(pythons)} have")

    def _add_cause(self, text: str) -> None:
        self.notes.append(text)
        self.causes.append(text)


def format_causes(causes: Iterable[str]) -> str:
    """Return the end of an error message with possible causes; empty if there are none."""
    texts = list(dict.fromkeys(causes))
    return f"; possible causes: {format_list(texts)}" if texts else ""


def _iter_imports(tree: ast.Module) -> Iterator[tuple[int, str, bool]]:
    """Yield the line and module of each import, and whether it may fail: in ``try`` with a handler for that."""
    stack: list[tuple[ast.AST, bool]] = [(tree, False)]
    while stack:
        node, is_guarded = stack.pop()
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, is_guarded) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.lineno, node.module, is_guarded
        elif isinstance(node, ast.Try) and any(map(_catches_import_error, node.handlers)):
            stack += [(child, True) for child in node.body]
            stack += [(child, is_guarded) for child in [*node.handlers, *node.orelse, *node.finalbody]]
        elif isinstance(node, ast.If) and _is_false_in_image(node.test):
            stack += [(child, is_guarded) for child in node.orelse]
        else:
            stack += [(child, is_guarded) for child in ast.iter_child_nodes(node)]


def _is_false_in_image(test: ast.expr) -> bool:
    """Return whether a condition is ``TYPE_CHECKING`` or ``__name__ == "__main__"``."""
    left = test.left if isinstance(test, ast.Compare) else test
    return _format_name(left).rpartition(".")[2] in {"TYPE_CHECKING", "__name__"}


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(node is None or _format_name(node) in _IMPORT_ERRORS for node in types)


def _explain_read(node: ast.AST) -> str:
    """Return what a node reads from the process's surroundings; empty if nothing."""
    name = _format_name(node)
    if name.rpartition(".")[2] in _ENVIRONMENT and name.rpartition(".")[0] in {"", "os"}:
        return f"reads the environment ({name}): the image has none of your variables; write the value into the code"
    call = _format_name(node.func) if isinstance(node, ast.Call) else ""
    owner, _, method = call.rpartition(".")
    if call in _CLOCKS or (method in _CLOCK_METHODS and owner.rpartition(".")[2] in _CLOCK_CLASSES):
        return f"reads the clock ({call}), which differs in each run"
    return ""


def _explain_draw(node: ast.AST, assigned: Collection[str], *, is_seeded: bool) -> str:
    """Return how a node draws random numbers without a seed; empty if it does not."""
    if not isinstance(node, ast.Call):
        return ""
    name = _format_name(node.func)
    owner, _, method = name.rpartition(".")
    if method in _GENERATORS:
        seed = [*node.args, *(keyword.value for keyword in node.keywords)]
        is_drawing = not seed or (isinstance(seed[0], ast.Constant) and seed[0].value is None)
    else:
        is_legacy = owner in {"np.random", "numpy.random"} or (owner == "random" and method in _DRAWING)
        is_drawing = is_legacy and not is_seeded and owner.partition(".")[0] not in assigned
    return f"draws random numbers without a seed ({name}); pass a fixed seed" if is_drawing else ""


def _format_name(node: ast.AST | None) -> str:
    """Return a name with dots as it is written, ``os.environ``; empty for any other expression."""
    if isinstance(node, ast.Attribute):
        owner = _format_name(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return node.id if isinstance(node, ast.Name) else ""
