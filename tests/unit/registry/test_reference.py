"""Test the parsing of image references."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.registry import reference

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("python:3.11-slim", "docker.io/library/python:3.11-slim"),
        ("docker.io/python:3", "docker.io/library/python:3"),
        ("index.docker.io/a/b:c", "docker.io/a/b:c"),
        ("numerai/predict:latest", "docker.io/numerai/predict:latest"),
        ("ghcr.io/numerai/numerai_predict_py_3_12:a78dedd", "ghcr.io/numerai/numerai_predict_py_3_12:a78dedd"),
        ("localhost/a:1", "localhost/a:1"),
        ("localhost:5000/a/b/c:1", "localhost:5000/a/b/c:1"),
        ("127.0.0.1:5000/a:1", "127.0.0.1:5000/a:1"),
        ("[::1]:5000/a:1", "[::1]:5000/a:1"),
        ("Host/a:1", "Host/a:1"),
        ("a__b.c-d---e:T.a_g-1", "docker.io/library/a__b.c-d---e:T.a_g-1"),
        (f"ghcr.io/a/b@{DIGEST}", f"ghcr.io/a/b@{DIGEST}"),
        (f"ghcr.io/a/b:t@{DIGEST}", f"ghcr.io/a/b:t@{DIGEST}"),
    ],
)
def test_a_reference_is_written_in_full(text: str, full: str) -> None:
    parsed = reference.parse(text)
    assert str(parsed) == full
    assert reference.parse(full) == parsed


def test_a_reference_is_split_into_parts() -> None:
    assert reference.parse(f"localhost:5000/a/b:t@{DIGEST}") == reference.ImageRef(
        registry="localhost:5000", repository="a/b", tag="t", digest=DIGEST
    )
    assert reference.parse("localhost:5000/a/b:t").name == "localhost:5000/a/b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty; expected registry/repository:tag"),
        (DIGEST, "is an image id or a digest without a repository"),
        (DIGEST[7:], "is an image id or a digest without a repository"),
        ("0123456789ab", "is an image id or a digest without a repository"),
        ("https://ghcr.io/a/b:c", "is a URL; leave out what comes before the registry"),
        ("python", "has neither a tag nor a digest; expected"),
        ("localhost:5000/a", "has neither a tag nor a digest; expected"),
        ("python:", "has an invalid tag after the colon; expected 1 to 128 of"),
        ("python:-a", "has an invalid tag after the colon; expected 1 to 128 of"),
        ("python:" + "a" * 129, "has an invalid tag after the colon; expected 1 to 128 of"),
        ("a/B:c", "has upper case in its repository; expected lower case"),
        ("a//b:c", "has an invalid repository; expected lower case"),
        ("/a:c", "has an invalid repository; expected lower case"),
        ("a b:c", "has an invalid repository; expected lower case"),
        ("a..b:c", "has an invalid repository; expected lower case"),
        ("x" * 300 + ":c", "has an invalid repository; expected lower case"),
        ("-.x/a:c", "does not start with a registry's host name; expected"),
        (f"a@{DIGEST[:-1]}", "has an invalid digest after the @; expected sha256: and 64 digits 0-9 a-f"),
        ("a:b@md5:00", "has an invalid digest after the @; expected sha256: and 64 digits 0-9 a-f"),
        ("a:b@", "has an invalid digest after the @; expected sha256: and 64 digits 0-9 a-f"),
        ("a:b\n", "this text of 4 characters has an invalid tag"),
    ],
)
def test_an_invalid_reference_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"; ") as raised:
        reference.parse(text)
    assert message in str(raised.value)
    assert len(str(raised.value)) < 500


@given(text=st.text(max_size=40) | st.text("aA0.:/@-_[]sha256", max_size=60))
def test_a_parsed_reference_is_parsed_to_the_same_value(text: str) -> None:
    try:
        parsed = reference.parse(text)
    except ValueError:
        return
    assert reference.parse(str(parsed)) == parsed
    assert parsed.tag or parsed.digest
