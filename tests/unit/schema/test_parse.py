"""Plain data into dataclasses: what is taken, what is refused and in which words; and the way back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.schema import json_schema, parse


@dataclass(frozen=True, kw_only=True)
class Circle:
    """A shape.

    Attributes:
        radius: In metres.
    """

    radius: Annotated[float, parse.above(0, 10)]


@dataclass(frozen=True, kw_only=True)
class Square:
    """A shape."""

    side: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """All sorts of fields.

    Attributes:
        title: What it is called;
            on two lines.
        shapes: In ``order``.
    """

    title: Annotated[str, parse.pattern("[a-z]+", "of letters a-z")]
    shapes: tuple[Annotated[Circle | Square, parse.Keyed(kinds={"circle": Circle, "square": Square})], ...] = ()
    scale: Annotated[int, parse.between(1, 1_000)] = 1
    colour: Literal["red", "green"] | None = None
    sizes: dict[str, float] = field(default_factory=dict)
    code: Annotated[
        int, parse.Reads(source=str, parse=lambda text: int(text, 16), write=lambda value: f"{value:x}", text="hex")
    ] = 255
    points: Annotated[tuple[int, ...], parse.length(0, 3)] = ()
    extra: object = None
    visible: bool = True
    either: Circle | Square | str | None = None
    origin: str = field(default="code", metadata=parse.NOT_A_KEY)


def texts_of(data: object, **spelling: str) -> list[str]:
    parsed = parse.parse(Drawing, data, spelling={(key,): text for key, text in spelling.items()})
    assert isinstance(parsed, list), parsed
    return ["/".join(map(str, fault.path)) + ": " + fault.text for fault in parsed]


def test_good_data_of_every_sort() -> None:
    data = {
        "title": "abc",
        "shapes": [{"circle": {"radius": 2}}, {"square": {}}],
        "scale": 7,
        "colour": "red",
        "sizes": {"a": 1, "b": 2.5},
        "code": "ff0",
        "points": [1, 2],
        "extra": [{"anything": None}],
        "visible": False,
        "either": {"side": 3},
    }
    drawing = parse.parse(Drawing, data)
    assert drawing == Drawing(
        title="abc",
        shapes=(Circle(radius=2.0), Square(side=1.0)),
        scale=7,
        colour="red",
        sizes={"a": 1.0, "b": 2.5},
        code=0xFF0,
        points=(1, 2),
        extra=[{"anything": None}],
        visible=False,
        either=Square(side=3.0),
    )
    assert parse.as_data(Drawing, drawing) == {
        **data,
        "shapes": [{"circle": {"radius": 2.0}}, {"square": {"side": 1.0}}],
    }
    assert isinstance(drawing, Drawing)
    assert isinstance(drawing.shapes[0], Circle)
    assert type(drawing.shapes[0].radius) is float


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"title": 3}, "title: 3 is a whole number; text of letters a-z is needed"),
        ({"title": "A"}, 'title: "A" will not do; text of letters a-z is needed'),
        ({"title": "a\n"}, 'title: "a\\n" will not do; text of letters a-z is needed'),
        ({"title": None}, "title: nothing stands here; text of letters a-z is needed"),
        ({"title": ["a"]}, "title: a list stands here; text of letters a-z is needed"),
        ({"scale": True}, "scale: true is a truth value; a whole number from 1 to 1,000 is needed"),
        ({"scale": 1.0}, "scale: 1.0 is a decimal number; a whole number from 1 to 1,000 is needed"),
        ({"scale": "1"}, 'scale: "1" is text; a whole number from 1 to 1,000 is needed'),
        ({"scale": 1001}, "scale: 1001 will not do; a whole number from 1 to 1,000 is needed"),
        ({"scale": 10**5000}, "scale: a huge number will not do; a whole number from 1 to 1,000 is needed"),
        ({"colour": "gren"}, 'colour: "gren" will not do; "red" or "green" is needed; did you mean "green"?'),
        ({"colour": 1}, 'colour: 1 is a whole number; "red" or "green" is needed'),
        ({"visible": 1}, "visible: 1 is a whole number; true or false is needed"),
        ({"code": "xyz"}, "code: invalid literal for int() with base 16: 'xyz'"),
        ({"code": []}, "code: a list stands here; hex is needed"),
        ({"code": 12}, 'code: 12 is a whole number; hex is needed: quote it, "12"'),
        ({"points": [1, 2, 3, 4]}, "points: a list will not do; a list (of a whole number) of 0 to 3 items is needed"),
        ({"points": [1, "x"]}, 'points/1: "x" is text; a whole number is needed'),
        ({"points": {}}, "points: a mapping stands here; a list (of a whole number) of 0 to 3 items is needed"),
        ({"sizes": {"a": math.inf}}, "sizes/a: inf is too large; a finite number is needed"),
        ({"sizes": {"a": 10**400}}, "sizes/a: a huge number is too large; a finite number is needed"),
        ({"sizes": []}, "sizes: a list stands here; a mapping (to a number) is needed"),
        ({"shapes": [{}]}, "shapes/0: 0 keys stand here; a mapping with one key (circle, square) is needed"),
        (
            {"shapes": [{"circle": {"radius": 1}, "square": {}}]},
            "shapes/0: 2 keys stand here; a mapping with one key (circle, square) is needed",
        ),
        ({"shapes": [{"cirle": {}}]}, "shapes/0/cirle: unknown key; did you mean circle?"),
        ({"shapes": [{"circle": {}}]}, "shapes/0/circle/radius: missing; a number above 0 and at most 10 is needed"),
        ({"shapes": ["circle"]}, 'shapes/0: "circle" is text; a mapping with one key (circle, square) is needed'),
        ({"either": {"radius": 0}}, "either/radius: 0 will not do; a number above 0 and at most 10 is needed"),
        ({"titel": "a"}, "titel: unknown key; did you mean title?"),
        (
            {"origin": "file"},
            (
                "origin: unknown key; the keys here are title, shapes, scale, colour, sizes, code, "
                "points, extra, visible, either"
            ),
        ),
    ],
)
def test_bad_data_is_refused_in_these_words(given_: dict[str, object], said: str) -> None:
    assert texts_of({"title": "abc", **given_}) == [said]


def test_all_faults_come_at_once() -> None:
    said = texts_of({"scale": 0, "points": ["x", 1, None], "colour": "blue"})
    assert [text.partition(":")[0] for text in said] == ["scale", "points/0", "points/2", "colour", "title"]


def test_values_are_shown_as_they_were_written() -> None:
    assert texts_of({"title": "a", "colour": 3.1}, colour="3.10") == [
        'colour: 3.10 is a decimal number; "red" or "green" is needed'
    ]


def test_long_text_is_cut() -> None:
    (said,) = texts_of({"title": "A" * 1_000_000})
    assert len(said) < 200


@pytest.mark.parametrize("data", [None, [], "x", 1, 1.5, True])
def test_what_is_no_mapping(data: object) -> None:
    (said,) = texts_of(data)
    assert "a mapping with the keys title, shapes" in said


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["title", "shapes", "scale", "colour", "sizes", "points", "extra", "visible", "either", "radius", "x"]


@given(data=st.dictionaries(st.sampled_from(FIELDS), PLAIN) | PLAIN)
@settings(max_examples=50)
def test_any_plain_data_gives_a_value_or_faults(data: Any) -> None:
    parsed = parse.parse(Drawing, data)
    if isinstance(parsed, list):
        assert parsed
        assert all(fault.text and "_FAILED" not in fault.text for fault in parsed)
    else:
        assert isinstance(parsed, Drawing)


SHAPES = st.builds(Circle, radius=st.floats(min_value=0.001, max_value=10)) | st.builds(
    Square, side=st.floats(allow_nan=False, allow_infinity=False)
)
DRAWINGS = st.builds(
    Drawing,
    title=st.text("abc", min_size=1),
    shapes=st.lists(SHAPES).map(tuple),
    scale=st.integers(1, 1_000),
    colour=st.sampled_from(["red", "green", None]),
    sizes=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
    code=st.integers(0, 2**40),
    points=st.lists(st.integers(), max_size=3).map(tuple),
    visible=st.booleans(),
    either=SHAPES | st.text(),
)


VALIDATOR = jsonschema.Draft202012Validator(json_schema.json_schema(Drawing, title="Drawing"))


@given(drawing=DRAWINGS)
@settings(max_examples=50)
def test_what_is_written_is_read_back_and_fits_the_schema(drawing: Drawing) -> None:
    data = parse.as_data(Drawing, drawing)
    assert parse.parse(Drawing, data) == drawing
    VALIDATOR.validate(data)


def test_schema_says_what_the_types_say() -> None:
    schema = json_schema.json_schema(Drawing, title="Drawing")
    assert schema["required"] == ["title"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["title"] == {
        "type": "string",
        "pattern": "^(?:[a-z]+)$",
        "description": "What it is called; on two lines.",
    }
    assert schema["properties"]["shapes"]["description"] == "In order."
    assert schema["properties"]["code"] == {"type": "string", "default": "ff"}
    assert "origin" not in schema["properties"]


@dataclass(frozen=True, kw_only=True)
class Span:
    """Two keys that must agree.

    Attributes:
        first: One.
        last: Not before it.
    """

    first: int
    last: int = 9

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ValueError(f"{self.first} is after {self.last}; first has to come first")


def test_keys_that_must_agree_are_a_fault_at_their_mapping() -> None:
    assert parse.parse(tuple[Span, ...], [{"first": 1}]) == (Span(first=1),)
    assert parse.parse(tuple[Span, ...], [{"first": 1}, {"first": 3, "last": 2}]) == [
        parse.Problem(path=(1,), text="3 is after 2; first has to come first")
    ]
