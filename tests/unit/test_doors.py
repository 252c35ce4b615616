"""What a library raises is translated where it is called: each of its error classes is known, and real damage is tried.

The docker SDK has a file of its own: ``test_engine_errors``.
"""

from __future__ import annotations

import contextlib
import random
import tarfile
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import graphql.error.graphql_error
import graphql.error.syntax_error
import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_socket
import yaml

from builder import errors
from builder.bundle.storage import archive
from builder.config import strict_yaml as config_yaml
from builder.engine import tar_stream
from builder.net import http
from builder.tournament import query_check, settings
from builder.validate import live_check, rerun
from builder.validate import run as validate
from tests.support import library_errors

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

# ---- the classes of each library, and what is caught at its door

CAUGHT: list[tuple[ModuleType, tuple[type[BaseException], ...]]] = [
    (pa.lib, live_check.READ_ERRORS),
    (tarfile, (tarfile.TarError,)),
    (yaml.error, (yaml.MarkedYAMLError, yaml.reader.ReaderError)),
    (yaml.reader, (yaml.reader.ReaderError,)),
    (yaml.scanner, (yaml.MarkedYAMLError,)),
    (yaml.parser, (yaml.MarkedYAMLError,)),
    (zipfile, archive.DAMAGE),
    (zlib, archive.DAMAGE),
    (graphql.error.syntax_error, (graphql.error.GraphQLSyntaxError,)),
]
# Classes that cannot come, each for its reason.
NOT_OURS: dict[type[BaseException], str] = {
    yaml.YAMLError: "the base of the others; never raised itself",
    zipfile.LargeZipFile: "of writing, where ZIP64 is switched off",
}


@pytest.mark.parametrize(("module", "caught"), CAUGHT)
def test_every_error_class_of_a_library_is_known(module: ModuleType, caught: tuple[type[BaseException], ...]) -> None:
    actual = library_errors.list_errors(module)
    assert actual
    assert [kind for kind in actual if not issubclass(kind, caught) and kind not in NOT_OURS] == []


@pytest.mark.parametrize("kind", library_errors.list_errors(httpx), ids=lambda kind: kind.__name__)
def test_every_error_of_httpx_becomes_one_of_the_network(kind: type[Exception]) -> None:
    request = httpx.Request("GET", "https://example.invalid/x?token=secret")
    known: dict[type[Exception], tuple[Any, ...]] = {httpx.HTTPStatusError: (), httpx.StreamConsumed: ()}
    try:
        error = kind(*known.get(kind, ("x",)))
    except TypeError:
        error = httpx.HTTPStatusError("x", request=request, response=httpx.Response(500))
    with pytest.raises(errors.NetworkError, match=r"^AT: ") as raised, http.translate_errors("AT"):
        raise error
    assert "secret" not in str(raised.value)


# ---- real damage


ADDRESSES = [
    f"http://{'a' * 64}.example/x",
    "http://a..b/x",
    "http://.example/",
    "http://xn--a/x",
    "http://127.0.0.1:1/\ud800",
    "foo://x/",
    "http:///x",
    "http://a\0b/",
    "//x",
]


@pytest.mark.parametrize("address", ADDRESSES, ids=ascii)
def test_an_address_that_cannot_be_asked_is_an_error_of_the_network(address: str) -> None:
    pytest_socket.enable_socket()  # the name is refused before it is looked up
    with (
        pytest.raises(errors.NetworkError, match=r"^AT: "),
        http.translate_errors("AT"),
        http.create_client(address) as client,
    ):
        client.get(address)


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parquet") / "live.parquet"
    frame = pd.DataFrame({"id": ["a", "b", "c"], "era": ["1", "1", "2"], "x": [1, 2, 3]}).set_index("id")
    frame.to_parquet(path)
    return path


def read_parquet(path: Path) -> None:
    live_check.check_files(path, None, features=["x"], benchmark_columns=[], data_version="v5.2", needs_era=True)
    rerun.count_rows(path)


METADATA = [b"{", b"[]", b"null", b'"x"', b'{"index_columns": 7}', b'{"index_columns": [[]]}', b"\xff", b"[" * 100_000]


@pytest.mark.parametrize("metadata", METADATA, ids=lambda item: repr(item[:20]))
def test_parquet_with_odd_metadata_of_pandas_is_read_or_an_error_of_the_data(metadata: bytes, tmp_path: Path) -> None:
    table = pa.table({"id": ["a"], "era": ["1"], "x": [1]}).replace_schema_metadata({b"pandas": metadata})
    pq.write_table(table, tmp_path / "live.parquet")
    read_or_refused(read_parquet, tmp_path / "live.parquet", errors.DataError)


def test_damaged_parquet_is_an_error_of_the_data(parquet: Path, tmp_path: Path) -> None:
    for content in damaged(parquet.read_bytes(), 300):
        (tmp_path / "live.parquet").write_bytes(content)
        read_or_refused(read_parquet, tmp_path / "live.parquet", errors.DataError)


def test_a_damaged_archive_of_a_container_is_an_error_of_the_engine() -> None:
    files = [
        tar_stream.TarEntry(name="out/a.json", content=b"{}"),
        tar_stream.TarEntry(name=f"out/{'é' * 120}", content=b"x"),
    ]
    for content in damaged(b"".join(tar_stream.pack(files)), 500):
        read_or_refused(tar_stream.unpack_to_memory, [content], errors.EngineError)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 200_000], ids=lambda item: repr(item[:9]))
def test_what_a_container_leaves_in_place_of_a_json_object_is_none(content: bytes) -> None:
    assert validate._read_object(content) is None


def test_a_damaged_config_is_a_fault_of_it() -> None:
    text = b"name: a\nimage: {ref: 'x', stand_in: \"3.11\"}\npost:\n  - rank: {scope: era}\n# caf\xc3\xa9\n"
    for content in damaged(text, 1000):
        config_yaml.read(content)  # a fault is a value


def test_a_damaged_query_is_an_error_of_its_use() -> None:
    for content in damaged(b'query A($x: Int = 3) { a(b: "\\u00e9", c: [1, {d: 2}]) { ...F @skip(if: true) } }', 1000):
        read_or_refused(query_check.is_mutation, content.decode(errors="replace"), errors.UsageError)


def test_a_damaged_env_file_is_an_error_of_its_use(tmp_path: Path) -> None:
    text = b"NUMERAI_PUBLIC_ID='ABCDEFGH'\nexport NUMERAI_SECRET_KEY=\"abc\\ndef$X\" # x\nNUMERAI_REGISTRY=a.b/c"
    for content in damaged(text, 300):
        (tmp_path / ".env").write_bytes(content)
        read_or_refused(lambda root: settings.read({}, root), tmp_path, errors.UsageError)


def read_or_refused(read: Any, value: object, refusal: type[errors.BuilderError]) -> None:
    with contextlib.suppress(refusal):
        read(value)


def damaged(content: bytes, count: int) -> list[bytes]:
    """Return copies with some bytes changed or the end cut off, the same ones each time."""
    chance = random.Random(7)
    actual = []
    for _ in range(count):
        copy = bytearray(content)
        for _ in range(chance.choice((1, 1, 2, 5))):
            copy[chance.randrange(len(copy))] = chance.randrange(256)
        actual.append(bytes(copy[: chance.randrange(len(copy))] if chance.random() < 0.2 else copy))
    return actual
