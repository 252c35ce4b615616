"""The requirement files, and the translation of pip's settings for uv."""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING

import pytest

from tests.support import clones

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

FOLDER = clones.ROOT / "requirements"
INDEXES = {"UV_EXTRA_INDEX_URL": "https://one.test https://two.test", "UV_INDEX_STRATEGY": "unsafe-best-match"}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


@pytest.fixture(scope="module")
def uv() -> ModuleType:
    spec = importlib.util.spec_from_file_location("requirements_uv", FOLDER / "uv.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.name)
def test_every_requirement_has_a_version_and_a_hash(path: Path) -> None:
    text = path.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines
    for line in lines:
        assert re.match(r"\S+==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line


@pytest.mark.parametrize(
    ("settings", "environment", "added"),
    [
        ({}, {}, {}),
        ({"index-url": "https://a:b@one.test"}, {}, {"UV_DEFAULT_INDEX": "https://a:b@one.test"}),
        ({"index-url": "https://one.test"}, {"UV_INDEX_URL": "https://own.test"}, {}),
        ({"extra-index-url": "\nhttps://one.test\nhttps://two.test"}, {}, INDEXES),
        ({"extra-index-url": "https://one.test"}, {"UV_INDEX": "x"}, {"UV_INDEX_STRATEGY": "unsafe-best-match"}),
        ({}, {"UV_INDEX": "x", "UV_INDEX_STRATEGY": "first-index"}, {}),
        ({"find-links": "/one /two"}, {}, {"UV_FIND_LINKS": "/one,/two"}),
        ({"constraint": "/one /two"}, {}, {"UV_CONSTRAINT": "/one /two"}),
        ({"trusted-host": "one.test"}, {}, {"UV_INSECURE_HOST": "one.test"}),
        ({"default-timeout": "180"}, {}, {"UV_HTTP_TIMEOUT": "180"}),
        ({"cert": "/one", "client-cert": "/two"}, {}, {"SSL_CERT_FILE": "/one", "SSL_CLIENT_CERT": "/two"}),
        ({"cert": "/one"}, {"SSL_CERT_FILE": "/all"}, {"SSL_CERT_FILE": "/one"}),
        ({"proxy": "http://one.test"}, {"HTTP_PROXY": "x"}, dict.fromkeys(PROXIES, "http://one.test")),
    ],
)
def test_pips_settings_reach_uv_unless_it_has_its_own(
    uv: ModuleType, settings: dict[str, str], environment: dict[str, str], added: dict[str, str]
) -> None:
    assert uv.translate(settings, environment) == environment | added


def test_pips_variables_win_over_its_files(
    uv: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("pip") / "pip.conf"
    file.write_text(
        "[global]\nproxy = http://one.test\nfind-links =\n  /one\n  /two\n[install]\nproxy = http://it's.test\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    settings = uv.read_pip_settings()
    assert (settings["find-links"].split(), settings["proxy"]) == (["/one", "/two"], "http://it's.test")
    monkeypatch.setenv("PIP_FIND_LINKS", "/three")
    assert uv.read_pip_settings()["find-links"] == "/three"
