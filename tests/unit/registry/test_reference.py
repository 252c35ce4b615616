"""References to images, by Docker's rules."""

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
def test_reference_in_full(text: str, full: str) -> None:
    parsed = reference.parse(text)
    assert str(parsed) == full
    assert reference.parse(full) == parsed


def test_parts() -> None:
    assert reference.parse(f"localhost:5000/a/b:t@{DIGEST}") == reference.ImageRef(
        registry="localhost:5000", repository="a/b", tag="t", digest=DIGEST
    )
    assert reference.parse("localhost:5000/a/b:t").name == "localhost:5000/a/b"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty; write registry/repository:tag"),
        (DIGEST, "is an image id or a digest without its repository"),
        (DIGEST[7:], "is an image id or a digest without its repository"),
        ("0123456789ab", "is an image id or a digest without its repository"),
        ("https://ghcr.io/a/b:c", "is an address; leave out what comes before the registry"),
        ("python", "names neither a tag nor a digest; write"),
        ("localhost:5000/a", "names neither a tag nor a digest; write"),
        ("python:", "has no tag after the colon; expected 1 to 128 of"),
        ("python:-a", "has no tag after the colon; expected 1 to 128 of"),
        ("python:" + "a" * 129, "has no tag after the colon; expected 1 to 128 of"),
        ("a/B:c", "has upper case in its repository; expected lower case"),
        ("a//b:c", "has no valid repository; expected lower case"),
        ("/a:c", "has no valid repository; expected lower case"),
        ("a b:c", "has no valid repository; expected lower case"),
        ("a..b:c", "has no valid repository; expected lower case"),
        ("x" * 300 + ":c", "has no valid repository; expected lower case"),
        ("-.x/a:c", "does not start with a registry's host name; write"),
        (f"a@{DIGEST[:-1]}", "has no digest after the @; expected sha256: and 64 digits 0-9 a-f"),
        ("a:b@md5:00", "has no digest after the @; expected sha256: and 64 digits 0-9 a-f"),
        ("a:b@", "has no digest after the @; expected sha256: and 64 digits 0-9 a-f"),
        ("a:b\n", "this text of 4 characters has no tag"),
    ],
)
def test_refused_in_these_words(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"; ") as raised:
        reference.parse(text)
    assert said in str(raised.value)
    assert len(str(raised.value)) < 500


@given(text=st.text(max_size=40) | st.text("aA0.:/@-_[]sha256", max_size=60))
def test_any_text_parses_to_what_parses_again_or_is_refused(text: str) -> None:
    try:
        parsed = reference.parse(text)
    except ValueError:
        return
    assert reference.parse(str(parsed)) == parsed
    assert parsed.tag or parsed.digest
