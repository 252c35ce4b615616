"""The imports that are read are the ones that the unpickler of the interpreter asks for, however they are composed."""

from __future__ import annotations

import contextlib
import io
import pickle
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from builder.validate.reading import machine, opcodes
from tests.support import bundles
from tests.support import pickles as own_pickles

PARTS = [
    *(
        b"\x8c\x02os",
        b"\x8c\x06system",
        b"S'os'\n",
        b"Vsys\\u0074em\n",
        b"K\x07",
        b"K\x07" * 70,
        b"N",
        b"]",
        b"}",
        b")",
    ),
    *(b"\x93", b"\x93", b"cos\nsystem\n", b"(ia\nb\n", b"(cos\nx\no", b"\x8c\x02os\x94\x8c\x06system\x94\x93"),
    *(b"\x94", b"q\x00", b"q\x01", b"p0\n", b"h\x00", b"h\x01", b"g0\n", b"j\x00\x00\x00\x00", b"h\x00h\x01\x93"),
    *(b"(", b"(", b"t", b"l", b"d", b"0", b"1", b"2", b"\x85", b"\x86", b"\x87", b"a", b"s", b"u", b"e", b"\x90"),
    *(b"R", b"\x81", b"b", b"\x8f", b"\x91"),
]


class Inert:
    """What is imported in place of everything; it accepts what a pickle does with an object."""

    def __new__(cls, *_: Any) -> Any:
        return object.__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __call__(self, *_: Any) -> Any:
        return Inert()

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def accept(self, _: Any) -> None:
        pass

    __setstate__ = append = extend = add = accept


class Recorder(pickle.Unpickler):
    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self.imports: list[tuple[str, str]] = []

    def find_class(self, module: str, name: str) -> Any:
        self.imports.append((module, name))
        return Inert


def check(content: bytes) -> bool:
    """Compare the imports up to where the unpickler stops; return whether it loads all."""
    recorder, interpreter = Recorder(content), opcodes.Interpreter(content)
    is_loaded = is_read = False
    with contextlib.suppress(Exception):  # random opcodes raise errors of every type
        recorder.load()
        is_loaded = True
    with contextlib.suppress(machine.PickleError):
        interpreter.run()
        is_read = True
    imports = [(item.module, item.name) for item in interpreter.program.globals]
    assert imports[: len(recorder.imports)] == recorder.imports
    assert is_read or not is_loaded
    return is_loaded


@settings(max_examples=1000)
@given(st.lists(st.sampled_from(PARTS), max_size=40))
def test_random_opcodes(parts: list[bytes]) -> None:
    check(b"\x80\x04" + b"".join(parts) + b".")


def test_a_pickle_of_this_tool() -> None:
    assert check(own_pickles.pickle_bundle(bundles.make_bundle(3)))
