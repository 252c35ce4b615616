"""Read any pickle without executing it, within fixed bounds of memory and time.

The result says what the file is, which Python made it, what it imports, what it contains, what is dangerous in it, and
why it would fail. It is a reading, not a proof: only a run in the image shows that a pickle works.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import mmap
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder import errors, published_pins
from builder.text import escape, format_list
from builder.validate.reading import (
    analysis,
    bytecode,
    captures,
    columns,
    estimators,
    file_types,
    image_modules,
    machine,
    opcodes,
    risks,
)
from builder.validate.reading.file_types import DUMP_AGAIN, GET_AGAIN, Problem
from builder.validate.reading.values import Call, Container, Value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HEAD, _MAX_IMPORTS = 4096, 500
_MAX_MEMO = 1 << 24  # slots; a pickle of half a GB that cloudpickle writes has less
_BUILD = "build it in the image that runs it: `make pickle CONFIG=...`"
_BY_VALUE = (
    "pickle the module with the function: `cloudpickle.register_pickle_by_value(module)` before `cloudpickle.dump`, or "
    "use what the image has"
)
_NO_PREDICT = ("sklearn.", "lightgbm.", "xgboost.", "catboost.")  # libraries whose models cannot be called


@dataclass(frozen=True, kw_only=True)
class Import:
    """A module that a pickle imports.

    Attributes:
        module: Its name.
        when: ``load`` or ``call``.
        provider: The package of the image that has it, ``Python`` for its own modules; None if none has it.
    """

    module: str
    when: str
    provider: str | None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a file is and does, if it is a pickle.

    Attributes:
        size: Bytes of the file.
        protocol: The pickle protocol; None if the file is not a pickle.
        is_complete: Whether all of it was read; False for other files, damaged ones, and ones beyond the bounds.
        root: What it contains, such as ``function predict(2 parameters)``; empty if not known.
        pythons: The versions of Python that may have made it; empty if its bytecode does not say.
        image_pythons: The versions of the images whose packages its imports are looked up in.
        imports: What it imports.
        features: The names of features in it, in the order of the largest list of them.
        benchmarks: The names of benchmark models in it.
        captures: What it contains, the largest first.
        dangers: What is dangerous in it, the worst first.
        problems: Why it would fail, the first cause first.
        notes: What is unusual, but would not fail.
    """

    size: int
    protocol: int | None = None
    is_complete: bool = False
    root: str = ""
    pythons: tuple[str, ...] = ()
    image_pythons: tuple[str, ...] = ()
    imports: tuple[Import, ...] = ()
    features: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    captures: tuple[captures.Capture, ...] = ()
    dangers: tuple[risks.Danger, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether all of it was read, and nothing was found that is dangerous or would fail."""
        return self.is_complete and not self.problems and self.is_safe

    @property
    def is_safe(self) -> bool:
        """Whether nothing was found that is dangerous."""
        return not any(danger.is_severe for danger in self.dangers)

    @property
    def python(self) -> str | None:
        """The Python that made it; None if that is not certain."""
        return self.pythons[0] if len(self.pythons) == 1 else None


def read(path: Path, *, image_python: str | None = None) -> Reading:
    """Read a file.

    Args:
        path: The file.
        image_python: The Python of the image that is to run it, such as ``3.12``; None for the one that made it.

    Raises:
        errors.UsageError: It cannot be read, or is not a regular file.
    """
    with _map_file(path) as buffer:
        return read_buffer(buffer, image_python=image_python)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Pause the garbage collector: it would walk millions of values again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_without_collection()
def read_buffer(buffer: bytes | mmap.mmap, *, image_python: str | None = None) -> Reading:
    """Read bytes; see :func:`read`."""
    problem = file_types.recognise(buffer[:_HEAD])
    if problem:
        return Reading(size=len(buffer), problems=(problem,))
    interpreter, problems, notes, is_complete = opcodes.Interpreter(buffer), list[Problem](), list[Problem](), False
    try:
        interpreter.run()
        is_complete = True
    except machine.PickleError as error:
        problems.append(_explain(error, interpreter.program, buffer))
        if not interpreter.program.protocol and not interpreter.program.globals and not error.is_truncated:
            return Reading(size=len(buffer), problems=tuple(problems))
    except machine.LimitError:
        text = f"the pickle has too many objects to be read completely: not read from byte {interpreter.position:,} on"
        notes.append(Problem(text=text, fix="keep its data in numpy arrays"))
    reader = _Reader(interpreter.program, buffer, problems, notes, is_complete=is_complete)
    return reader.read(image_python)


@contextlib.contextmanager
def _map_file(path: Path) -> Iterator[bytes | mmap.mmap]:
    try:
        # With O_NONBLOCK, opening a FIFO does not wait for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise errors.UsageError(f"{escape(path)}: is not a file; pass the path of a pickle")
            if status.st_size == 0:
                yield b""
                return
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            yield buffer
            buffer.close()  # not after an interrupt, whose traceback may refer to a search of it: a BufferError
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise errors.UsageError(f"{escape(path)}: cannot be read: {reason}; pass the path of a pickle") from error


def _is_text(head: bytes) -> bool:
    """Return whether a file begins with words, as no pickle of protocol 0 that is only damaged does."""
    try:
        text = head.decode("utf-8", "strict") if len(head) < _HEAD else head.decode("utf-8", "ignore")
    except UnicodeDecodeError:
        return False
    return len(text.split()) > 1 and all(char.isprintable() or char.isspace() for char in text)


def _explain(error: machine.PickleError, program: opcodes.Program, buffer: bytes | mmap.mmap) -> Problem:
    where = f"at byte {error.position:,} of {len(buffer):,}"
    if any(item.module.startswith("joblib.numpy_pickle") for item in program.globals):
        text = "the file was written by `joblib.dump`, which only `joblib.load` reads"
        return Problem(text=text, fix=f"load it with `joblib.load`, then {DUMP_AGAIN}")
    if error.is_truncated:
        return Problem(text=f"the pickle is truncated: it {error} ({where})", fix=GET_AGAIN)
    if not program.protocol and _is_text(buffer[:_HEAD]):
        return Problem(text="the file is not a pickle: it is a text file", fix=DUMP_AGAIN)
    if program.protocol or program.globals:
        return Problem(text=f"the pickle is damaged: it {error} ({where})", fix=f"{GET_AGAIN}, or {DUMP_AGAIN}")
    return Problem(text=f"the file is not a pickle: it {error} ({where})", fix=DUMP_AGAIN)


@dataclass(repr=False)
class _Reader:
    """Concludes a reading from the opcodes of a pickle."""

    program: opcodes.Program
    buffer: bytes | mmap.mmap
    problems: list[Problem]
    notes: list[Problem]
    is_complete: bool
    analysis: analysis.Analysis = field(init=False)

    def read(self, image_python: str | None) -> Reading:
        program = self.program
        self.analysis = analysis.analyse(program, self.buffer)
        pythons = self._find_pythons()
        listed = published_pins.list_pythons()
        wanted = (image_python,) if image_python else pythons
        image_pythons = tuple(name for name in listed if name in wanted) or listed
        imports = tuple(self._list_imports(image_pythons))
        self._check_end()
        self._check_python(pythons, image_python)
        self._check_imports(imports, image_pythons)
        self._check_numpy(image_pythons)
        if difference := estimators.find_difference(program.calls, image_pythons):
            self.notes.append(difference)
        root = self._describe_root() if self.is_complete else ""
        if not self.analysis.is_complete:
            text = "the functions of the pickle are not read completely: there are too many, or of an unknown Python"
            fix = "pickle it with a Python of the runner images, and fewer modules by value"
            self.notes.append(Problem(text=text, fix=fix))
        if self.analysis.has_nested_pickle:
            text = "the pickle contains another one, as torch writes tensors, which is not read"
            self.notes.append(Problem(text=text, fix="convert tensors to numpy arrays to have all of it read"))
        roots = self._list_roots() if columns.has_names(self.buffer) else []
        features, benchmarks = columns.find_columns(roots)
        return Reading(
            size=len(self.buffer),
            protocol=program.protocol,
            is_complete=self.is_complete and self.analysis.is_complete,
            root=root,
            pythons=pythons,
            image_pythons=image_pythons,
            imports=imports,
            features=features or columns.find_features_in_bytes(self.buffer),
            benchmarks=benchmarks,
            captures=captures.list_captures(program.root, self.analysis),
            dangers=tuple(sorted(self.analysis.dangers, key=risks.Danger.get_rank)),
            problems=tuple(self.problems),
            notes=tuple(self.notes),
        )

    def _list_roots(self) -> list[Value]:
        """Return the root object, and what the functions and classes refer to."""
        functions = [function.names for function in self.analysis.functions.values()]
        return [
            self.program.root,
            *(v for names in (*functions, *self.analysis.classes.values()) for v in names.values()),
        ]

    def _find_pythons(self) -> tuple[str, ...]:
        """Return the versions that all code objects agree on; all that occur, if they do not agree."""
        candidates = [function.code.pythons for function, _ in self.analysis.used if function.code.pythons]
        if not candidates:
            return ()
        common = [python for python in candidates[0] if all(python in others for others in candidates)]
        return tuple(common or dict.fromkeys(python for pythons in candidates for python in pythons))

    def _list_imports(self, image_pythons: tuple[str, ...]) -> Iterator[Import]:
        at_call = dict.fromkeys(module for _, used in self.analysis.used for module in used.imports if module)
        for when, modules in (("load", self.analysis.imports), ("call", at_call)):
            for module in itertools.islice(modules, _MAX_IMPORTS):
                providers = (image_modules.find_package(module, python) for python in image_pythons)
                yield Import(module=module, when=when, provider=next(filter(None, providers), None))

    def _check_end(self) -> None:
        program, extra = self.program, len(self.buffer) - self.program.end
        if self.is_complete and extra:
            what = "a second pickle" if self.buffer[program.end] == 0x80 else "other data"
            text = f"{what} follows the pickle: {extra:,} bytes, which the loader ignores"
            self.notes.append(Problem(text=text, fix=f"write one object into one file: {DUMP_AGAIN}"))
        if program.unsupported:
            text = f"the pickle needs a loader of its own: {program.unsupported[0]}"
            self.problems.append(Problem(text=text, fix=DUMP_AGAIN))
        if program.memo_size > max(_MAX_MEMO, len(self.buffer)):
            # Twice the index, 8 bytes each: https://github.com/python/cpython/blob/3.12/Modules/_pickle.c
            gigabytes = program.memo_size * 16 / 1e9
            text = f"loading the pickle allocates {gigabytes:,.1f} GB for its memo (index {program.memo_size - 1:,})"
            self.problems.append(Problem(text=text, fix="do not load it; no pickle library writes this"))

    def _check_python(self, pythons: tuple[str, ...], image_python: str | None) -> None:
        if not pythons:
            return
        made_by = " or ".join(pythons)
        if image_python and image_python not in pythons:
            text = f"the pickle was made by Python {made_by}, but the image has Python {image_python}"
            self.problems.append(Problem(text=text, fix=_BUILD))
        elif not image_python and pythons == (published_pins.EXPERIMENTAL,):
            text = f"the pickle was made by Python {made_by}, which only the tournament's experimental image has"
            self.notes.append(Problem(text=text, fix=_BUILD))
        elif not image_python and not set(pythons) & {*published_pins.list_pythons(), bytecode.NEWER}:
            text = f"the pickle was made by Python {made_by}, which no runner image has"
            self.problems.append(Problem(text=text, fix=_BUILD))

    def _check_imports(self, imports: tuple[Import, ...], image_pythons: tuple[str, ...]) -> None:
        image = "the image does not have" if len(image_pythons) == 1 else "no image has"
        main = sorted({item.name for item in self.program.globals if item.module == "__main__"})
        if main:
            text = f"the pickle refers to {format_list(main)} in the program that wrote it, and does not contain it"
            self.problems.append(Problem(text=text, fix=f"plain `pickle` does this: {DUMP_AGAIN}"))
        for when, fails in (("load", "loading it fails"), ("call", "calling it fails where it imports that")):
            missing = [item for item in imports if item.when == when and item.provider is None]
            names = [repr(item.module) for item in missing if item.module != "__main__"]
            if names:
                modules = f"module{'s' if len(names) > 1 else ''} {format_list(names)}"
                text = f"the pickle needs the {modules}, which {image}: {fails}"
                self.problems.append(Problem(text=text, fix=_BY_VALUE, is_certain=when == "load"))

    def _check_numpy(self, image_pythons: tuple[str, ...]) -> None:
        """Check for the module that numpy 2 pickles arrays with, which numpy 1 does not have (tried with 1.26.4)."""
        versions = [published_pins.get_versions(python).get("numpy", "") for python in image_pythons]
        needs_2 = any(item.module == "numpy._core.numeric" for item in self.program.globals)
        if needs_2 and all(version.startswith("1.") for version in versions):
            text = f"the pickle was made with numpy 2, but the image has numpy {versions[0]}"
            self.problems.append(Problem(text=text, fix=_BUILD))

    def _describe_root(self) -> str:
        """Return what the pickle contains; add a problem if the runner cannot call it with one or two arguments."""
        root, result = self.program.root, self.analysis
        if isinstance(root, Call) and id(root) in result.functions:
            code = result.functions[id(root)].code
            self._check_count(code.count)
            return f"function {code.name} with {code.count} parameter{'' if code.count == 1 else 's'}"
        path = result.get_path(root)
        if path:
            return f"reference to {path}"
        kind = captures.describe(root, result)
        source = captures.get_class(root, result) if isinstance(root, Call) else None
        if isinstance(source, Call) and id(source) in result.classes:
            function = result.classes[id(source)].get("__call__")
            if isinstance(function, Call) and id(function) in result.functions:
                self._check_count(result.functions[id(function)].code.count - 1)
            elif self._has_known_bases(source):
                self._add_not_callable(kind)
        elif not isinstance(root, Call) or kind.startswith((*_NO_PREDICT, "array ", "pandas.core.")):
            self._add_not_callable(kind)
        return kind

    def _has_known_bases(self, source: Call) -> bool:
        """Return whether a class has no bases but ``object``, so that ``__call__`` is not inherited."""
        arguments = source.arguments.items if isinstance(source.arguments, Container) else []
        bases: list[Value] = arguments[2].items if len(arguments) > 2 and isinstance(arguments[2], Container) else []
        return all(self.analysis.get_path(base) == "builtins.object" for base in bases)

    def _check_count(self, count: int) -> None:
        if count not in {1, 2}:
            text = f"the function has {count} parameters; the runner passes 1 (features) or 2 (and benchmark models)"
            self.problems.append(Problem(text=text, fix="define predict(live_features, live_benchmark_models)"))

    def _add_not_callable(self, kind: str) -> None:
        text = f"the runner calls the pickle as a function, but it contains: {kind}"
        self.problems.append(Problem(text=text, fix="dump a function that takes live_features and returns a DataFrame"))
