"""Downloads from the storage: complete and in time, or an error."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from builder import errors, progress
from builder.net import download
from tests.support import http_files

if TYPE_CHECKING:
    import http.server
    from pathlib import Path


def test_a_download_ends_at_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_SECONDS", -1.0)
    stopped = threading.Event()

    def drip(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        request.wfile.write(b"x")
        stopped.wait(20)

    with http_files.serve({"/model.pkl": drip}) as server:
        try:
            with pytest.raises(errors.NetworkError, match=r"the pickle p: not complete after .* minutes; run it again"):
                download.download(
                    f"{server.url}/model.pkl",
                    tmp_path / "x.pkl",
                    description="the pickle p",
                    progress=progress.Silent(),
                )
            assert len(server.requests) == 1
        finally:
            stopped.set()
    assert list(tmp_path.iterdir()) == []
