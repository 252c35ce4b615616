"""Injected failures 1 to 8 and 30: requests to the API fail, and TLS or proxy settings are wrong."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder import errors, tournament
from builder.sandbox import faults
from builder.upload import assign
from tests.support import command, uploads
from tests.support.upload_outcomes import CREATE, check_deployed, check_nothing_registered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder.sandbox import server
    from tests.support.uploads import Project

    Asking = Callable[..., tournament.Tournament]


@pytest.mark.parametrize(
    ("url", "times"), [("http://127.0.0.1:1/", 5), ("https://no-such-host.invalid/", 2)], ids=["refused", "no-name"]
)
def test_row_1_the_api_cannot_be_reached(ask: Asking, waits: list[float], url: str, times: int) -> None:
    """A name that does not resolve is probably misspelt, so it is looked up only twice."""
    with pytest.raises(errors.NetworkError, match=rf"could not connect .*\(tried {times} times\)") as caught:
        ask(url).get_account()
    assert len(waits) == times - 1
    assert caught.value.exit_code == 4


def test_row_1_a_mutation_resolves_an_unknown_host_twice(ask: Asking, waits: list[float]) -> None:
    with pytest.raises(errors.UnavailableError, match=r"\(tried 2 times\)"):
        assign._send(ask("https://no-such-host.invalid/"), "slot", None)
    assert len(waits) == 1


@pytest.mark.parametrize(
    ("match", "arguments"),
    [("computePickleUploadAuth", ("upload", "configs/small.yaml")), ("computePickleDownloadAuth", ("download",))],
    ids=["upload", "download"],
)
def test_row_1_an_unknown_storage_host_is_resolved_twice(
    project: Project, match: str, arguments: tuple[str, ...]
) -> None:
    earlier = project.assign_earlier_pickle()
    url = "https://no-such-host.invalid/x?signature=secret"
    project.sandbox.faults.add(match, faults.replace_field(match, {"filename": "x.pkl", "url": url}), times=None)
    more = ("--model", "fresh", "--yes") if arguments[0] == "upload" else (earlier.id, "--to", "got.pkl")
    looked_up = project.root / "looked-up"
    result = uploads.run_python(record_lookups(looked_up), project.root, *arguments, *more, **project.environment())
    assert result.returncode == 4
    assert "no-such-host.invalid" in result.stderr
    assert looked_up.read_text().count("no-such-host.invalid\n") == 2
    assert not (project.root / "got.pkl").exists()


def test_row_1_the_command_resolves_an_unknown_host_twice(project: Project) -> None:
    looked_up = project.root / "looked-up"
    environment = {**project.environment(), "NUMERAI_API_URL": "https://no-such-host.invalid/"}
    result = uploads.run_python(record_lookups(looked_up), project.root, "status", **environment)
    assert (result.returncode, "(tried 2 times)" in result.stderr) == (4, True)
    assert looked_up.read_text().splitlines() == ["no-such-host.invalid"] * 2


def record_lookups(path: Path) -> str:
    """Return a program that runs the command and records each host name that it resolves."""
    return (
        "import sys\n"
        "def note(event, arguments):\n"
        "    if event == 'socket.getaddrinfo':\n"
        f"        with open({str(path)!r}, 'a') as file:\n"
        "            file.write(f'{arguments[0]}\\n')\n"
        "sys.addaudithook(note)\n"
    ) + command.WITHOUT_WAITS


def test_row_1_the_command_reports_it_and_changes_nothing(project: Project) -> None:
    code, out, err = project.upload(NUMERAI_API_URL="http://127.0.0.1:1/")
    assert (code, out) == (4, "")
    assert "127.0.0.1:1" in err
    assert "could not connect" in err
    check_nothing_registered(project)


@contextlib.contextmanager
def serve_full_backlog() -> Iterator[str]:
    """Yield the address of a listener whose backlog is full, so that connecting times out."""
    with socket.socket() as listener, contextlib.ExitStack() as undo:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = undo.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def test_row_2_a_connection_timeout_is_retried(ask: Asking, waits: list[float]) -> None:
    with serve_full_backlog() as url, pytest.raises(errors.UnavailableError, match=r"no answer for 0\.2 s") as caught:
        ask(url, silent=0.2).get_account()
    assert len(waits) == 4
    assert not caught.value.sent


def test_row_3_a_query_without_an_answer_is_retried(sandbox: server.Sandbox, ask: Asking) -> None:
    sandbox.faults.add("account", faults.stall())
    assert ask(silent=0.3).get_account().username == "sandbox_user"
    assert sandbox.requests.count("account") == 2


@pytest.mark.parametrize(("retry_after", "expected_wait"), [("3", 3.0), ("86400", 10.0)], ids=["honoured", "capped"])
def test_row_4_too_many_requests(
    sandbox: server.Sandbox, ask: Asking, waits: list[float], retry_after: str, expected_wait: float
) -> None:
    sandbox.faults.add("account", faults.respond_too_many(retry_after))
    assert ask().get_account().username == "sandbox_user"
    assert waits == [expected_wait]


WAITS = """
import sys, time
from builder.cli import main
time.sleep = lambda seconds: print(f"waits {seconds:g} s", file=sys.stderr)
sys.exit(main.main(["upload", "configs/small.yaml", "--model", "fresh", "--yes"]))
"""


@pytest.mark.parametrize(("retry_after", "expected_wait"), [("7", "7"), ("86400", "60")], ids=["honoured", "capped"])
def test_row_4_too_many_registrations(project: Project, retry_after: str, expected_wait: str) -> None:
    project.sandbox.faults.add(CREATE, faults.respond_too_many(retry_after), times=2)
    result = uploads.run_python(WAITS, project.root, **project.environment())
    assert result.returncode == 0, result.stderr
    assert result.stderr.count(f"waits {expected_wait} s\n") == 2
    check_deployed(project)


def test_row_4_too_many_registrations_until_retries_end(project: Project) -> None:
    project.sandbox.faults.add(CREATE, faults.respond_too_many("30"), times=None)
    code, _, err = project.upload()
    assert code == 4
    assert "HTTP 429, too many requests (tried 3 times); nothing was registered" in err
    assert "looked for" not in err
    assert project.list_records() == []


def test_row_5_a_page_of_html(project: Project) -> None:
    project.sandbox.faults.add("account", faults.respond_html(502), times=None)
    code, _, err = project.upload()
    assert code == 4
    assert "HTTP 502" in err
    assert "html" not in err.lower()
    check_nothing_registered(project)


def test_row_5_a_page_of_html_once(project: Project) -> None:
    project.sandbox.faults.add("account", faults.respond_html(503))
    assert project.upload()[0] == 0
    check_deployed(project)


@pytest.mark.parametrize(
    "action",
    [faults.respond_errors("the moon is full"), faults.respond_error_detail("the moon is full")],
    ids=["list", "detail"],
)
def test_row_6_the_servers_error_message_is_shown(project: Project, action: faults.Action) -> None:
    project.sandbox.faults.add(CREATE, action)
    code, _, err = project.upload()
    assert code == 4
    assert "the moon is full" in err
    assert project.list_records() == []


@pytest.mark.parametrize(
    ("match", "action", "message"),
    [
        ("account", faults.respond_null_data(), "no data"),
        (
            "computePickleUploadAuth",
            faults.drop_key("computePickleUploadAuth", "url"),
            "computePickleUploadAuth.url: missing; found only filename",
        ),
        (
            "computePickleUploadAuth",
            faults.replace_field("computePickleUploadAuth", None),
            "the response has no URL",
        ),
        (
            "computePickleUploadAuth",
            faults.replace_field("computePickleUploadAuth", "text"),
            "does not follow the API's schema",
        ),
        ("apiTokenInfo", faults.replace_field("apiTokenInfo", [1]), "does not follow the API's schema"),
        ("account", faults.replace_field("account", {"models": ["text"]}), "does not follow the API's schema"),
        ("account", faults.replace_field("account", {"maxModelSlots": "many"}), "does not follow the API's schema"),
        ("computePickles", faults.replace_field("computePickles", {"id": "1"}), "does not follow the API's schema"),
    ],
    ids=[
        "data-null",
        "url-missing",
        "field-null",
        "auth-text",
        "token-list",
        "slots-text",
        "slots-many",
        "pickles-map",
    ],
)
def test_row_7_an_unexpected_answer_is_described(
    project: Project, match: str, action: faults.Action, message: str
) -> None:
    project.sandbox.faults.add(match, action)
    code, _, err = project.upload()
    assert code == 4
    assert message in err
    check_nothing_registered(project)


@pytest.mark.parametrize(("token", "message"), [("revoked", "was rejected"), ("read only", "does not have the scope")])
def test_row_8_a_token_that_is_invalid(project: Project, token: str, message: str) -> None:
    code, _, err = project.run("upload", "configs/small.yaml", "--model", "fresh", "--yes", token=token)
    assert code == 4
    assert message in err
    assert "numer.ai/account" in err
    assert len(project.sandbox.requests) == 1  # no retry


def test_row_30_a_certificate_that_is_not_trusted(project: Project, tmp_path: Path) -> None:
    with uploads.serve_self_signed(tmp_path) as (url, connections):
        code, _, err = project.upload(NUMERAI_API_URL=url)
    assert code == 4
    assert "its certificate is not trusted" in err
    assert not connections.requests


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSL_CERT_FILE", "/nowhere/authority.pem"),
        ("SSL_CERT_FILE", "/dev/null"),
        ("HTTPS_PROXY", "carrier-pigeon://user:hidden@proxy.example:1"),
        ("HTTPS_PROXY", "http://user:hidden@proxy.example:port"),
        ("ALL_PROXY", "socks5://proxy.example:1080"),
    ],
)
def test_row_30_an_invalid_environment_variable_is_reported(project: Project, name: str, value: str) -> None:
    code, _, err = project.upload(NUMERAI_API_URL="https://api-tournament.example/", **{name: value, "NO_PROXY": ""})
    assert code == 2
    assert f"fix or unset {name}" in err
    assert "hidden" not in err


def test_row_30_a_proxy_that_refuses(project: Project) -> None:
    with uploads.serve_refusing_proxy() as (address, connect_requests):
        code, _, err = project.upload(
            NUMERAI_API_URL="https://api-tournament.example/", HTTPS_PROXY=f"http://{address}", NO_PROXY=""
        )
    assert code == 4
    assert "the proxy settings" in err
    assert connect_requests
    assert all(line.startswith("CONNECT api-tournament.example:443") for line in connect_requests)
