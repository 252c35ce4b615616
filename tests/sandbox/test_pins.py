"""``ref: default``, pins and image lists, against the sandbox and an in-test registry."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from builder.cli import sandbox as sandbox_command
from builder.config import model as config
from builder.image import lockfile
from builder.sandbox import example, registry
from tests.support import command, registry_images

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.sandbox import server


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with registry.start() as address:
        yield address


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = command.write_project(tmp_path / "project")
    (folder / "configs" / "small.yaml").write_text(command.CONFIG.replace("runner:1", "default"))
    return folder


def settings(sandbox: server.Sandbox, address: str) -> dict[str, str]:
    without = dict.fromkeys(("NUMERAI_PUBLIC_ID", "NUMERAI_SECRET_KEY", "NUMERAI_MCP_AUTH"), "")
    return {**without, "NUMERAI_API_URL": sandbox.api_url, "NUMERAI_REGISTRY": f"{address}/numerai"}


def put(sandbox: server.Sandbox, address: str, image: str) -> tuple[str, str]:
    tag = sandbox.state.get_image(image).tag
    digest = registry_images.push_image(address, f"numerai/{image}", tag, config={"Labels": {"image": image}})
    return f"{address}/numerai/{image}:{tag}", digest


def tournament_reference(reference: str) -> str:
    """Return an image's name at the tournament's registry, the name under which it is pinned."""
    return f"ghcr.io/{reference.partition('/')[2]}"


def test_default_is_pinned_and_its_change_is_reported(sandbox: server.Sandbox, address: str, project: Path) -> None:
    environment = settings(sandbox, address)
    reference, digest = put(sandbox, address, "numerai_predict_py_3_12")
    code, out, err = command.run("pin", cwd=project, **environment)
    assert (code, err) == (0, "")
    assert f"resolves to  {tournament_reference(reference)}" in out
    pin = lockfile.read(project).images["default"]
    assert (pin.ref, pin.digest, pin.labels) == (
        tournament_reference(reference),
        digest,
        {"image": "numerai_predict_py_3_12"},
    )
    assert command.run("pin", "--check", cwd=project, **environment)[0] == 0

    newer, moved = put(sandbox, address, "numerai_predict_py_3_11")
    for image in sandbox.state.images:
        image.default = image.image == "numerai_predict_py_3_11"
    code, out, _ = command.run("pin", "--check", cwd=project, **environment)
    assert code == 1
    assert "the default is numerai_predict_py_3_11:a78dedd now, was numerai_predict_py_3_12:a78dedd" in out
    assert lockfile.read(project).images["default"] == pin
    assert command.run("pin", cwd=project, **environment)[0] == 0
    assert (lockfile.read(project).images["default"].ref, lockfile.read(project).images["default"].digest) == (
        tournament_reference(newer),
        moved,
    )

    code, out, _ = command.run("pin", reference, cwd=project, **environment)
    assert code == 0
    assert "the tournament offers it, but numerai_predict_py_3_11:a78dedd is the default" in out


def test_doctor_reports_whether_the_pinned_image_is_still_available(
    sandbox: server.Sandbox, address: str, project: Path
) -> None:
    def look() -> dict[str, Any]:
        out = command.run(
            "doctor", str(next((project / "configs").glob("*.yaml"))), "--json", cwd=project, **environment
        )
        return {line["name"]: line for line in json.loads(out[1])["lines"]}

    environment = settings(sandbox, address)
    _, digest = put(sandbox, address, "numerai_predict_py_3_13")
    for image in sandbox.state.images:
        image.default = image.image == "numerai_predict_py_3_13"
    assert command.run("pin", cwd=project, **environment)[0] == 0
    tag = sandbox.state.get_image("numerai_predict_py_3_13").tag
    registry_images.push_image(address, "numerai/numerai_predict_py_3_13", tag, config={"Labels": {"image": "newer"}})
    lines = look()
    assert (lines["image"]["good"], lines["pin"]["good"]) == (True, False)
    registry_images.delete_manifest(address, "numerai/numerai_predict_py_3_13", digest)
    lines = look()
    assert (lines["image"]["good"], lines["pin"]["good"]) == (False, False)
    assert "no longer has the pinned digest" in lines["image"]["text"]


def test_the_commands_that_make_sandbox_suggests_do_not_change_the_lock_file(
    sandbox: server.Sandbox, address: str
) -> None:
    put(sandbox, address, "numerai_predict_py_3_12")
    mine = command.ROOT / lockfile.NAME
    before = mine.read_bytes() if mine.exists() else None
    with example.create() as path:
        text = sandbox_command.format_instructions(sandbox, {}, path)
        tries = [line.split() for line in text.splitlines() if line.startswith("  python -m builder ")]
        assert [words[3] for words in tries] == ["pin", "pickle", "validate", "upload"]
        assert {words[4] for words in tries} == {str(path)}
        code, _, err = command.run("pin", str(path), cwd=command.ROOT, **settings(sandbox, address))
        assert (code, err) == (0, "")
        root = config.load(path).root
        assert lockfile.read(root).images["default"].ref == "ghcr.io/numerai/numerai_predict_py_3_12:a78dedd"
        assert (mine.read_bytes() if mine.exists() else None) == before
    assert not root.exists()


def test_without_a_terminal_stdout_has_only_exports_and_stderr_the_folder(
    sandbox: server.Sandbox, address: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folders: list[Path] = []

    def wait() -> NoReturn:
        folders.extend(temporary.glob("numerai-tryout-*"))
        raise KeyboardInterrupt

    temporary = Path(tempfile.gettempdir())
    before = set(temporary.glob("numerai-tryout-*"))
    monkeypatch.setattr(sandbox_command, "_start", lambda *_, **__: (sandbox, f"{address}/numerai"))
    monkeypatch.setattr(sandbox_command, "threading", SimpleNamespace(Event=lambda: SimpleNamespace(wait=wait)))
    monkeypatch.setattr(sandbox_command, "_ignore_signals", lambda: None)
    assert sandbox_command.run(json_wanted=True) == 0
    out, err = capfd.readouterr()
    report = json.loads(out)
    assert report["settings"]["NUMERAI_API_URL"] == sandbox.api_url
    assert (Path(report["config"]).exists(), "fresh" in report["slots"], err) == (False, True, "")
    assert sandbox_command.run() == 0
    out, err = capfd.readouterr()
    assert {line.split("=")[0] for line in out.splitlines()} >= {"export NUMERAI_API_URL", "export NUMERAI_REGISTRY"}
    assert all(line.startswith("export ") for line in out.splitlines())
    config = Path(re.findall(r"CONFIG=(\S+),", err)[0])
    assert config.parents[1] in set(folders) - before
    assert not config.exists()
    assert "pins made with these settings are not written to builder.lock.yaml" in err


def test_the_pins_of_a_sandbox_are_not_in_the_projects_lock_file(
    sandbox: server.Sandbox, address: str, project: Path, tmp_path: Path
) -> None:
    put(sandbox, address, "numerai_predict_py_3_12")
    pins = tmp_path / "pins" / lockfile.NAME
    environment = {**settings(sandbox, address), "NUMERAI_LOCK_FILE": str(pins)}
    code, out, _ = command.run("pin", cwd=project, **environment)
    assert code == 0
    assert f"{pins} was updated" in out
    assert list(lockfile.parse(pins.read_bytes(), "pins").images) == ["default"]
    assert not (project / lockfile.NAME).exists()


def test_a_pin_of_a_sandbox_registry_is_marked(sandbox: server.Sandbox, address: str, project: Path) -> None:
    put(sandbox, address, "numerai_predict_py_3_12")
    code, out, err = command.run("pin", cwd=project, **settings(sandbox, address))
    assert (code, err) == (0, "")
    note = f"it is from the stand-in registry {address}/numerai (NUMERAI_REGISTRY), not from the tournament's"
    assert note in out


def test_a_default_of_a_registry_that_is_gone_is_pinned_again(
    sandbox: server.Sandbox, address: str, project: Path
) -> None:
    """Older lock files recorded the mirror instead of the tournament's registry."""
    with registry.start() as yesterdays:
        before, _ = put(sandbox, yesterdays, "numerai_predict_py_3_12")
    reference, digest = put(sandbox, address, "numerai_predict_py_3_12")
    lockfile.update(
        project,
        lambda lock: lock.with_pin("default", lockfile.create_pin(f"sha256:{'1' * 64}", day="2026-11-01", ref=before)),
        on_wait=print,
    )
    code, out, err = command.run("pin", cwd=project, **settings(sandbox, address))
    assert (code, err) == (0, "")
    assert f"the default is {tournament_reference(reference)} now, was {yesterdays}/numerai/" in out
    assert f"still has the pinned image: {yesterdays}/numerai/numerai_predict_py_3_12@sha256:111" in out
    pin = lockfile.read(project).images["default"]
    assert (pin.ref, pin.digest) == (tournament_reference(reference), digest)


def test_a_pin_made_through_one_mirror_is_valid_through_another(
    sandbox: server.Sandbox, address: str, project: Path
) -> None:
    with registry.start() as yesterdays:
        put(sandbox, yesterdays, "numerai_predict_py_3_12")
        assert command.run("pin", cwd=project, **settings(sandbox, yesterdays))[0] == 0
    put(sandbox, address, "numerai_predict_py_3_12")
    (file,) = (project / "configs").glob("*.yaml")
    _, out, _ = command.run("doctor", str(file), "--json", cwd=project, **settings(sandbox, address))
    lines = {line["name"]: line for line in json.loads(out)["lines"]}
    assert (lines["pin"]["good"], lines["image"]["good"]) == (True, True)
    assert "not among the tournament's images" not in out


def test_images_are_listed_without_a_token(sandbox: server.Sandbox, address: str, project: Path) -> None:
    environment = settings(sandbox, address)
    put(sandbox, address, "numerai_predict_py_3_12")
    assert command.run("pin", cwd=project, **environment)[0] == 0
    code, out, _ = command.run("images", "--json", cwd=project, **environment)
    assert code == 0
    rows: dict[str, Any] = {row["name"]: row for row in json.loads(out)["images"]}
    assert rows["Python 3.12"]["state"] == ["default"]
    assert rows["Python 3.12"]["pinned"] == lockfile.read(project).images["default"].digest
    assert rows["Python 3.10"]["state"] == ["deprecated"]
    assert rows["Python 3.14"]["state"] == ["experimental"]
    assert rows["Python 3.11"]["pinned"] is None
    assert not any(request.had_token for request in sandbox.requests)


def test_a_reference_to_the_tournaments_registry_uses_the_configured_mirror(
    sandbox: server.Sandbox, address: str, project: Path
) -> None:
    environment = settings(sandbox, address)
    put(sandbox, address, "numerai_predict_py_3_11")
    tag = sandbox.state.get_image("numerai_predict_py_3_11").tag
    reference = f"ghcr.io/numerai/numerai_predict_py_3_11:{tag}"
    (project / "configs" / "small.yaml").write_text(command.CONFIG.replace("runner:1", reference))
    code, out, err = command.run("pin", cwd=project, **environment)
    assert (code, err) == (0, "")
    assert "not among the tournament's images" not in out
    pinned = lockfile.read(project).images
    assert list(pinned) == [reference]
    assert command.run("pin", "--check", cwd=project, **environment)[0] == 0
    _, out, _ = command.run("images", "--json", cwd=project, **environment)
    rows = {row["name"]: row for row in json.loads(out)["images"]}
    assert rows["Python 3.11"]["pinned"] == pinned[reference].digest
    _, out, _ = command.run("doctor", "configs/small.yaml", "--json", cwd=project, **environment)
    lines = {line["name"]: line for line in json.loads(out)["lines"]}
    assert (lines["image"]["good"], lines["pin"]["good"], lines["offered"]["good"]) == (True, True, None)


def test_an_invalid_registry_is_reported(sandbox: server.Sandbox, address: str, project: Path) -> None:
    environment = {**settings(sandbox, address), "NUMERAI_REGISTRY": "https://mirror.example/numerai"}
    for arguments in (["pin"], ["images"], ["pickle", "configs/small.yaml"]):
        code, _, err = command.run(*arguments, cwd=project, **environment)
        assert (code, err) == (2, "error: NUMERAI_REGISTRY: invalid; expected a registry like ghcr.io/numerai\n")
    code, out, _ = command.run("doctor", "configs/small.yaml", cwd=project, **environment)
    assert code == 1
    assert "NUMERAI_REGISTRY: invalid" in out


def test_an_image_that_the_registry_does_not_have_is_reported(sandbox: server.Sandbox, project: Path) -> None:
    with registry.start() as empty:
        code, out, _ = command.run("pin", cwd=project, **settings(sandbox, empty))
    assert code == 1
    assert "default  NOT FOUND" in out
    assert "none needed" not in out
    assert not (project / lockfile.NAME).exists()
