"""Errors of libraries are translated where the libraries are called, for each error class and for damaged input.

The docker SDK is tested in ``test_engine_errors``.
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
from builder.engine import protocol
from builder.net import http
from builder.tournament import query_check, settings
from builder.validate import container_run, live_check, rerun
from tests.support import container_output, library_errors

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

# ---- the error classes of each library, and those that are caught

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
# Classes that are never raised here, with the reason.
NEVER_RAISED: dict[type[BaseException], str] = {
    yaml.YAMLError: "the base of the others; never raised itself",
    zipfile.LargeZipFile: "raised on writing without ZIP64 only",
}


@pytest.mark.parametrize(("module", "caught"), CAUGHT)
def test_every_error_class_of_a_library_is_caught(module: ModuleType, caught: tuple[type[BaseException], ...]) -> None:
    actual = library_errors.list_errors(module)
    assert actual
    assert [kind for kind in actual if not issubclass(kind, caught) and kind not in NEVER_RAISED] == []


@pytest.mark.parametrize("kind", library_errors.list_errors(httpx), ids=lambda kind: kind.__name__)
def test_every_error_of_httpx_becomes_a_network_error(kind: type[Exception]) -> None:
    request = httpx.Request("GET", "https://example.invalid/x?token=secret")
    arguments: dict[type[Exception], tuple[Any, ...]] = {httpx.HTTPStatusError: (), httpx.StreamConsumed: ()}
    try:
        error = kind(*arguments.get(kind, ("x",)))
    except TypeError:
        error = httpx.HTTPStatusError("x", request=request, response=httpx.Response(500))
    with pytest.raises(errors.NetworkError, match=r"^AT: ") as raised, http.translate_errors("AT"):
        raise error
    assert "secret" not in str(raised.value)


# ---- damaged input


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
def test_an_invalid_address_is_a_network_error(address: str) -> None:
    pytest_socket.enable_socket()  # the address is refused before a look-up
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
    live_check.check_files(path, None, features=["x"], benchmark_columns=[], data_version="v5.3", needs_era=True)
    rerun.count_rows(path)


METADATA = [b"{", b"[]", b"null", b'"x"', b'{"index_columns": 7}', b'{"index_columns": [[]]}', b"\xff", b"[" * 100_000]


@pytest.mark.parametrize("metadata", METADATA, ids=lambda item: repr(item[:20]))
def test_parquet_with_unusual_pandas_metadata_is_read_or_a_data_error(metadata: bytes, tmp_path: Path) -> None:
    table = pa.table({"id": ["a"], "era": ["1"], "x": [1]}).replace_schema_metadata({b"pandas": metadata})
    pq.write_table(table, tmp_path / "live.parquet")
    check_read(read_parquet, tmp_path / "live.parquet", errors.DataError)


def test_damaged_parquet_is_a_data_error(parquet: Path, tmp_path: Path) -> None:
    for content in damage(parquet.read_bytes(), 300):
        (tmp_path / "live.parquet").write_bytes(content)
        check_read(read_parquet, tmp_path / "live.parquet", errors.DataError)


def test_damaged_output_of_a_container_is_a_problem_of_the_pickle() -> None:
    end = protocol.Exit(code=0, out_of_memory=False)
    files = {"live_predictions-0.csv": b"id,prediction\nn1,0.5\n", "0.f64": bytes(16)}
    for content in damage(container_output.make(files), 500):
        result = container_run.read_output(content, "", end)
        assert result.problem or result.files.keys() <= {*files} or result.usage.peak_bytes is not None
        assert not (result.problem and result.files)


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 200_000, b"{" * 200_000, b"x" * 1_000_000])
def test_an_invalid_report_of_a_container_is_a_problem_of_the_pickle(line: bytes) -> None:
    result = container_run.read_output(line + b"\n", "", protocol.Exit(code=0, out_of_memory=False))
    assert result.problem.startswith("the pickle changed what its container returns")
    assert not result.files


def test_a_damaged_config_raises_nothing() -> None:
    text = b"name: a\nimage: {ref: 'x', stand_in: \"3.11\"}\npost:\n  - rank: {scope: era}\n# caf\xc3\xa9\n"
    for content in damage(text, 1000):
        config_yaml.read(content)  # problems are part of its result


def test_a_damaged_query_is_a_usage_error() -> None:
    for content in damage(b'query A($x: Int = 3) { a(b: "\\u00e9", c: [1, {d: 2}]) { ...F @skip(if: true) } }', 1000):
        check_read(query_check.is_mutation, content.decode(errors="replace"), errors.UsageError)


def test_a_damaged_env_file_is_a_usage_error(tmp_path: Path) -> None:
    text = b"NUMERAI_PUBLIC_ID='ABCDEFGH'\nexport NUMERAI_SECRET_KEY=\"abc\\ndef$X\" # x\nNUMERAI_REGISTRY=a.b/c"
    for content in damage(text, 300):
        (tmp_path / ".env").write_bytes(content)
        check_read(lambda root: settings.read({}, root), tmp_path, errors.UsageError)


def check_read(read: Any, value: object, refusal: type[errors.BuilderError]) -> None:
    with contextlib.suppress(refusal):
        read(value)


def damage(content: bytes, count: int) -> list[bytes]:
    """Return copies with some bytes changed or the end cut off; the same copies on each call."""
    generator = random.Random(7)
    copies = []
    for _ in range(count):
        copy = bytearray(content)
        for _ in range(generator.choice((1, 1, 2, 5))):
            copy[generator.randrange(len(copy))] = generator.randrange(256)
        copies.append(bytes(copy[: generator.randrange(len(copy))] if generator.random() < 0.2 else copy))
    return copies
