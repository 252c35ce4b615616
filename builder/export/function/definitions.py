"""Collect the definitions of ``code/model.py``: functions, classes, data and objects, each under a name of the module.

A name of the user's code that has the same value everywhere is a global name of the module, as in a notebook. Another
function of the same name, or a function that another value belongs to under the same name, is defined in a factory::

    def _make_scale_2(factor):
        def scale(values):
            return values * factor

        return scale

    scale_2 = _make_scale_2(factor_2)
"""

from __future__ import annotations

import ast
import builtins
import collections
import dataclasses
import importlib.util
import keyword
import random
import re
import sys
import types
import typing
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from builder import errors
from builder.export.function import (
    closure,
    imports,
    included,
    inspection,
    objects,
    outer_names,
    outside,
    privacy,
    statements,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_TRAINING_ROWS = 50
"""Rows of data that a model is fitted on, and not a table of a few parameters."""
_RESERVED_NAMES = frozenset({"load", "bundle"})
_DATA_MODULES = frozenset({"json", "numpy", "pandas", "xgboost"})
"""Modules that the expressions of data use."""
_IMMUTABLE = (type(None), bool, int, float, str, bytes)


@dataclasses.dataclass(kw_only=True)
class Collector:
    """Collects the definitions.

    Attributes:
        modules: The user's modules that the bundle contains.
        data: Arrays and files.
        findings: What the functions take from outside of the bundle.
        packages: Top-level modules that objects are from.
        loaded: Names whose values are objects, or data from arrays and files.
    """

    modules: Collection[str]
    data: closure.ClosureData = dataclasses.field(default_factory=closure.ClosureData)
    findings: outside.Findings = dataclasses.field(default_factory=outside.Findings)
    packages: set[str] = dataclasses.field(default_factory=set)
    loaded: list[str] = dataclasses.field(default_factory=list)
    _imports: dict[str, str] = dataclasses.field(default_factory=dict)
    _definitions: dict[str, statements.Definition] = dataclasses.field(default_factory=dict)
    _values: dict[str, Any] = dataclasses.field(default_factory=dict)
    _names: dict[int, str] = dataclasses.field(default_factory=dict)
    _assigned: set[str] = dataclasses.field(default_factory=set)
    _refused: dict[str, errors.ExportError] = dataclasses.field(default_factory=dict)
    _attributes: list[tuple[str, str, Any]] = dataclasses.field(default_factory=list)
    _load_text: str = ""

    def define(self, value: Any, hint: str, user: str) -> str:
        """Return the name of the module that has the value: ``hint`` if no other value has that name."""
        if id(value) in self._names:
            return self._names[id(value)]
        name = self.make_unique(hint)
        self._bind(name, value, user)
        return name

    def find_importable(self, value: Any) -> bool:
        """Return whether a function or class is found under its own name in a package or an included module."""
        module = sys.modules.get(getattr(value, "__module__", None) or "")
        target: Any = module
        for part in getattr(value, "__qualname__", "").split("."):
            target = getattr(target, part, None)
        return target is value and module is not None and imports.can_import(module.__name__, self.modules)

    def find_name(self, value: Any) -> str | None:
        """Return the name of the module that has been defined with the value; None if there is none."""
        name = self._names.get(id(value))
        return name if name in self._definitions else None

    def make_unique(self, name: str) -> str:
        """Return the name, or one derived from it, that nothing has in the module."""
        stem = "function" if name == "<lambda>" else re.sub(r"\W", "_", name) or "value"
        stem = f"_{stem}" if stem[0].isdigit() or keyword.iskeyword(stem) else stem
        unique, count = stem, 2
        while unique in self._values or _is_reserved(unique, None) or unique in sys.builtin_module_names:
            unique, count = f"{stem}_{count}", count + 1
        return unique

    def add(
        self, name: str, text: str, *, needs: Iterable[str], uses: Iterable[str] = (), is_code: bool = True
    ) -> None:
        """Add statements that define a name; for ``needs`` and ``uses`` see ``statements.Definition``."""
        self._values.setdefault(name, None)
        needs = tuple(dict.fromkeys(needs))
        self._definitions[name] = statements.Definition(text=text, needs=needs, uses=tuple(uses), is_code=is_code)

    def add_load(self, function: types.FunctionType) -> None:
        """Add the user's ``load(bundle)``, which is called as it is."""
        definition = inspection.read_function(function, "load")
        self._check_source(definition.text, function.__name__)
        parameters, _ = self._bind_outer_names(function, definition)
        if parameters:
            raise errors.ExportError(
                f"export: load uses `{next(iter(parameters))}`, which is defined outside of it; write it to a file, "
                "pass files=, and read it in load with bundle.path or bundle.read"
            )
        self._load_text = definition.text + ("" if definition.name == "load" else f"\n\n\nload = {definition.name}")

    def format(self, summary: str, predict: str) -> str:
        """Return the module, with ``summary`` as its docstring; ``load`` returns the function ``predict``.

        Raises:
            errors.ExportError: A value cannot be stored, and no function assigns it.
        """
        self._add_used_attributes()
        for name, error in self._refused.items():
            if name not in self._assigned:
                raise error
            self.add(name, f"{name} = None", needs=[], is_code=False)
            self.findings.notes.append(
                f"`{name}` is None when the bundle is loaded: a function assigns it, and its value here is not data"
            )
        lines = {*self._imports.values(), *(f"import {name}" for name in self.data.imports)}
        parts = [f'"""{summary} Written by `export`."""', "from __future__ import annotations"]
        if lines:
            parts.append("\n".join(sorted(lines, key=lambda line: (line.split()[1], line))))
        ordered = [self._definitions[name] for name in statements.sort_names(self._definitions)]
        text = "\n\n".join(parts)
        was_code = True
        for definition in ordered:
            gap = "\n\n\n" if definition.is_code else "\n\n" if was_code else "\n"
            text += gap + definition.text
            was_code = definition.is_code
        load = self._load_text or (
            f'def load(bundle):\n    """Return the function that predicts."""\n    return {predict}'
        )
        return f"{text}\n\n\n{load}\n"

    def _bind(self, name: str, value: Any, user: str) -> None:
        """Define a name that is free."""
        self._values[name] = value
        if not isinstance(value, _IMMUTABLE):
            self._names[id(value)] = name
        line = imports.find_import(name, value, self.modules)
        if line is not None:
            self._imports[name] = line
            self.findings.add_import(line.split()[1], user, self.modules)
        elif isinstance(value, typing.TypeVar):
            self._imports["typing "] = "import typing"
            self.add(name, f"{name} = typing.TypeVar({value.__name__!r})", needs=[], is_code=False)
        elif isinstance(value, types.ModuleType):
            raise objects.ModuleNeeded(value.__name__)
        elif isinstance(value, types.FunctionType) or objects.is_wrapper(value):
            self._add_function(name, value)
        elif isinstance(value, type):
            self._add_class(name, value)
        elif objects.is_instance(value, "xgboost", "Booster"):
            self._add_booster(name, value)
        else:
            self._add_data(name, value)

    def _bind_name(self, name: str, value: Any, user: str) -> str:
        """Return the name of the module that has the value of a name of the user; the same name if possible."""
        if name in self._values and _is_same(self._values[name], value):
            return name
        if id(value) in self._names:
            known = self._names[id(value)]
            if name in self._values or _is_reserved(name, value):
                return known
            self.add(name, f"{name} = {known}", needs=[known])  # an alias
            self._values[name] = value
            if known in self._imports and (line := imports.find_import(name, value, self.modules)):
                del self._definitions[name]
                self._imports[name] = line
            return name
        if name in self._values or (_is_reserved(name, value) and name not in self._assigned):
            return self.define(value, name, user)
        self._bind(name, value, user)
        return name

    def _bind_outer_names(
        self, function: types.FunctionType, definition: inspection.Definition
    ) -> tuple[dict[str, str], list[str]]:
        """Bind the names that a function uses.

        Returns:
            Those that its factory gets as parameters, with the names of their values; and the names of all values.
        """
        label = function.__name__
        self._assigned |= outer_names.find_assigned_names(ast.parse(definition.text)) | definition.nonlocals
        parameters, uses = {}, []
        fitted, passed = inspection.find_fits(definition)
        # Containers last: what they contain may have a name of its own.
        names = sorted(
            outer_names.iter_outer_names(function), key=lambda item: isinstance(item[1], (dict, list, tuple))
        )
        for outer_name, value, is_global in names:
            if outer_name in fitted and not isinstance(value, (type, types.ModuleType)):
                raise errors.ExportError(
                    f"export: line {fitted[outer_name]} of {label} fits `{outer_name}` when it predicts, which changes "
                    "it for the next call; fit it before, where you train, and only predict or transform here"
                )
            is_data = isinstance(value, (np.ndarray, pd.DataFrame, pd.Series)) and len(value) >= _TRAINING_ROWS
            if outer_name in passed and is_data:
                raise errors.ExportError(
                    f"export: line {passed[outer_name]} of {label} fits a model on `{outer_name}` each time it "
                    "predicts; fit it before, where you train, and use the fitted model here"
                )
            if value is function and outer_name == definition.name:
                continue  # it calls itself
            bound = self._bind_name(outer_name, value, label)
            uses.append(bound)
            if bound != outer_name or (outer_name in definition.nonlocals and not is_global):
                parameters[outer_name] = bound
        for module in outer_names.iter_submodules(function):
            if imports.can_import(module, self.modules):
                self._imports[f"{module} "] = f"import {module}"
            elif included.is_own(module):
                raise objects.ModuleNeeded(module)
        return parameters, uses

    def _check_source(self, text: str, label: str) -> None:
        self.findings.notes += privacy.check_source(text, label)
        self.findings.add_source(text, label, self.modules)

    def _add_function(self, name: str, value: Any) -> None:
        """Add a function, or what decorators of libraries made of one: the function with these decorators."""
        function, depth = statements.unwrap(value, name)
        definition = inspection.read_function(function, name)
        definition, imported = self._take_own_imports(definition, function.__module__ or "")
        self._check_source(definition.text, function.__name__)
        parameters, uses = self._bind_outer_names(function, definition)
        parameters |= imported
        needs = list(parameters.values())
        decorators = statements.list_decorators(value, definition, depth)
        for part in ast.walk(ast.parse("\n".join(decorators))):
            if isinstance(part, ast.Name) and part.id in function.__globals__:
                bound = self._bind_name(part.id, function.__globals__[part.id], name)
                needs.append(bound)
                if bound != part.id:
                    parameters[part.id] = bound
        has_cache = hasattr(value, "cache_parameters")
        if decorators and not has_cache:
            # What a decorator of a library returns may not be picklable, so it is called for each call.
            inner = self.make_unique(f"{name}_inner")
            self.add(inner, statements.format_definition(definition, inner, parameters), needs=needs, uses=uses)
            applied = "".join(f"{decorator}(" for decorator in decorators) + inner + ")" * len(decorators)
            text = f"def {name}(*args, **options):\n    return {applied}(*args, **options)"
            self.add(name, text, needs=[], uses=[inner, *needs])
            name = inner
            text = self._definitions[inner].text
        else:
            text = "".join(f"@{decorator}\n" for decorator in decorators) + definition.text
            text = statements.format_definition(dataclasses.replace(definition, text=text), name, parameters)
        if not definition.has_literal_defaults:
            for attribute in ("__defaults__", "__kwdefaults__"):
                if getattr(function, attribute):
                    expression, names = self._format_defaults(getattr(function, attribute), function)
                    text += f"\n\n\n{name}{'.__wrapped__' * depth if has_cache else ''}.{attribute} = {expression}"
                    needs += names
        self.add(name, text, needs=needs, uses=uses)
        self._attributes += [(name, key, item) for key, item in vars(function).items() if not key.startswith("__")]

    def _add_used_attributes(self) -> None:
        """Set attributes that functions and classes have here, but not by their definition, and code uses."""
        while used := [item for item in self._attributes if self._is_used(item[1])]:
            for owner, attribute, value in used:
                self._attributes.remove((owner, attribute, value))
                bound = self.define(value, attribute, owner)
                self.add(f"{owner}.{attribute}", f"{owner}.{attribute} = {bound}", needs=[owner, bound], is_code=False)

    def _is_used(self, attribute: str) -> bool:
        pattern = re.compile(rf"[.\"']{attribute}\b")
        return any(pattern.search(definition.text) for definition in self._definitions.values())

    def _take_own_imports(
        self, definition: inspection.Definition, module: str
    ) -> tuple[inspection.Definition, dict[str, str]]:
        """Bind what a definition imports from the user's modules when it is called, and remove these imports.

        Where the pickle runs, these modules do not exist.
        """
        own, bound = [], {}
        for node, imported in inspection.find_imports(definition):
            name = importlib.util.resolve_name(imported, module.rpartition(".")[0]) if imported[0] == "." else imported
            if not included.is_own(name):
                continue
            own.append(node)
            for alias in node.names:
                if isinstance(node, ast.Import):
                    target = alias.asname or alias.name.partition(".")[0]
                    value: Any = importlib.import_module(alias.name if alias.asname else target)
                    if alias.name not in self.modules:
                        raise objects.ModuleNeeded(alias.name)
                    self._imports[f"{alias.name} "] = f"import {alias.name}"  # also if a package of it is bound
                else:
                    target = alias.asname or alias.name
                    parent = importlib.import_module(name)
                    value = getattr(parent, alias.name, None) or importlib.import_module(f"{name}.{alias.name}")
                bound_name = self._bind_name(target, value, definition.name)
                if bound_name != target:
                    bound[target] = bound_name
        return inspection.remove_statements(definition, own), bound

    def _format_defaults(self, values: Any, function: types.FunctionType) -> tuple[str, list[str]]:
        """Return an expression of default values, and the names that it needs."""
        code = function.__code__
        if isinstance(values, dict):
            names = {key: self.define(value, key, function.__name__) for key, value in values.items()}
            return "{" + ", ".join(f'"{key}": {name}' for key, name in names.items()) + "}", list(names.values())
        keys = code.co_varnames[: code.co_argcount][-len(values) :]
        bound = [self.define(value, key, function.__name__) for key, value in zip(keys, values, strict=True)]
        return f"({', '.join(bound)},)", bound

    def _add_class(self, name: str, kind: type) -> None:
        if issubclass(kind, tuple) and hasattr(kind, "_fields") and not statements.has_source(kind):
            defaults = getattr(kind, "_field_defaults", {})
            names = [self.define(value, f"{name}_{key}", name) for key, value in defaults.items()]
            needs = [self._bind_name("collections", collections, kind.__name__), *names]
            text = f"{name} = {needs[0]}.namedtuple({kind.__name__!r}, {list(kind._fields)!r}"
            self.add(name, f"{text}, defaults=[{', '.join(names)}])", needs=needs)
            return
        definition = inspection.read_class(kind)
        definition, parameters = self._take_own_imports(definition, kind.__module__)
        self._check_source(definition.text, kind.__name__)
        needs, uses = list(parameters.values()), []
        for outer_name, value, is_needed in outer_names.iter_class_names(kind, definition):
            if value is kind:
                continue
            bound = self._bind_name(outer_name, value, kind.__name__)
            uses.append(bound)
            if bound != outer_name:
                parameters[outer_name] = bound
            if is_needed or bound != outer_name:
                needs.append(bound)
        self.add(name, statements.format_definition(definition, name, parameters), needs=needs, uses=uses)
        changed = outer_names.find_changed_attributes(kind, definition)
        self._attributes += [(name, key, item) for key, item in changed.items()]

    def _add_data(self, name: str, value: Any) -> None:
        count = len(self.data.imports)
        try:
            self.findings.notes += privacy.check_value(value, name)
            text = self.data.to_expression(value, name)
        except closure.NotDataError:
            self._add_object(name, value)
            return
        if "bundle." in text or len(self.data.imports) > count:
            self.loaded.append(name)
            self.add(name, f"{name} = {text}", needs=[], is_code=False)
        else:
            self.add(name, f"{name} = {statements.wrap_constant(value, text, len(name) + 3)}", needs=[], is_code=False)

    def _add_object(self, name: str, value: Any) -> None:
        if isinstance(value, (np.random.Generator, np.random.RandomState, random.Random)):
            self.findings.causes.append(
                f"`{name}` is a random generator, whose state changes with each call; create it in the function, "
                "with a fixed seed"
            )
        try:
            content, needs = objects.dump(value, name, self)
        except errors.ExportError as error:
            self._refused[name] = error  # a function that is added later may assign it
            return
        for module in sorted(objects.find_modules(content)):
            if not imports.can_import(module, self.modules):
                raise errors.ExportError(
                    f"export: `{name}` contains an object that pickle stores by its name in {module}, which does not "
                    "exist in the image; create it in the function, or pass what it is made of"
                )
            self.packages.add(module.partition(".")[0])
            self.findings.add_import(module, f"`{name}`", self.modules)
        self.findings.notes += privacy.check_pickle(content, name)
        file = self.data.add_file(f"{name}.pickle", content)
        self.loaded.append(name)
        self.add(name, f'{name} = bundle.unpickle("{file}")', needs=needs, is_code=False)

    def _add_booster(self, name: str, booster: Any) -> None:
        from builder.export import xgboost_models  # noqa: PLC0415 - if there is such a booster

        file = self.data.add_file(f"{name}.ubj", xgboost_models.dump_booster(booster))
        self.packages.add("xgboost")
        self.data.imports.add("xgboost")
        self.loaded.append(name)
        text = f'{name} = xgboost.Booster(model_file=bytearray(bundle.read("{file}")))'
        self.add(name, text, needs=[], is_code=False)


def _is_reserved(name: str, value: Any) -> bool:
    """Return whether other code of the module needs a name for something else than the value."""
    if name in _DATA_MODULES:
        return value is not sys.modules.get(name)
    return name in _RESERVED_NAMES or (hasattr(builtins, name) and value is not getattr(builtins, name))


def _is_same(first: Any, second: Any) -> bool:
    return first is second or (isinstance(first, _IMMUTABLE) and type(first) is type(second) and first == second)
