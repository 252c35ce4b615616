"""Conversion of plain data to dataclasses and back, and the messages about invalid data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import schema


@dataclass(frozen=True, kw_only=True)
class Circle:
    """A shape.

    Attributes:
        radius: In metres.
    """

    radius: Annotated[float, schema.require_above(0, 10)]


@dataclass(frozen=True, kw_only=True)
class Square:
    """A shape."""

    side: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A field of every type.

    Attributes:
        title: What it is called;
            on two lines.
        shapes: In ``order``.
    """

    title: Annotated[str, schema.require_pattern("[a-z]+", "of letters a-z")]
    shapes: tuple[Annotated[Circle | Square, schema.TaggedUnion(kinds={"circle": Circle, "square": Square})], ...] = ()
    scale: Annotated[int, schema.require_between(1, 1_000)] = 1
    colour: Literal["red", "green"] | None = None
    sizes: dict[str, float] = field(default_factory=dict)
    code: Annotated[str, schema.ParsedText(parse=lambda text: f"{int(text, 16):x}", text="hex")] = "ff"
    points: Annotated[tuple[int, ...], schema.require_length(0, 3)] = ()
    version: Annotated[int, schema.require_equal(1)] = 1
    extra: object = None
    visible: bool = True
    either: Square | str | None = None


def find_problems(data: object, **spelling: str) -> list[str]:
    parsed = schema.parse(Drawing, data, spelling={(key,): text for key, text in spelling.items()})
    assert isinstance(parsed, list), parsed
    return ["/".join(map(str, problem.path)) + ": " + problem.text for problem in parsed]


def test_valid_data_of_every_type() -> None:
    data = {
        "title": "abc",
        "shapes": [{"circle": {"radius": 2}}, {"square": {}}],
        "scale": 7,
        "colour": "red",
        "sizes": {"a": 1, "b": 2.5},
        "code": "FF0",
        "points": [1, 2],
        "extra": [{"anything": None}],
        "visible": False,
        "either": {"side": 3},
    }
    drawing = schema.parse(Drawing, data)
    assert drawing == Drawing(
        title="abc",
        shapes=(Circle(radius=2.0), Square(side=1.0)),
        scale=7,
        colour="red",
        sizes={"a": 1.0, "b": 2.5},
        code="ff0",
        points=(1, 2),
        extra=[{"anything": None}],
        visible=False,
        either=Square(side=3.0),
    )
    assert schema.to_data(Drawing, drawing) == {
        **data,
        "code": "ff0",
        "version": 1,
        "shapes": [{"circle": {"radius": 2.0}}, {"square": {"side": 1.0}}],
    }
    assert isinstance(drawing, Drawing)
    assert isinstance(drawing.shapes[0], Circle)
    assert type(drawing.shapes[0].radius) is float


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"title": 3}, "title: 3 is invalid; expected text of letters a-z"),
        ({"title": "A"}, 'title: "A" is invalid; expected text of letters a-z'),
        ({"title": "a\n"}, 'title: "a\\n" is invalid; expected text of letters a-z'),
        ({"title": None}, "title: null is invalid; expected text of letters a-z"),
        ({"title": ["a"]}, "title: a list is invalid; expected text of letters a-z"),
        ({"scale": True}, "scale: true is invalid; expected an integer from 1 to 1,000"),
        ({"scale": 1.0}, "scale: 1.0 is invalid; expected an integer from 1 to 1,000"),
        ({"scale": "1"}, 'scale: "1" is invalid; expected an integer from 1 to 1,000'),
        ({"scale": 1001}, "scale: 1001 is invalid; expected an integer from 1 to 1,000"),
        ({"scale": 10**300}, "scale: a huge number is invalid; expected an integer from 1 to 1,000"),
        ({"colour": "gren"}, "colour: \"gren\" is invalid; expected 'red' or 'green'; did you mean \"green\"?"),
        ({"version": True}, "version: true is invalid; expected an integer equal to 1"),
        ({"version": 1.0}, "version: 1.0 is invalid; expected an integer equal to 1"),
        ({"colour": 1}, "colour: 1 is invalid; expected 'red' or 'green'"),
        ({"visible": 1}, "visible: 1 is invalid; expected true or false"),
        ({"code": "xyz"}, "code: invalid literal for int() with base 16: 'xyz'"),
        ({"code": []}, "code: a list is invalid; expected hex"),
        ({"code": 12}, 'code: 12 is invalid; expected hex: quote it, "12"'),
        ({"points": [1, 2, 3, 4]}, "points: a list is invalid; expected a list of 0 to 3 items"),
        ({"points": [1, "x"]}, 'points/1: "x" is invalid; expected an integer'),
        ({"points": {}}, "points: a mapping is invalid; expected a list"),
        ({"sizes": {"a": math.inf}}, "sizes/a: inf is invalid; expected a finite number"),
        ({"sizes": {"a": 10**400}}, "sizes/a: a huge number is invalid; expected a finite number"),
        ({"sizes": []}, "sizes: a list is invalid; expected a mapping"),
        ({"shapes": [{}]}, "shapes/0: 0 keys; expected exactly one of circle, square"),
        (
            {"shapes": [{"circle": {"radius": 1}, "square": {}}]},
            "shapes/0: 2 keys; expected exactly one of circle, square",
        ),
        ({"shapes": [{"cirle": {}}]}, "shapes/0/cirle: unknown key; did you mean circle?"),
        ({"shapes": [{"circle": {}}]}, "shapes/0/circle/radius: missing; expected a number above 0 and at most 10"),
        ({"shapes": ["circle"]}, 'shapes/0: "circle" is invalid; expected a mapping with the keys circle, square'),
        ({"either": {"side": "x"}}, 'either/side: "x" is invalid; expected a number'),
        ({"either": 1}, 'either: 1 is invalid; expected a mapping with the keys side or text: quote it, "1"'),
        ({"titel": "a"}, "titel: unknown key; did you mean title?"),
        (
            {"zzz": "file"},
            (
                "zzz: unknown key; valid keys: title, shapes, scale, colour, sizes, code, points, version, "
                "extra, visible, either"
            ),
        ),
    ],
)
def test_invalid_data_gives_this_message(data: dict[str, object], message: str) -> None:
    assert find_problems({"title": "abc", **data}) == [message]


def test_all_problems_are_reported_together() -> None:
    message = find_problems({"scale": 0, "points": ["x", 1, None], "colour": "blue"})
    assert sorted(text.partition(":")[0] for text in message) == ["colour", "points/0", "points/2", "scale", "title"]


def test_messages_show_values_as_they_were_written() -> None:
    assert find_problems({"title": "a", "colour": 3.1}, colour="3.10") == [
        "colour: 3.10 is invalid; expected 'red' or 'green'"
    ]


def test_the_number_of_problems_is_limited() -> None:
    assert len(schema.parse(tuple[Square, ...], [None] * 2_000)) == 1_000


def test_long_text_is_cut() -> None:
    (message,) = find_problems({"title": "A" * 1_000_000})
    assert len(message) < 200


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"sizes": {"a": b"x"}}, "sizes/a: the type builtins.bytes is invalid"),
        ({"extra": [10**500]}, "extra/0: a huge number is invalid"),
        ({"title": "a\ud800"}, "title: the text contains a lone surrogate"),
        ({"extra": {"\ud800": 1}}, 'extra: the key "\\ud800" is invalid'),
        ({3: 1}, ": the key 3 is invalid"),
    ],
)
def test_values_that_json_cannot_represent_are_problems_with_a_path(data: object, message: str) -> None:
    (text,) = find_problems(data)
    assert text.startswith(message)


@pytest.mark.parametrize("data", [None, [], "x", 1, 1.5, True])
def test_data_that_is_not_a_mapping(data: object) -> None:
    (message,) = find_problems(data)
    assert "a mapping with the keys title, shapes" in message


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["title", "shapes", "scale", "colour", "sizes", "points", "extra", "visible", "either", "radius", "x"]


@given(data=st.dictionaries(st.sampled_from(FIELDS), PLAIN) | PLAIN)
@settings(max_examples=50)
def test_any_plain_data_gives_a_value_or_problems(data: Any) -> None:
    parsed = schema.parse(Drawing, data)
    if isinstance(parsed, list):
        assert parsed
        assert all(problem.text and "_FAILED" not in problem.text for problem in parsed)
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
    code=st.integers(0, 2**40).map("{:x}".format),
    points=st.lists(st.integers(), max_size=3).map(tuple),
    visible=st.booleans(),
    either=st.builds(Square) | st.text(),
)


VALIDATOR = jsonschema.Draft202012Validator(schema.build_json_schema(Drawing, title="Drawing"))


@given(drawing=DRAWINGS)
@settings(max_examples=50)
def test_reading_inverts_writing_and_the_data_fits_the_json_schema(drawing: Drawing) -> None:
    data = schema.to_data(Drawing, drawing)
    assert schema.parse(Drawing, data) == drawing
    VALIDATOR.validate(data)


def test_the_json_schema_matches_the_types() -> None:
    actual = schema.build_json_schema(Drawing, title="Drawing")
    assert (actual["title"], actual["required"], actual["additionalProperties"]) == ("Drawing", ["title"], False)
    assert actual["properties"]["title"] == {
        "type": "string",
        "pattern": "^(?:[a-z]+)$",
        "description": "What it is called; on two lines.",
    }
    assert actual["properties"]["shapes"]["description"] == "In order."
    assert actual["properties"]["code"] == {"type": "string", "default": "ff"}


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


def test_keys_that_disagree_are_a_problem_of_their_mapping() -> None:
    assert schema.parse(tuple[Span, ...], [{"first": 1}]) == (Span(first=1),)
    assert schema.parse(tuple[Span, ...], [{"first": 1}, {"first": 3, "last": 2}]) == [
        schema.Problem(path=(1,), text="3 is after 2; first has to come first")
    ]
